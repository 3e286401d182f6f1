"""The tables people read, made of the log by SQL: idempotent by sequence number, a moment behind it.

The statements are the same on both dialects but for the way a JSON array becomes rows; no event passes through Python.
`->>` reads a field as text on Postgres and as its own type on SQLite, and the casts make them one.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.store.engine import Database
from sidecar.store.tables import LONGEST_MATCHED, shards

ROWS: Final = 200  # log rows per transaction

# The events of a range of log rows are read once, into a temporary table with these columns, and every table below is
# made of it: reading a field of a JSON text means parsing it.
_FIELDS: Final = {
    "t": "text",
    "at": "double precision",
    "episode": "text",
    "fingerprint": "text",
    "starts_at": "double precision",
    "ends_at": "double precision",
    "labels": "text",
    "annotations": "text",
    "group_key": "text",
    "generator_url": "text",
    "external_url": "text",
    "incident": "text",
    "verdict": "text",
    "severity": "text",
    "reasons": "text",
    "tell": "text",
    "receivers": "text",
    "until": "double precision",
    "score": "double precision",
    "anomaly": "double precision",
    "model": "text",
    "observation": "text",
    "propensity": "double precision",
    "marks": "text",
    "who": "text",
    "kind": "text",
    "source": "text",
    "retracted": "text",
    "comment": "text",
    "pattern": "text",
    "reason": "text",
    "episodes": "text",
    "outcome": "text",
    "silence_id": "text",
    "matchers": "text",
    "hides": "text",
    "state": "text",
    "why": "text",
    "cause": "text",
    "hidden": "bigint",
    "created_by": "text",
    "title": "text",
    "came_from": "text",
}
_COLUMNS: Final = ", ".join(_FIELDS)
_TYPED: Final = ", ".join(f"{name} {kind}" for name, kind in _FIELDS.items())
_RANGE: Final = "l.shard = :shard AND l.seq > :after AND l.seq <= :upto"
_STAGE: Final = {
    "postgresql": (
        f"CREATE TEMPORARY TABLE IF NOT EXISTS staged (seq bigint, n bigint, {_TYPED}) ON COMMIT DELETE ROWS",
        f"""INSERT INTO staged SELECT l.seq, x.n, {", ".join("x." + name for name in _FIELDS)} FROM log l,
 ROWS FROM (json_to_recordset(l.body::json) AS ({_TYPED})) WITH ORDINALITY AS x({_COLUMNS}, n) WHERE {_RANGE}""",
    ),
    "sqlite": (
        f"CREATE TEMPORARY TABLE IF NOT EXISTS staged (seq bigint, n bigint, {_TYPED})",
        "DELETE FROM staged",
        f"""INSERT INTO staged SELECT l.seq, x.key, {", ".join(f"x.value->>'{name}'" for name in _FIELDS)}
FROM log l, json_each(l.body) x WHERE {_RANGE}""",
    ),
}
_TAKES_BACK: Final = "coalesce(retracted, '0') IN ('true', '1')"
_NEWEST_VOTE: Final = "PARTITION BY episode, who ORDER BY seq DESC, n DESC"
_LABELS: Final = {"postgresql": "labels::json", "sqlite": "labels"}


# A proposal or a request begins a row anew; of what came after it the end counts, else the newest.
_BEGINS: Final = "('silence_proposed', 'silence_asked')"
_GOES_ON: Final = "('silence_replayed', 'silence_settled', 'silence_changed', 'silence_ended')"
_AFTER: Final = f"""(SELECT e.*, CASE WHEN e.t = 'silence_ended' OR e.outcome = 'ended' THEN 1 ELSE 0 END AS ends
 FROM staged AS e WHERE e.t IN {_GOES_ON} AND NOT EXISTS (
  SELECT 1 FROM staged AS later WHERE later.t IN {_BEGINS} AND later.pattern = e.pattern
   AND (later.seq > e.seq OR (later.seq = e.seq AND later.n > e.n)))) AS after"""
_SILENCES: Final = (
    f"""INSERT INTO silences (pattern, asked_at, ends_at, state, silence_id, reason, comment, evidence, matchers, why)
SELECT pattern, at, ends_at, CASE t WHEN 'silence_asked' THEN 'asked' ELSE 'proposed' END, '', coalesce(reason, ''),
 coalesce(comment, ''), episodes, coalesce(matchers, '[]'), '' FROM (
 SELECT *, row_number() OVER (PARTITION BY pattern ORDER BY seq DESC, n DESC) AS place
 FROM staged WHERE t IN {_BEGINS}) AS newest WHERE place = 1
