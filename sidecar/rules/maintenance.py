"""Maintenance and deployment windows: what they cover waits until the window ends; what then still fires is told.

Maintenance windows are configured, deployment windows are opened by API and end when their owner stops renewing them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from sidecar.config.matchers import Matcher, parse_matcher
from sidecar.domain import Decision, Verdict
from sidecar.events import WindowClosed
from sidecar.rules.base import TELLS, Batch, Due, Facts, changed, refined
from sidecar.state import BY_WINDOW, Window

LEASE_ENDED: Final = "its lease ended"


def maintenance_windows(batch: Batch, facts: Facts) -> Batch:
    """Hold what an active window covers until its end."""
    if not facts.state.windows and not facts.config.time_based_routing.maintenance_windows:
        return batch
    return changed(batch, (_hold(decision, facts) for decision in batch.decisions))


def _hold(decision: Decision, facts: Facts) -> Decision:
    if decision.verdict not in TELLS:
        return decision
    severity = decision.scored.pattern.severity
    resting = facts.config.maintenance(severity, facts.now)
    if resting is not None:
        name, ends_at = resting
        sentence = f"{severity} waits until the end of the maintenance window “{name}”"
        return refined(decision, Verdict.HOLD, "maintenance_windows", sentence, until=ends_at)
    for name, window in facts.state.windows.items():
        if window.ends_at > facts.now and covers(window, severity, decision.scored.alert.labels):
            sentence = f"{severity} waits until “{name}” of {window.owner} ends"
            return refined(decision, Verdict.HOLD, BY_WINDOW, sentence, until=window.ends_at)
    return decision


def covers(window: Window, severity: str, labels: dict[str, str]) -> bool:
    """Whether an alert waits for this deployment window."""
    return severity in window.severities and all(one.matches(labels) for one in _matchers(window.matchers))


@lru_cache(maxsize=1024)
def _matchers(texts: tuple[str, ...]) -> tuple[Matcher, ...]:
    return tuple(map(parse_matcher, texts))


def end_leases(facts: Facts) -> Iterable[Due]:
    """Close the deployment windows that nobody renewed."""
    for name, window in tuple(facts.state.windows.items()):
        if window.ends_at <= facts.now:
            yield Due((WindowClosed(facts.now, name, LEASE_ENDED),))
