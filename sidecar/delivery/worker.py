"""The outbox worker: claim, send, settle. A stuck or failing destination never delays another."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from sidecar.bulletin import Bulletin
from sidecar.channels import BY_NAME
from sidecar.channels.base import send
from sidecar.config import Config
from sidecar.decider import Decider, Work
from sidecar.delivery.backoff import next_try
from sidecar.delivery.bulletins import answerable, bulletin_of, tappable
from sidecar.delivery.context import Contexts
from sidecar.delivery.message import compose
from sidecar.delivery.pace import Pace
from sidecar.domain import Message, Outcome, Rejected, Retry, Sent, SilenceRequest
from sidecar.errors import StoreError
from sidecar.events import Delivered, SilenceSettled
from sidecar.projector import Projector
from sidecar.store import outbox, queries
from sidecar.store.engine import Database
from sidecar.telemetry import Metrics

POLL_SECONDS: Final = 1.0
SATURATED_SECONDS: Final = 0.5  # the same while webhooks take all there is: they are answered first
PAUSE_SECONDS: Final = 0.02  # between rounds: under load a claim takes several rows at once
PROJECTED_WITHIN: Final = 10.0  # s: a message waits this long for the tables before it is tried again
STORE_AGAIN_SECONDS: Final = 1.0
SILENCE: Final = "silence"  # the target of silences
logger = structlog.get_logger()


class _GoesOn(Exception):  # no fault: another message says it
    """All of an incident has gone on in another one, and nothing of it has left yet: nothing is sent."""


class Target(Struct, frozen=True):
    """One integration of a receiver: what an outbox row names as `receiver/channel/index`."""

    receiver: str
    channel: Any
    config: Any


class Worker:
    """`run` is its loop; `wake` after a commit."""

    def __init__(
        self,
        database: Database,
        decider: Decider,
        projector: Projector,
        config: Callable[[], Config],
        metrics: Metrics,
        clock: Callable[[], float],
        holder: str,
    ) -> None:
        self._database = database
        self._decider = decider
        self._projector = projector
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._holder = holder
        self._contexts = Contexts(database, config, metrics, clock)
        self._wake = asyncio.Event()
        self._paces: dict[str, Pace] = {}
        self._sending: dict[str, int] = {}
        self._hinted: set[str] = set()  # targets that may have something due
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self, targets: Iterable[str] = ()) -> None:
        """Something was put into the outbox for these targets."""
        self._hinted.update(targets)
        self._wake.set()

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Until cancelled; what is being sent then is finished by `drain`."""
        polled = float("-inf")
        while True:
            self._wake.clear()
            try:
                if time.monotonic() - polled >= POLL_SECONDS:
                    polled = time.monotonic()
                    self._hinted.update(await self._due())
                await self._round(session)
            except StoreError as error:
                logger.warning("outbox_unreachable", why=str(error))
            await asyncio.sleep(SATURATED_SECONDS if self._decider.saturated() else PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()

    async def drain(self, seconds: float) -> None:
        """Let what is being sent end; what takes longer is cut, and sent again when its lease is over."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _due(self) -> list[str]:
        """Targets that something is due for: retries, other replicas' rows, leases that ran out."""
        async with self._database.read() as connection:
            return await outbox.due_targets(connection, self._clock())

    async def _round(self, session: aiohttp.ClientSession) -> None:
        for name in list(self._hinted):
            room, started = await self._start(name, self._clock(), session)
            if started < room:  # nothing more is due for it now
                self._hinted.discard(name)

    async def _start(self, name: str, now: float, session: aiohttp.ClientSession) -> tuple[int, int]:
        """Send what there is room for; returns (room, started)."""
        target = self._target(name)
        pace = self._pace(target, name)
        room = min(pace.free(time.monotonic()), self._config().delivery.concurrency - self._sending.get(name, 0))
        if room <= 0:
            return 0, 0
        rows = await outbox.claim(self._database, name, now, self._config().delivery.lease, self._holder, room)
        pace.take(time.monotonic(), len(rows))
        for row in rows:
            self._sending[name] = self._sending.get(name, 0) + 1
            task = asyncio.create_task(self._deliver(row, target, pace, session))
            self._tasks.add(task)
            task.add_done_callback(self._done(name))
        return room, len(rows)

    def _done(self, name: str) -> Callable[[asyncio.Task[None]], None]:
        def forget(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._sending[name] -= 1
            self._wake.set()
            if not task.cancelled() and task.exception() is not None:
                logger.error("delivery_failed", target=name, error=repr(task.exception()))

        return forget

    def _target(self, name: str) -> Target | None:
        config = self._config()
        if name == SILENCE:
            silences = config.silence_config
            return None if silences is None else Target(SILENCE, BY_NAME[SILENCE], silences)
        found = config.integration(name)
        return None if found is None else Target(name.split("/", maxsplit=1)[0], BY_NAME[found[0]], found[1])

    def _pace(self, target: Target | None, name: str) -> Pace:
        if target is None:
            return self._paces.setdefault(name, Pace(1.0, 1.0))
        key = f"{target.channel.name}:{target.channel.destination(target.config)}"
        chosen = self._config().delivery.rates.get(target.channel.name)
        key = f"{key}:{chosen}"  # another rate in the configuration is another bucket
        if key not in self._paces:
            per_second, burst = target.channel.rate
            self._paces[key] = Pace(chosen or per_second, burst if chosen is None else max(1.0, chosen))
        return self._paces[key]

    # ----------------------------------------------------------------------------------------------------------- one row

    async def _deliver(
        self, row: outbox.Claimed, target: Target | None, pace: Pace, session: aiohttp.ClientSession
    ) -> None:
        began = time.monotonic()
        message: Message | Bulletin | SilenceRequest | None = None
        try:
            message, ref = await self._said(row, target, session)
            outcome = await self._send(message, ref, target, session)
        except _GoesOn:
            pace.give_back(1)
            why = "it goes on in another incident, which is told instead"
            await self._store(outbox.Settled(row, "merged", self._clock(), "merged", why=why), target)
            return
        except StoreError as error:
            outcome = Retry(f"the database: {error}")
        except Exception as error:
            logger.exception("composing_failed", key=row.dedup_key)
            outcome = Retry(f"it could not be composed: {type(error).__name__}: {error}")
        await self._settle(row, target, outcome, time.monotonic() - began, pace, message)

    async def _send(
        self,
        message: Message | Bulletin | SilenceRequest | None,
        ref: str,
        target: Target | None,
        session: aiohttp.ClientSession,
    ) -> Outcome:
        if target is None:
            return Rejected("the configuration has no such receiver any more: add it, or replay this after a change")
        if message is None:
            return Retry("the tables are behind the log")
        try:
            return await send(session, target.channel, message, target.config, ref, clock=self._clock)
        except Exception as error:
            logger.exception("render_failed", channel=target.channel.name)
            return Rejected(f"it could not be rendered: {type(error).__name__}: {error}")

    async def _said(
        self, row: outbox.Claimed, target: Target | None, session: aiohttp.ClientSession
    ) -> tuple[Message | Bulletin | SilenceRequest | None, str]:
        """What to send, from the latest state, and where an earlier message of it is."""
        if row.kind == "silence":
            return msgspec.json.decode(row.body, type=SilenceRequest), ""
        seq = await outbox.merge_updates(self._database, row, self._clock()) if row.kind == "update" else row.seq
        if not await self._projector.reached(seq, PROJECTED_WITHIN):
            return None, ""
        if row.kind == "digest":
            return await self._summed_up(row, target), ""
        async with self._database.read() as connection:
            view = await queries.incident_view(connection, row.incident)
            ref = await outbox.ref_of(connection, row.incident, row.receiver)
            if (
                view is not None
                and view.goes_on_in
                and not await outbox.was_sent(connection, row.incident, row.receiver)
            ):
                raise _GoesOn
        if view is None or not view.episodes:
            return None, ""
        contexts = await self._contexts.of(session, view.episodes, row.kind)
        message = compose(view, row.kind, row.incident, self._config(), contexts)  # type: ignore[arg-type]
        if row.body and row.kind == "raise":
            message = msgspec.structs.replace(message, note=row.body)
        if target is not None and target.channel.taps:
            message = tappable(message, target.receiver, self._config())
        return message, ref

    async def _summed_up(self, row: outbox.Claimed, target: Target | None) -> Bulletin | None:
        if target is None:
            return None
        config = self._config()
        made = await bulletin_of(self._database, row, config, self._clock())
        return answerable(made, target.channel.name, target.config, config)

    async def _settle(
        self,
        row: outbox.Claimed,
        target: Target | None,
        outcome: Outcome,
        took: float,
        pace: Pace,
        message: Message | Bulletin | SilenceRequest | None,
    ) -> None:
        now = self._clock()
        settled = self._settled(row, outcome, took, now)
        if isinstance(outcome, Retry) and outcome.after is not None:
            pace.pause(time.monotonic() + outcome.after)
        self._count(row, target, outcome, now, message)
        until = time.monotonic() + self._config().delivery.lease
        while not await self._store(settled, target):
            if time.monotonic() >= until:
                return  # its lease is over: whoever takes it next sends it again
            await asyncio.sleep(STORE_AGAIN_SECONDS)

    async def _store(self, settled: outbox.Settled, target: Target | None) -> bool:
        """Write what became of a row; False when the database did not take it: what was sent would be sent again."""
        open_or_merged = settled.state in ("waiting", "merged")
        event = None if open_or_merged else _event(settled.row, target, settled)
        try:
            if open_or_merged:
                async with self._database.write() as connection:
                    await outbox.settle(connection, [settled])
            else:
                await self._decider.submit(Work(outcomes=(event,) if event is not None else (), settled=(settled,)))
        except StoreError as error:
            logger.warning("outcome_delayed", key=settled.row.dedup_key, why=str(error))
            return False
        return True

    def _settled(self, row: outbox.Claimed, outcome: Outcome, took: float, now: float) -> outbox.Settled:
        match outcome:
            case Sent(ref):
                return outbox.Settled(row, "sent", now, "sent", ref=ref, took=took)
            case Rejected(why):
                logger.error("delivery_rejected", key=row.dedup_key, why=why)
                return outbox.Settled(row, "dead", now, "rejected", why=why, took=took)
            case Retry(why, after):
                policy = self._config().delivery
                if now - row.received_at > policy.give_up_after:
                    logger.error("delivery_given_up", key=row.dedup_key, why=why)
                    return outbox.Settled(row, "dead", now, "retry", why=f"given up: {why}", took=took)
                wait = next_try(row.attempts, after, policy.max_backoff, random.random())
                logger.warning("delivery_delayed", key=row.dedup_key, why=why, seconds=round(wait, 1))
                return outbox.Settled(row, "waiting", now, "retry", why=why, took=took, next_at=now + wait)

    def _count(
        self,
        row: outbox.Claimed,
        target: Target | None,
        outcome: Outcome,
        now: float,
        message: Message | Bulletin | SilenceRequest | None,
    ) -> None:
        channel = target.channel.name if target is not None else "none"
        receiver = target.receiver if target is not None else "none"
        if not isinstance(outcome, Sent):
            kind = "rejected" if isinstance(outcome, Rejected) else "retry"
            self._metrics.failed.labels(receiver, channel, kind).inc()
            return
        if isinstance(message, SilenceRequest) and message.end:
            return
        if isinstance(message, SilenceRequest):
            self._metrics.silences.labels(message.reason).inc()
            return
        self._metrics.sent.labels(receiver, channel).inc()
        self._metrics.latency.labels(channel).observe(max(0.0, now - row.received_at))
        if isinstance(message, Bulletin):
            self._metrics.digests.labels(message.what).inc()
            self._metrics.digest_lines.inc(len(message.items))
            return
        if message is not None and row.kind == "resolve":
            self._metrics.per_notification.observe(message.firing + message.resolved)


def _event(row: outbox.Claimed, target: Target | None, settled: outbox.Settled) -> Delivered | SilenceSettled | None:
    """What the rules need to know of it: nothing of an update, which tells nobody anew."""
    if row.kind == "silence":
        request = msgspec.json.decode(row.body, type=SilenceRequest)
        state = "active" if settled.state == "sent" else "failed"
        return None if request.end else SilenceSettled(settled.at, request.pattern, state, settled.ref)
    if row.kind == "update" and settled.state == "sent":
        return None
    receiver = target.receiver if target is not None else row.receiver.split("/")[0]
    return Delivered(settled.at, row.incident, receiver, row.kind, settled.state, settled.ref)
