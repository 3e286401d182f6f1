"""What people would have been told: every message that interrupts, what was in it, and when each alert reached somebody.

An interruption is a message to one receiver that tells something anew: the first of an incident, a raised severity, a
reminder. Edits, resolves and digests interrupt nobody. It is false when not one alert in it was real, and at least one
was called noise. An escalation is counted apart: a history does not say who acknowledged what, so that each is one that
would come if nobody did. What joins an incident over an hour after its newest interruption tells nobody: people have moved on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct, field

from sidecar.domain import Reason, severity_rank
from sidecar.events import Decided, Escalated, Plan
from sidecar.history import HistoryAlert
from sidecar.replay import Replay
from sidecar.rules.base import TELLS
from sidecar.scoreboard import READ_FOR
from sidecar.store.reports import INTERRUPTS

UNNAMED: Final = "(none)"


class Count(Struct):
    """Interruptions, by what was in them; `alerts` were told by one of them, once per receiver."""

    interruptions: int = 0
    false: int = 0
    real: int = 0
    unlabelled: int = 0
    alerts: int = 0

    @property
    def efficiency(self) -> float | None:
        """Alerts per interruption; None without any."""
        return self.alerts / self.interruptions if self.interruptions else None


class Kept(Struct, frozen=True):
    """Why an alert was not told at first."""

    verdict: str
    rule: str
    sentence: str


class Outcome(Struct):
    """What one configuration did with the history, from `since` on."""

    name: str
    total: Count
    receivers: dict[str, Count]
    severities: dict[str, Count]
    told_at: dict[int, float]  # of the real alerts, by their number in the history
    kept: dict[int, Kept]  # of the real alerts that were not told at once
    shadow: dict[str, int] = {}  # in mode shadow: what was told and would not have been, by "verdict by rule"
    promoted: int = 0  # nights that promoted a model
    escalations: int = 0  # to somebody, if nobody acknowledges anything


class _Interruption(Struct):
    at: float
    receiver: str
    severity: str
    alerts: int = 0
    real: bool = False
    noise: bool = False


class _Incident(Struct):
    severity: str = ""
    newest: dict[str, _Interruption] = field(default_factory=dict)  # by receiver


class Ledger:
    """Takes in the plans of a replay; counts what begins at `since`, seconds since the epoch, or later."""

    def __init__(self, history: Sequence[HistoryAlert], since: float = 0.0) -> None:
        self._history = history
        self._since = since
        self._incidents: dict[str, _Incident] = {}
        self._made: list[_Interruption] = []
        self._has: set[tuple[int, str]] = set()  # (alert, receiver that was told of it)
        self._told_at: dict[int, float] = {}
        self._kept: dict[int, Kept] = {}
        self._shadow: Counter[str] = Counter()
        self._escalations = 0

    def note(self, replay: Replay, plan: Plan) -> None:
        """Take in a committed plan."""
        now = replay.now
        decided = [event for event in plan.events if isinstance(event, Decided)]
        for event in decided:
            self._grade(event)
        for name, receiver in dict.fromkeys(_interrupted(plan)):
            incident = self._incidents.setdefault(name, _Incident())
            made = incident.newest[receiver] = _Interruption(now, receiver, incident.severity or UNNAMED)
            self._made.append(made)
        for event in decided:
            n = replay.place(event.episode)
            if n is not None:
                self._attach(n, event)
        if now >= self._since:
            self._escalations += sum(isinstance(one, Escalated) and bool(one.tell or one.again) for one in plan.events)
            instead = [event.would for event in decided if event.would is not None]
            self._shadow.update(f"{one.verdict.value} by {one.rule}" for one in instead)

    def _grade(self, event: Decided) -> None:
        """An interruption is as urgent as the most urgent alert that its incident has told."""
        if event.verdict not in TELLS:
            return
        incident = self._incidents.setdefault(event.incident, _Incident())
        if not incident.severity or severity_rank(event.severity) > severity_rank(incident.severity):
            incident.severity = event.severity

    def _attach(self, n: int, event: Decided) -> None:
        reached = self._reached(event)
        for made in reached:
            truth = self._history[n].truth
            made.real, made.noise = made.real or truth == "tp", made.noise or truth == "fp"
            if (n, made.receiver) not in self._has:
                self._has.add((n, made.receiver))
                made.alerts += 1
        if reached:
            self._told_at.setdefault(n, event.at)
        elif n not in self._told_at:
            self._kept.setdefault(n, _why(event))

    def _reached(self, event: Decided) -> list[_Interruption]:
        """The interruptions that this alert was in, or joined while people still read them."""
        incident = self._incidents.get(event.incident)
        if event.verdict not in TELLS or incident is None:
            return []
        return [made for made in incident.newest.values() if event.at - made.at <= READ_FOR]

    def outcome(self, name: str, promoted: int = 0) -> Outcome:
        """Everything counted so far."""
        made = [one for one in self._made if one.at >= self._since]
        return Outcome(
            name,
            _counted(made),
            {key: _counted([one for one in made if one.receiver == key]) for key in sorted({o.receiver for o in made})},
            {key: _counted([one for one in made if one.severity == key]) for key in _by_rank(made)},
            {n: at for n, at in self._told_at.items() if self._history[n].truth == "tp"},
            {n: why for n, why in self._kept.items() if self._history[n].truth == "tp"},
            dict(sorted(self._shadow.items())),
            promoted,
            self._escalations,
        )


def _interrupted(plan: Plan) -> Iterable[tuple[str, str]]:
    """(incident, receiver) of each message that interrupts; a receiver's channels say the same thing at once."""
    for delivery in plan.deliveries:
        if delivery.kind in INTERRUPTS and not (delivery.kind == "raise" and delivery.body):  # which an escalation has
            yield delivery.incident, delivery.receiver.rsplit("/", 2)[0]


def _by_rank(made: Iterable[_Interruption]) -> list[str]:
    return sorted({one.severity for one in made}, key=lambda name: (-severity_rank(name), name))


def _counted(made: Iterable[_Interruption]) -> Count:
    found = Count()
    for one in made:
        found.interruptions += 1
        found.real += one.real
        found.false += one.noise and not one.real
        found.unlabelled += not one.noise and not one.real
        found.alerts += one.alerts
    return found


def _why(event: Decided) -> Kept:
    reason = decisive(event.reasons)
    if event.verdict in TELLS:
        return Kept("late", reason.rule, f"it joined what people had been told over an hour before: {reason.sentence}")
    return Kept(event.verdict.value, reason.rule, reason.sentence)


def decisive(reasons: Sequence[Reason]) -> Reason:
    """The reason that made the verdict: the last that is not the routing that every told alert goes through."""
    for one in reversed(reasons):
        if one.rule != "routing":
            return one
    return reasons[-1] if reasons else Reason("intake", "no rule said anything")
