"""What a run found, put into files for people: the page, and the JSON with the same numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sidecar.config import Config
from sidecar.delivery.message import links_of
from sidecar.errors import SidecarError
from sidecar.store import queries
from sidecar.store.engine import Database
from training import page
from training.charts import Detail, charts
from training.job import CONFIDENT, Result

PIECE: Final = 500  # episodes per query: databases take so many parameters and no more


async def write(database: Database, config: Config, result: Result, html: Path | None, json_to: Path | None) -> None:
    """Writes the files asked for. Raises StoreError, and SidecarError when a file cannot be written."""
    if html is None and json_to is None:
        return
    found = await _charts(database, config, result)
    if json_to is not None:
        _save(json_to, json.dumps(result.report | {"charts": found}, indent=1) + "\n")
    if html is not None:
        try:
            text = page.render(result.report, found)
        except ImportError as error:
            raise SidecarError(f"--html needs {error.name}: pip install 'alertmanager-sidecar[train]'") from None
        _save(html, text)


async def _charts(database: Database, config: Config, result: Result) -> dict[str, Any] | None:
    if result.proof is None:
        return None
    known = await details(database, config, result.proof.validation.episode.tolist())
    return charts(result.proof, threshold=CONFIDENT, importance=result.report["importance"], details=known)


async def details(database: Database, config: Config, episodes: Sequence[str]) -> dict[str, Detail]:
    """Where these episodes were, and what may be opened about them; none of one that is no longer stored."""
    found, left = {}, iter(episodes)
    async with database.read() as connection:
        while piece := list(islice(left, PIECE)):
            for row in await queries.find_episodes(connection, piece):
                where = row.labels.get("instance", "")
                found[row.episode] = Detail(where, config.domain_of(row.labels), links_of(row, config))
    return found


def _save(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SidecarError(f"{path} cannot be written: {error.strerror or error}") from None
