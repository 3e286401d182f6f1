"""Who has been told of an incident and has not acknowledged it, and when that escalates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain import severity_rank
from sidecar.events import Acknowledged, Decided, EpisodeEnded, Escalated, IncidentClosed, Swept
from sidecar.state.dated import Dated

if TYPE_CHECKING:
    from sidecar.state import State


class Escalation(Struct, frozen=True, gc=False):
    """Of one incident that people were told."""

    told_at: float  # since when somebody should acknowledge it
    severity: str  # the highest people were told of
    due: float | None = None  # when it escalates; None: not, or no more
    level: int = 0  # how many times it has
    acked_at: float | None = None
    domain: str = ""
    over: bool = False  # everybody has been told, and told again
    rests: float | None = (
        None  # when it would have escalated, had it not cleared; until an incident that gathers is over
    )


class Escalations(Dated[Escalation]):
    """By incident."""

    def when(self, value: Escalation) -> float | None:
        return value.due


def _decide(state: State, event: Decided) -> None:
    if event.came_from:
        _rest(state, event.came_from)
    if not event.tell and event.ack_by is None:
        return
    known = state.escalations.get(event.incident)
    if known is None:
        made = Escalation(event.at, event.severity, event.ack_by, domain=event.domain)
        state.escalations.put(event.incident, made)
    elif event.ack_by is not None:
        after = _told_more(known, event)
        if after is not known:
            state.escalations.put(event.incident, after)
    _rest(state, event.incident)  # what had cleared before it was told


def _told_more(known: Escalation, event: Decided) -> Escalation:
    """A raised severity begins anew, and what interrupts people again has to be acknowledged again."""
    if severity_rank(event.severity) > severity_rank(known.severity):
        return Escalation(event.at, event.severity, event.ack_by, domain=event.domain)
    if event.again:
        due = None if known.over else event.ack_by
        return replace(known, told_at=event.at, due=due, acked_at=None)
    if known.due is None and known.acked_at is None and not known.over:  # it had cleared, and fires again
        due = event.ack_by if known.rests is None else max(known.rests, event.at)  # flapping is no answer
        return replace(known, due=due, rests=None)
    return known


def _acknowledge(state: State, event: Acknowledged) -> None:
    known = state.escalations.get(event.incident)
    if known is not None:
        state.escalations.put(event.incident, replace(known, due=None, acked_at=event.at))


def _escalate(state: State, event: Escalated) -> None:
    known = state.escalations.get(event.incident)
    if known is not None:
        after = replace(known, due=event.ack_by, level=event.level, over=event.ack_by is None)
        state.escalations.put(event.incident, after)


def _end(state: State, event: EpisodeEnded) -> None:
    known = state.episodes.get(event.fingerprint)
    if known is not None and known.incident:
        _rest(state, known.incident)


def _rest(state: State, name: str) -> None:
    """What has cleared need not be acknowledged."""
    known = state.escalations.get(name)
    if known is None or known.due is None:
        return
    incident = state.incidents.get(name)
    if incident is None or incident.firing == 0:
        rests = known.due if incident is not None and incident.settle else None
        state.escalations.put(name, replace(known, due=None, rests=rests))


def _close(state: State, event: IncidentClosed) -> None:
    known = state.escalations.get(event.incident)
    if known is not None and known.rests is not None:
        state.escalations.put(event.incident, replace(known, rests=None))


def _sweep(state: State, _: Swept) -> None:
    for name in [name for name in state.escalations if name not in state.incidents]:
        state.escalations.drop(name)


def due(state: State) -> float | None:
    """When the first incident escalates."""
    return state.escalations.first()


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {
    Decided: _decide,
    Acknowledged: _acknowledge,
    Escalated: _escalate,
    EpisodeEnded: _end,
    IncidentClosed: _close,
    Swept: _sweep,
}
