"""The guard cannot be argued with: what may never be suppressed is told, and shadow mode suppresses nothing.

Only people can: what a silence of theirs hides in Alertmanager stays hidden.

It is also where doubt ends: an alert without a score that a rule suppressed by score cannot exist, but one folded into
an incident that nobody was told of can, when the alert that would have opened it was suppressed. It is told instead.
"""

from __future__ import annotations

from msgspec.structs import replace

from sidecar.domain import Decision, Verdict
from sidecar.rules.base import Batch, Facts, guarded, refined

KEPT_BACK = frozenset({Verdict.SUPPRESS, Verdict.HOLD, Verdict.DIGEST})


def guard(batch: Batch, facts: Facts) -> Batch:
    """Turn what may not be kept back into NOTIFY."""
    opened = {d.incident for d in batch.decisions if d.verdict is Verdict.NOTIFY}
    decisions = []
    for decision in batch.decisions:
        guarded = _guarded(decision, facts, opened)
        if guarded.verdict is Verdict.NOTIFY:
            opened.add(guarded.incident)
        decisions.append(guarded)
    same = all(a is b for a, b in zip(decisions, batch.decisions, strict=True))
    return batch if same else replace(batch, decisions=tuple(decisions))


def _guarded(decision: Decision, facts: Facts, opened: set[str]) -> Decision:
    if decision.verdict in KEPT_BACK:
        return _released(decision, facts)
    if decision.verdict is Verdict.FOLD and decision.incident not in opened:
        incident = facts.state.incidents.get(decision.incident)
        if incident is None or incident.first_told is None:
            return refined(decision, Verdict.NOTIFY, "guard", "nobody was told of the incident it belongs to")
    return decision


def _released(decision: Decision, facts: Facts) -> Decision:
    severity, labels = decision.scored.pattern.severity, decision.scored.alert.labels
    if decision.reasons[-1].rule == "silenced" and facts.state.silenced_by_people(decision.scored.alert.fingerprint):
        return decision  # a person's silence is theirs: Alertmanager alone would not tell of it either
    if guarded(labels, severity, facts.config):
        return refined(decision, Verdict.NOTIFY, "guard", f"guard.never_suppress covers this {severity}", until=None)
    if facts.config.mode == "shadow":
        mark = f"shadow: would have been {_DONE[decision.verdict]}"
        told = refined(decision, Verdict.NOTIFY, "guard", "shadow mode keeps nothing back", until=None)
        return replace(told, marks=(*told.marks, mark))
    return decision


_DONE = {Verdict.SUPPRESS: "suppressed", Verdict.HOLD: "held", Verdict.DIGEST: "recorded and not sent"}
