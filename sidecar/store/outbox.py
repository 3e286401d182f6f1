"""The outbox: claim with a lease, settle, list and replay the dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.store.engine import Database
from sidecar.store.tables import attempts, messages, outbox

OPEN: Final = ("waiting", "leased")


class Claimed(Struct, frozen=True):
    """A row of the outbox that this replica holds until its lease ends."""

    dedup_key: str
    shard: int
    seq: int
    receiver: str
    incident: str
    kind: str
    received_at: float
    alerts: int
    body: str
    attempts: int
    lease: str = ""  # of this claim alone


class Settled(Struct, frozen=True):
    """What became of one attempt at a claimed row."""

    row: Claimed
    state: str  # sent | waiting | dead | merged
    at: float
    outcome: str  # sent | retry | rejected | merged
    why: str = ""
    ref: str = ""
    took: float = 0.0  # seconds
    next_at: float = 0.0


def _due(now: float) -> ColumnElement[bool]:
    """Rows that may be sent now; those of one incident and receiver leave in their order."""
    before = outbox.alias("before")
    same = and_(before.c.incident == outbox.c.incident, before.c.receiver == outbox.c.receiver)
    first = or_(
        before.c.seq < outbox.c.seq,
        and_(before.c.seq == outbox.c.seq, outbox.c.kind == "resolve", before.c.kind != "resolve"),
    )
    waits = exists().where(same, before.c.state.in_(OPEN), first)
    return and_(outbox.c.state.in_(OPEN), outbox.c.next_at <= now, ~waits)


async def due_targets(connection: AsyncConnection, now: float) -> list[str]:
    """Who has something to be sent."""
    query = select(outbox.c.receiver).where(outbox.c.state.in_(OPEN), outbox.c.next_at <= now).distinct()
    return [receiver for (receiver,) in await connection.execute(query)]


async def claim(database: Database, target: str, now: float, lease: float, holder: str, limit: int) -> list[Claimed]:
    """Rows for one target that are due, oldest first, now leased to `holder`; a lease that ran out is anyone's."""
    columns = [outbox.c[name] for name in Claimed.__struct_fields__]
    query = select(outbox.c.dedup_key).where(outbox.c.receiver == target, _due(now))
    query = query.order_by(outbox.c.next_at, outbox.c.received_at).limit(limit)
    async with database.write() as connection:
        if not database.sqlite:
            query = query.with_for_update(skip_locked=True, of=outbox)
        keys = [row.dedup_key for row in await connection.execute(query)]
        if not keys:
            return []
        taken = (
            update(outbox)
            .where(outbox.c.dedup_key.in_(keys))
            .values(state="leased", next_at=now + lease, lease=f"{holder} {now}")
            .returning(*columns)
        )
        rows = [Claimed(*row) for row in await connection.execute(taken)]
    return sorted(rows, key=lambda row: (row.received_at, row.seq))


async def merge_updates(database: Database, row: Claimed, now: float) -> int:
    """Settle the other waiting updates of this incident and receiver: one message says the latest state. Returns its seq."""
    mine = and_(outbox.c.incident == row.incident, outbox.c.receiver == row.receiver)
    others = and_(mine, outbox.c.kind == "update", outbox.c.state == "waiting", outbox.c.dedup_key != row.dedup_key)
    async with database.write() as connection:
        merged = update(outbox).where(others).values(state="merged", settled_at=now).returning(outbox.c.seq)
        return max([row.seq, *(int(seq) for (seq,) in await connection.execute(merged))])


async def settle(connection: AsyncConnection, settled: Iterable[Settled]) -> None:
    """Write what became of each attempt; part of the caller's transaction.

    What was sent is sent, whoever says so. A failure counts only while its lease was not taken over by another: that one
    may have sent it already.
    """
    done = list(settled)
    if not done:
        return
    for one in done:
        final = one.at if one.state != "waiting" else None
        values = {"state": one.state, "next_at": one.next_at, "attempts": one.row.attempts + 1, "settled_at": final}
        changed = update(outbox).where(outbox.c.dedup_key == one.row.dedup_key)
        if one.state != "sent":
            changed = changed.where(outbox.c.lease == one.row.lease)
        await connection.execute(changed.values(**values, why=_plain(one.why) or None, lease=None))
    await connection.execute(inserting_once(connection, attempts), [_attempt(one) for one in done])
    refs = [
        {"incident": one.row.incident, "receiver": one.row.receiver, "ref": _plain(one.ref), "at": one.at}
        for one in done
        if one.ref
    ]
    for ref in refs:
        await connection.execute(_upsert_message(connection, ref))


def _plain(text: str) -> str:
    return text.replace("\x00", "\ufffd")  # a provider's own words, and no database takes a NUL


def _attempt(one: Settled) -> dict[str, Any]:
    key, n = one.row.dedup_key, one.row.attempts + 1
    return {
        "dedup_key": key,
        "n": n,
        "at": one.at,
        "outcome": one.outcome,
        "why": _plain(one.why),
        "ref": _plain(one.ref),
        "took": one.took,
    }


def _insert(connection: AsyncConnection, table: Any) -> Any:
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def inserting_once(connection: AsyncConnection, table: Any) -> Any:
    return _insert(connection, table).on_conflict_do_nothing()


def _upsert_message(connection: AsyncConnection, row: dict[str, Any]) -> Any:
    changes = {"ref": row["ref"], "at": row["at"]}
    statement = _insert(connection, messages).values(row)
    return statement.on_conflict_do_update(index_elements=["incident", "receiver"], set_=changes)


async def ref_of(connection: AsyncConnection, incident: str, receiver: str) -> str:
    """Where this receiver's message of the incident is; empty before it was sent."""
    query = select(messages.c.ref).where(messages.c.incident == incident, messages.c.receiver == receiver)
    return (await connection.execute(query)).scalar() or ""


async def was_sent(connection: AsyncConnection, incident: str, receiver: str) -> bool:
    """Whether anything of the incident has left for this receiver."""
    mine = and_(outbox.c.incident == incident, outbox.c.receiver == receiver, outbox.c.state == "sent")
    return bool((await connection.execute(select(exists().where(mine)))).scalar())


async def incident_at(connection: AsyncConnection, ref: str) -> str | None:
    """The incident whose message this is."""
    return (await connection.execute(select(messages.c.incident).where(messages.c.ref == ref).limit(1))).scalar()


async def depths(connection: AsyncConnection) -> dict[str, int]:
    """How many rows are in each open or dead state."""
    query = select(outbox.c.state, func.count()).where(outbox.c.state.in_((*OPEN, "dead"))).group_by(outbox.c.state)
    return {state: count for state, count in await connection.execute(query)}  # noqa: C416 - rows are no pairs to mypy


async def listing(connection: AsyncConnection, states: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """Rows in these states, newest first, for people."""
    query = select(outbox).where(outbox.c.state.in_(states)).order_by(outbox.c.received_at.desc()).limit(limit)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def replay(connection: AsyncConnection, keys: Sequence[str], now: float) -> int:
    """Send dead letters again, as if they had come now: they are given up as late. Without keys all; returns how many."""
    dead = update(outbox).where(outbox.c.state == "dead")
    dead = dead.where(outbox.c.dedup_key.in_(keys)) if keys else dead
    result = await connection.execute(dead.values(state="waiting", next_at=now, received_at=now, settled_at=None))
    return int(result.rowcount)


async def accept_all(connection: AsyncConnection, at: float) -> None:
    """Settle everything that waits as sent: a replay's provider, which takes all it is given."""
    await connection.execute(update(outbox).where(outbox.c.state.in_(OPEN)).values(state="sent", settled_at=at))
