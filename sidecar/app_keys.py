"""What handlers find on the application: the wired parts, typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from sidecar.config import Config
from sidecar.decider import Decider
from sidecar.delivery.worker import Worker
from sidecar.projector import Projector
from sidecar.providers import Providers
from sidecar.scoring import Scorers
from sidecar.store.engine import Database
from sidecar.telemetry import Metrics


@dataclass(slots=True)
class Sidecar:
    """One running sidecar. Made in `app.py` and nowhere else."""

    config: Config
    database: Database
    decider: Decider
    projector: Projector
    worker: Worker
    scorers: Scorers
    providers: Providers
    metrics: Metrics
    clock: Callable[[], float]
    reload: Callable[[], None]
    ready: bool = False


SIDECAR: web.AppKey[Sidecar] = web.AppKey("sidecar", Sidecar)
