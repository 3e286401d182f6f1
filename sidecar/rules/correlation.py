"""Folding: alerts of one instance, or of one Alertmanager group, become one incident for up to an hour; and so do several
alerts within minutes in one part of the topology.

Folding by instance is the cheapest safe win there is: nothing is hidden, it arrives inside a message that people have
just read. It ends a configured time (60 minutes) after the incident's first message, since people have moved on by
then: the next alert interrupts again. An alert folds only into an incident that people were told of.

The other way needs more: `min_alerts` within `window` that share a label. The one that completes the number, and those
after it, join the incident that people were told of first. The earlier ones stay where they are: people have those
messages, and to close one in favour of another would be one more thing to read. In a part where alerts come by all the
time, three in two minutes are no sign of anything: there, it takes more than the last hour's rate lets one expect.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp
from typing import Final

from msgspec.structs import replace

from sidecar.domain import Decision, Reason, Verdict, severity_rank
from sidecar.rules.base import TELLS, Batch, Facts, changed, moment, open_incident, refined, shared
from sidecar.state.arrivals import KEPT, Arrival

RULE: Final = "temporal_correlation"
HOUR: Final = 3600.0
BY_CHANCE: Final = 0.01
_NOBODY: Final[tuple[str, Reason | None]] = ("", None)


class _Batched:
    """What this batch tells: no fold knows it yet."""

    def __init__(self) -> None:
        self.opened: dict[str, tuple[str, Reason]] = {}  # by fold key: the incident, and why others fold into it
        self.crowds: dict[str, _Crowd] = {}  # by part of the topology
        self.ranks: dict[str, int] = {}  # of the incidents it opens
        self.went: dict[str, str] = {}  # an incident that would have been opened: where its alert goes instead

    def crowd(self, key: str, facts: Facts) -> _Crowd:
        found = self.crowds.get(key)
        if found is None:
            found = self.crowds[key] = _Crowd(key, facts)
        return found


class _Crowd:
    """What came together in one part of the topology within the window, this batch included."""

    __slots__ = ("_began", "_enough", "_facts", "_first", "_known", "_recent", "count", "words")

    def __init__(self, key: str, facts: Facts) -> None:
        known = facts.state.arrivals.get(key) or ()
        settings = facts.config.deduplication.strategies.temporal_correlation
        since = facts.now - settings.window
        began = bisect_right(known, since, key=_at) if known and known[-1].at > since else len(known)
        self._facts = facts
        self._recent = [one.incident for one in known[began:]]  # and what this batch opens
        self._first: dict[int, str | None] = {}  # found already, by severity
        self.count = len(self._recent)
        self.words = f"{shared(key)} within {moment(settings.window)}"
        self._known, self._began = known, began
        self._enough: int | None = None

    def complete(self) -> bool:
        """Whether one more alert makes them so many that it is no chance, by the hour before."""
        settings = self._facts.config.deduplication.strategies.temporal_correlation
        if self.count + 1 < settings.min_alerts:
            return False
        if self._enough is None:
            self._enough = _unusual(settings.min_alerts, self._known, self._began, settings.window, self._facts.now)
        return self.count + 1 >= self._enough

    def first(self, rank: int, ranks: dict[str, int]) -> str | None:
        """The incident told first that is as severe, or more, and may be joined; `ranks` of those this batch opens."""
        if self._first.get(rank) is None:
            self._first[rank] = next((name for name in self._recent if self._severity(name, ranks) >= rank), None)
        return self._first[rank]

    def _severity(self, name: str, ranks: dict[str, int]) -> int:
        """That people were told of, lately enough; else 0."""
        incident = self._facts.state.incidents.get(name)
        if incident is None or incident.first_told is None:
            return ranks.get(name, 0)
        return incident.rank if self._facts.now - incident.first_told <= self._facts.config.folding.for_ else 0

    def take(self, incident: str) -> None:
        """One more alert of this batch."""
        self.count += 1
        self._recent.append(incident)


def _at(arrival: Arrival) -> float:
    return arrival.at


def temporal_correlation(batch: Batch, facts: Facts) -> Batch:
    """Fold each new alert into the open incident of its instance or group, or into where several came together."""
    batched = _Batched()
    return changed(batch, [_fold(decision, facts, batched) for decision in batch.decisions])


def _fold(decision: Decision, facts: Facts, batched: _Batched) -> Decision:
    if decision.verdict is Verdict.NOTIFY:
        own = decision.incident
        decision = _by_key(decision, facts, batched.opened)
        if decision.verdict is Verdict.NOTIFY and decision.scored.near:
            decision = _by_crowd(decision, facts, batched)
        if decision.verdict is Verdict.NOTIFY:
            _open(decision, batched)
        else:
            batched.went[own] = decision.incident
    elif decision.verdict is Verdict.FOLD and decision.incident in batched.went:
        name = batched.went[decision.incident]
        decision = refined(decision, Verdict.FOLD, RULE, "so does the alert it belongs to", incident=name)
    if decision.scored.near and decision.verdict in TELLS:
        _arrive(decision, facts, batched)
    return decision


def _arrive(decision: Decision, facts: Facts, batched: _Batched) -> None:
    for key in decision.scored.near:
        batched.crowd(key, facts).take(decision.incident)


def _by_key(decision: Decision, facts: Facts, opened: dict[str, tuple[str, Reason]]) -> Decision:
    """By instance or group."""
    keys = decision.scored.keys[:-1]
    found = open_incident(keys, facts)
    if found is not None:
        key, name, since = found
        sentence = f"{shared(key)}, told {moment(since)} ago"
        return refined(decision, Verdict.FOLD, RULE, sentence, incident=name)
    for key in keys:
        first, reason = opened.get(key, _NOBODY)
        if reason is not None and first != decision.incident:
            return replace(decision, verdict=Verdict.FOLD, incident=first, reasons=(*decision.reasons, reason))
    return decision


def _open(decision: Decision, batched: _Batched) -> None:
    for key in decision.scored.keys[:-1]:
        reason = Reason(RULE, f"{shared(key)}, in the same message")
        batched.opened[key] = (decision.incident, reason)
    if decision.scored.near:
        batched.ranks[decision.incident] = severity_rank(decision.scored.pattern.severity)


# ----------------------------------------------------------------------------------------------------- several at a time


def _by_crowd(decision: Decision, facts: Facts, batched: _Batched) -> Decision:
    rank = severity_rank(decision.scored.pattern.severity)
    for key in decision.scored.near:
        crowd = batched.crowd(key, facts)
        name = crowd.first(rank, batched.ranks) if crowd.complete() else None
        if name is not None and name != decision.incident:
            reason = Reason(RULE, f"{_ordinal(crowd.count + 1)} alert of {crowd.words}")
            return replace(decision, verdict=Verdict.FOLD, incident=name, reasons=(*decision.reasons, reason))
    return decision


def _unusual(count: int, known: tuple[Arrival, ...], began: int, window: float, now: float) -> int:
    """How many within the window are more than the hour before lets one expect, by Poisson's law; at least `count`.

    `began`: how many of the arrivals were before the window.
    """
    before = began - bisect_right(known, now - HOUR, hi=began, key=_at)
    span = (min(HOUR, now - known[0].at) if len(known) >= KEPT else HOUR) - window
    if before == 0 or span <= 0.0:  # a crowd so large that it hides the hour before is one
        return count
    return _beyond(before / span * window, count)


def _beyond(expected: float, least: int) -> int:
    """The smallest number, of these at least, that comes by chance with a probability of BY_CHANCE at most."""
    n, below, term = 0, 0.0, exp(-expected)
    while n < least or 1.0 - below > BY_CHANCE:
        below += term
        n += 1
        term *= expected / n
    return n


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
