"""`sidecar backtest`: a new configuration on what happened, beside the present one, before it serves."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from tqdm import tqdm

from sidecar.config import Config, load
from sidecar.config.describe import check
from sidecar.errors import ConfigError, SidecarError
from sidecar.reports.commands import PRESENT, save

if TYPE_CHECKING:
    from sidecar.history import HistoryAlert
    from training.compare import Comparison, Side
    from training.trial import Trial

GOOD, FAILED, UNUSABLE = 0, 1, 2


class _Given(Struct):
    """What is compared: the two configurations by name, and what happened since when."""

    new: tuple[str, Config]
    present: tuple[str, Config]
    history: list[HistoryAlert]
    since: float


def run(options: argparse.Namespace) -> int:
    """The command; returns its exit code."""
    try:
        return _run(options)
    except SidecarError as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return UNUSABLE


def _run(options: argparse.Namespace) -> int:
    if find_spec("sklearn") is None or find_spec("joblib") is None:
        raise SidecarError(
            "a backtest trains as the nights would, and needs more packages: pip install 'alertmanager-sidecar[train]'"
        )
    from training.trial import check_rules

    check_rules(options.without)
    _check_writable(options.html)
    configs = _configs(options)
    if configs is None:
        return UNUSABLE
    new, present = configs
    history, since = _history(options, present[1])
    found = _play(_Given(new, present, history, since), options)
    _show(found, options)
    return FAILED if _fails(found, options.fail_on) else GOOD


def _show(found: Found, options: argparse.Namespace) -> None:
    from sidecar.reports import comparison

    parts = (found.comparison, found.each, found.as_ladder)
    if options.format == "json":
        print(json.dumps(comparison.values(*parts), indent=1))
    else:
        print(comparison.text(*parts), end="")
    if options.html is not None:
        save(options.html, comparison.page(*parts))


# -------------------------------------------------------------------------------------------------------- what is compared


def _configs(options: argparse.Namespace) -> tuple[tuple[str, Config], tuple[str, Config]] | None:
    """(new, present), each as (name, configuration); None when one is wrong, and it was said why.

    Raises SidecarError when there is nothing to compare.
    """
    against = options.against or PRESENT
    if options.against is None and options.history is not None and not Path(PRESENT).exists():
        present: tuple[str, Config] | None = ("the defaults", Config.model_validate({}))
    else:
        if not Path(against).exists():
            raise SidecarError(f"there is no {against}: name the present configuration, --against FILE")
        present = _checked(against)
    new = present if _same(options.config, against) else _checked(options.config)
    if new is None or present is None:
        return None
    if new is present and not options.without and not options.each_rule:
        raise SidecarError(
            f"{options.config} is the present configuration: name a new one, --config NEW.yml, or try --each-rule or --without RULE"
        )
    return new, present


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _checked(path: str) -> tuple[str, Config] | None:
    try:
        return path, load(path)
    except ConfigError:
        print(check(path)[1], file=sys.stderr)
        return None


def _history(options: argparse.Namespace, present: Config) -> tuple[list[HistoryAlert], float]:
    """What happened, in the order of time, and since when it counts. Raises SidecarError when nothing did."""
    if options.history is not None:
        from sidecar.history import read_history

        history = sorted(read_history(options.history), key=lambda alert: alert.starts_at)
        if not history:
            raise SidecarError(f"{options.history} has no alert: there is nothing to try a configuration on")
        return history, 0.0
    now, span = time.time(), options.since if options.since is not None else 30 * 86400.0
    history, since = asyncio.run(_stored(present, now - span, now)), now - span
    if not any(alert.starts_at >= since for alert in history):
        when = datetime.fromtimestamp(since, UTC)
        raise SidecarError(
            f"the store has no alert since {when:%Y-%m-%d %H:%M} UTC: a longer --since, --history FILE, or `sidecar import` first"
        )
    return history, since


async def _stored(config: Config, since: float, now: float) -> list[HistoryAlert]:
    from sidecar.store import schema
    from sidecar.store.engine import Database, check_exists, open_engine
    from training.past import stored_history

    check_exists(config.store.url)
    database = Database(open_engine(config.store.url))
    try:
        if not await schema.is_current(database):
            raise SidecarError("the database is of another version: start this version's `sidecar serve` first")
        with tqdm(unit=" alerts", desc="read", disable=None, leave=False) as bar:
            return await stored_history(database, since, now, bar.reset, bar.update)
    finally:
        await database.close()


# ------------------------------------------------------------------------------------------------------------- the trials


class Found(Struct):
    """What came out: new beside present, the new one without each rule, and what a shadow would do as a ladder."""

    comparison: Comparison
    each: list[tuple[str, Side]]
    as_ladder: Comparison | None


def _play(given: _Given, options: argparse.Namespace) -> Found:
    from training.compare import Side, clusters, compare, told
    from training.trial import run, switchable

    history, since, without = given.history, given.since, tuple(options.without)
    off = [rule for rule in switchable() if rule not in without] if options.each_rule else []
    trials = _trials(given, without, off)
    with tqdm(total=len(history) * len(trials), unit=" alerts", desc="replay", disable=None, leave=False) as bar:
        made = dict(zip(trials, run(history, list(trials.values()), since, bar.update, options.jobs), strict=True))
    found = clusters(history, since)
    present = made.get("present", made["new"])
    each = [(rule, Side(made[f"without {rule}"], told(history, found, made[f"without {rule}"]))) for rule in off]
    as_ladder = compare(history, present, made["ladder"], since) if "ladder" in made else None
    return Found(compare(history, present, made["new"], since), each, as_ladder)


def _trials(given: _Given, without: tuple[str, ...], off: list[str]) -> dict[str, Trial]:
    """By what they are for; with nothing to compare the new one with, `present` is left out."""
    from training.trial import Trial

    name, config = given.new
    label = name + "".join(f" without {rule}" for rule in without)
    trials = {"new": Trial(label, config, without)}
    if given.new is not given.present or without:
        trials["present"] = Trial(*given.present)
    if config.mode == "shadow":
        trials["ladder"] = Trial(f"{label}, as mode ladder", config.model_copy(update={"mode": "ladder"}), without)
    return trials | {f"without {rule}": Trial(f"{label} without {rule}", config, (*without, rule)) for rule in off}


def _fails(found: Found, on: str | None) -> bool:
    """Whether what CI asks for is met; a shadow tells everything, so it is judged as the ladder that it tries."""
    cases = (found.as_ladder or found.comparison).cases
    return any(case.what == "lost" or on == "delayed" for case in cases) if on is not None else False


def _check_writable(path: Path | None) -> None:
    """Known before a long run, not after it."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise SidecarError(f"--html {path} cannot be written: name a file in a folder that exists")
