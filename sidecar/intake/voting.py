"""Feedback from any side becomes votes in the log: by the API, a reaction or a link, on episodes, an incident or a digest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from msgspec.structs import replace

from sidecar.app_keys import Sidecar
from sidecar.decider import Work
from sidecar.domain import Feedback
from sidecar.errors import StoreError, UnknownEpisode
from sidecar.intake import feedback
from sidecar.store import projections

VOTE_WAITS: Final = 5.0  # s for the tables to hold an episode that was voted on at once
T = TypeVar("T")
LINK: Final = "link"  # the source of votes by a link
DIGEST: Final = "digest-"  # how the names of digests begin; those of incidents begin with i-


async def found(ask: Callable[[], Awaitable[T]], sidecar: Sidecar) -> T:
    """What the tables say, once they hold all that was decided. Raises StoreError while they are behind."""
    told = await _caught_up(sidecar)
    try:
        return await ask()
    except UnknownEpisode:
        if told:
            raise
        raise StoreError("the tables are behind the log") from None  # it may be in what they do not hold yet


async def _caught_up(sidecar: Sidecar) -> bool:
    _, head = await projections.behind(
        sidecar.database, sidecar.decider.shard
    )  # another replica may have decided on it
    return await sidecar.projector.reached(head, VOTE_WAITS)


async def vote(given: Feedback, about: str, sidecar: Sidecar, line: int = -1) -> int:
    """Count it; returns on how many episodes. `about` is an incident or a digest (with its `line`), or empty.

    Raises UnknownEpisode, TooOld, and StoreError when it was not stored.
    """
    if about.startswith(DIGEST):
        await _caught_up(sidecar)
        listed, note = await feedback.listed_in(sidecar.database, about, line), f"on {about}"
        given = replace(given, episodes=await feedback.open_to(sidecar.database, given, listed, note), comment=note)
        about = ""
        if not given.episodes:
            return 0
    votes = await found(lambda: feedback.votes_of(sidecar.database, given, about, sidecar.clock()), sidecar)
    if given.source == LINK:  # a press that is repeated, by a browser too
        votes = await feedback.news_in(sidecar.database, votes)
        if not votes:
            return 0
    await sidecar.decider.submit(Work(votes=votes))
    sidecar.metrics.feedback.labels(given.kind.value, given.source).inc()
    return len(votes)
