"""The one loop that decides: group commit. Takes all that waits, plans once, writes once, then answers everybody.

At low load a webhook is its own transaction; at high load hundreds share one. Everything that changes the state comes
through here: webhooks, votes, outcomes of deliveries, the clock's ticks. A replica that lost the race for the shard's
head folds what the others wrote, and decides again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from msgspec import Struct

from sidecar import pipeline
from sidecar.config import Config
from sidecar.domain import Received
from sidecar.errors import Conflict, Disconnected, Refused, StoreError
from sidecar.events import Delivered, Event, Plan, SilenceSettled, Voted
from sidecar.pipeline import Inputs
from sidecar.scoring import Scoring
from sidecar.state import State
from sidecar.store import log, outbox
from sidecar.store.engine import Connection, Database

MOST_ALERTS: Final = 500  # in one transaction: while it commits, the next one is planned
MOST_WAITING: Final = 200_000  # alerts in the queue; past it webhooks are answered 503, and Alertmanager retries
TURNS: Final = 8  # of the event loop that a statement takes on its way out
RACES: Final = 8  # lost in a row before giving up: Alertmanager retries
BUSY_SECONDS: Final = 0.1
IDLE_SHARE: Final = 0.2
CONTENDED_SECONDS: Final = 5.0  # after a conflict the lock comes first for this long
logger = structlog.get_logger()


class Work(Struct, frozen=True):
    """Something to decide on, from one caller."""

    received: tuple[Received, ...] = ()
    votes: tuple[Voted, ...] = ()
    outcomes: tuple[Delivered | SilenceSettled, ...] = ()
    settled: tuple[outbox.Settled, ...] = ()  # outbox rows, written in the same transaction
    asks: tuple[Event, ...] = ()  # events that the shell hands in ready-made
    sweep_before: float | None = None


_Batch = list[tuple[Work, asyncio.Future[int]]]


class Decider:
    """Owns the state of one shard. `submit` from anywhere; `run` is its loop."""

    def __init__(
        self,
        database: Database,
        state: State,
        scoring: Scoring,
        config: Callable[[], Config],
        clock: Callable[[], float],
        on_plan: Callable[[Plan], None] = lambda _: None,
        shard: int = 0,
    ) -> None:
        self.database = database
        self.state = state
        self.scoring = scoring
        self.shard = shard
        self.waiting = 0  # alerts in the queue
        self._config = config
        self._clock = clock
        self._on_plan = on_plan
        self._queue: deque[tuple[Work, asyncio.Future[int]]] = deque()
        self._wake = asyncio.Event()
        self._flight: _Flight | None = None
        self._contended_until = 0.0
        self._idle, self._asked = 0.0, 0.0  # seconds without work since `saturated` was asked, and when that was
        self._took = float("-inf")  # when webhooks were last taken, monotonic seconds

    async def submit(self, work: Work) -> int:
        """Decide on it and wait for the commit; returns the log's seq then. Raises StoreError when it did not commit."""
        if self.waiting + len(work.received) > MOST_WAITING and self.waiting:
            raise StoreError("too much is waiting already")
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((work, future))
        self.waiting += len(work.received)
        self._wake.set()
        return await future

    async def run(self) -> None:
        """Until cancelled. While a batch is on its way to the disk the next one is planned on top of it."""
        try:
            while True:
                if not self._queue and self._flight is not None:
                    await self._land(self._flight)
                    self._flight = None
                if not self._queue:
                    began = time.monotonic()
                    await self._wake.wait()
                    self._idle += time.monotonic() - began
                batch = self._take()
                if batch:
                    await self._launch(batch)
                else:
                    self._wake.clear()
        except asyncio.CancelledError:
            if self._flight is not None and self.state.sealed:
                await self._land(self._flight)  # what is on its way is answered; what still waits is left to `drain`
            raise

    async def _launch(self, batch: _Batch) -> None:
        """Plan a batch, and send it off once the one before it has landed."""
        works, plan = [work for work, _ in batch], None
        if time.monotonic() >= self._contended_until:
            try:
                plan = self._plan(works)
            except Exception:  # noqa: BLE001 - the edge of the loop: `_answer` plans again, and finds the poison
                self.state.undo()
        try:
            landed = self._flight is None or await self._land(self._flight)
        except asyncio.CancelledError:
            self.state.undo()
            self._queue.extendleft(reversed(batch))
            self.waiting += sum(len(work.received) for work in works)
            raise
        self._flight = None
        if plan is None or not landed:
            await self._answer(batch)
            return
        self.state.seal(1 if plan.events else 0)
        self._flight = _Flight(batch, plan, asyncio.create_task(self._send(plan, works)))
        for _ in range(TURNS):  # planning the next batch holds the loop: let this one reach the database first
            await asyncio.sleep(0)

    async def _send(self, plan: Plan, works: Sequence[Work]) -> int:
        settled = any(work.settled for work in works)
        if not plan.events and not settled:
            return self.state.seq
        async with self.database.write() if settled else self.database.one_statement() as connection:
            return await self._write(connection, plan, works)

    async def _land(self, flight: _Flight) -> bool:
        """Wait for a batch's commit and answer its callers; False when it was rolled back and decided anew."""
        try:
            seq = await asyncio.shield(flight.task)
        except (StoreError, ValueError, TypeError) as error:
            self.state.rollback()
            if isinstance(error, Conflict | Disconnected):
                self._contended_until = time.monotonic() + CONTENDED_SECONDS
            await self._answer(flight.batch)
            return False
        self.state.settle(seq)
        self._on_plan(flight.plan)
        _succeed(flight.batch, seq)
        return True

    async def catch_up(self) -> None:
        """Fold what other replicas appended, if they did: a hold is released here when the one that held is gone."""
        async with self.database.read() as connection:
            head = await log.head(connection, self.shard)
        if head > self.state.seq and not self.busy():
            self._contended_until = time.monotonic() + CONTENDED_SECONDS
            await self.submit(Work())

    async def drain(self) -> None:
        """Decide on all that waits now."""
        while batch := self._take():
            await self._answer(batch)

    def _take(self) -> _Batch:
        batch: _Batch = []
        alerts = 0
        while self._queue and (not batch or alerts + len(self._queue[0][0].received) <= MOST_ALERTS):
            one = self._queue.popleft()
            alerts += len(one[0].received)
            batch.append(one)
        self.waiting -= alerts
        if alerts:
            self._took = time.monotonic()
        return batch

    def saturated(self) -> bool:
        """Whether deciding has taken nearly all the time since this was last asked: then everything else slows down."""
        now = time.monotonic()
        since, self._asked = now - self._asked, now
        idle, self._idle = self._idle, 0.0
        return self.busy() and idle < IDLE_SHARE * since

    def busy(self) -> bool:
        """Whether webhooks are coming in: what can wait should."""
        return time.monotonic() - self._took < BUSY_SECONDS

    async def _answer(self, batch: _Batch) -> None:
        try:
            seq = await self.commit([work for work, _ in batch])
        except StoreError as error:
            if isinstance(error, Refused) and len(batch) > 1:
                await self._split(batch)
                return
            _resolve(batch, error)
        except Exception as error:
            if len(batch) > 1:
                await self._split(batch)
                return
            logger.exception("batch_failed")
            _resolve(batch, Refused(f"{type(error).__name__}: {error}"))
        else:
            _succeed(batch, seq)

    async def _split(self, batch: _Batch) -> None:
        """One payload makes the batch fail: find it, so that it does not take the others with it."""
        middle = len(batch) // 2
        await self._answer(batch[:middle])
        await self._answer(batch[middle:])

    # ------------------------------------------------------------------------------------------------------------ commit

    async def commit(self, works: Sequence[Work]) -> int:
        """Plan and write one batch; the state is rolled back when that fails."""
        for _ in range(RACES):
            locked = time.monotonic() < self._contended_until
            whole = locked or any(work.settled for work in works)
            try:
                async with self.database.write() if whole else self.database.one_statement() as connection:
                    if locked:
                        await log.lock(connection, self.shard)
                        await self._catch_up(connection)
                    plan = self._plan(works)
                    seq = await self._write(connection, plan, works)
            except (Conflict, Disconnected):  # whether a broken connection committed is seen in the log's tail
                self.state.rollback()
                self._contended_until = time.monotonic() + CONTENDED_SECONDS
            except BaseException:
                self.state.rollback()
                raise
            else:
                self.state.commit(seq)
                self._on_plan(plan)
                return seq
        raise StoreError(f"lost the race for shard {self.shard} {RACES} times")

    def _plan(self, works: Sequence[Work]) -> Plan:
        inputs = Inputs(
            received=[one for work in works for one in work.received],
            votes=[vote for work in works for vote in work.votes],
            outcomes=[outcome for work in works for outcome in work.outcomes],
            sweep_before=max((w.sweep_before for w in works if w.sweep_before is not None), default=None),
            asks=[event for work in works for event in work.asks],
        )
        return pipeline.plan(inputs, self.state, self.scoring, self._config(), self._clock())

    async def _write(self, connection: Connection, plan: Plan, works: Sequence[Work]) -> int:
        seq = self.state.seq
        if plan.events:
            seq = await log.append(connection, self.shard, seq, self._clock(), plan.events, plan.deliveries)
        await outbox.settle(connection, [one for work in works for one in work.settled])
        return seq

    async def _catch_up(self, connection: Connection) -> None:
        """Fold what other replicas appended: the head first, then the tail, in statements of their own."""
        head = await log.head(connection, self.shard)
        while self.state.seq < head:
            for seq, events in await log.tail(connection, self.shard, self.state.seq):
                for event in events:
                    self.state.fold(event)
                self.state.commit(seq)


class _Flight(Struct):
    """A planned batch on its way to the disk."""

    batch: _Batch
    plan: Plan
    task: asyncio.Task[int]


def _succeed(batch: _Batch, seq: int) -> None:
    for _, future in batch:
        if not future.done():
            future.set_result(seq)


def _resolve(batch: _Batch, error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


async def restore(database: Database, shard: int, version: int) -> State:
    """The state as the newest snapshot and the log after it give it."""
    body = await log.newest_snapshot(database, shard, version)
    state = State.load(body) if body is not None else State()
    async for seq, events in log.all_after(database, shard, state.seq):
        for event in events:
            state.fold(event)
        state.commit(seq)
    return state


__all__ = ["Decider", "Work", "restore"]
