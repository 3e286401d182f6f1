"""Answers proposed silences: what their matchers would have hidden in the stored history, before anything is silenced.

The proposal is in the state, so one that was not answered before a restart is answered after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from sidecar.config import Config
from sidecar.decider import Decider, Work
from sidecar.domain import Pattern
from sidecar.errors import StoreError
from sidecar.events import Hides, SilenceReplayed
from sidecar.projector import Projector
from sidecar.state import Silence
from sidecar.store import projections, silences
from sidecar.store.engine import Database

LOOK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 30.0  # after the database did not answer
BACK: Final = 30 * 86400.0  # s of history that are replayed
PROJECTED_WITHIN: Final = 10.0  # s for the tables to hold the votes that the proposal is of; else it waits
logger = structlog.get_logger()


class Rehearsal:
    """`run` is its loop, `answer` one turn of it."""

    def __init__(
        self,
        database: Database,
        decider: Decider,
        projector: Projector,
        config: Callable[[], Config],
        clock: Callable[[], float],
        model: Callable[[], str],
    ) -> None:
        self._database = database
        self._decider = decider
        self._projector = projector
        self._config = config
        self._clock = clock
        self._model = model  # version of what scores now

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wait = LOOK_SECONDS
            try:
                await self.answer()
            except StoreError as error:
                logger.warning("replay_delayed", why=str(error))
                wait = AGAIN_SECONDS
            except Exception:  # a silence is not written then: it must not end the process
                logger.exception("replay_failed")
                wait = AGAIN_SECONDS
            await asyncio.sleep(wait)

    async def answer(self) -> int:
        """Replay what is proposed now; returns how many."""
        waiting = [(key, one) for key, one in self._decider.state.silences.items() if one.state == "proposed"]
        if not waiting:
            return 0
        _, head = await projections.behind(self._database, self._decider.shard)
        if not await self._projector.reached(head, PROJECTED_WITHIN):
            raise StoreError("the tables are behind the log")
        asks = [await self._replayed(Pattern(*key.split("\x1f")), one) for key, one in waiting]
        await self._decider.submit(Work(asks=tuple(asks)))
        return len(asks)

    async def _replayed(self, pattern: Pattern, one: Silence) -> SilenceReplayed:
        now, guard = self._clock(), self._config().guard
        covers = guard.covers if guard.never_suppress.matchers else None
        async with self._database.read() as connection:
            hides = await silences.replay(connection, one.matchers, now - BACK, covers)
        why = "; ".join(objections(hides))
        logger.info("silence_replayed", pattern=pattern, why=why or "nothing speaks against it", hides=hides)
        return SilenceReplayed(now, pattern, one.evidence, hides, why, self._model())


def objections(hides: Hides) -> Iterable[str]:
    """Why a silence that would have hidden this is not written."""
    if hides.real:
        yield f"it would have hidden {hides.real} episodes that people called real: {', '.join(hides.sample[:3])}"
    if hides.guarded:
        yield f"it would have hidden alerts of {hides.guarded} instances that guard.never_suppress covers"
