"""Escalation: an incident that nobody acknowledges within its severity's SLA is told to the next role.

Whoever votes on it, in any way and from any side, has it in hand. What clears need not be acknowledged; the time of what
flaps, and is not over yet, runs on. When all roles have been told, the same people are interrupted once more, and that is
the end: an incident escalates at most once for each step. It runs as a duty: the time is recorded when people are told, and
kept in `state.escalations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sidecar.config.routing import Step
from sidecar.domain import Delivery
from sidecar.events import Escalated
from sidecar.rules.base import Due, Facts, moment
from sidecar.state import Escalation, Incident

MOST: Final = 100  # incidents in one batch; the ticker comes back for the rest


def escalate(facts: Facts) -> Iterable[Due]:
    """Tell the next role of what nobody acknowledged in time."""
    state = facts.state
    for name in state.escalations.due(facts.now, MOST):
        known, incident = state.escalations[name], state.incidents.get(name)
        next_by = facts.config.acknowledged_by(known.severity, facts.now)
        if incident is None or next_by is None:  # forgotten, or the configuration says so no more
            yield Due((Escalated(facts.now, name, known.level),))
        else:
            yield _step(name, known, incident, next_by, facts)


def _step(name: str, known: Escalation, incident: Incident, next_by: float, facts: Facts) -> Due:
    level, reached = known.level + 1, tuple(one.receiver for one in incident.reached)
    waited = f"not acknowledged within {moment(facts.config.sla_of(known.severity) * level)}"
    step = _next(facts.config.escalation_steps(known.severity, known.domain, facts.now), reached)
    if step is None:
        reason = f"{waited}: everybody who was told is told once more"
        event = Escalated(facts.now, name, level, (), reached, None, known.severity, reason)
    else:
        new = {receiver: role for role, receiver in reversed(step.named) if receiver not in reached}
        reason = f"{waited}: escalated to {', '.join(reversed(new.values()))}, {step.why}"
        event = Escalated(facts.now, name, level, tuple(reversed(new)), (), next_by, known.severity, reason)
    return Due((event,), tuple(_deliveries(event, known, facts)))


def _next(steps: Iterable[Step], reached: tuple[str, ...]) -> Step | None:
    return next((step for step in steps if any(one not in reached for _, one in step.named)), None)


def _deliveries(event: Escalated, known: Escalation, facts: Facts) -> Iterator[Delivery]:
    for receiver in (*event.tell, *event.again):
        for target, kinds in facts.config.targets(receiver):
            if "raise" in kinds:
                key = f"{event.incident}/{target}/raise/sla-{event.level}-{int((known.due or facts.now) * 1000)}"
                yield Delivery(key, target, event.incident, "raise", facts.now, body=event.reason)
