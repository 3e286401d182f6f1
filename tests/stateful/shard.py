"""One shard with its replicas, without a store: who decides, who follows the log, and who starts anew from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from models.certificate import Certificate, Grant
from sidecar.config import Config
from sidecar.events import Plan
from sidecar.pipeline import Inputs, plan
from sidecar.state import State
from sidecar.store.log import decode, encode
from tests.stateful.books import Broken

SCORES: tuple[float | None, ...] = (0.1, 0.7, 0.95, 1.0, None, float("nan"), 0.0, float("inf"), -1.0, 0.85)


class Hostile:
    """A scorer that says anything, with a certificate that allows everything."""

    version = "fp-hostile"

    def __init__(self, proven: bool, now: Callable[[], float]) -> None:
        self.first = 0
        self.calm = False  # it says 0.1 of everything
        self._proven = proven
        self._now = now

    @property
    def certificate(self) -> Certificate | None:
        return Certificate(self._now(), Grant(0.0), Grant(0.0)) if self._proven else None

    def score(self, rows: Sequence[Any]) -> tuple[list[float | None], str]:
        """The first row has the chosen score, the others those after it."""
        if self.calm:
            return [0.1] * len(rows), self.version
        chosen = [SCORES[(self.first + n) % len(SCORES)] for n in range(len(rows))]
        return chosen, self.version


class Shard:
    """The log, the replica that decides, and one that lags behind."""

    def __init__(self, config: Config, scoring: Hostile) -> None:
        self.config = config
        self.scoring = scoring
        self.log: list[bytes] = []
        self.state, self.other = State(), State()
        self.snapshot = self.state.dump()

    def plan(self, inputs: Inputs, now: float, state: State | None = None) -> Plan:
        return plan(inputs, self.state if state is None else state, self.scoring, self.config, now)

    # ----------------------------------------------------------------------------------------------------- ways to decide

    def decide(self, inputs: Inputs, now: float) -> Plan:
        """Plan and commit."""
        made = self.plan(inputs, now)
        self._append(made)
        self.state.commit(len(self.log))
        return made

    def decide_twice(self, inputs: Inputs, now: float) -> Plan:
        """Another replica with the same state would have decided the same."""
        twin = State.load(self.state.dump())
        first, second = self.plan(inputs, now, twin), self.plan(inputs, now)
        if encode(first) != encode(second):
            raise Broken(f"the same inputs lead to\n{first}\nand to\n{second}")
        self._append(second)
        self.state.commit(len(self.log))
        return second

    def fail_first(self, inputs: Inputs, now: float) -> Plan:
        """The first commit fails, and leaves no trace."""
        before = self.state.dump()
        self.plan(inputs, now)
        self.state.rollback()
        self._same(self.state.dump(), before, "a batch that failed left a trace")
        return self.decide(inputs, now)

    def overlap(self, inputs: Inputs, now: float, fails: bool) -> list[Plan]:
        """A tick is planned while the batch is on its way to the disk, which it reaches or not."""
        made = self.plan(inputs, now)
        self.state.seal(1 if made.events else 0)
        later = self.plan(Inputs(), now)
        if fails:
            self.state.rollback()
            return [self.decide(inputs, now), self.decide(Inputs(), now)]
        self._append(made)
        self.state.settle(len(self.log))
        self._append(later)
        self.state.commit(len(self.log))
        return [made, later]

    def _append(self, made: Plan) -> None:
        if made.events:
            self.log.append(encode(made.events))

    # --------------------------------------------------------------------------------------------------------- replicas

    def follow(self) -> None:
        """The other replica folds what it missed, and holds the same."""
        _fold(self.other, self.log)
        self._same(self.other.dump(), self.state.dump(), "a replica that folded what it missed differs")

    def take_over(self) -> None:
        """The other replica catches up and decides from now on."""
        self.follow()
        self.state, self.other = self.other, self.state

    def restart(self, whole: bool) -> None:
        """All memory is lost: the state comes back from the log alone, or from the last snapshot and what followed."""
        state = State() if whole else State.load(self.snapshot)
        _fold(state, self.log)
        self._same(state.dump(), self.state.dump(), f"after a restart from {'the log' if whole else 'a snapshot'}")
        self.state = state

    def save(self) -> None:
        """Keep a snapshot, and come back from it."""
        self.snapshot = self.state.dump()
        self._same(State.load(self.snapshot).dump(), self.snapshot, "a snapshot does not come back")

    def _same(self, one: bytes, other: bytes, what: str) -> None:
        if one == other:
            return
        first, second = _plain(one), _plain(other)
        if repr(first) != repr(second):
            names = [name for name in first if repr(first[name]) != repr(second[name])]
            raise Broken(f"{what}: {names} differ: {[(first[name], second[name]) for name in names]}")


def _fold(state: State, log: list[bytes]) -> None:
    for seq, body in enumerate(log[state.seq :], state.seq + 1):
        for event in decode(body):
            state.fold(event)
        state.commit(seq)


def _plain(body: bytes) -> Any:
    """The snapshot with its tables sorted: they may list the same in another order."""
    held = msgspec.msgpack.decode(body)
    return {
        name: sorted(table.items()) if isinstance(table, dict) and name != "statistics" else table
        for name, table in held.items()
    }
