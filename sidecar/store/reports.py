"""What the reports read: a period's episodes with what was decided, messages with what became of them, votes."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import Subquery, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain import Pattern, severity_of
from sidecar.events import Event, SilenceWithheld, Voted
from sidecar.store import log as logged
from sidecar.store.tables import attempts, decisions, episodes, incidents, log, outbox, silences, votes

SHADOW_MARK: Final = "shadow: would have been"  # how the guard marks what only shadow mode told
INTERRUPTS: Final = ("notify", "raise", "reminder")  # kinds of messages that make a phone ring


class Episode(Struct, frozen=True):
    """One firing that began to be known in the period; times in seconds since the epoch."""

    episode: str
    incident: str
    alertname: str
    instance: str
    severity: str
    starts_at: float
    ended_at: float | None = None
    value: float | None = None  # the annotations `value` and `threshold`, as numbers
    threshold: float | None = None
    interrupts: bool = False  # some decision told people of it by itself
    folds: bool = False  # some decision added it to an incident that people have
    marked: bool = False  # shadow mode told it, and would not have otherwise
    held: bool = False  # of these: it would have been told later, if it still fired
    where: str = ""  # what the audit sample draws by: the instance, else the fingerprint
    decided_at: float = 0.0  # the first decision
    chance: float = 1.0  # with which the audit sample drew it then; 1 when it was not open to it
    drawn: bool = False

    @property
    def lasted(self) -> float:
        """Seconds; infinite while no end is known."""
        return float("inf") if self.ended_at is None else max(0.0, self.ended_at - self.starts_at)

    @property
    def told(self) -> bool:
        return self.interrupts or self.folds


class Message(Struct, frozen=True):
    """One outbox row."""

    incident: str
    seq: int
    kind: str
    state: str
    received_at: float
    settled_at: float | None


class Withheld(Struct, frozen=True):
    """A silence that mode shadow would have asked for; times in seconds since the epoch."""

    at: float
    pattern: Pattern
    ends_at: float
    comment: str


class Period(Struct, frozen=True):
    """Everything that a report is made of. Votes are as `training.labels.Vote`."""

    since: float
    until: float
    episodes: list[Episode] = []
    told_at: dict[str, float | None] = {}  # of the incidents that opened in the period; None: nobody was told
    messages: list[Message] = []
    attempts: dict[str, int] = {}  # by outcome: sent, retry, rejected
    votes: list[tuple[str, str, str, float, bool]] = []
    acknowledged: dict[str, list[float]] = {}  # when somebody said so, by incident
    silences: int = 0  # created for false positives
    withheld: list[Withheld] = []


async def read_period(connection: AsyncConnection, since: float, until: float) -> Period:
    """Everything known of what began in [since, until)."""
    return Period(
        since,
        until,
        await _episodes(connection, since, until),
        await _told(connection, since, until),
        await _messages(connection, since, until),
        await _attempts(connection, since, until),
        await _votes(connection, since, until),
        await _acknowledged(connection, since, until),
        await _silences(connection, since, until),
        await _withheld(connection, since, until),
    )


async def _episodes(connection: AsyncConnection, since: float, until: float) -> list[Episode]:
    tells = and_(decisions.c.verdict == "notify", decisions.c.receivers != "[]")
    flags = [
        func.max(case((condition, 1), else_=0)).label(name)
        for name, condition in (
            ("interrupts", tells),
            ("folds", decisions.c.verdict == "fold"),
            ("marked", decisions.c.marks.like(f"%{SHADOW_MARK}%")),
            ("held", decisions.c.marks.like(f"%{SHADOW_MARK} held%")),
        )
    ]
    made = select(decisions.c.episode, *flags).where(decisions.c.at >= since).group_by(decisions.c.episode).subquery()
    first = _first_decisions(since)
    wanted = ("episode", "incident", "alertname", "labels", "annotations", "starts_at", "ended_at", "fingerprint")
    drawn = (first.c.at, first.c.verdict, first.c.propensity)
    query = (
        select(
            *(episodes.c[name] for name in wanted), made.c.interrupts, made.c.folds, made.c.marked, made.c.held, *drawn
        )
        .select_from(
            episodes.outerjoin(made, made.c.episode == episodes.c.episode).outerjoin(
                first, and_(first.c.episode == episodes.c.episode, first.c.place == 1)
            )
        )
        .where(episodes.c.first_seen >= since, episodes.c.first_seen < until)
        .order_by(episodes.c.starts_at, episodes.c.episode)
    )
    return [_episode(*tuple(row)) for row in await connection.execute(query)]


def _first_decisions(since: float) -> Subquery:
    place = func.row_number().over(partition_by=decisions.c.episode, order_by=(decisions.c.seq, decisions.c.n))
    made = select(
        decisions.c.episode, decisions.c.at, decisions.c.verdict, decisions.c.propensity, place.label("place")
    )
    return made.where(decisions.c.at >= since).subquery()


_words: Final = msgspec.json.Decoder(dict[str, str]).decode


def _episode(
    episode: str, incident: str | None, alertname: str, labels: str, annotations: str, starts_at: float,
    ended_at: float | None, fingerprint: str, interrupts: int | None, folds: int | None, marked: int | None,
    held: int | None, at: float | None, verdict: str | None, propensity: float | None,
) -> Episode:  # fmt: skip
    known, said = _words(labels), _words(annotations)
    likely = 1.0 if propensity is None else propensity  # of this verdict: the draw's, or that of not being drawn
    drawn = likely < 1.0 and verdict == "notify"
    return Episode(
        episode, incident or f"i-{episode}", alertname, known.get("instance", ""), severity_of(known), starts_at, ended_at,
        _number(said.get("value")), _number(said.get("threshold")), bool(interrupts), bool(folds), bool(marked),
        bool(held), known.get("instance") or fingerprint, starts_at if at is None else at, likely if drawn or likely >= 1.0 else 1.0 - likely,
        drawn,
    )  # fmt: skip


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < float("inf") else None


async def _told(connection: AsyncConnection, since: float, until: float) -> dict[str, float | None]:
    query = select(incidents.c.incident, incidents.c.told_at)
    query = query.where(incidents.c.opened_at >= since, incidents.c.opened_at < until)
    return {incident: told_at for incident, told_at in await connection.execute(query)}  # noqa: C416 - rows are no pairs to mypy


async def _messages(connection: AsyncConnection, since: float, until: float) -> list[Message]:
    query = select(*(outbox.c[name] for name in Message.__struct_fields__))
    mine = (outbox.c.kind != "silence", outbox.c.received_at >= since, outbox.c.received_at < until)
    return [Message(*row) for row in await connection.execute(query.where(*mine).order_by(outbox.c.seq))]


async def _attempts(connection: AsyncConnection, since: float, until: float) -> dict[str, int]:
    query = select(attempts.c.outcome, func.count()).join(outbox, outbox.c.dedup_key == attempts.c.dedup_key)
    query = query.where(outbox.c.kind != "silence", attempts.c.at >= since, attempts.c.at < until)
    return {outcome: count for outcome, count in await connection.execute(query.group_by(attempts.c.outcome))}  # noqa: C416 - as above


async def _votes(connection: AsyncConnection, since: float, until: float) -> list[tuple[str, str, str, float, bool]]:
    query = (
        select(votes.c.episode, votes.c.who, votes.c.kind, votes.c.at, votes.c.retracted)
        .join(episodes, episodes.c.episode == votes.c.episode)
        .where(episodes.c.first_seen >= since, episodes.c.first_seen < until)
        .order_by(votes.c.at)
    )
    return [(episode, who, kind, at, bool(back)) for episode, who, kind, at, back in await connection.execute(query)]


async def _acknowledged(connection: AsyncConnection, since: float, until: float) -> dict[str, list[float]]:
    """From the log: the table of votes keeps each person's newest alone, which is seldom the first thing they said."""
    found: dict[tuple[str, str, str], float] = {}
    query = select(log.c.body).where(log.c.at >= since, log.c.at < until, log.c.body.like('%"voted"%'))
    async for (body,) in await connection.stream(query.order_by(log.c.seq)):
        _take_in(found, logged.decode(body))
    by_incident: dict[str, list[float]] = {}
    for (incident, _, _), at in found.items():
        by_incident.setdefault(incident, []).append(at)
    return by_incident


def _take_in(found: dict[tuple[str, str, str], float], events: list[Event]) -> None:
    for event in events:
        if isinstance(event, Voted) and event.kind == "ack":
            key = (event.incident, event.episode, event.who)
            if event.retracted:
                found.pop(key, None)
            else:
                found.setdefault(key, event.at)


async def _silences(connection: AsyncConnection, since: float, until: float) -> int:
    query = select(func.count()).select_from(silences)
    mine = (silences.c.asked_at >= since, silences.c.asked_at < until)
    made = (silences.c.reason == "false_positive", silences.c.state.in_(("active", "ended")))
    return int((await connection.execute(query.where(*mine, *made))).scalar_one())


async def _withheld(connection: AsyncConnection, since: float, until: float) -> list[Withheld]:
    """From the log: what was not asked for is in no table."""
    query = select(log.c.body).where(log.c.at >= since, log.c.at < until, log.c.body.like('%"silence_withheld"%'))
    found: list[Withheld] = []
    async for (body,) in await connection.stream(query.order_by(log.c.seq)):
        events = (event for event in logged.decode(body) if isinstance(event, SilenceWithheld))
        found += [Withheld(event.at, event.pattern, event.ends_at, event.comment) for event in events]
    return found
