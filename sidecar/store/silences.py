"""Silences over the stored history: what exact matchers would have hidden, what ours did hide, and their list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, and_, case, cast, distinct, exists, func, select, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain import Hides, Pattern
from sidecar.state import NOISE, REAL
from sidecar.store.engine import Database
from sidecar.store.tables import (
    LONGEST_MATCHED,
    decisions,
    episodes,
    mutes,
    silence_ends,
    silences,
    votes,
)

SAMPLE: Final = 10  # episodes named in a replay
LISTED: Final = 20  # episodes that a preview shows
NAMED: Final = {"alertname": "named", "namespace": "namespace", "service": "service", "severity": "spelled"}
TELLS: Final = ("notify", "fold")

Matchers = Sequence[tuple[str, str]]  # (label, its exact value); an empty value matches an absent label


class Hit(Struct, frozen=True):
    """An episode that matchers match."""

    episode: str
    incident: str
    starts_at: float
    labels: dict[str, str]
    vote: str  # noise | real | unanswered


class SilenceRow(Struct, frozen=True):
    """A silence of ours as it is in the table: the newest of its pattern."""

    pattern: Pattern
    asked_at: float
    ends_at: float
    state: str
    silence_id: str
    reason: str
    comment: str
    evidence: list[str]
    matchers: list[tuple[str, str]]
    hides: Hides | None
    why: str
    hidden: int  # episodes that it hid


async def replay(
    connection: AsyncConnection, matchers: Matchers, since: float, covers: Callable[[Mapping[str, str]], bool] | None
) -> Hides:
    """What these matchers would have hidden of the episodes that started since a time, in one pass over their index.

    `covers`: whether guard.never_suppress covers a label set; None where it has no matchers.
    """
    if connection.dialect.name != "sqlite":
        await connection.execute(text("SET LOCAL jit = off"))  # it takes longer than these queries
    hit, judged = _hit(connection, matchers, since), _judged(connection, matchers, since)
    count, incidents = (await connection.execute(select(func.count(), _incidents(hit)).select_from(hit))).one()
    noise, real = (await connection.execute(select(func.sum(1 - judged.c.real), func.sum(judged.c.real)))).one()
    made = exists().where(decisions.c.episode == hit.c.episode, decisions.c.verdict.in_(TELLS))
    told = (await connection.execute(select(func.count()).select_from(hit).where(made))).scalar_one()
    names = await _sample(connection, hit, judged)
    guarded = [] if covers is None else await _guarded(connection, hit, covers)
    return Hides(
        since, count, incidents, int(noise or 0), int(real or 0), count - int(noise or 0) - int(real or 0), told,
        len(guarded), tuple(dict.fromkeys((*guarded[:SAMPLE], *names)))[:SAMPLE],
    )  # fmt: skip


async def listed(connection: AsyncConnection, matchers: Matchers, since: float, limit: int = LISTED) -> list[Hit]:
    """The newest of the episodes that these matchers match, the real ones first."""
    hit, judged = _hit(connection, matchers, since), _judged(connection, matchers, since)
    query = (
        select(hit.c.episode, hit.c.incident, hit.c.starts_at, hit.c.labels, judged.c.real)
        .select_from(hit.outerjoin(judged, judged.c.episode == hit.c.episode))
        .order_by(func.coalesce(judged.c.real, 0).desc(), hit.c.starts_at.desc())
        .limit(limit)
    )
    said = {None: "unanswered", 0: "noise", 1: "real"}
    return [
        Hit(episode, incident or "", at, msgspec.json.decode(labels), said[real])
        for episode, incident, at, labels, real in await connection.execute(query)
    ]


def _hit(connection: AsyncConnection, matchers: Matchers, since: float) -> Any:
    columns = (episodes.c.episode, episodes.c.incident, episodes.c.starts_at, episodes.c.labels, episodes.c.fingerprint)
    return select(*columns).where(_matches(connection, matchers, since)).subquery("hit")


def _matches(connection: AsyncConnection, matchers: Matchers, since: float) -> ColumnElement[bool]:
    """The named columns by their index, every other label out of the JSON."""
    wanted, conditions = dict(matchers), [episodes.c.starts_at >= since]
    for label, column in NAMED.items():
        if label in wanted:
            conditions.append(episodes.c[column] == wanted[label][:LONGEST_MATCHED])
    labels = episodes.c.labels if connection.dialect.name == "sqlite" else cast(episodes.c.labels, JSON)
    beyond = [name for name, value in wanted.items() if name not in NAMED or len(value) >= LONGEST_MATCHED]
    conditions.extend(func.coalesce(labels.op("->>")(name), "") == wanted[name] for name in beyond)
    return and_(*conditions)


def _judged(connection: AsyncConnection, matchers: Matchers, since: float) -> Any:
    """(episode, real) of the episodes that people judged: 1 where the noise votes are no majority, as in the fold."""
    noise = func.sum(case((votes.c.kind.in_(NOISE), 1), else_=0))
    real = func.sum(case((votes.c.kind.in_(REAL), 1), else_=0))
    query = (
        select(votes.c.episode, case((real >= noise, 1), else_=0).label("real"))
        .select_from(votes.join(episodes, episodes.c.episode == votes.c.episode))
        .where(_matches(connection, matchers, since), ~votes.c.retracted, votes.c.kind.in_(NOISE | REAL))
        .group_by(votes.c.episode)
    )
    return query.subquery("judged")


def _incidents(hit: Any) -> ColumnElement[int]:
    return func.count(distinct(func.coalesce(hit.c.incident, hit.c.episode)))


async def _sample(connection: AsyncConnection, hit: Any, judged: Any) -> list[str]:
    query = select(judged.c.episode).order_by(judged.c.real.desc(), judged.c.episode).limit(SAMPLE)
    names = [episode for (episode,) in await connection.execute(query)]
    more = select(hit.c.episode).order_by(hit.c.starts_at.desc()).limit(SAMPLE)
    return [*names, *(episode for (episode,) in await connection.execute(more))]


async def _guarded(connection: AsyncConnection, hit: Any, covers: Callable[[Mapping[str, str]], bool]) -> list[str]:
    """Episodes that the guard covers, one of each fingerprint: an instance's labels are the same every time."""
    query = select(func.max(hit.c.episode), func.max(hit.c.labels)).group_by(hit.c.fingerprint)
    return [episode async for episode, labels in await connection.stream(query) if covers(msgspec.json.decode(labels))]


