"""What people and channels read: the projections, put together."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import RowMapping, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from models.features import unpack
from sidecar.store.outbox import inserting_once
from sidecar.store.tables import (
    attempts,
    decisions,
    episodes,
    incidents,
    log,
    messages,
    outbox,
    quarantine,
    seen_events,
    votes,
)

LINES: Final = 20  # alerts of one incident that a message can show
PLACES: Final = ("instance", "pod")  # labels that say how far something spread
SUMMED: Final = 20_000  # newest alerts of an incident that its closing summary counts


class EpisodeRow(Struct, frozen=True):
    episode: str
    incident: str
    fingerprint: str
    starts_at: float
    ended_at: float | None
    first_seen: float
    last_seen: float
    times: int
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    external_url: str


class DecisionRow(Struct, frozen=True):
    episode: str
    at: float
    verdict: str
    severity: str
    reasons: list[tuple[str, str]]
    receivers: list[str]
    until: float | None
    score: float | None
    anomaly: float | None
    model: str
    observation: tuple[float, ...]
    marks: list[str]


class Over(Struct, frozen=True):
    """What became of an incident that gathers: how long it was, and over how many places."""

    began: float
    ended: float
    places: dict[str, int]  # distinct values of each label of PLACES


class IncidentView(Struct, frozen=True):
    """An incident as it is in the tables: its newest episodes, each with its decisions, oldest first."""

    incident: str
    opened_at: float
    firing: int
    resolved: int
    episodes: list[EpisodeRow]
    decisions: dict[str, list[DecisionRow]]
    title: str = ""  # of one that gathers, its count filled in
    goes_on_in: str = ""  # the title of the incident in which everything of it goes on, or its id
    severities: tuple[str, ...] = ()  # of all its episodes, where there are more than `episodes` shows
    over: Over | None = None  # when it gathers, and nothing of it fires any more


_JSON: Final = frozenset({"labels", "annotations", "reasons", "receivers", "marks"})


def _row(kind: Any, row: RowMapping) -> Any:
    values = {
        name: msgspec.json.decode(row[name] or "[]") if name in _JSON else row[name] for name in kind.__struct_fields__
    }
    if "observation" in values:
        values["observation"] = seen_by(values["observation"])
    return msgspec.convert(values, kind)


def seen_by(stored: str) -> tuple[float, ...]:
    """A stored observation as numbers; none of one that says nothing."""
    return unpack(b64decode(stored))


async def incident_view(connection: AsyncConnection, incident: str, lines: int = LINES) -> IncidentView | None:
    """The incident with its newest episodes, firing ones first; None when it was never projected.

    When all its episodes went on elsewhere, they are shown as it had them, and none of them counts as firing.
    """
    query = select(incidents.c.opened_at, incidents.c.title, incidents.c.goes_on_in)
    known = (await connection.execute(query.where(incidents.c.incident == incident))).first()
    if known is None:
        return None
    mine = episodes.c.incident == incident
    counts = select(func.count(), func.count(episodes.c.ended_at)).where(mine)
    total, resolved = (await connection.execute(counts)).one()
    if total == 0 and known.goes_on_in:
        return await _emptied(connection, incident, known.opened_at, known.goes_on_in, lines)
    order = (episodes.c.ended_at.is_not(None), episodes.c.starts_at.desc())
    found = (await connection.execute(select(episodes).where(mine).order_by(*order).limit(lines))).mappings()
    rows = [_row(EpisodeRow, row) for row in found]
    made = await decisions_of(connection, [row.episode for row in rows])
    title, firing = _counted(known.title, total), total - resolved
    severities = await _severities(connection, incident) if total > len(rows) else ()
    over = await _over(connection, incident) if title and not firing else None
    return IncidentView(incident, known.opened_at, firing, resolved, rows, made, title, "", severities, over)


async def _severities(connection: AsyncConnection, incident: str) -> tuple[str, ...]:
    mine = select(episodes.c.episode).where(episodes.c.incident == incident)
    query = select(decisions.c.severity).where(decisions.c.episode.in_(mine)).distinct()
    return tuple((await connection.execute(query)).scalars())


async def _over(connection: AsyncConnection, incident: str) -> Over:
    query = select(episodes.c.starts_at, episodes.c.ended_at, episodes.c.labels).where(episodes.c.incident == incident)
    rows = (await connection.execute(query.order_by(episodes.c.starts_at.desc()).limit(SUMMED))).all()
    labels = [msgspec.json.decode(row.labels) for row in rows]
    places = {name: len({one[name] for one in labels if one.get(name)}) for name in PLACES}
    began, ended = min(row.starts_at for row in rows), max(row.ended_at or row.starts_at for row in rows)
    return Over(began, ended, {name: count for name, count in places.items() if count})


async def _emptied(
    connection: AsyncConnection, incident: str, opened_at: float, goes_on_in: str, lines: int
) -> IncidentView:
    """An incident of which nothing is left."""
    rows = await gone_from(connection, incident, lines)
    made = await decisions_of(connection, [row.episode for row in rows])
    titles = select(incidents.c.title).where(incidents.c.incident == goes_on_in)
    counts = select(func.count()).where(episodes.c.incident == goes_on_in)
    title = _counted((await connection.execute(titles)).scalar(), (await connection.execute(counts)).scalar_one())
    return IncidentView(incident, opened_at, 0, len(rows), rows, made, "", title or goes_on_in)


async def gone_from(connection: AsyncConnection, incident: str, limit: int) -> list[EpisodeRow]:
    """What an incident had that goes on elsewhere, newest first: in the one named there, or on from that."""
    goes_on_in = select(incidents.c.goes_on_in).where(incidents.c.incident == incident)
    if (await connection.execute(goes_on_in)).scalar() is None:
        return []
    had = select(decisions.c.episode).where(decisions.c.incident == incident)
    nearby = select(episodes.c.episode).where(episodes.c.incident == goes_on_in.scalar_subquery())
    for names in (had.where(decisions.c.episode.in_(nearby)), had):  # the first is by an index, and nearly always finds
        found = select(episodes).where(episodes.c.episode.in_(names)).order_by(episodes.c.starts_at.desc())
        rows = [_row(EpisodeRow, row) for row in (await connection.execute(found.limit(limit))).mappings()]
        if rows:
            return rows
    return []


def _counted(title: str | None, count: int) -> str:
    """A title with its count filled in; one that is no template stays as it is."""
    try:
        return (title or "").format(count=count)
    except (ValueError, LookupError, AttributeError):
        return title or ""


async def decisions_of(connection: AsyncConnection, names: list[str]) -> dict[str, list[DecisionRow]]:
    """Every decision on these episodes, oldest first."""
    query = select(decisions).where(decisions.c.episode.in_(names)).order_by(decisions.c.seq, decisions.c.n)
    made: dict[str, list[DecisionRow]] = {}
    for row in (await connection.execute(query)).mappings():
        made.setdefault(row["episode"], []).append(_row(DecisionRow, row))
    return made


async def find_episodes(
    connection: AsyncConnection, names: list[str] | None = None, incident: str | None = None
) -> list[EpisodeRow]:
    """Episodes by their ids, or all of an incident."""
    query = select(episodes)
    query = (
        query.where(episodes.c.incident == incident) if incident else query.where(episodes.c.episode.in_(names or []))
    )
    return [_row(EpisodeRow, row) for row in (await connection.execute(query)).mappings()]


async def was_told(connection: AsyncConnection, incident: str) -> bool:
    """Whether people were told of an incident."""
    query = select(incidents.c.told_at).where(incidents.c.incident == incident)
    return (await connection.execute(query)).scalar() is not None


async def known_among(connection: AsyncConnection, names: Sequence[str]) -> set[str]:
    """Which of these episode ids are in the table."""
    query = select(episodes.c.episode).where(episodes.c.episode.in_(names))
    return {name for (name,) in await connection.execute(query)}


async def newest_rule(connection: AsyncConnection) -> str:
    """The first rule of the newest decision; empty when nothing was decided."""
    query = (
        select(decisions.c.reasons).order_by(decisions.c.shard, decisions.c.seq.desc(), decisions.c.n.desc()).limit(1)
    )
    reasons = msgspec.json.decode((await connection.execute(query)).scalar() or "[]")
    return str(reasons[0][0]) if reasons else ""


async def look_up(connection: AsyncConnection, word: str, limit: int = 10) -> list[EpisodeRow]:
    """Episodes that a person may mean: an id, a fingerprint, an incident or an alertname; newest first."""
    bare = word.removeprefix("i-")
    query = select(episodes).where(
        or_(
            episodes.c.episode == bare,
            episodes.c.fingerprint == word,
            episodes.c.incident == word,
            episodes.c.alertname == word,
        )
    )
    rows = (await connection.execute(query.order_by(episodes.c.starts_at.desc()).limit(limit))).mappings()
    return [_row(EpisodeRow, row) for row in rows]


async def deliveries_of(connection: AsyncConnection, incident: str) -> list[dict[str, Any]]:
    """Outbox rows of an incident with their attempts, in order."""
    query = (
        select(outbox.c.receiver, outbox.c.kind, outbox.c.state, outbox.c.body, attempts)
        .select_from(outbox.outerjoin(attempts, attempts.c.dedup_key == outbox.c.dedup_key))
        .where(outbox.c.incident == incident)
        .order_by(outbox.c.seq, attempts.c.n)
    )
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def votes_on(connection: AsyncConnection, names: list[str]) -> list[dict[str, Any]]:
    query = select(votes).where(votes.c.episode.in_(names)).order_by(votes.c.at)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def was_seen(connection: AsyncConnection, event_id: str) -> bool:
    """Whether a provider's event was counted already."""
    return (await connection.execute(select(seen_events.c.id).where(seen_events.c.id == event_id))).scalar() is not None


