"""The guard cannot be argued with: what may never be suppressed is told, and shadow mode suppresses nothing.

It is also where doubt ends: an alert without a score that a rule suppressed by score cannot exist, but one folded into
an incident that nobody was told of can, when the alert that would have opened it was suppressed. It is told instead.

Mode shadow tells what would have been kept back, with a mark that says what would have been done, and by which rule.
Silences are withheld: recorded, and not asked for. Folding stays as it is: it tells people inside a message they have. An
incident that people have in mode shadow alone counts as untold to the rules, so that what they say stays what it would
have been.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from sidecar.domain import Decision, SilenceRequest, Verdict, Would
from sidecar.rules.base import TELLS, Batch, Facts, changed, guarded, moment, refined
from sidecar.state import key_of

RULE: Final = "guard"
SILENCES: Final = "repeated_false_positive"
KEPT_BACK = frozenset({Verdict.SUPPRESS, Verdict.HOLD, Verdict.DIGEST})
MARK: Final = "shadow: would have been"
_DONE: Final = {Verdict.SUPPRESS: "suppressed", Verdict.HOLD: "held", Verdict.DIGEST: "recorded and not sent"}


def guard(batch: Batch, facts: Facts) -> Batch:
    """Turn what may not be kept back into NOTIFY, and withhold silences in shadow mode."""
    opened = {d.incident for d in batch.decisions if d.verdict is Verdict.NOTIFY}
    shadow = facts.config.mode == "shadow"
    decisions = []
    for decision in batch.decisions:
        guarded = _guarded(decision, facts, opened)
        if guarded.verdict is Verdict.NOTIFY:
            opened.add(guarded.incident)
        decisions.append(_shadowed(decision, guarded, facts) if shadow else guarded)
    batch = changed(batch, decisions)
    if shadow and batch.silences:
        return replace(batch, silences=(), withheld=tuple(_withheld(batch.silences, facts)))
    return batch


def _guarded(decision: Decision, facts: Facts, opened: set[str]) -> Decision:
    if decision.verdict in KEPT_BACK:
        severity, labels = decision.scored.pattern.severity, decision.scored.alert.labels
        if not guarded(labels, severity, facts.config):
            return decision
        return refined(decision, Verdict.NOTIFY, RULE, f"guard.never_suppress covers this {severity}", until=None)
    if decision.verdict is Verdict.FOLD and decision.incident not in opened:
        incident = facts.state.incidents.get(decision.incident)
        if incident is None or incident.first_told is None:
            return refined(decision, Verdict.NOTIFY, RULE, "nobody was told of the incident it belongs to")
    return decision


# ------------------------------------------------------------------------------------------------------------ mode shadow


def _shadowed(before: Decision, decision: Decision, facts: Facts) -> Decision:
    """What is told in mode shadow, with what would have been done instead where that is something else."""
    if decision.verdict in KEPT_BACK:
        return _told(decision, facts)
    if decision.verdict in TELLS and decision is before:
        ends_at = facts.state.unasked.get(key_of(decision.scored.pattern)) if len(facts.state.unasked) else None
        if ends_at is not None and ends_at > facts.now and not _guards(decision, facts):
            would = Would(Verdict.SUPPRESS, SILENCES)
            return _marked(decision, would, f"{MARK} silenced as a repeated false positive")
    if decision.verdict is Verdict.FOLD and _in_name(decision, facts):
        return replace(decision, would=Would(Verdict.NOTIFY, decision.reasons[-1].rule))
    return decision


def _told(decision: Decision, facts: Facts) -> Decision:
    rule = decision.reasons[-1].rule if decision.reasons else RULE
    until = "" if decision.until is None else f" for {moment(max(0.0, decision.until - facts.now))}"
    would, done = Would(decision.verdict, rule), _DONE[decision.verdict]
    known = facts.state.incidents.get(decision.incident)
    verdict = Verdict.FOLD if known is not None and known.first_told is not None else Verdict.NOTIFY
    told = refined(decision, verdict, RULE, "shadow mode keeps nothing back", until=None)
    return _marked(told, would, f"{MARK} {done}{until} by {rule}")


def _marked(decision: Decision, would: Would, mark: str) -> Decision:
    return replace(decision, would=would, marks=(*decision.marks, mark))


def _guards(decision: Decision, facts: Facts) -> bool:
    return guarded(decision.scored.alert.labels, decision.scored.pattern.severity, facts.config)


def _in_name(decision: Decision, facts: Facts) -> bool:
    known = facts.state.incidents.get(decision.incident)
    return known is not None and known.shadow


def _withheld(requests: tuple[SilenceRequest, ...], facts: Facts) -> list[SilenceRequest]:
    """Each once while it would have lasted: every vote on its pattern asks anew."""
    known = facts.state.unasked
    return [one for one in requests if (known.get(key_of(one.pattern)) or 0.0) <= facts.now]
