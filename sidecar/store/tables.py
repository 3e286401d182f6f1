"""The schema. Times are seconds since the epoch (double precision), JSON is text: the same on both dialects.

`log` is the truth; `outbox` is what is still to be sent; `snapshots` let a replica start without the whole log;
`contexts` is what Prometheus said. The rest are projections of the log for people, screens, `why` and training: they can
be dropped and made again.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

OPEN_ROWS = text("state IN ('waiting', 'leased')")  # what the worker looks for: settled rows stay out of its index

# ------------------------------------------------------------------------------------------------------------ the truth

shards = Table(
    "shards",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column(
        "head", BigInteger, nullable=False
    ),  # seq of the newest log row: every writer advances it by compare-and-set
    Column("projected", BigInteger, nullable=False),  # seq up to which the projections below are made
)

log = Table(
    "log",
    metadata,
    Column("shard", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
    Column("body", Text, nullable=False),  # a JSON array of events (sidecar.events.Event) of one batch, in order
    PrimaryKeyConstraint("shard", "seq"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("shard", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),  # of the state's layout
    Column("at", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("shard", "seq"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("dedup_key", String, primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),  # of the log row it came with
    Column("receiver", String, nullable=False),
    Column("incident", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("alerts", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String, nullable=False),  # waiting | leased | sent | merged | dead
    Column("next_at", Double, nullable=False),  # not before; while leased: when the lease ends
    Column("attempts", Integer, nullable=False),
    Column("lease", String),  # who holds it
    Column("settled_at", Double),
    Column("why", Text),  # the last failure
    Index("ix_outbox_open", "receiver", "next_at", postgresql_where=OPEN_ROWS, sqlite_where=OPEN_ROWS),
    Index(None, "incident", "receiver"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("dedup_key", String, nullable=False),
    Column("n", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("outcome", String, nullable=False),  # sent | retry | rejected
    Column("why", Text),
    Column("ref", String),
    Column("took", Double, nullable=False),  # seconds
    PrimaryKeyConstraint("dedup_key", "n"),
)

messages = Table(  # what each receiver has of each incident, so that it can be edited, threaded and voted on
    "messages",
    metadata,
    Column("incident", String, nullable=False),
    Column("receiver", String, nullable=False),
    Column("ref", String, nullable=False),
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("incident", "receiver"),
    Index(None, "ref"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", String, primary_key=True),  # SHA-256 of the body: the same poison once
    Column("at", Double, nullable=False),
    Column("why", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("times", Integer, nullable=False),
)

seen_events = Table(  # ids of feedback events from providers, each counted once
    "seen_events",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", Double, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("version", String, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("state", String, nullable=False),  # candidate | champion | retired | refused
    Column("promoted_at", Double),
    Column("files", Text, nullable=False),  # JSON: file name -> its text; the folder of models.artifact
    Column("report", Text, nullable=False),  # JSON
)

digests = Table(  # what each digest said, and which episodes: reactions and links are about its lines
    "digests",
    metadata,
    Column("digest", String, primary_key=True),
    Column("at", Double, nullable=False),
    Column("receiver", String, nullable=False),
    Column("body", Text, nullable=False),  # JSON of sidecar.bulletin.Bulletin, without links
)

# ------------------------------------------------------------------------------------------------------ the projections

episodes = Table(
    "episodes",
    metadata,
    Column("episode", String, primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("starts_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("first_seen", Double, nullable=False),
    Column("last_seen", Double, nullable=False),
    Column("times", Integer, nullable=False),  # how often Alertmanager sent it
    Column("alertname", String, nullable=False),
    Column("labels", Text, nullable=False),
    Column("annotations", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("generator_url", Text, nullable=False),
    Column("external_url", Text, nullable=False),
    Column("incident", String),
    # What exact matchers name, out of the labels and cut to what an index takes: silences are replayed over them.
    Column("named", String, nullable=False, server_default=text("''")),
    Column("namespace", String, nullable=False, server_default=text("''")),
    Column("service", String, nullable=False, server_default=text("''")),
    Column("spelled", String, nullable=False, server_default=text("''")),  # the severity, letter by letter
    Index(None, "fingerprint", "starts_at"),
    Index(None, "incident"),
    Index("ix_episodes_matched", "named", "namespace", "service", "spelled", "starts_at"),
)
LONGEST_MATCHED: Final = 100  # characters of each

incidents = Table(
    "incidents",
    metadata,
    Column("incident", String, primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("told_at", Double),  # when people were first told; null: nobody was
    Column("updated_at", Double, nullable=False),
    Column("title", Text),  # of one that gathers; `{count}` stands for how many alerts it has
    Column("goes_on_in", String),  # where an episode that left it last went
)

decisions = Table(
    "decisions",
    metadata,
    Column("shard", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("n", Integer, nullable=False),  # place in its log row
    Column("at", Double, nullable=False),
    Column("episode", String, nullable=False),
    Column("incident", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("reasons", Text, nullable=False),  # JSON: [[rule, sentence], ...]
    Column("receivers", Text, nullable=False),
    Column("until", Double),
    Column("score", Double),
    Column("anomaly", Double),
    Column("model", String, nullable=False),
    Column("observation", Text, nullable=False),  # base64 of models.features.pack
    Column("propensity", Double, nullable=False),
    Column("marks", Text, nullable=False),
    PrimaryKeyConstraint("shard", "seq", "n"),
    Index(None, "episode"),
)

votes = Table(
    "votes",
    metadata,
    Column("episode", String, nullable=False),
    Column("who", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("at", Double, nullable=False),
    Column("source", String, nullable=False),
    Column("retracted", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    PrimaryKeyConstraint("episode", "who"),
    Index(None, "at"),
)

silences = Table(
    "silences",
    metadata,
    Column("pattern", String, primary_key=True),  # JSON of the pattern
    Column("asked_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    Column("state", String, nullable=False),  # of sidecar.state.silences.Silence
    Column("silence_id", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("comment", Text, nullable=False),
    Column("evidence", Text, nullable=False),  # JSON: episode ids
    Column("matchers", Text, nullable=False, server_default=text("'[]'")),  # JSON: [[name, value], ...]
    Column("hides", Text),  # JSON: what its matchers would have hidden, as the replay before it found
    Column("why", Text, nullable=False, server_default=text("''")),  # of its state
)

mutes = Table(  # what silences hid, ours and people's, as far as the watcher saw it
    "mutes",
    metadata,
    Column("silence_id", String, nullable=False),
    Column("episode", String, nullable=False),
    Column("at", Double, nullable=False),
    Column("created_by", String, nullable=False),
    PrimaryKeyConstraint("silence_id", "episode"),
    Index(None, "episode"),
)

silence_ends = Table(  # every end of a silence of ours: the table above keeps each pattern's newest one alone
    "silence_ends",
    metadata,
    Column("shard", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("n", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("pattern", Text, nullable=False),  # JSON
    Column("silence_id", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("why", Text, nullable=False),
    Column("hidden", Integer, nullable=False),  # episodes
    PrimaryKeyConstraint("shard", "seq", "n"),
    Index(None, "at"),
)

# -------------------------------------------------------------------------------------------------------- from elsewhere

contexts = Table(  # what Prometheus answered about an episode; not in the log, since nothing is decided by it
    "contexts",
    metadata,
    Column("episode", String, nullable=False),
    Column("name", String, nullable=False),  # of the query
    Column("query", Text, nullable=False),  # as it was asked, labels filled in
    Column("at", Double, nullable=False),
    Column("before", Double, nullable=False),  # seconds
    Column("result", String, nullable=False),  # ok | empty | failed
    Column("usual", Double),
    Column("started", Double),
    Column("later", Double),
    Column("later_by", Double),  # seconds
    Column("why", Text, nullable=False),
    PrimaryKeyConstraint("episode", "name"),
)
