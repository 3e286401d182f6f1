"""Asks Prometheus what an alert's metrics did around its start, when people are first told of it.

Nothing waits for this but the message, and that no longer than `timeout`: what has not come by then is left out, and a
Prometheus that keeps failing is left alone for a while. What was found is stored, so that each query is asked once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from sidecar.breaker import Breaker
from sidecar.channels.base import USER_AGENT
from sidecar.channels.settings import reveal
from sidecar.config import Config
from sidecar.config.context import PrometheusContext, fill_in
from sidecar.context import Measured, failed, line_of, measure, span_of
from sidecar.errors import StoreError, Unanswered
from sidecar.store import contexts
from sidecar.store.engine import Database
from sidecar.store.queries import EpisodeRow
from sidecar.telemetry import Metrics
from sidecar.watch.prometheus import Places, Prometheus, Range, Session

ASKED: Final = ("notify", "raise")  # kinds of messages that are worth asking for; the others say what is known
ALERTS: Final = 3  # of one message: in a storm Prometheus has enough to do
AT_ONCE: Final = 4  # queries
ANSWER_LIMIT: Final = 64 * 1024  # bytes; a series of all points has 4 KiB
PLACES: Final = Places("context.prometheus.url", "write the credentials into context.prometheus.headers")
logger = structlog.get_logger()


class Contexts:
    """What is known around the starts of episodes. `clock` gives seconds since the epoch."""

    def __init__(
        self, database: Database, config: Callable[[], Config], metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._database, self._config, self._metrics, self._clock = database, config, metrics, clock
        self._asking: dict[str, asyncio.Task[list[Measured]]] = {}  # by episode: its receivers share the answers
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._breaker, self._server = Breaker(), ""
        self._complained: set[str] = set()  # names of queries, "" for the server: each reason is logged once

    async def of(self, session: Session, rows: Sequence[EpisodeRow], kind: str) -> dict[str, tuple[str, ...]]:
        """Sentences for a message of this kind, by episode. Never raises: a message leaves without them, but it leaves."""
        settings = self._config().context.prometheus
        if settings.url is None or not settings.queries:
            return {}
        try:
            found = await self._found(session, rows, kind, settings)
        except StoreError as error:
            logger.warning("context_unreadable", why=str(error))
            return {}
        except Exception:
            logger.exception("context_failed")
            return {}
        lines = {episode: tuple(filter(None, map(line_of, many))) for episode, many in found.items()}
        return {episode: said for episode, said in lines.items() if said}

    async def _found(
        self, session: Session, rows: Sequence[EpisodeRow], kind: str, settings: PrometheusContext
    ) -> dict[str, list[Measured]]:
        """What is stored, and what Prometheus says of the rest when this kind of message asks."""
        async with self._database.read() as connection:
            found = await contexts.of(connection, [row.episode for row in rows])
        if kind in ASKED:
            new = [row for row in rows[:ALERTS] if row.episode not in found]
            asked = await asyncio.gather(*(self._once(session, row, settings) for row in new))
            found |= {row.episode: answers for row, answers in zip(new, asked, strict=True)}
        return found

    async def _once(self, session: Session, row: EpisodeRow, settings: PrometheusContext) -> list[Measured]:
        """What is being asked already is not asked again."""
        task = self._asking.get(row.episode)
        if task is None:
            task = self._asking[row.episode] = asyncio.create_task(self._ask(session, row, settings))
            task.add_done_callback(lambda _: self._asking.pop(row.episode))
        return await asyncio.shield(task)

    async def _ask(self, session: Session, row: EpisodeRow, settings: PrometheusContext) -> list[Measured]:
        """Ask all queries about one episode, and keep what came of them."""
        until = asyncio.get_running_loop().time() + settings.timeout
        server = self._connect(session, settings)
        asked = [self._query(server, row, name, settings, until) for name in sorted(settings.queries)]
        found = [one for one in await asyncio.gather(*asked) if one is not None]
        try:
            async with self._database.write() as connection:
                await contexts.save(connection, found)
        except StoreError as error:
            logger.warning("context_not_stored", episode=row.episode, why=str(error))
        return found

    def _connect(self, session: Session, settings: PrometheusContext) -> Prometheus:
        """The server; another one than before starts with a closed breaker."""
        url = settings.url or ""
        if url != self._server:
            self._breaker, self._server = Breaker(), url
            self._complained.clear()
        headers = {"User-Agent": USER_AGENT} | {name: reveal(value) for name, value in settings.headers.items()}
        return Prometheus(session, url, headers, settings.timeout, logger.debug, PLACES)

    async def _query(
        self, server: Prometheus, row: EpisodeRow, name: str, settings: PrometheusContext, until: float
    ) -> Measured | None:
        """One query, by `until`; None when it is not asked: a label is missing, or the server is being left alone."""
        query = fill_in(settings.queries[name], row.labels)
        if query is None:
            self._metrics.context_queries.labels("skipped").inc()
            return None
        measured = Measured(row.episode, name, query, self._clock(), settings.before, "empty")
        began = time.monotonic()
        ticket = self._breaker.enter(began)
        if ticket is None:
            self._metrics.context_queries.labels("skipped").inc()
            return None
        found, well = await self._answer(server, row, measured, settings, until)
        self._breaker.leave(ticket, time.monotonic(), well=well)
        self._metrics.context_seconds.observe(time.monotonic() - began)
        self._metrics.context_queries.labels(found.result).inc()
        return found

    async def _answer(
        self, server: Prometheus, row: EpisodeRow, measured: Measured, settings: PrometheusContext, until: float
    ) -> tuple[Measured, bool]:
        """What came of one query, and whether the server is well."""
        try:
            async with asyncio.timeout_at(until), self._slots:
                found = await self._measure(server, row, measured, settings)
        except TimeoutError:
            return self._failed(measured, "", f"no answer within {settings.timeout:g} s"), False
        except Unanswered as error:
            return self._failed(measured, "" if error.ill else measured.name, str(error)), not error.ill
        except Exception as error:  # noqa: BLE001 - the edge of a query: whatever it brings, messages go out
            return self._failed(measured, "", type(error).__name__), False
        self._complained -= {"", measured.name}
        return found, True

    async def _measure(
        self, server: Prometheus, row: EpisodeRow, measured: Measured, settings: PrometheusContext
    ) -> Measured:
        span = span_of(row.starts_at, settings.before, settings.after, measured.at)
        series = await server.points(Range(measured.query, span.start, span.end, span.step), ANSWER_LIMIT)
        if len(series) > 1:
            raise Unanswered("it gives more than one series: aggregate it, e.g. avg(...)")
        return measure(measured, row.starts_at, span, series[0] if series else ())

    def _failed(self, measured: Measured, about: str, why: str) -> Measured:
        """The reason is kept for people, and logged once: until the server, or this query, has answered again."""
        found = failed(measured, why)
        if about not in self._complained:
            self._complained.add(about)
            logger.warning("context_failed", query=measured.name, why=found.why)
        return found


__all__ = ["Contexts"]
