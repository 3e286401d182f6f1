"""Act one: the last weeks of a real alert history through the real pipeline, store, votes and training."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from tqdm import tqdm

from models.artifact import read
from models.prior import Prior, PriorError, load
from models.scorers import LightGBMScorer
from sidecar.config import Config
from sidecar.decider import Decider
from sidecar.replay import DAY, HistoryAlert, Replay, Result, read_history
from sidecar.rules.base import guarded
from sidecar.scoreboard import score, stock, table
from sidecar.scoring import Scorers
from sidecar.state import State
from sidecar.store import outbox, projections, schema, training
from sidecar.store.engine import Database, open_engine

WEEKS: Final = 3


def play() -> int:
    """Replay, print the scoreboard, and return how many real incidents were lost that stock Alertmanager told."""
    with as_file(files("sidecar.demo") / "history" / "asd.jsonl.gz") as path:
        history = read_history(path)
    since = history[-1].starts_at - WEEKS * 7 * DAY
    history = [alert for alert in history if alert.starts_at >= since]
    print(
        f"\nAct one. {len(history):,} real alerts of {len({a.labels['instance'] for a in history})} servers, the last "
        f"{WEEKS} weeks of a labelled history, through the same pipeline, store, votes and nightly training.\n"
        "People answer an hour after an alert has ended, and only on what they were told. What has no label in the source "
        "is history to learn from, and counts for nothing below.\n"
    )
    config = Config.model_validate({})
    with (
        tempfile.TemporaryDirectory(prefix="sidecar-demo-") as place,
        tqdm(total=len(history), unit=" alerts", disable=None) as bar,
    ):
        results, promoted = asyncio.run(_replay(history, config, Path(place), bar.update))
    theirs, ours = score(history, stock(history, config)), score(history, results)
    print(f"{table(theirs, ours)}\n")
    print(_learned(promoted))
    return max(0, ours.lost - theirs.lost)


def _learned(promoted: list[str]) -> str:
    if promoted:
        return f"  {len(promoted)} nights promoted a model, the last one {promoted[-1]}.\n"
    return "  No night promoted a model: the gate found no candidate that earned it.\n"


def _prior(history: list[HistoryAlert]) -> Prior | None:
    """The bundled prior, without what it learned from this very history; None, and it is said why, where there is none."""
    from training.prior import identities  # noqa: PLC0415 - scikit-learn and pandas load slowly

    try:
        return load(identities=identities(history))
    except PriorError as error:
        print(f"Without the bundled prior: {error}.\n")
        return None


async def _replay(
    history: list[HistoryAlert], config: Config, place: Path, progress: Callable[[int], object]
) -> tuple[list[Result], list[str]]:
    database = Database(open_engine(f"sqlite:///{place / 'replay.db'}"))
    await schema.upgrade(database)
    prior = _prior(history)
    replay, scorers = Replay(history, config), Scorers(prior=prior)
    decider = Decider(database, State(), scorers, lambda: config, replay.clock, replay.note)
    promoted: list[str] = []

    async def nightly(now: float) -> None:
        version = await train(database, scorers, config, place, now, prior)
        if version is not None:
            promoted.append(version)

    try:
        results = await replay.run(decider, nightly, lambda count: (progress(count), None)[1])
    finally:
        await database.close()
    return results, promoted


async def train(
    database: Database, scorers: Scorers, config: Config, place: Path, now: float, prior: Prior | None
) -> str | None:
    """One night: bring the tables up to date, train on what is known, serve what was promoted."""
    from training.job import certificate_of, run  # noqa: PLC0415 - scikit-learn and pandas load slowly

    while await projections.project(database, 0):
        pass
    async with database.write() as connection:
        await outbox.accept_all(connection, now)
    async with database.read() as connection:
        rows = await training.decisions_for_training(connection)
        votes = await training.votes_for_training(connection)
        champion = await training.champion(connection)
    folder = place / f"night-{int(now)}"
    standing = read(place / champion[0], None) if champion is not None else None
    result = run(
        rows, votes, now=now, min_votes=config.training.min_votes, key=None, champion=standing, folder=folder,
        miss_budget=config.training.miss_budget, floor=config.confidence_threshold, holds=config.holding.max,
        guarded=lambda labels, severity: guarded(labels, severity, config), prior=prior,
    )  # fmt: skip
    scorers.certificate = certificate_of(result.report)
    if not result.promoted or result.version is None:
        return None
    folder.rename(place / result.version)
    scorers.use(LightGBMScorer(read(place / result.version, None)))
    return str(result.version)
