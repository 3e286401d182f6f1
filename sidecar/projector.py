"""Keeps the tables that people read up to date with the log, and lets others wait until they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from sidecar.errors import Refused, StoreError
from sidecar.store import projections
from sidecar.store.engine import Database
from sidecar.telemetry import Metrics

IDLE_SECONDS: Final = 1.0  # how often it looks without being woken: other replicas write too
RETRY_SECONDS: Final = 1.0
PIECE_SECONDS: Final = 0.2  # how long one piece should take: its size is found by trying
MOST_ROWS: Final = 500
BUSY_FACTOR: Final = (
    4.0  # while webhooks wait, the database is theirs four fifths of the time: the tables catch up after
)
logger = structlog.get_logger()


class Projector:
    """`run` is its loop; `wake` after a commit; `reached` waits for a seq."""

    def __init__(self, database: Database, metrics: Metrics, busy: Callable[[], bool], shard: int = 0) -> None:
        self._database = database
        self._metrics = metrics
        self._busy = busy
        self._shard = shard
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()
        self._projected = -1
        self._rows = 50

    def wake(self) -> None:
        self._wake.set()

    async def reached(self, seq: int, timeout: float) -> bool:  # noqa: ASYNC109 - the caller decides on both outcomes
        """Whether the tables hold everything up to `seq`, waiting up to `timeout` seconds for it."""
        if self._projected >= seq:
            return True
        self._wake.set()
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self._projected >= seq)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            try:
                while spent := await self._piece():
                    if self._busy():
                        await asyncio.sleep(BUSY_FACTOR * spent)  # webhooks come first
            except StoreError as error:
                logger.warning("projection_delayed", why=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _piece(self) -> float:
        """Take in one piece, and fit the size of the next; returns the seconds it took, 0 when there was nothing."""
        began = time.monotonic()
        taken = await self.step()
        spent = time.monotonic() - began
        if taken:
            self._rows = max(1, self._rows // 2) if spent > PIECE_SECONDS else min(MOST_ROWS, self._rows + 10)
        return spent if taken else 0.0

    async def step(self) -> int:
        """Take in one piece of the log; returns how many rows."""
        try:
            taken = await projections.project(self._database, self._shard, self._rows)
        except Refused:
            taken = await self._one_by_one()
        projected, head = await projections.behind(self._database, self._shard)
        self._metrics.behind.set(head - projected)
        if projected != self._projected:
            self._projected = projected
            async with self._moved:
                self._moved.notify_all()
        return taken

    async def _one_by_one(self) -> int:
        """A row that the tables cannot take is passed over, loudly: it stays in the log, and the others go on."""
        after, _ = await projections.behind(self._database, self._shard)
        try:
            return await projections.project(self._database, self._shard, rows=1)
        except Refused as error:
            skipped = await projections.skip(self._database, self._shard, after)
            if skipped:
                logger.exception("projection_skipped", seq=after + 1, why=str(error))
                self._metrics.skipped.inc()
            return skipped
