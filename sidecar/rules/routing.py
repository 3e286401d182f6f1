"""Routing by severity, domain and time: which receivers an alert belongs to, and whom one that is raised interrupts.

What a window gives nobody (`INFO: []` in off hours) waits for the first moment at which its route names somebody: what
still fires then is told, and what has cleared by then goes to the digest.
"""

from __future__ import annotations

from msgspec.structs import replace

from sidecar.domain import Decision, Reason, Verdict, severity_rank
from sidecar.rules.base import TELLS, Batch, Facts, changed, guarded, moment, refined

QUIET = 600.0  # s: twice Alertmanager's usual group_interval


def routing(batch: Batch, facts: Facts) -> Batch:
    """Give each decision its receivers; what an operator's empty list names nobody for waits until one does."""
    return changed(batch, (_route(decision, facts) for decision in batch.decisions))


def _route(decision: Decision, facts: Facts) -> Decision:
    severity = decision.scored.pattern.severity
    route = facts.config.route(severity, decision.scored.alert.labels, facts.now)
    if decision.verdict not in TELLS:
        same = decision.receivers == route.receivers
        return decision if same else replace(decision, receivers=route.receivers)
    if not route.receivers:
        if not guarded(decision.scored.alert.labels, severity, facts.config):
            return _later(decision, route.sentence, facts)
        default = facts.config.default
        route = route._replace(receivers=(default,), sentence=f"{route.sentence}, but {severity} is never kept back")
    routed = replace(
        decision, receivers=route.receivers, reasons=(*decision.reasons, Reason("routing", route.sentence))
    )
    return _raised(routed, facts) if routed.verdict is Verdict.FOLD and not routed.interrupts else routed


def _later(decision: Decision, sentence: str, facts: Facts) -> Decision:
    severity, labels = decision.scored.pattern.severity, decision.scored.alert.labels
    at = facts.config.told_from(severity, labels, facts.now)
    own = f"i-{decision.scored.episode}"  # in no incident that people have: it would keep it open
    if at is None or at <= facts.now:
        why = f"{sentence}, nor within the next eight days"
        return refined(decision, Verdict.DIGEST, "routing", why, incident=own, gather=None)
    told = f"{sentence}: told if it still fires in {moment(at - facts.now)}, when somebody is named"
    return refined(decision, Verdict.HOLD, "routing", told, until=at, incident=own, gather=None)


def _raised(decision: Decision, facts: Facts) -> Decision:
    """A guarded alert interrupts those who have the incident when it raises the severity, or fires again after all was
    quiet. Any other raised severity reaches only the receivers that have not been told.
    """
    incident, severity = facts.state.incidents.get(decision.incident), decision.scored.pattern.severity
    if incident is None or incident.first_told is None:
        return decision
    if not guarded(decision.scored.alert.labels, severity, facts.config):
        return decision
    if severity_rank(severity) > incident.rank:
        return refined(decision, Verdict.FOLD, "routing", f"severity raised to {severity}", interrupts=True)
    quiet = facts.now - incident.last > QUIET  # what goes off and on again within minutes is one thing
    if incident.firing == 0 and quiet:
        sentence = f"{severity} fires again after it had cleared"
        return refined(decision, Verdict.FOLD, "routing", sentence, interrupts=True)
    return decision
