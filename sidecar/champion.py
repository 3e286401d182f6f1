"""Notices which model is promoted, tries it in a process of its own, and swaps it in without a restart."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from models.artifact import ArtifactError, read, try_out, unpack
from models.certificate import Certificate
from models.scorers import LightGBMScorer
from sidecar.config import Config
from sidecar.errors import StoreError
from sidecar.scoring import Scorers
from sidecar.store import training
from sidecar.store.engine import Connection, Database
from sidecar.telemetry import Metrics

LOOK_SECONDS: Final = 3.0
TRY_SECONDS: Final = 60.0
CLOCKS_APART: Final = 60.0  # s
NO_SCORE: Final = 2.0  # in the metric: no score is high enough
UNREADABLE: Final = (msgspec.MsgspecError, RecursionError)  # what damaged JSON raises
logger = structlog.get_logger()


class Champion:
    """`run` is its loop; `look` once."""

    def __init__(self, database: Database, scorers: Scorers, config: Callable[[], Config], metrics: Metrics) -> None:
        self._database = database
        self._scorers = scorers
        self._config = config
        self._metrics = metrics
        self._certified = 0.0  # when the certificate that serves was made
        self._refused: set[str] = set()  # a damaged artifact is tried once, not every few seconds
        for kind in ("hold", "suppress"):
            metrics.threshold.labels(kind).set(NO_SCORE)
        for scope in ("alertname", "all"):
            metrics.drift.labels(scope).set(0)
        self._show()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                logger.warning("champion_unreachable", why=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> bool:
        """Whether another model serves now. A damaged one leaves the present model in place."""
        async with self._database.read() as connection:
            self._certify(await self._newest(connection))
            version = await training.champion_version(connection)
            if version is None or version == self._scorers.version or version in self._refused:
                return False
            try:
                found = await training.champion(connection)
            except UNREADABLE as error:
                return self._refuse(version, f"its stored files cannot be read: {error}")
        if found is None:
            return False
        try:
            scorer = await asyncio.to_thread(self._load, *found)
        except Exception as error:  # noqa: BLE001 - the edge of a model: whatever is wrong with it, the present one stays
            return self._refuse(version, str(error) or type(error).__name__)
        self._scorers.use(scorer)
        self._show()
        logger.info("model_swapped", version=version)
        return True

    def _refuse(self, version: str, why: str) -> bool:
        self._refused.add(version)
        self._metrics.refused.inc()
        logger.error("model_refused", version=version, why=why, serves=self._scorers.version)
        return False

    async def _newest(self, connection: Connection) -> tuple[float, dict[str, Any]] | None:
        """The newest run's report, read only when it is another than the last; an empty one when it is damaged."""
        at = await training.newest_artifact_at(connection)
        if at is None or at == self._certified:
            return None
        try:
            found = await training.newest_report(connection)
        except UNREADABLE as error:
            self._doubt(f"the stored report cannot be read: {error}")
            return at, {}
        if found is None or isinstance(found[1], dict):
            return found
        self._doubt("the stored report is not a JSON object")
        return at, {}

    def _doubt(self, why: str) -> None:
        self._metrics.refused.inc()
        logger.error("certificate_refused", why=why)

    def _certify(self, newest: tuple[float, dict[str, Any]] | None) -> None:
        """What the newest run has proven: one that proves nothing takes back what older ones allowed."""
        if newest is None or newest[0] == self._certified:
            return
        self._certified, report = newest
        try:
            made = msgspec.convert(report["certificate"], Certificate) if "certificate" in report else None
            _check(made, self._certified)
        except (msgspec.ValidationError, ArtifactError) as error:
            self._doubt(str(error))
            made = None
        self._scorers.certificate = made
        grants = {"hold": made.hold, "suppress": made.suppress} if made is not None else {}
        for kind in ("hold", "suppress"):
            allowed = grants[kind].threshold if kind in grants else None
            self._metrics.threshold.labels(kind).set(NO_SCORE if allowed is None else allowed)
        self._metrics.drift.labels("alertname").set(0 if made is None else len(made.drifted))
        self._metrics.drift.labels("all").set(made is not None and bool(made.unsettled))
        logger.info("certificate_read", **{kind: grant.threshold for kind, grant in grants.items()})

    def _load(self, version: str, files: dict[str, str]) -> LightGBMScorer:
        secret = self._config().training.signing_key
        key = secret.get_secret_value().encode() if secret is not None else None
        with tempfile.TemporaryDirectory(prefix="sidecar-model-") as place:
            folder = Path(place) / "artifact"
            unpack(files, folder)
            try_out(folder, key, TRY_SECONDS)
            artifact = read(folder, key)
        if artifact.version != version:  # it would be looked at again for ever, since it never gets to serve
            raise ArtifactError(f"it is {artifact.version}, stored as {version}")
        return LightGBMScorer(artifact)

    def _show(self) -> None:
        version = self._scorers.version
        self._metrics.model.info({"name": "false-positive-classifier", "version": version})
        self._metrics.fallback.set(version == "cold-start")


def _check(certificate: Certificate | None, at: float) -> None:
    """Raises ArtifactError for what no run of `at`, in seconds since the epoch, can have proven."""
    if certificate is None:
        return
    if certificate.at > at + CLOCKS_APART:
        raise ArtifactError("the certificate is newer than its run, and would never be void")
    for grant in (certificate.hold, certificate.suppress):
        if grant.threshold is not None and not 0.0 < grant.threshold <= 1.0:
            raise ArtifactError(f"{grant.threshold} is no threshold for a score")
