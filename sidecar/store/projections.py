"""The tables people read, made of the log by SQL: idempotent by sequence number, a moment behind it.

The statements are the same on both dialects but for the way a JSON array becomes rows; no event passes through Python.
`->>` reads a field as text on Postgres and as its own type on SQLite, and the casts make them one.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.store.engine import Database
from sidecar.store.tables import shards

ROWS: Final = 200  # log rows per transaction

_EVENTS: Final = {
    "postgresql": """SELECT l.shard, l.seq, x.n AS n, x.e AS e, x.e->>'t' AS t FROM log l
 CROSS JOIN LATERAL json_array_elements(l.body::json) WITH ORDINALITY AS x(e, n)
 WHERE l.shard = :shard AND l.seq > :after AND l.seq <= :upto""",
    "sqlite": """SELECT l.shard AS shard, l.seq AS seq, x.key AS n, x.value AS e, x.value->>'t' AS t FROM log l, json_each(l.body) x
 WHERE l.shard = :shard AND l.seq > :after AND l.seq <= :upto""",
}


def _number(name: str) -> str:
    return f"CAST(e->>'{name}' AS DOUBLE PRECISION)"


def _text(name: str, default: str = "") -> str:
    return f"coalesce(e->>'{name}', '{default}')"


_AT, _EPISODE = _number("at"), "e->>'episode'"
_NAME: Final = {"postgresql": "e->'labels'->>'alertname'", "sqlite": "e->>'$.labels.alertname'"}
_TELLS: Final = "e->>'tell' IS NOT NULL"
_PATTERN: Final = "e->>'pattern'"


def _statements(dialect: str) -> tuple[str, ...]:
    """In order: each reads the events of a range of log rows, and none depends on where the range begins."""
    events = _EVENTS[dialect]
    return (
        f"""INSERT INTO episodes (episode, shard, fingerprint, starts_at, first_seen, last_seen, times, alertname, labels,
 annotations, group_key, generator_url, external_url)
SELECT {_EPISODE}, shard, e->>'fingerprint', {_number("starts_at")}, {_AT}, {_AT}, 1, coalesce({_NAME[dialect]}, ''),
 e->>'labels', e->>'annotations', {_text("group_key")}, {_text("generator_url")}, {_text("external_url")}
FROM ({events}) AS v WHERE t = 'started' ON CONFLICT (episode) DO NOTHING""",
        f"""UPDATE episodes SET last_seen = s.at, times = times + s.n FROM
 (SELECT {_EPISODE} AS episode, max({_AT}) AS at, count(*) AS n FROM ({events}) AS v WHERE t = 'seen' GROUP BY 1) AS s
WHERE episodes.episode = s.episode""",
        f"""UPDATE episodes SET ended_at = s.ended_at, last_seen = s.at FROM
 (SELECT {_EPISODE} AS episode, max({_number("ends_at")}) AS ended_at, max({_AT}) AS at FROM ({events}) AS v WHERE t = 'ended'
  GROUP BY 1) AS s
WHERE episodes.episode = s.episode""",
        f"""INSERT INTO decisions (shard, seq, n, at, episode, incident, verdict, severity, reasons, receivers, until, score,
 anomaly, model, observation, propensity, marks)
SELECT shard, seq, n, {_AT}, {_EPISODE}, e->>'incident', e->>'verdict', e->>'severity', e->>'reasons',
 {_text("receivers", "[]")}, {_number("until")}, {_number("score")}, {_number("anomaly")}, {_text("model")},
 {_text("observation", "[]")}, coalesce({_number("propensity")}, 1), {_text("marks", "[]")}
FROM ({events}) AS v WHERE t = 'decided' ON CONFLICT (shard, seq, n) DO NOTHING""",
        """UPDATE episodes SET incident = s.incident FROM
 (SELECT episode, incident, row_number() OVER (PARTITION BY episode ORDER BY seq DESC, n DESC) AS place FROM decisions
  WHERE shard = :shard AND seq > :after AND seq <= :upto) AS s
WHERE episodes.episode = s.episode AND s.place = 1""",
        f"""INSERT INTO incidents (incident, shard, opened_at, told_at, updated_at)