ON CONFLICT (pattern) DO UPDATE SET asked_at = excluded.asked_at, ends_at = excluded.ends_at, state = excluded.state,
 silence_id = '', reason = excluded.reason, comment = excluded.comment, evidence = excluded.evidence,
 matchers = excluded.matchers, why = ''""",
    """UPDATE silences SET hides = s.hides FROM (
 SELECT pattern, hides, row_number() OVER (PARTITION BY pattern ORDER BY seq DESC, n DESC) AS place
 FROM staged WHERE t = 'silence_replayed') AS s
WHERE silences.pattern = s.pattern AND s.place = 1""",
    f"""UPDATE silences SET state = s.became, why = s.why FROM (
 SELECT pattern, ends, coalesce(why, '') AS why, CASE t WHEN 'silence_ended' THEN CASE cause WHEN 'revoked' THEN 'revoked' ELSE 'ended' END
   WHEN 'silence_replayed' THEN CASE coalesce(why, '') WHEN '' THEN 'replayed' ELSE 'refused' END
   WHEN 'silence_changed' THEN state ELSE outcome END AS became,
  row_number() OVER (PARTITION BY pattern ORDER BY ends DESC, seq DESC, n DESC) AS place
 FROM {_AFTER}) AS s
WHERE silences.pattern = s.pattern AND s.place = 1 AND NOT (s.ends = 0 AND silences.state IN ('ended', 'revoked'))""",
    f"""UPDATE silences SET silence_id = s.silence_id FROM (
 SELECT pattern, silence_id, row_number() OVER (PARTITION BY pattern ORDER BY seq DESC, n DESC) AS place
 FROM {_AFTER} WHERE coalesce(silence_id, '') <> '') AS s
WHERE silences.pattern = s.pattern AND s.place = 1""",
    f"""UPDATE silences SET ends_at = s.ends_at FROM (
 SELECT pattern, ends_at, row_number() OVER (PARTITION BY pattern ORDER BY seq DESC, n DESC) AS place
 FROM {_AFTER} WHERE t = 'silence_changed') AS s
WHERE silences.pattern = s.pattern AND s.place = 1""",
    """INSERT INTO silence_ends (shard, seq, n, at, pattern, silence_id, cause, why, hidden)
SELECT :shard, seq, n, at, pattern, silence_id, coalesce(cause, 'expired'), why, hidden
FROM staged WHERE t = 'silence_ended' ON CONFLICT (shard, seq, n) DO NOTHING""",
    """INSERT INTO mutes (silence_id, episode, at, created_by)
SELECT silence_id, episode, at, created_by FROM (
 SELECT silence_id, episode, at, created_by, row_number() OVER (PARTITION BY silence_id, episode ORDER BY seq, n) AS place
 FROM staged WHERE t = 'muted') AS first WHERE place = 1
ON CONFLICT (silence_id, episode) DO NOTHING""",
)


def _statements(dialect: str) -> tuple[str, ...]:
    """In order; none of them depends on where the range of log rows begins."""

    def label(name: str) -> str:
        return f"coalesce({_LABELS[dialect]}->>'{name}', '')"

    return (
        *_STAGE[dialect],
        f"""INSERT INTO episodes (episode, shard, fingerprint, starts_at, first_seen, last_seen, times, alertname, labels,
 annotations, group_key, generator_url, external_url, incident, named, namespace, service, spelled)
SELECT s.episode, :shard, fingerprint, starts_at, at, at, 1, {label("alertname")}, labels, annotations,
 coalesce(group_key, ''), coalesce(generator_url, ''), coalesce(external_url, ''), d.incident,
 {", ".join(f"substr({label(name)}, 1, {LONGEST_MATCHED})" for name in ("alertname", "namespace", "service", "severity"))}
FROM staged AS s LEFT JOIN
 (SELECT episode, max(incident) AS incident FROM staged WHERE t = 'decided' GROUP BY episode) AS d ON d.episode = s.episode
WHERE t = 'started' ON CONFLICT (episode) DO NOTHING""",
        """UPDATE episodes SET last_seen = CASE WHEN s.at > last_seen THEN s.at ELSE last_seen END, times = times + s.n FROM
 (SELECT episode, max(at) AS at, count(*) AS n FROM staged WHERE t = 'seen' GROUP BY episode) AS s
WHERE episodes.episode = s.episode""",
        """UPDATE episodes SET ended_at = CASE WHEN episodes.ended_at > s.ended_at THEN episodes.ended_at ELSE s.ended_at END,
 last_seen = CASE WHEN s.at > last_seen THEN s.at ELSE last_seen END FROM
 (SELECT episode, max(ends_at) AS ended_at, max(at) AS at FROM staged WHERE t = 'ended' GROUP BY episode) AS s