async def senders_of(database: Database, names: Sequence[str]) -> dict[str, str]:
    """Episode -> externalURL of the Alertmanager that sent it; empty where it gave none."""
    query = select(episodes.c.episode, episodes.c.external_url).where(episodes.c.episode.in_(names))
    async with database.read() as connection:
        return {episode: url for episode, url in await connection.execute(query)}  # noqa: C416 - rows are no pairs to mypy


async def every(connection: AsyncConnection) -> list[SilenceRow]:
    """Our silences, the newest of each pattern, with how much they hid; newest first."""
    count = select(func.count()).where(mutes.c.silence_id == silences.c.silence_id, silences.c.silence_id != "")
    query: Select[Any] = select(silences, count.scalar_subquery().label("hidden")).order_by(silences.c.asked_at.desc())
    return [_row(row) for row in (await connection.execute(query)).mappings()]


def _row(row: Mapping[str, Any]) -> SilenceRow:
    found = {name: row[name] for name in SilenceRow.__struct_fields__}
    decoded = {name: msgspec.json.decode(row[name] or "null") for name in ("pattern", "evidence", "matchers", "hides")}
    return msgspec.convert({**found, **decoded}, SilenceRow)


async def ends(connection: AsyncConnection, since: float, until: float) -> list[dict[str, Any]]:
    """The ends of silences of ours in a time, oldest first."""
    query = select(silence_ends).where(silence_ends.c.at >= since, silence_ends.c.at < until)
    return [dict(row) for row in (await connection.execute(query.order_by(silence_ends.c.at))).mappings()]


__all__ = ["Hit", "SilenceRow", "ends", "every", "listed", "replay", "senders_of"]
