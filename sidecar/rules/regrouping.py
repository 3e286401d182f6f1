"""Regrouping: what people took out of an incident goes on by itself, and what they merged goes on together.

`POST /api/v2/incidents/{incident}/take-out` and `/merge` move the alerts at once. It is remembered for 60 days, by kinds:
alertname with namespace and service. Two kinds that somebody took apart are folded together by no rule, but for an alert that
people have already (exact deduplication); two that somebody merged join the incident that has the other, while people still read it, unless that
would hide a raised severity. This comes after every rule that folds, so none of them has to know.

An alert that may not join what a rule found goes to the open incident that its own kind was last told in, else it
interrupts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from sidecar.domain import Decision, Move, Reason, Verdict, severity_rank
from sidecar.events import Regrouped
from sidecar.rules.base import TELLS, Batch, Facts, changed, refined
from sidecar.state.regroup import kind_of, pairs_of

RULE: Final = "regrouping"
EXACTLY: Final = "exact_deduplication"


class _Here:
    """Which kinds this batch tells where: no fold knows it yet."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.kinds: dict[str, list[str]] = {}
        self.homes: dict[str, str] = {}
        self.ranks: dict[str, int] = {}
        self.went: dict[str, str] = {}  # an incident that would have been opened: where its alert goes instead

    def note(self, kind: str, decision: Decision) -> None:
        self.kinds.setdefault(decision.incident, []).append(kind)
        self.homes[kind] = decision.incident
        if decision.verdict is Verdict.NOTIFY:
            self.ranks[decision.incident] = severity_rank(decision.scored.pattern.severity)

    def kinds_in(self, incident: str) -> tuple[str, ...]:
        return (*(self.facts.state.kinds.get(incident) or ()), *self.kinds.get(incident, ()))

    def home(self, kind: str, rank: int) -> str | None:
        """The incident that this kind was last told in, if it may be joined by an alert so severe."""
        name = self.homes.get(kind) or self.facts.state.homes.get(kind)
        if name is None:
            return None
        incident = self.facts.state.incidents.get(name)
        if incident is None or incident.first_told is None:
            return name if self.ranks.get(name, 0) >= rank else None
        lately = self.facts.now - incident.first_told <= self.facts.config.folding.for_
        return name if lately and incident.rank >= rank else None

    def apart(self, kind: str, incident: str) -> str | None:
        """Who does not want this kind in this incident, and because of which alert, in words."""
        kinds = self.kinds_in(incident)
        for pair in pairs_of(self.facts.state, kind, self.facts.now):
            if not pair.together and pair.other in kinds:
                return f"{pair.who} took the like out of an incident with {_name(pair.other)}"
        return None


def regrouping(batch: Batch, facts: Facts) -> Batch:
    """Move what people regrouped just now, and keep to what they said before."""
    moves = tuple(_moves(facts))
    if moves:
        batch = replace(batch, moves=(*batch.moves, *moves))
    if not facts.state.pairs:
        return batch
    here = _Here(facts)
    return changed(batch, [_keep_to_it(decision, here) for decision in batch.decisions])


def _moves(facts: Facts) -> Iterator[Move]:
    for event in facts.asked:
        if isinstance(event, Regrouped):
            done = "merged it into the incident of" if event.together else "took it out of the incident of"
            there = event.into if event.together else event.incident
            reason = Reason(RULE, f"{event.who} {done} {_first_of(there, facts)}")
            for episode in event.episodes:
                fingerprint = episode.rpartition("-")[0]
                known = facts.state.episodes.get(fingerprint)
                here = known is not None and known.episode == episode and known.incident == event.incident
                if known is not None and here and known.ended_at is None:
                    yield Move(fingerprint, event.into, reason, opens=not event.together)


def _keep_to_it(decision: Decision, here: _Here) -> Decision:
    if decision.verdict not in TELLS:
        return decision
    pattern = decision.scored.pattern
    kind = kind_of(pattern.alertname, pattern.namespace, pattern.service)
    if decision.verdict is Verdict.FOLD and decision.incident in here.went:
        name = here.went[decision.incident]
        decision = refined(decision, Verdict.FOLD, RULE, "so does the alert it belongs to", incident=name)
    if kind in here.facts.state.pairs:
        if decision.verdict is Verdict.NOTIFY and decision.gather is None:  # what opens an aggregate stays its opener
            own, decision = decision.incident, _together(decision, kind, here)
            if decision.incident != own:
                here.went[own] = decision.incident
        elif decision.verdict is Verdict.FOLD:
            decision = _apart(decision, kind, here)
    here.note(kind, decision)
    return decision


def _together(decision: Decision, kind: str, here: _Here) -> Decision:
    rank = severity_rank(decision.scored.pattern.severity)
    for pair in pairs_of(here.facts.state, kind, here.facts.now):
        name = here.home(pair.other, rank) if pair.together else None
        if name is not None and name != decision.incident and here.apart(kind, name) is None:
            sentence = f"{pair.who} merged the like with {_name(pair.other)}"
            return refined(decision, Verdict.FOLD, RULE, sentence, incident=name)
    return decision


def _apart(decision: Decision, kind: str, here: _Here) -> Decision:
    why = here.apart(kind, decision.incident)
    if why is None:
        return decision
    own = here.home(kind, severity_rank(decision.scored.pattern.severity))
    if own is not None and own != decision.incident and here.apart(kind, own) is None:
        return refined(decision, Verdict.FOLD, RULE, f"{why}: it joins its own", incident=own, gather=None)
    if decision.reasons[-1:] and decision.reasons[-1].rule == EXACTLY:
        return decision  # people have this very alert
    name = f"i-{decision.scored.episode}"
    return refined(decision, Verdict.NOTIFY, RULE, f"{why}: told apart", incident=name, gather=None)


def _first_of(incident: str, facts: Facts) -> str:
    """An incident in words: the kind of alert that it has had longest."""
    kinds = facts.state.kinds.get(incident) or ()
    return _name(kinds[0]) if kinds else incident


def _name(kind: str) -> str:
    alertname, namespace, service = kind.split("\x1f")
    where = "/".join(part for part in (namespace, service) if part)
    return f"{alertname} ({where})" if where else alertname