async def mark_seen(connection: AsyncConnection, event_id: str, at: float) -> None:
    await connection.execute(inserting_once(connection, seen_events), {"id": event_id, "at": at})


async def set_aside(connection: AsyncConnection, name: str, at: float, why: str, body: bytes) -> None:
    """Keep what could not be read or decided, once, with how often it came."""
    row = {"id": name, "at": at, "why": why, "body": body, "times": 1}
    statement = inserting_once(connection, quarantine)
    known = await connection.execute(select(quarantine.c.times).where(quarantine.c.id == name))
    times = known.scalar()
    if times is None:
        await connection.execute(statement, row)
    else:
        await connection.execute(quarantine.update().where(quarantine.c.id == name).values(times=times + 1, at=at))


async def quarantined(connection: AsyncConnection, limit: int = 50) -> list[dict[str, Any]]:
    query = select(quarantine).order_by(quarantine.c.at.desc()).limit(limit)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def count_log(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.count()).select_from(log))).scalar_one())


async def receivers_of(connection: AsyncConnection, incident: str) -> list[tuple[str, str]]:
    """(receiver, ref) of every message about an incident."""
    query = select(messages.c.receiver, messages.c.ref).where(messages.c.incident == incident)
    return [(receiver, ref) for receiver, ref in await connection.execute(query)]
