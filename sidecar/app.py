"""The one place where things are wired: straight down, and undone in reverse."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

import aiohttp
import structlog
from aiohttp import web

from sidecar.app_keys import SIDECAR, Sidecar
from sidecar.champion import Champion
from sidecar.channels.base import fetch
from sidecar.config import Config, load
from sidecar.decider import Decider, restore
from sidecar.delivery.rehearsal import Rehearsal
from sidecar.delivery.ticker import Clock, Ticker
from sidecar.delivery.worker import Worker
from sidecar.errors import ConfigError, SidecarError, StoreError
from sidecar.events import Plan
from sidecar.intake.handlers import routes
from sidecar.nightly import run_nightly
from sidecar.projector import Projector
from sidecar.providers import Providers
from sidecar.reports.hourly import measure_hourly
from sidecar.scoring import Scorers, bundled_prior
from sidecar.state import VERSION
from sidecar.store import schema
from sidecar.store.engine import Database, open_engine
from sidecar.telemetry import Metrics
from sidecar.watch.alertmanager import Watcher

DRAIN_SECONDS: Final = 20.0  # how long a stopping sidecar lets deliveries end; Kubernetes gives 30
GC_THRESHOLDS: Final = (
    50_000,
    20,
    50,
)  # the state is millions of tuples without cycles: looking through it costs a tenth
logger = structlog.get_logger()


class Settings:
    """The configuration that serves, and how it is read again."""

    def __init__(self, config: Config, path: str | None) -> None:
        self.config = config
        self.path = path

    def __call__(self) -> Config:
        return self.config


def make_app(config: Config, path: str | None = None) -> web.Application:
    """An application that serves this configuration; `path` is where it can be read again from."""
    app = web.Application(client_max_size=config.server.body_limit)
    app.add_routes(routes())
    settings = Settings(config, path)

    async def wired(app: web.Application) -> AsyncIterator[None]:
        async for _ in _wire(app, settings):
            yield

    app.cleanup_ctx.append(wired)
    app.on_shutdown.append(_stop_accepting)
    return app


async def _wire(app: web.Application, settings: Settings) -> AsyncIterator[None]:
    """Straight down on purpose: what is above is needed by what is below, and outlives it."""
    database = Database(open_engine(settings().store.url))
    await schema.upgrade(database)
    metrics, clock = Metrics(), Clock()
    prior = bundled_prior(lambda why: logger.warning("prior_refused", why=why))
    scorers = Scorers(metrics.scoring_failures.inc, prior)
    await clock.synchronise(database)
    state = await restore(database, 0, VERSION)
    logger.info("state_restored", seq=state.seq)

    def on_plan(plan: Plan) -> None:
        metrics.planned(plan)
        for why in plan.failed:
            logger.error("duty_failed", why=why)
        projector.wake()
        if plan.deliveries:
            worker.wake({delivery.receiver for delivery in plan.deliveries})

    decider = Decider(database, state, scorers, settings, clock, on_plan)
    projector = Projector(database, metrics, decider.busy)
    replica = settings().store.replica or f"{socket.gethostname()}-{os.getpid()}"
    worker = Worker(database, decider, projector, settings, metrics, clock, replica)
    champion = Champion(database, scorers, settings, metrics)
    ticker = Ticker(database, decider, settings, metrics, clock)
    rehearsal = Rehearsal(database, decider, projector, settings, clock, lambda: scorers.version)
    await champion.look()

    def reload() -> None:
        _reload(settings, metrics, sidecar, clock)

    metrics.reload_ok.set(1)
    metrics.reload_at.set(clock())
    async with aiohttp.ClientSession(trust_env=False) as session:
        providers = Providers(partial(fetch, session), settings, metrics)
        sidecar = Sidecar(settings(), database, decider, projector, worker, scorers, providers, metrics, clock, reload)
        app[SIDECAR] = sidecar
        loops = [decider.run(), projector.run(), worker.run(session), champion.run(), ticker.run(), rehearsal.run()]
        loops.append(Watcher(session, database, decider, settings, metrics, clock).run())
        if settings.path is not None:
            loops.append(run_nightly(settings.path, settings, database, metrics, clock))
            loops.append(measure_hourly(settings.path, metrics, clock))
        tasks = [asyncio.create_task(_watched(loop)) for loop in loops]
        _on_hangup(reload)
        sidecar.ready = True
        logger.info("sidecar_ready", listen=settings().server.listen, mode=settings().mode, model=scorers.version)
        yield
        sidecar.ready = False
        await _stop(tasks, worker, decider, ticker)
    await database.close()
    logger.info("sidecar_stopped", seq=decider.state.seq)


async def _watched(loop: Coroutine[Any, Any, None]) -> None:
    """A loop that ends by an error ends the process, loudly: a sidecar that only half works would lose alerts."""
    try:
        await loop
    except asyncio.CancelledError:
        raise
    except BaseException:
        logger.exception("loop_died")
        os.kill(os.getpid(), signal.SIGTERM)
        raise


async def _stop(tasks: list[asyncio.Task[None]], worker: Worker, decider: Decider, ticker: Ticker) -> None:
    deciding, projecting, *others = tasks
    for task in others:
        task.cancel()
    await worker.drain(DRAIN_SECONDS)  # its messages need the projector, its outcomes the decider
    projecting.cancel()
    deciding.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with suppress(StoreError):  # without a snapshot the next start reads more of the log
        await decider.drain()
        await ticker.snapshot()


async def _stop_accepting(app: web.Application) -> None:
    app[SIDECAR].ready = False


def _reload(settings: Settings, metrics: Metrics, sidecar: Sidecar, clock: Clock) -> None:
    """Raises ConfigError, and keeps the old configuration, when the file is wrong."""
    if settings.path is None:
        return
    try:
        settings.config = sidecar.config = load(settings.path)
    except ConfigError as error:
        metrics.reload_ok.set(0)
        logger.error("config_refused", problems=error.problems)
        raise
    metrics.reload_ok.set(1)
    metrics.reload_at.set(clock())
    logger.info("config_reloaded", mode=settings.config.mode)


def _on_hangup(reload: Any) -> None:
    def hear() -> None:
        with suppress(ConfigError):
            reload()

    with suppress(NotImplementedError, RuntimeError, ValueError):  # no signals on this platform, or not the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hear)


def serve(config: Config, path: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    import uvloop  # noqa: PLC0415 - not on every platform

    app = make_app(config, path)
    gc.collect()
    gc.freeze()  # what lives for ever need not be looked through again
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        web.run_app(
            app,
            host=config.server.host,
            port=config.server.port,
            access_log=None,
            keepalive_timeout=config.server.keepalive,
            shutdown_timeout=DRAIN_SECONDS,
            print=lambda *_: None,
            loop=uvloop.new_event_loop(),
        )
    except OSError as error:
        raise SidecarError(f"server.listen {config.server.listen}: {error.strerror or error}") from error
