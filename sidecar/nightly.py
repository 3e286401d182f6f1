"""Runs the training job every night in a process of its own. A Kubernetes CronJob can do it instead."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from sidecar.calendar import next_run
from sidecar.config import Config
from sidecar.errors import StoreError
from sidecar.store import training
from sidecar.store.engine import Database
from sidecar.telemetry import Metrics

SPREAD_SECONDS: Final = 30.0  # replicas start at different moments: the first one's artifact stops the others
LIMIT_SECONDS: Final = 4 * 3600.0
CHECK_SECONDS: Final = 30.0  # how long it sleeps at most: clocks jump and configurations change
logger = structlog.get_logger()


async def run_nightly(
    path: str, config: Callable[[], Config], database: Database, metrics: Metrics, clock: Callable[[], float]
) -> None:
    """Until cancelled: at each time of the schedule, unless another replica has trained since."""
    since = clock()
    while True:
        settings = config().training
        due = next_run(settings.schedule, since, ZoneInfo(settings.timezone))
        if clock() < due:
            await asyncio.sleep(min(CHECK_SECONDS, max(0.1, due - clock())))
            continue
        since = clock()
        if not settings.nightly:
            continue
        await asyncio.sleep(random.uniform(0, SPREAD_SECONDS))
        try:
            async with database.read() as connection:
                newest = await training.newest_artifact_at(connection)
            if newest is None or newest < due:
                await train_once(path, metrics, clock)
        except (StoreError, OSError, TimeoutError) as error:
            logger.warning("training_failed", why=str(error) or type(error).__name__)


async def train_once(path: str, metrics: Metrics, clock: Callable[[], float]) -> int:
    """One run of `python -m training run`; returns its exit code: 0 promoted, 3 refused by the gate."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "training", "run", "--config", path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    code = process.returncode if process.returncode is not None else -1
    logger.info("training_ended", code=code, said=said.decode("utf-8", "replace")[-2000:])
    metrics.training_at.set(clock())
    metrics.training_promoted.set(code == 0)
    return code
