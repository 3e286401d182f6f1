"""What a digest is made of, and what digests listed: so that an answer to one is an answer to its alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.bulletin import Bulletin
from sidecar.state.digests import PAST, SILENCED
from sidecar.state.silences import BY_OURS
from sidecar.store.outbox import inserting_once
from sidecar.store.tables import decisions, digests, episodes, votes

MOST: Final = 20_000  # alerts read for one digest, the newest ones
NOBODY: Final = "[]"  # how decisions without receivers are stored


class Span(Struct, frozen=True):
    """Which decisions a digest is about."""

    since: float
    until: float
    receivers: tuple[str, ...]  # kept back from these; "" stands for nobody
    shard: int = 0
    after: int = 0  # log rows
    upto: int | None = None


class Kept(Struct, frozen=True):
    """One alert that was kept back, by the newest decision on it."""

    episode: str
    verdict: str
    severity: str
    rule: str
    sentence: str  # the reason
    score: float | None  # the highest that it had
    labels: dict[str, str]
    starts_at: float
    ended_at: float | None
    answered: bool  # somebody has a vote on it


async def kept_back(connection: AsyncConnection, span: Span) -> list[Kept]:
    """What was kept back in the span and not told within it, newest first; at most MOST."""
    made = _newest(span)
    answered = exists().where(votes.c.episode == made.c.episode, votes.c.retracted.is_(False))
    columns = (made.c.episode, made.c.verdict, made.c.severity, made.c.reasons, made.c.score)
    query = (
        select(*columns, episodes.c.labels, episodes.c.starts_at, episodes.c.ended_at, answered)
        .join(episodes, episodes.c.episode == made.c.episode)
        .where(made.c.place == 1, made.c.verdict.in_(("suppress", "digest")), _mine(made.c.receivers, span.receivers))
        .where(~made.c.reasons.contains(f'["{PAST}",', autoescape=True), ~_by_people(made.c.reasons))
        .order_by(made.c.seq.desc(), made.c.n.desc())
        .limit(MOST)
    )
    return [_kept(*tuple(row)) for row in await connection.execute(query)]


def _newest(span: Span) -> Any:
    """The decisions of the span, each with its place among those on its episode, and the highest score of them."""
    wanted = ("episode", "verdict", "severity", "reasons", "receivers", "seq", "n")
    place = func.row_number().over(
        partition_by=decisions.c.episode, order_by=(decisions.c.seq.desc(), decisions.c.n.desc())
    )
    score = func.max(decisions.c.score).over(partition_by=decisions.c.episode)
    made = select(*(decisions.c[name] for name in wanted), score.label("score"), place.label("place"))
    return made.where(_within(span)).subquery()


def _within(span: Span) -> ColumnElement[bool]:
    rows = [decisions.c.shard == span.shard, decisions.c.seq > span.after]
    rows += [decisions.c.seq <= span.upto] if span.upto is not None else []
    return and_(*rows, decisions.c.at > span.since, decisions.c.at <= span.until)


def _mine(column: Any, receivers: Sequence[str]) -> ColumnElement[bool]:
    named = [msgspec.json.encode(name).decode() for name in receivers if name]
    found: list[ColumnElement[bool]] = [column.contains(name, autoescape=True) for name in named]
    return or_(*found, *([column == NOBODY] if "" in receivers else []))


def _by_people(reasons: Any) -> ColumnElement[bool]:
    """What people silenced themselves was not kept back from them."""
    return and_(reasons.contains(f'["{SILENCED}",', autoescape=True), ~reasons.contains(BY_OURS, autoescape=True))


def _kept(
    episode: str, verdict: str, severity: str, reasons: str, score: float | None, labels: str, starts_at: float,
    ended_at: float | None, answered: Any,
) -> Kept:  # fmt: skip
    said = msgspec.json.decode(reasons) or [["", ""]]
    rule, sentence = said[-1]
    known = msgspec.json.decode(labels, type=dict[str, str])
    return Kept(episode, verdict, severity, rule, sentence, score, known, starts_at, ended_at, bool(answered))


async def folded(connection: AsyncConnection, span: Span) -> int:
    """How many alerts that began in the span joined an incident which these receivers had."""
    query = (
        select(func.count(decisions.c.episode.distinct()))
        .join(episodes, episodes.c.episode == decisions.c.episode)
        .where(_within(span), decisions.c.verdict == "fold", _mine(decisions.c.receivers, span.receivers))
        .where(episodes.c.first_seen > span.since)
    )
    return int((await connection.execute(query)).scalar_one())


# ----------------------------------------------------------------------------------------------------- what was listed


async def save(connection: AsyncConnection, bulletin: Bulletin, at: float) -> None:
    """Keep what a digest says; one that is there stays as it is, since links and reactions are about its lines."""
    body = msgspec.json.encode(bulletin).decode().replace("\\u0000", "\\ufffd")
    row = {"digest": bulletin.incident, "at": at, "receiver": bulletin.receiver, "body": body}
    await connection.execute(inserting_once(connection, digests), row)


async def stored(connection: AsyncConnection, name: str) -> Bulletin | None:
    """What a digest says; None for one that was never made."""
    body = (await connection.execute(select(digests.c.body).where(digests.c.digest == name))).scalar()
    return None if body is None else msgspec.json.decode(body, type=Bulletin)


async def listing(connection: AsyncConnection, episode: str, since: float) -> list[tuple[str, str, float]]:
    """(digest, receiver, when) of each digest since then that listed this episode, oldest first."""
    query = select(digests.c.digest, digests.c.receiver, digests.c.at).where(digests.c.at >= since)
    named = digests.c.body.contains(msgspec.json.encode(episode).decode(), autoescape=True)
    found = await connection.execute(query.where(named).order_by(digests.c.at))
    return [(str(digest), str(receiver), float(at)) for digest, receiver, at in found]
