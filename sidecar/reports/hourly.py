"""Measures `sidecar report` every hour for /metrics, in a process of its own: reading a week must not stop the webhooks."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable
from typing import Any, Final

import structlog

from sidecar.telemetry import Metrics

HOUR: Final = 3600.0
FIRST_SECONDS: Final = 60.0  # at most, after the start: replicas measure at different moments
LIMIT_SECONDS: Final = 600.0
SINCE: Final = "7d"
PARTS: Final = ("effect", "success", "feedback")
logger = structlog.get_logger()


async def measure_hourly(path: str, metrics: Metrics, clock: Callable[[], float]) -> None:
    """Until cancelled."""
    await asyncio.sleep(random.uniform(FIRST_SECONDS / 2, FIRST_SECONDS))
    while True:
        try:
            await measure_once(path, metrics, clock)
        except (OSError, TimeoutError, ValueError) as error:
            logger.warning("report_failed", why=str(error) or type(error).__name__)
        await asyncio.sleep(HOUR)


async def measure_once(path: str, metrics: Metrics, clock: Callable[[], float]) -> None:
    """Sets the gauges from one run. Raises ValueError, with what it said, when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "report", "--json", "--since", SINCE, "--config", path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            printed, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise ValueError(said.decode("utf-8", "replace").strip()[-500:])
    show(json.loads(printed), metrics)
    metrics.report_at.set(clock())


def show(found: dict[str, Any], metrics: Metrics) -> None:
    """The values of a report as gauges; NaN of what was not measured."""
    values = {metric["name"]: metric["value"] for part in PARTS for metric in found[part]}
    for name, gauge in metrics.report.items():
        value = values[name]
        gauge.set(float("nan") if value is None else value)
