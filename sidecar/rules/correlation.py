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

from math import exp
from typing import Final

from msgspec.structs import replace

from sidecar.domain import Decision, Reason, Verdict, severity_rank
from sidecar.rules.base import TELLS, Batch, Facts, changed, moment, open_incident, refined
from sidecar.state.arrivals import KEPT, Arrival

RULE: Final = "temporal_correlation"
HOUR: Final = 3600.0
BY_CHANCE: Final = 0.01
_NOBODY: Final[tuple[str, Reason | None]] = ("", None)


class _Batched:
    """What this batch tells: no fold knows it yet."""

    def __init__(self) -> None:
        self.opened: dict[str, tuple[str, Reason]] = {}  # by fold key: the incident, and why others fold into it
        self.arrivals: dict[str, list[str]] = {}  # by part of the topology: incidents
        self.ranks: dict[str, int] = {}  # of the incidents it opens
        self.went: dict[str, str] = {}  # an incident that would have been opened: where its alert goes instead


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
    if decision.verdict in TELLS:
        for key in decision.scored.near:
            batched.arrivals.setdefault(key, []).append(decision.incident)
    return decision


def _by_key(decision: Decision, facts: Facts, opened: dict[str, tuple[str, Reason]]) -> Decision:
    """By instance or group."""
    keys = decision.scored.keys[:-1]
    found = open_incident(keys, facts)
    if found is not None:
        key, name, since = found
        sentence = f"{_of(key)}, told {moment(since)} ago"
        return refined(decision, Verdict.FOLD, RULE, sentence, incident=name)
    for key in keys:
        first, reason = opened.get(key, _NOBODY)
        if reason is not None and first != decision.incident:
            return replace(decision, verdict=Verdict.FOLD, incident=first, reasons=(*decision.reasons, reason))
    return decision


def _open(decision: Decision, batched: _Batched) -> None:
    for key in decision.scored.keys[:-1]:
        reason = Reason(RULE, f"{_of(key)}, in the same message")
        batched.opened[key] = (decision.incident, reason)
    if decision.scored.near:
        batched.ranks[decision.incident] = severity_rank(decision.scored.pattern.severity)


def _of(key: str) -> str:
    name, _, value = key.partition("=")
    return "the same Alertmanager group" if name == "group" else f"the same {name} {value.lstrip('/')}"


# ----------------------------------------------------------------------------------------------------- several at a time


def _by_crowd(decision: Decision, facts: Facts, batched: _Batched) -> Decision:
    settings, now = facts.config.deduplication.strategies.temporal_correlation, facts.now
    for key in decision.scored.near:
        known, here = facts.state.arrivals.get(key) or (), batched.arrivals.get(key) or []
        if len(known) + len(here) + 1 < settings.min_alerts:
            continue
        since = now - settings.window
        recent = [*(one.incident for one in known if one.at > since), *here]
        count = len(recent) + 1
        if count < settings.min_alerts or _usual(count, known, settings.window, now):
            continue
        name = next((name for name in recent if _joins(name, decision, facts, batched)), None)
        if name is not None:
            sentence = f"{_ordinal(count)} alert of {_of(key)} within {moment(settings.window)}"
            return refined(decision, Verdict.FOLD, RULE, sentence, incident=name)
    return decision


def _joins(name: str, decision: Decision, facts: Facts, batched: _Batched) -> bool:
    """Whether people have this incident, or get it with this batch, lately enough and as severe."""
    rank, incident = severity_rank(decision.scored.pattern.severity), facts.state.incidents.get(name)
    if name == decision.incident:
        return False
    if incident is None or incident.first_told is None:
        return batched.ranks.get(name, 0) >= rank
    return facts.now - incident.first_told <= facts.config.folding.for_ and incident.rank >= rank


def _usual(count: int, known: tuple[Arrival, ...], window: float, now: float) -> bool:
    """Whether so many within the window are what the hour before lets one expect, by Poisson's law."""
    before = [one.at for one in known if now - HOUR < one.at <= now - window]
    span = min(HOUR, now - known[0].at) - window if len(known) >= KEPT else HOUR - window
    if not before or span <= 0.0:
        return bool(before)
    expected = len(before) / span * window
    term = below = exp(-expected)
    for n in range(1, count):
        term *= expected / n
        below += term
    return 1.0 - below > BY_CHANCE


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
