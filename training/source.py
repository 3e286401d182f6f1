"""Where a run learns from: the store, or a folder that was exported from it; in this process, or on a Dask cluster."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from sidecar.store import training as stored
from sidecar.store.engine import Database
from training import dataset, partitions
from training.dataset import Dataset
from training.labels import Vote


class Given(NamedTuple):
    """What `job.run` takes: rows and votes, and what makes a dataset of them, or of what it knows itself."""

    rows: Iterable[Sequence[Any]]
    votes: Iterable[Vote]
    build: Callable[..., Dataset] = dataset.build


@asynccontextmanager
async def given(database: Database, data: Path | None, engine: str, scheduler: str | None) -> AsyncIterator[Given]:
    """What there is to learn from in `data`, else in the store, for the engine `local` or `dask`; valid in the block.

    Raises StoreError, BadFolder and ClusterError, each with what to do.
    """
    if engine == "local":
        yield await _of_store(database) if data is None else Given(*read_folder(data))
        return
    from training import cluster  # noqa: PLC0415 -- needs LightGBM; and Dask, an extra

    with tempfile.TemporaryDirectory(prefix="sidecar-export-") as place:
        folder = data or Path(place) / "data"
        if data is None:
            await export(database, folder)
        with cluster.connect(partitions.find(folder), scheduler) as build:
            yield Given((), (), build)


async def _of_store(database: Database) -> Given:
    async with database.read() as connection:
        rows = await stored.decisions_for_training(connection)
        return Given(rows, await stored.votes_for_training(connection))


def read_folder(folder: Path) -> tuple[list[dataset.Row], list[Vote]]:
    """All rows and votes of an exported folder. Raises BadFolder."""
    rows: list[dataset.Row] = []
    votes: list[Vote] = []
    for path in tqdm(partitions.find(folder), unit=" files", disable=None, leave=False):
        more, said = partitions.read(path)
        rows += more
        votes += said
    return rows, votes


async def export(database: Database, folder: Path) -> int:
    """Writes the folder and returns the number of episodes. Raises StoreError and BadFolder."""
    with tqdm(unit=" episodes", disable=None, leave=False) as bar:
        async with database.read() as connection, database.read() as beside:
            pieces = stored.pieces_for_training(connection, beside, partitions.PIECE)
            return await partitions.write(folder, pieces, bar.update)
