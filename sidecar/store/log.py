"""The log: one row per batch, appended by compare-and-set on the shard's head, with the outbox rows it causes.

The one hot statement of the system, as text per dialect. A writer that is alone needs nothing else; after a conflict it
takes the shard's advisory lock, reads the head, then the tail, folds, decides again and appends: when two replicas race,
compare-and-set alone would retry nearly every webhook.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain import Delivery
from sidecar.errors import Conflict
from sidecar.events import Event, Swept
from sidecar.store.engine import Database
from sidecar.store.tables import log, shards, snapshots

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(list[Event]).decode

_POSTGRES: Final = """
WITH head AS (UPDATE shards SET head = head + 1 WHERE shard = %s AND head = %s RETURNING head),
 row AS (INSERT INTO log (shard, seq, at, body) SELECT %s, head, %s, %s FROM head),
 box AS (INSERT INTO outbox (dedup_key, shard, seq, receiver, incident, kind, received_at, alerts, body, state, next_at, attempts)
  SELECT d.dedup_key, %s, head, d.receiver, d.incident, d.kind, d.received_at, d.alerts, coalesce(d.body, ''), 'waiting', 0, 0
  FROM head, json_to_recordset(%s::json) AS d(dedup_key text, receiver text, incident text, kind text,
   received_at double precision, alerts int, body text) ON CONFLICT (dedup_key) DO NOTHING)
SELECT head FROM head
"""
_SQLITE_HEAD: Final = "UPDATE shards SET head = head + 1 WHERE shard = ? AND head = ? RETURNING head"
_SQLITE_ROW: Final = "INSERT INTO log (shard, seq, at, body) VALUES (?, ?, ?, ?)"
_SQLITE_BOX: Final = """
INSERT INTO outbox (dedup_key, shard, seq, receiver, incident, kind, received_at, alerts, body, state, next_at, attempts)
SELECT e.value->>'dedup_key', ?, ?, e.value->>'receiver', e.value->>'incident', e.value->>'kind', e.value->>'received_at',
 e.value->>'alerts', e.value->>'body', 'waiting', 0, 0 FROM json_each(?) AS e WHERE true ON CONFLICT (dedup_key) DO NOTHING
"""


async def append(
    connection: AsyncConnection,
    shard: int,
    head: int,
    at: float,
    events: Sequence[Event],
    deliveries: Sequence[Delivery],
) -> int:
    """Append one row after `head`; returns its seq. Raises Conflict when another writer was first."""
    body, box = encode(events).decode(), encode(deliveries).decode()
    if connection.dialect.name == "sqlite":
        return await _append_sqlite(connection, shard, head, at, body, box)
    values = (shard, head, shard, at, body, shard, box)
    seq = (await connection.exec_driver_sql(_POSTGRES, values)).scalar()
    if seq is None:
        raise Conflict(f"shard {shard} has moved past {head}")
    return int(seq)


async def _append_sqlite(connection: AsyncConnection, shard: int, head: int, at: float, body: str, box: str) -> int:
    seq = (await connection.exec_driver_sql(_SQLITE_HEAD, (shard, head))).scalar()
    if seq is None:
        raise Conflict(f"shard {shard} has moved past {head}")
    await connection.exec_driver_sql(_SQLITE_ROW, (shard, seq, at, body))
    if box != "[]":
        await connection.exec_driver_sql(_SQLITE_BOX, (shard, seq, box))
    return int(seq)


async def lock(connection: AsyncConnection, shard: int) -> None:
    """Take the shard's lock until the transaction ends. SQLite's transaction is the lock."""
    if connection.dialect.name != "sqlite":
        await connection.execute(select(func.pg_advisory_xact_lock(0x51DE_CA12, shard)))


async def head(connection: AsyncConnection, shard: int) -> int:
    return int((await connection.execute(select(shards.c.head).where(shards.c.shard == shard))).scalar_one())


async def tail(connection: AsyncConnection, shard: int, after: int, limit: int = 500) -> list[tuple[int, list[Event]]]:
    """Rows after a seq, in order: (seq, events)."""
    query = (
        select(log.c.seq, log.c.body).where(log.c.shard == shard, log.c.seq > after).order_by(log.c.seq).limit(limit)
    )
    return [(seq, decode(body)) for seq, body in await connection.execute(query)]


async def newest(database: Database, shard: int) -> float | None:
    """When the newest thing in the log happened, seconds since the epoch; None when nothing did.

    That keys were forgotten is no event of the past: a sidecar that nobody sends to records it too.
    """
    below = None
    async with database.read() as connection:
        while True:
            query = select(log.c.seq, log.c.body).where(log.c.shard == shard).order_by(log.c.seq.desc()).limit(1)
            row = (await connection.execute(query if below is None else query.where(log.c.seq < below))).first()
            if row is None:
                return None
            times = [event.at for event in decode(row.body) if not isinstance(event, Swept)]
            if times:
                return max(times)
            below = row.seq


async def all_after(database: Database, shard: int, after: int) -> AsyncIterator[tuple[int, list[Event]]]:
    """Every row after a seq, read in pieces."""
    while True:
        async with database.read() as connection:
            rows = await tail(connection, shard, after)
        for seq, events in rows:
            yield seq, events
            after = seq
        if not rows:
            return


async def newest_snapshot(database: Database, shard: int, version: int) -> bytes | None:
    query = (
        select(snapshots.c.body)
        .where(snapshots.c.shard == shard, snapshots.c.version == version)
        .order_by(snapshots.c.seq.desc())
        .limit(1)
    )
    async with database.read() as connection:
        body = (await connection.execute(query)).scalar()
    return None if body is None else bytes(body)


async def save_snapshot(database: Database, shard: int, seq: int, version: int, at: float, body: bytes) -> None:
    """Keep this snapshot and the one before it."""
    mine = snapshots.c.shard == shard
    async with database.write() as connection:
        row = {"shard": shard, "seq": seq, "version": version, "at": at, "body": body}
        await connection.execute(delete(snapshots).where(mine, snapshots.c.seq == seq))
        await connection.execute(snapshots.insert().values(row))
        kept = select(snapshots.c.seq).where(mine).order_by(snapshots.c.seq.desc()).limit(2)
        await connection.execute(delete(snapshots).where(mine, snapshots.c.seq.not_in(kept)))


@asynccontextmanager
async def locked(database: Database, shard: int) -> AsyncIterator[AsyncConnection]:
    """A transaction that holds the shard's lock from its beginning."""
    async with database.write() as connection:
        await lock(connection, shard)
        yield connection
