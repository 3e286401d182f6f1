"""The first schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "artifacts",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("promoted_at", sa.Double(), nullable=True),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_artifacts")),
    )
    op.create_table(
        "attempts",
        sa.Column("dedup_key", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("ref", sa.String(), nullable=True),
        sa.Column("took", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("dedup_key", "n", name=op.f("pk_attempts")),
    )
    op.create_table(
        "decisions",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("episode", sa.String(), nullable=False),
        sa.Column("incident", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("receivers", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("anomaly", sa.Double(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("observation", sa.Text(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("marks", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "seq", "n", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_episode"), "decisions", ["episode"], unique=False)
    op.create_table(
        "episodes",
        sa.Column("episode", sa.String(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("starts_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("first_seen", sa.Double(), nullable=False),
        sa.Column("last_seen", sa.Double(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("alertname", sa.String(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("annotations", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("generator_url", sa.Text(), nullable=False),
        sa.Column("external_url", sa.Text(), nullable=False),
        sa.Column("incident", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("episode", name=op.f("pk_episodes")),
    )
    op.create_index(op.f("ix_episodes_fingerprint_starts_at"), "episodes", ["fingerprint", "starts_at"], unique=False)
    op.create_index(op.f("ix_episodes_incident"), "episodes", ["incident"], unique=False)
    op.create_table(
        "incidents",
        sa.Column("incident", sa.String(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("told_at", sa.Double(), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("incident", name=op.f("pk_incidents")),
    )
    op.create_table(
        "log",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "seq", name=op.f("pk_log")),
    )
    op.create_table(
        "messages",
        sa.Column("incident", sa.String(), nullable=False),
        sa.Column("receiver", sa.String(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("incident", "receiver", name=op.f("pk_messages")),
    )
    op.create_index(op.f("ix_messages_ref"), "messages", ["ref"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("dedup_key", sa.String(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("receiver", sa.String(), nullable=False),
        sa.Column("incident", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("alerts", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease", sa.String(), nullable=True),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("dedup_key", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_incident_receiver"), "outbox", ["incident", "receiver"], unique=False)
    still_open = sa.text("state IN ('waiting', 'leased')")
    op.create_index(
        "ix_outbox_open", "outbox", ["receiver", "next_at"], postgresql_where=still_open, sqlite_where=still_open
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "seen_events",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seen_events")),
    )
    op.create_table(
        "shards",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.Column("projected", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_shards")),
    )
    op.create_table(
        "silences",
        sa.Column("pattern", sa.String(), nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("silence_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pattern", name=op.f("pk_silences")),
    )
    op.create_table(
        "snapshots",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "seq", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "votes",
        sa.Column("episode", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("episode", "who", name=op.f("pk_votes")),
    )
    op.create_index(op.f("ix_votes_at"), "votes", ["at"], unique=False)
    op.execute("INSERT INTO shards (shard, head, projected) VALUES (0, 0, 0)")
    if op.get_bind().dialect.name == "postgresql":
        # A log row is large and read seldom: lz4 costs a fraction of pglz.
        op.execute("ALTER TABLE log ALTER COLUMN body SET COMPRESSION lz4")


def downgrade() -> None:
    op.drop_index(op.f("ix_votes_at"), table_name="votes")
    op.drop_table("votes")
    op.drop_table("snapshots")
    op.drop_table("silences")
    op.drop_table("shards")
    op.drop_table("seen_events")
    op.drop_table("quarantine")
    op.drop_index("ix_outbox_open", table_name="outbox")
    op.drop_index(op.f("ix_outbox_incident_receiver"), table_name="outbox")
    op.drop_table("outbox")
    op.drop_index(op.f("ix_messages_ref"), table_name="messages")
    op.drop_table("messages")
    op.drop_table("log")
    op.drop_table("incidents")
    op.drop_index(op.f("ix_episodes_incident"), table_name="episodes")
    op.drop_index(op.f("ix_episodes_fingerprint_starts_at"), table_name="episodes")
    op.drop_table("episodes")
    op.drop_index(op.f("ix_decisions_episode"), table_name="decisions")
    op.drop_table("decisions")
    op.drop_table("attempts")
    op.drop_table("artifacts")
