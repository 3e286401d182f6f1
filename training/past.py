"""The stored past as a history file would have it: every firing, with what people said of it as its truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sidecar.history import HistoryAlert, Truth
from sidecar.store import past
from sidecar.store.engine import Database
from training.dataset import DISPUTED
from training.labels import Label, labels

WARM_UP: Final = 60 * 86400.0  # s before the time that counts: as far back as the rules and training look


async def stored_history(
    database: Database, since: float, now: float, begin: Callable[[int], object], progress: Callable[[int], object]
) -> list[HistoryAlert]:
    """What began from `since` less WARM_UP on, in the order of time; `since` is in seconds since the epoch.

    What fires still ends `now`. A dispute counts as real, as it does for the rules. `begin` is told how many firings
    there are, `progress` of each that was read. Raises StoreError.
    """
    start, found = since - WARM_UP, []
    async with database.read() as connection:
        begin(await past.count_firings(connection, start))
        said = labels(await past.votes_since(connection, start))
        async for one in past.firings(connection, start):
            found.append(_alert(one, said.get(one.episode), now))
            progress(1)
    return found


def _alert(one: past.Firing, label: Label | None, now: float) -> HistoryAlert:
    end = now if one.ended_at is None else one.ended_at
    truth: Truth | None = None if label is None else "fp" if label.value > DISPUTED else "tp"
    answered = None if label is None else label.at
    return HistoryAlert(
        one.labels, one.starts_at, max(end, one.starts_at), one.annotations, truth, answered_at=answered
    )
