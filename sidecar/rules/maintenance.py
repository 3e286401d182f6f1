"""Maintenance windows: what they suppress waits until the window ends; what then still fires is told."""

from __future__ import annotations

from sidecar.domain import Decision, Verdict
from sidecar.rules.base import TELLS, Batch, Facts, changed, refined


def maintenance_windows(batch: Batch, facts: Facts) -> Batch:
    """Hold what an active window suppresses until its end."""
    if not facts.config.time_based_routing.maintenance_windows:
        return batch
    return changed(batch, (_hold(decision, facts) for decision in batch.decisions))


def _hold(decision: Decision, facts: Facts) -> Decision:
    if decision.verdict not in TELLS:
        return decision
    severity = decision.scored.pattern.severity
    window = facts.config.maintenance(severity, facts.now)
    if window is None:
        return decision
    name, ends_at = window
    sentence = f"{severity} waits until the end of the maintenance window “{name}”"
    return refined(decision, Verdict.HOLD, "maintenance_windows", sentence, until=ends_at)
