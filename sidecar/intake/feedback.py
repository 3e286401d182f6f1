"""Feedback -> votes: finds the episodes that are meant, and what the fold must know of them.

`POST /api/v2/feedback`, as JSON:

    {"who": "ada", "kind": "false_positive", "episodes": ["<fingerprint>-<ms>"], "comment": "known flake"}

`incident` may stand for `episodes`; `retracted: true` takes the vote back.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from sidecar.domain import Feedback, FeedbackKind
from sidecar.errors import PayloadError, TooOld, UnknownEpisode
from sidecar.events import Voted
from sidecar.state import keys_of
from sidecar.store import digests, outbox, queries
from sidecar.store.engine import Database

LONGEST_NAME: Final = 200
LONGEST_COMMENT: Final = 2000
MOST_EPISODES: Final = 1000
COUNTS_FOR: Final = 60 * 86400.0  # s after its end that votes on an episode still count


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    who: str
    kind: FeedbackKind
    episodes: tuple[str, ...] = ()
    incident: str = ""
    comment: str = ""
    retracted: bool = False


def read(body: bytes) -> Body:
    """Raises PayloadError that says what to send."""
    try:
        said = msgspec.json.decode(body, type=Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        kinds = ", ".join(FeedbackKind)
        raise PayloadError(f"{error}. Send who, kind (one of {kinds}) and episodes or incident") from None
    if not said.who.strip() or len(said.who) > LONGEST_NAME or len(said.comment) > LONGEST_COMMENT:
        raise PayloadError(f"`who` needs 1 to {LONGEST_NAME} characters, `comment` at most {LONGEST_COMMENT}")
    if bool(said.episodes) == bool(said.incident) or len(said.episodes) > MOST_EPISODES:
        raise PayloadError(f"give either `episodes` (at most {MOST_EPISODES}) or `incident`")
    if any("\x00" in text for text in (said.who, said.comment, said.incident, *said.episodes)):
        raise PayloadError("no field may hold a NUL character")
    return said


async def votes_of(database: Database, feedback: Feedback, incident: str, now: float) -> tuple[Voted, ...]:
    """The votes that this feedback is. Raises UnknownEpisode or TooOld, with what it was about."""
    async with database.read() as connection:
        found = await queries.find_episodes(connection, list(feedback.episodes), incident or None)
        if incident and not found:  # a vote on a message whose alerts go on in another incident
            found = await queries.gone_from(connection, incident, MOST_EPISODES)
    missing = set(feedback.episodes) - {row.episode for row in found}
    if missing or not found:
        raise UnknownEpisode(f"no such episode: {', '.join(sorted(missing)) or incident}")
    counting = [row for row in found if row.ended_at is None or now - row.ended_at <= COUNTS_FOR]
    if not counting:
        raise TooOld(f"it ended over {COUNTS_FOR / 86400:.0f} days ago: too old to count")
    return tuple(
        Voted(
            now, feedback.who, feedback.kind.value, row.episode, row.incident or f"i-{row.episode}",
            tuple(keys_of(row.fingerprint, row.labels)), row.labels.get("severity", ""), feedback.source,
            feedback.retracted, feedback.comment,
        )
        for row in counting
    )  # fmt: skip


async def listed_in(database: Database, digest: str, line: int = -1) -> tuple[str, ...]:
    """The episodes that a digest listed, or one line of it. Raises UnknownEpisode for what is no digest."""
    async with database.read() as connection:
        found = await digests.stored(connection, digest)
    if found is None or line >= len(found.items):
        raise UnknownEpisode(f"no such digest: {digest}")
    items = found.items if line < 0 else found.items[line : line + 1]
    return tuple(dict.fromkeys(episode for item in items for episode in item.episodes))


async def open_to(database: Database, given: Feedback, listed: tuple[str, ...], about: str) -> tuple[str, ...]:
    """Those of the listed episodes on which this answer to a whole list is a vote: what somebody said of one by itself stays.

    An answer to the same list can be changed; what is taken back is what that answer said, and nothing else.
    """
    async with database.read() as connection:
        said = await queries.votes_on(connection, list(listed))
    mine = {row["episode"]: row for row in said if row["who"] == given.who and not row["retracted"]}
    here = {episode: row["kind"] for episode, row in mine.items() if row["comment"] == about}
    if given.retracted:
        return tuple([episode for episode in listed if here.get(episode) == given.kind.value])
    elsewhere = mine.keys() - here.keys()
    return tuple([episode for episode in listed if episode not in elsewhere and here.get(episode) != given.kind.value])


async def news_in(database: Database, votes: tuple[Voted, ...]) -> tuple[Voted, ...]:
    """Without those that say again what this person's vote says already, or take back what is not there."""
    async with database.read() as connection:
        said = await queries.votes_on(connection, [vote.episode for vote in votes])
    standing = {(row["episode"], row["who"]): row["kind"] for row in said if not row["retracted"]}
    return tuple([vote for vote in votes if (standing.get((vote.episode, vote.who)) == vote.kind) is vote.retracted])


async def incident_of(database: Database, ref: str) -> str | None:
    """The incident whose Slack message this is."""
    async with database.read() as connection:
        return await outbox.incident_at(connection, ref)
