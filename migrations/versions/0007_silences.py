"""What a silence would have hidden is found by its matchers; what it hid, and how it ended.

Revision ID: 0007_silences
Revises: 0003_gathered
"""

import sqlalchemy as sa
from alembic import op

revision = "0007_silences"
down_revision = "0003_gathered"
branch_labels = None
depends_on = None

LABELS = {"named": "alertname", "namespace": "namespace", "service": "service", "spelled": "severity"}


def upgrade() -> None:
    for name in LABELS:
        op.add_column("episodes", sa.Column(name, sa.String(), nullable=False, server_default=sa.text("''")))
    cast = "" if op.get_bind().dialect.name == "sqlite" else "::json"
    values = ", ".join(
        f"{name} = substr(coalesce(labels{cast}->>'{label}', ''), 1, 100)" for name, label in LABELS.items()
    )
    op.execute(f"UPDATE episodes SET {values}")  # noqa: S608 - of the names above
    op.create_index("ix_episodes_matched", "episodes", [*LABELS, "starts_at"])
    op.add_column("silences", sa.Column("matchers", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    op.add_column("silences", sa.Column("hides", sa.Text(), nullable=True))
    op.add_column("silences", sa.Column("why", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.create_table(
        "mutes",
        sa.Column("silence_id", sa.String(), nullable=False),
        sa.Column("episode", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("silence_id", "episode", name=op.f("pk_mutes")),
    )
    op.create_index(op.f("ix_mutes_episode"), "mutes", ["episode"])
    op.create_table(
        "silence_ends",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("silence_id", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("hidden", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "seq", "n", name=op.f("pk_silence_ends")),
    )
    op.create_index(op.f("ix_silence_ends_at"), "silence_ends", ["at"])


def downgrade() -> None:
    op.drop_table("silence_ends")
    op.drop_table("mutes")
    for name in ("matchers", "hides", "why"):
        op.drop_column("silences", name)
    op.drop_index("ix_episodes_matched", "episodes")
    for name in LABELS:
        op.drop_column("episodes", name)