WHERE episodes.episode = s.episode""",
        """INSERT INTO decisions (shard, seq, n, at, episode, incident, verdict, severity, reasons, receivers, until, score,
 anomaly, model, observation, propensity, marks)
SELECT :shard, seq, n, at, episode, incident, verdict, severity, reasons, coalesce(receivers, '[]'), until, score, anomaly,
 coalesce(model, ''), coalesce(observation, ''), coalesce(propensity, 1), coalesce(marks, '[]')
FROM staged WHERE t = 'decided' ON CONFLICT (shard, seq, n) DO NOTHING""",
        """UPDATE episodes SET incident = s.incident FROM
 (SELECT episode, incident, row_number() OVER (PARTITION BY episode ORDER BY seq DESC, n DESC) AS place FROM staged
  WHERE t = 'decided') AS s
WHERE episodes.episode = s.episode AND s.place = 1 AND coalesce(episodes.incident, '') <> s.incident""",
        """INSERT INTO incidents (incident, shard, opened_at, told_at, updated_at, title)
SELECT incident, :shard, min(at), min(CASE WHEN tell IS NOT NULL THEN at END), max(at),
 max(CASE WHEN place = 1 THEN title END) FROM
 (SELECT incident, at, tell, title, row_number() OVER (PARTITION BY incident ORDER BY title IS NULL, seq DESC, n DESC)
  AS place FROM staged WHERE t = 'decided') AS s GROUP BY incident
ON CONFLICT (incident) DO UPDATE SET
 opened_at = CASE WHEN excluded.opened_at < incidents.opened_at THEN excluded.opened_at ELSE incidents.opened_at END,
 told_at = CASE WHEN incidents.told_at <= excluded.told_at THEN incidents.told_at
  ELSE coalesce(excluded.told_at, incidents.told_at) END,
 updated_at = CASE WHEN excluded.updated_at > incidents.updated_at THEN excluded.updated_at ELSE incidents.updated_at END,
 title = coalesce(excluded.title, incidents.title)""",
        """UPDATE incidents SET goes_on_in = s.incident FROM
 (SELECT came_from, incident, row_number() OVER (PARTITION BY came_from ORDER BY seq DESC, n DESC) AS place FROM staged
  WHERE t = 'decided' AND came_from IS NOT NULL) AS s
WHERE incidents.incident = s.came_from AND s.place = 1""",
        f"""INSERT INTO votes (episode, who, kind, at, source, retracted, comment)
SELECT episode, who, kind, at, coalesce(source, ''), false, coalesce(comment, '') FROM (
 SELECT episode, who, kind, at, source, comment, row_number() OVER ({_NEWEST_VOTE}) AS place
 FROM staged WHERE t = 'voted' AND NOT {_TAKES_BACK}) AS newest WHERE place = 1
ON CONFLICT (episode, who) DO UPDATE SET kind = excluded.kind, at = excluded.at, source = excluded.source,
 retracted = false, comment = excluded.comment""",
        # Takes back only what it names, and only when no newer vote of that person is in this range.
        f"""UPDATE votes SET retracted = true, at = r.at FROM (
 SELECT episode, who, kind, at, row_number() OVER (PARTITION BY episode, who, kind ORDER BY seq DESC, n DESC) AS place
 FROM (SELECT episode, who, kind, at, seq, n, retracted,
   sum(CASE WHEN {_TAKES_BACK} THEN 0 ELSE 1 END) OVER ({_NEWEST_VOTE}) AS newer FROM staged WHERE t = 'voted') AS said
 WHERE {_TAKES_BACK} AND newer = 0) AS r
WHERE votes.episode = r.episode AND votes.who = r.who AND votes.kind = r.kind AND r.place = 1""",
        *_SILENCES,
    )


async def project(database: Database, shard: int, rows: int = ROWS) -> int:
    """Bring the tables up to date by at most `rows` log rows; returns how many were taken in. Safe to run anywhere."""
    async with database.write() as connection:
        locked = select(shards.c.projected, shards.c.head).where(shards.c.shard == shard)
        if not database.sqlite:
            await connection.execute(text("SET LOCAL synchronous_commit = off"))  # lost in a crash, it is made again
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


async def skip(database: Database, shard: int, after: int) -> int:
    """Pass over the log row after this one; returns 1, or 0 when another replica has gone on already."""
    here = (shards.c.shard == shard, shards.c.projected == after)
    async with database.write() as connection:
        return int((await connection.execute(update(shards).where(*here).values(projected=after + 1))).rowcount)


_STATEMENTS: Final = {
    dialect: tuple(text(statement) for statement in _statements(dialect)) for dialect in ("postgresql", "sqlite")
}
