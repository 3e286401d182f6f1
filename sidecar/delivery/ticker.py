"""The clock's part: holds that are due, keys to forget, snapshots, gauges, and the database's time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from sidecar.arrival import FORGET_SECONDS
from sidecar.config import Config
from sidecar.decider import Decider, Work
from sidecar.errors import StoreError
from sidecar.rules.digest import next_digest
from sidecar.state import VERSION
from sidecar.store import log, outbox, training
from sidecar.store.engine import Database
from sidecar.telemetry import Metrics

TICK_SECONDS: Final = 1.0
MOST_TURNS: Final = 50  # batches in one tick, while there is something due
GAUGE_TICKS: Final = 5
CLOCK_TICKS: Final = 60
SWEEP_SECONDS: Final = 6 * 3600.0
logger = structlog.get_logger()


class Clock:
    """Seconds since the epoch by the database's clock: replicas agree on it. Without a database, this host's."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._offset = 0.0

    def __call__(self) -> float:
        return self._wall() + self._offset

    async def synchronise(self, database: Database) -> None:
        before = self._wall()
        theirs = await database.clock()
        if theirs is not None:
            self._offset = theirs - (before + self._wall()) / 2


class Ticker:
    """`run` is its loop, `tick` one turn of it."""

    def __init__(
        self, database: Database, decider: Decider, config: Callable[[], Config], metrics: Metrics, clock: Clock
    ) -> None:
        self._database = database
        self._decider = decider
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._turns = 0
        self._swept = clock()
        self._snapshot_seq = decider.state.seq

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.tick()
            except StoreError as error:
                logger.warning("tick_delayed", why=str(error))
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> None:
        self._turns += 1
        now = self._clock()
        if not self._database.sqlite and not self._decider.busy():
            await self._decider.catch_up()
        for _ in range(MOST_TURNS):  # a batch releases so many holds at once
            state = self._decider.state
            dues = (state.next_due(), next_digest(state, self._config()))
            if not any(due is not None and due <= now for due in dues):
                break
            before = self._decider.state.seq
            if await self._decider.submit(Work()) == before:
                break  # nothing came of it: what is due failed, and is tried again with the next tick
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            await self._decider.submit(Work(sweep_before=now - FORGET_SECONDS))
        if self._decider.state.seq - self._snapshot_seq >= self._config().store.snapshot_every:
            await self.snapshot()
        if self._turns % GAUGE_TICKS == 1:
            await self._show()
        if self._turns % CLOCK_TICKS == 0:
            await self._clock.synchronise(self._database)

    async def snapshot(self) -> None:
        """Keep the state, so that the next start folds only what came after."""
        state = self._decider.state
        seq, body = state.seq, state.dump()
        self._snapshot_seq = seq
        await log.save_snapshot(self._database, self._decider.shard, seq, VERSION, self._clock(), body)

    async def _show(self) -> None:
        self._metrics.waiting.set(self._decider.waiting)
        self._metrics.holds.set(len(self._decider.state.holds))
        self._metrics.silenced(self._decider.state)
        async with self._database.read() as connection:
            depths = await outbox.depths(connection)
            trained = await training.newest_artifact_at(connection)
        if trained is not None:  # a CronJob's run counts as well as ours
            self._metrics.training_at.set(trained)
        for state in ("waiting", "leased", "dead"):
            self._metrics.depth.labels(state).set(depths.get(state, 0))
