"""Silences over the stored history: what exact matchers would have hidden, what ours did hide, and their list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, and_, case, cast, distinct, exists, func, select, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain import Pattern
from sidecar.events import Hides
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

PATIENCE_SECONDS: Final = 300
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
    if connection.dialect.name != "sqlite":  # a history that is all of one pattern takes longer than a webhook may
        await connection.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE_SECONDS}s'"))
    told = exists().where(decisions.c.episode == episodes.c.episode, decisions.c.verdict.in_(TELLS))
    hit = _hit(connection, matchers, since, case((told, 1), else_=0).label("told"))
    incidents = func.count(distinct(func.coalesce(hit.c.incident, hit.c.episode)))
    sums = (func.sum(hit.c.real), func.count(hit.c.real), func.sum(hit.c.told))
    counts = (await connection.execute(select(func.count(), incidents, *sums))).one()
    count, together, real, judged, shown = (int(value or 0) for value in counts)
    guarded = [] if covers is None else await _guarded(connection, hit, covers)
    names = [*guarded[:SAMPLE], *await _sample(connection, hit, real)]
    sample = tuple(dict.fromkeys(names))[:SAMPLE]
    return Hides(since, count, together, judged - real, real, count - judged, shown, len(guarded), sample)


async def listed(connection: AsyncConnection, matchers: Matchers, since: float, limit: int = LISTED) -> list[Hit]:
    """The newest of the episodes that these matchers match, the real ones first."""
    hit = _hit(connection, matchers, since)
    order = (func.coalesce(hit.c.real, 0).desc(), hit.c.starts_at.desc())
    query = (
        select(hit.c.episode, hit.c.incident, hit.c.starts_at, hit.c.labels, hit.c.real).order_by(*order).limit(limit)
    )
    said = {None: "unanswered", 0: "noise", 1: "real"}
    return [
        Hit(episode, incident or "", at, msgspec.json.decode(labels), said[real])
        for episode, incident, at, labels, real in await connection.execute(query)
    ]


def _hit(connection: AsyncConnection, matchers: Matchers, since: float, *more: Any) -> Any:
    """The episodes that match, each with whether people called it real: 1 where noise votes are no majority, as in the
    fold, 0 where they are, NULL where nobody judged. The votes are looked up for each: planners that join begin with all
    the votes there are.
    """
    noise = func.sum(case((votes.c.kind.in_(NOISE), 1), else_=0))
    real = func.sum(case((votes.c.kind.in_(REAL), 1), else_=0))
    judged = select(case((real >= noise, 1), (real < noise, 0))).where(
        votes.c.episode == episodes.c.episode, ~votes.c.retracted, votes.c.kind.in_(NOISE | REAL)
    )
    columns = (episodes.c.episode, episodes.c.incident, episodes.c.starts_at, episodes.c.labels, episodes.c.fingerprint)
    called = judged.scalar_subquery().label("real")
    return select(*columns, called, *more).where(_matches(connection, matchers, since)).subquery("hit")


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


async def _sample(connection: AsyncConnection, hit: Any, real: int) -> list[str]:
    """Names of real ones, and of the newest."""
    found = select(hit.c.episode).where(hit.c.real == 1).limit(min(real, SAMPLE))
    names = [episode for (episode,) in await connection.execute(found)] if real else []
    newest = select(hit.c.episode).order_by(hit.c.starts_at.desc()).limit(SAMPLE)
    return [*names, *(episode for (episode,) in await connection.execute(newest))]


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
