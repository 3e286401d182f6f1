"""Several configurations through one history, in processes of their own: what each would have told people.

Each trial is one replay on one core, with nothing shared but the history; a few run at a time, so that memory stays
bounded by that number. How far they are comes back by a queue.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from msgspec import Struct

from models.prior import Prior, PriorError, load
from sidecar.config import Config
from sidecar.errors import SidecarError
from sidecar.history import HistoryAlert
from sidecar.replay import Answers
from sidecar.rules import RULES, Rule
from training.backtest import backtest
from training.ledger import Ledger, Outcome
from training.prior import identities

JOBS: Final = 2
STEP: Final = 500  # alerts between two messages about the progress
LOOK_SECONDS: Final = 0.2
ALWAYS: Final = {
    "guard": "it is what keeps CRITICAL alerts from ever being kept back",
    "routing": "without it no alert has a receiver",
}


class Trial(Struct, frozen=True):
    """One configuration, less some rules."""

    name: str
    config: Config
    without: tuple[str, ...] = ()


def switchable() -> tuple[str, ...]:
    """The rules that can be switched off, in their order."""
    return tuple(rule.__name__ for rule in RULES if rule.__name__ not in ALWAYS)


def check_rules(names: Sequence[str]) -> None:
    """Raises SidecarError for a rule that does not exist, or cannot be switched off."""
    for name in names:
        if name in ALWAYS:
            raise SidecarError(f"the rule {name} cannot be switched off: {ALWAYS[name]}")
        if name not in switchable():
            raise SidecarError(f"there is no rule {name!r}: write one of {', '.join(switchable())}")


def play(history: list[HistoryAlert], trial: Trial, since: float, progress: Callable[[int], object]) -> Outcome:
    """One trial, in this process."""
    rules: tuple[Rule, ...] = tuple(rule for rule in RULES if rule.__name__ not in trial.without)
    ledger = Ledger(history, since)
    _, night = backtest(
        history, trial.config, Answers(), progress, prior=prior_for(history), rules=rules, watch=ledger.note
    )
    return ledger.outcome(trial.name, len(night.promoted))


def prior_for(history: Sequence[HistoryAlert]) -> Prior | None:
    """The bundled prior without what it learned from this history; None where there is none."""
    try:
        return load(identities=identities(history))
    except PriorError:
        return None


# ---------------------------------------------------------------------------------------------------------- in processes


def run(
    history: list[HistoryAlert],
    trials: Sequence[Trial],
    since: float,
    progress: Callable[[int], object] = lambda _: None,
    jobs: int = JOBS,
) -> list[Outcome]:
    """Plays all trials, `jobs` at a time, with one job in this process; `progress` is told of alerts passed, over all.

    Raises SidecarError when a process ends before its time, as one does that the system takes the memory from.
    """
    if jobs == 1:
        return [play(history, trial, since, progress) for trial in trials]
    context = multiprocessing.get_context("spawn")  # a fork would inherit LightGBM's threads, and hang
    told = context.Queue()
    with ProcessPoolExecutor(min(jobs, len(trials)), context, _begin, (told, history, since)) as pool:
        futures = [pool.submit(_play, trial) for trial in trials]
        try:
            passed = 0
            for count in _passed(futures, told):
                passed += count
                progress(count)
            outcomes = [future.result() for future in futures]
            progress(len(history) * len(trials) - passed)  # what was still on its way in the queue
            return outcomes
        except BrokenProcessPool:
            why = "it may have been short of memory: a shorter --since or --jobs 1 takes less"
            raise SidecarError(f"a process of the backtest ended before its time; {why}") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _passed(futures: Sequence[Future[Outcome]], told: Any) -> Iterator[int]:
    """How many alerts passed since the last time, until all is done or something failed."""
    while True:
        done = wait(futures, LOOK_SECONDS, return_when="FIRST_EXCEPTION")
        count = 0
        while True:
            try:
                count += told.get_nowait()
            except queue.Empty:
                break
        yield count
        if not done.not_done or any(future.exception() for future in done.done):
            return


class _Worker(Struct):
    """What a process keeps between its trials."""

    told: Any = None
    history: list[HistoryAlert] = []
    since: float = 0.0


_worker: Final = _Worker()


def _begin(told: Any, history: list[HistoryAlert], since: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _worker.told, _worker.history, _worker.since = told, history, since


def _play(trial: Trial) -> Outcome:
    waiting = 0

    def progress(count: int) -> None:
        nonlocal waiting
        waiting += count
        if waiting >= STEP:
            _worker.told.put(waiting)
            waiting = 0

    outcome = play(_worker.history, trial, _worker.since, progress)
    _worker.told.put(waiting)
    return outcome
