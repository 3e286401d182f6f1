"""Between the job and the store: what it reads, what it keeps, and which model serves."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from models.artifact import Artifact, ArtifactError, pack, read, try_out, unpack
from sidecar.store import training
from sidecar.store.engine import Connection, Database
from training.job import TRY_SECONDS, Result


async def champion(database: Database, key: bytes | None) -> Artifact | None:
    """What serves now. Raises StoreError."""
    async with database.read() as connection:
        found = await training.champion(connection)
    return None if found is None else load(found[1], key)


def load(files: dict[str, str], key: bytes | None) -> Artifact | None:
    """A stored artifact, tried out in a process of its own; None when it can no longer serve, and so sets no bar."""
    with tempfile.TemporaryDirectory(prefix="sidecar-champion-") as place:
        folder = Path(place) / "artifact"
        try:
            unpack(files, folder)
            try_out(folder, key, TRY_SECONDS)
            return read(folder, key)
        except ArtifactError:
            return None


async def keep(connection: Connection, result: Result, folder: Path, now: float) -> None:
    """Stores the report, with the artifact when there is one, and lets it serve when the gate did."""
    version = result.version
    if version is None or not result.promoted:
        # A version that the gate refused today may be the champion of yesterday: it must not change that one's state.
        name = f"refused-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}"
        await training.save_artifact(connection, name, {}, result.report, training.REFUSED, now)
        return
    await training.save_artifact(connection, version, pack(folder), result.report, "candidate", now)
    await training.promote(connection, version, now)