SELECT e->>'incident', min(shard), min({_AT}), min(CASE WHEN {_TELLS} THEN {_AT} END), max({_AT})
FROM ({events}) AS v WHERE t = 'decided' GROUP BY 1
ON CONFLICT (incident) DO UPDATE SET told_at = coalesce(incidents.told_at, excluded.told_at),
 updated_at = excluded.updated_at""",
        f"""INSERT INTO votes (episode, who, kind, at, source, retracted, comment)
SELECT episode, who, kind, at, source, retracted, comment FROM (
 SELECT {_EPISODE} AS episode, e->>'who' AS who, e->>'kind' AS kind, {_AT} AS at, {_text("source")} AS source,
  coalesce(e->>'retracted', '0') IN ('true', '1') AS retracted, {_text("comment")} AS comment,
  row_number() OVER (PARTITION BY {_EPISODE}, e->>'who' ORDER BY seq DESC, n DESC) AS place
 FROM ({events}) AS v WHERE t = 'voted') AS newest WHERE place = 1
ON CONFLICT (episode, who) DO UPDATE SET kind = excluded.kind, at = excluded.at, source = excluded.source,
 retracted = excluded.retracted, comment = excluded.comment
WHERE NOT excluded.retracted OR excluded.kind = votes.kind""",
        f"""INSERT INTO silences (pattern, asked_at, ends_at, state, silence_id, reason, comment, evidence)
SELECT pattern, at, ends_at, 'asked', '', reason, comment, evidence FROM (
 SELECT {_PATTERN} AS pattern, {_AT} AS at, {_number("ends_at")} AS ends_at, e->>'reason' AS reason, e->>'comment' AS comment,
  e->>'episodes' AS evidence, row_number() OVER (PARTITION BY {_PATTERN} ORDER BY seq DESC, n DESC) AS place
 FROM ({events}) AS v WHERE t = 'silence_asked') AS newest WHERE place = 1
ON CONFLICT (pattern) DO UPDATE SET asked_at = excluded.asked_at, ends_at = excluded.ends_at, state = 'asked',
 reason = excluded.reason, comment = excluded.comment, evidence = excluded.evidence""",
        f"""UPDATE silences SET state = s.outcome, silence_id = s.silence_id FROM (
 SELECT {_PATTERN} AS pattern, e->>'outcome' AS outcome, {_text("silence_id")} AS silence_id,
  row_number() OVER (PARTITION BY {_PATTERN} ORDER BY seq DESC, n DESC) AS place
 FROM ({events}) AS v WHERE t = 'silence_settled') AS s
WHERE silences.pattern = s.pattern AND s.place = 1""",
    )  # fmt: skip


async def project(database: Database, shard: int, rows: int = ROWS) -> int:
    """Bring the tables up to date by at most `rows` log rows; returns how many were taken in. Safe to run anywhere."""
    async with database.write() as connection:
        locked = select(shards.c.projected, shards.c.head).where(shards.c.shard == shard)
        if not database.sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(1373555218, :shard)"), {"shard": shard})
        after, head = (await connection.execute(locked)).one()
        upto = min(head, after + rows)
        if upto == after:
            return 0
        await _apply(connection, shard, after, upto)
        await connection.execute(update(shards).where(shards.c.shard == shard).values(projected=upto))
        return int(upto - after)


async def _apply(connection: AsyncConnection, shard: int, after: int, upto: int) -> None:
    for statement in _STATEMENTS[connection.dialect.name]:
        await connection.execute(statement, {"shard": shard, "after": after, "upto": upto})


async def behind(database: Database, shard: int) -> tuple[int, int]:
    """(projected, head): how far the tables are, in log rows."""
    async with database.read() as connection:
        query = select(shards.c.projected, shards.c.head).where(shards.c.shard == shard)
        projected, head = (await connection.execute(query)).one()
    return int(projected), int(head)


async def skip(database: Database, shard: int) -> int:
    """Pass over the next log row; returns 1."""
    async with database.write() as connection:
        await connection.execute(update(shards).where(shards.c.shard == shard).values(projected=shards.c.projected + 1))
    return 1


_STATEMENTS: Final = {
    dialect: tuple(text(statement) for statement in _statements(dialect)) for dialect in ("postgresql", "sqlite")
}
