"""The guard cannot be argued with: what may never be suppressed is told, and shadow mode suppresses nothing.

Only people can: what a silence of theirs hides in Alertmanager stays hidden.

It is also where doubt ends: an alert without a score that a rule suppressed by score cannot exist, but one folded into
an incident that nobody was told of can, when the alert that would have opened it was suppressed. It is told instead.

Mode shadow tells what would have been kept back, with a mark that says what would have been done, and by which rule.
Folding stays as it is: it tells people inside a message they have. An incident that people have in mode shadow alone counts
as untold to the rules, so that what they say stays what it would have been.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from sidecar.domain import Decision, Verdict, Would
from sidecar.rules.base import TELLS, Batch, Facts, changed, guarded, moment, open_incident, refined
from sidecar.state import key_of

RULE: Final = "guard"
KEPT_BACK = frozenset({Verdict.SUPPRESS, Verdict.HOLD, Verdict.DIGEST})
MARK: Final = "shadow: would have been"
_DONE: Final = {Verdict.SUPPRESS: "suppressed", Verdict.HOLD: "held", Verdict.DIGEST: "recorded and not sent"}
_SILENCED: Final = Would(Verdict.SUPPRESS, "repeated_false_positive")


def guard(batch: Batch, facts: Facts) -> Batch:
    """Turn what may not be kept back into NOTIFY."""
    opened = {d.incident for d in batch.decisions if d.verdict is Verdict.NOTIFY}
    shadow = facts.config.mode == "shadow"
    decisions = []
    for decision in batch.decisions:
        guarded = _guarded(decision, facts, opened)
        if guarded.verdict is Verdict.NOTIFY:
            opened.add(guarded.incident)
        decisions.append(_shadowed(guarded, facts) if shadow else guarded)
    return changed(batch, decisions)


def _guarded(decision: Decision, facts: Facts, opened: set[str]) -> Decision:
    if decision.verdict in KEPT_BACK:
        return _released(decision, facts)
    if decision.verdict is Verdict.FOLD and decision.incident not in opened:
        incident = facts.state.incidents.get(decision.incident)
        if incident is None or incident.first_told is None:
            return refined(decision, Verdict.NOTIFY, RULE, "nobody was told of the incident it belongs to")
    return decision


def _released(decision: Decision, facts: Facts) -> Decision:
    severity, labels = decision.scored.pattern.severity, decision.scored.alert.labels
    if guarded(labels, severity, facts.config) and not _by_people(decision, facts):
        return refined(decision, Verdict.NOTIFY, RULE, f"guard.never_suppress covers this {severity}", until=None)
    return decision


def _by_people(decision: Decision, facts: Facts) -> bool:
    """A person's silence is theirs: Alertmanager alone would not tell of it either."""
    silenced = decision.reasons[-1].rule == "silenced"
    return silenced and facts.state.silenced_by_people(decision.scored.alert.fingerprint)


# ------------------------------------------------------------------------------------------------------------ mode shadow


def _shadowed(decision: Decision, facts: Facts) -> Decision:
    """What is told in mode shadow, with what would have been done instead where that is something else."""
    if decision.verdict in KEPT_BACK:
        return decision if _by_people(decision, facts) else _told(decision, facts)
    if facts.state.unasked and _would_be_silenced(decision, facts):
        return _marked(decision, _SILENCED, f"{MARK} silenced as a repeated false positive")
    if decision.verdict is Verdict.FOLD:
        known = facts.state.incidents.get(decision.incident)
        if known is not None and known.shadow:
            return replace(decision, would=Would(Verdict.NOTIFY, decision.reasons[-1].rule))
    return decision


def _would_be_silenced(decision: Decision, facts: Facts) -> bool:
    ends_at = facts.state.unasked.get(key_of(decision.scored.pattern))
    if ends_at is None or ends_at <= facts.now or decision.verdict not in TELLS:
        return False
    return not guarded(decision.scored.alert.labels, decision.scored.pattern.severity, facts.config)


def _told(decision: Decision, facts: Facts) -> Decision:
    rule = decision.reasons[-1].rule
    until = "" if decision.until is None else f" for {moment(max(0.0, decision.until - facts.now))}"
    verdict, incident = _as_if(decision, facts)
    told = refined(decision, verdict, RULE, "shadow mode keeps nothing back", until=None, incident=incident)
    return _marked(told, Would(decision.verdict, rule), f"{MARK} {_DONE[decision.verdict]}{until} by {rule}")


def _as_if(decision: Decision, facts: Facts) -> tuple[Verdict, str]:
    """Where it would be told if no rule had kept it back: in an incident that people have, where there is one."""
    known = facts.state.incidents.get(decision.incident)
    if known is not None and known.first_told is not None:
        return Verdict.FOLD, decision.incident
    found = open_incident(decision.scored.keys[:-1], facts)  # a window and a silence come before folding
    return (Verdict.FOLD, found[1]) if found is not None else (Verdict.NOTIFY, decision.incident)


def _marked(decision: Decision, would: Would, mark: str) -> Decision:
    return replace(decision, would=would, marks=(*decision.marks, mark))
