"""People take alerts out of an incident, or merge two: from the body to the event that says so.

`POST /api/v2/incidents/{incident}/take-out`, as JSON:

    {"who": "ada", "episodes": ["<fingerprint>-<ms>"]}

`POST /api/v2/incidents/{incident}/merge`, the incident goes on in the other:

    {"who": "ada", "into": "i-<fingerprint>-<ms>"}
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from sidecar.errors import PayloadError, UnknownEpisode
from sidecar.events import Regrouped
from sidecar.intake.feedback import LONGEST_NAME
from sidecar.state.regroup import kind_of
from sidecar.store import queries
from sidecar.store.engine import Database
from sidecar.store.queries import EpisodeRow

MOST_EPISODES: Final = 1000
MOST_PAIRS: Final = 2000  # of kinds that one request lets us remember

T = TypeVar("T", bound="TakeOut | Merge")


class TakeOut(Struct, frozen=True, forbid_unknown_fields=True):
    who: str
    episodes: tuple[str, ...]


class Merge(Struct, frozen=True, forbid_unknown_fields=True):
    who: str
    into: str


class Answer(Struct, frozen=True):
    """What was done, for the caller."""

    incident: str  # where the alerts go on
    moved: int  # alerts that fire, and have moved
    remembered: int  # pairs of kinds


def read_take_out(body: bytes) -> TakeOut:
    """Raises PayloadError that says what to send."""
    said = _read(body, TakeOut, "who and episodes")
    if not 1 <= len(said.episodes) <= MOST_EPISODES:
        raise PayloadError(f"give 1 to {MOST_EPISODES} `episodes`")
    return said


def read_merge(body: bytes) -> Merge:
    """Raises PayloadError that says what to send."""
    return _read(body, Merge, "who and into")


def _read(body: bytes, kind: type[T], what: str) -> T:
    try:
        said = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"{error}. Send {what}") from None
    if not said.who.strip() or len(said.who) > LONGEST_NAME:
        raise PayloadError(f"`who` needs 1 to {LONGEST_NAME} characters")
    texts = (said.who, said.into) if isinstance(said, Merge) else (said.who, *said.episodes)
    if any("\x00" in text for text in texts):
        raise PayloadError("no field may hold a NUL character")
    return said


async def taken_out(database: Database, said: TakeOut, incident: str, now: float) -> Regrouped:
    """The event that this request is. Raises UnknownEpisode, or PayloadError when nothing would stay."""
    rows = await _rows(database, incident)
    missing = set(said.episodes) - {row.episode for row in rows}
    if missing:
        raise UnknownEpisode(f"not in {incident}: {', '.join(sorted(missing))}")
    taken = [row for row in rows if row.episode in set(said.episodes)]
    stay = [row for row in rows if row.episode not in set(said.episodes)]
    if not stay:
        raise PayloadError(f"that is all of {incident}: leave at least one alert in it")
    into = f"i-{taken[0].episode}-{int(now * 1000)}"  # its own id may be that of the incident it is in
    return _event(said.who, incident, into, taken, stay, now, together=False)


async def merged(database: Database, said: Merge, incident: str, now: float) -> Regrouped:
    """The event that this request is. Raises UnknownEpisode, or PayloadError when the two cannot be one."""
    if said.into == incident:
        raise PayloadError("`into` is the incident itself: name the other one")
    rows, others = await _rows(database, incident), await _rows(database, said.into)
    async with database.read() as connection:
        told = await queries.was_told(connection, said.into)
    if not told:
        raise PayloadError(f"nobody was told of {said.into}: merge it into {incident} instead")
    return _event(said.who, incident, said.into, rows, others, now, together=True)


async def _rows(database: Database, incident: str) -> list[EpisodeRow]:
    found: list[EpisodeRow] = []
    if "\x00" not in incident:  # no id has one, and Postgres takes none
        async with database.read() as connection:
            found = await queries.find_episodes(connection, None, incident)
    if not found:
        raise UnknownEpisode(f"no such incident, or nothing is left in it: {incident}")
    return sorted(found, key=lambda row: (row.starts_at, row.episode))


def _event(
    who: str, incident: str, into: str, rows: list[EpisodeRow], others: list[EpisodeRow], now: float, *, together: bool
) -> Regrouped:
    pairs = {(kind, other): None for kind in _kinds(rows) for other in _kinds(others)}
    firing = tuple(row.episode for row in rows if row.ended_at is None)
    return Regrouped(now, who, incident, into, together, firing, tuple(pairs)[:MOST_PAIRS], "api")


def _kinds(rows: list[EpisodeRow]) -> dict[str, None]:
    get = [row.labels.get for row in rows]
    return {kind_of(one("alertname", ""), one("namespace", ""), one("service", "")): None for one in get}
