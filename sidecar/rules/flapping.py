"""Flapping: an alert that fires and resolves again and again is one incident, over when it has been quiet.

The incident that people have stays the one, and nobody is interrupted anew: its title says that the alert is flapping and
how often it fired, and its resolves are not sent until nothing has fired for `quiet`. Where they have none, the alert
opens one as usual, which the score may hold or suppress as any other.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from sidecar.config.durations import format_duration
from sidecar.domain import Decision, Gather, Reason, Verdict, what_and_where
from sidecar.rules.base import TELLS, Batch, Facts, changed, gathered, gathering, plain
from sidecar.state import KEPT_STARTS

RULE: Final = "flapping"


def flapping(batch: Batch, facts: Facts) -> Batch:
    """Let what flaps gather in one incident."""
    rule = facts.config.flapping
    if not rule.enabled:
        return batch
    starts, before = facts.state.starts, facts.now - rule.window
    decisions = batch.decisions
    often = [
        len(times := starts.get(decision.scored.alert.fingerprint, ())) >= rule.times and times[-rule.times] >= before
        for decision in decisions
    ]
    if True not in often:
        return batch
    return changed(batch, [_flap(one, facts) if flaps else one for one, flaps in zip(decisions, often, strict=True)])


def _flap(decision: Decision, facts: Facts) -> Decision:
    if decision.verdict not in TELLS or decision.gather is not None:
        return decision
    rule, alert = facts.config.flapping, decision.scored.alert
    times = [at for at in facts.state.starts[alert.fingerprint] if at >= facts.now - rule.window]
    count = f"{len(times)}{' or more' if len(times) == KEPT_STARTS else ''} times in {format_duration(rule.window)}"
    said = f"{what_and_where(alert.labels)} is flapping ({count})"
    key, reason = f"flapping={alert.fingerprint}", Reason(RULE, f"it fired {count}")
    gather = Gather(key, plain(said), rule.quiet, calm=True)
    if decision.verdict is Verdict.FOLD:
        return _folded(decision, gather, reason, facts)
    name = gathering(key, facts)
    if name is not None and _lately(name, facts):
        return gathered(decision, name, gather, reason, facts)
    return replace(decision, reasons=(*decision.reasons, reason), gather=gather)


def _folded(decision: Decision, gather: Gather, reason: Reason, facts: Facts) -> Decision:
    """In the incident that it joins anyhow; only one that it opened itself, or that has no name of its own, gets its."""
    incident = facts.state.incidents.get(decision.incident)
    if incident is None or incident.first_told is None:
        return decision  # opened by this batch, or told to nobody
    own = decision.incident.startswith(f"i-{decision.scored.alert.fingerprint}-")
    named = gather if own else Gather(gather.key, incident.title, gather.settle, calm=True)
    return replace(decision, reasons=(*decision.reasons, reason), gather=named)


def _lately(name: str, facts: Facts) -> bool:
    incident = facts.state.incidents[name]
    told = max((one.at for one in incident.reached), default=0.0)
    return facts.now - told <= facts.config.folding.for_
