"""Incidents: what was decided, who was told, what is held, and what still has to settle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from sidecar.domain import Alert, Verdict, severity_rank
from sidecar.events import Decided, Delivered, Escalated, IncidentClosed, Swept
from sidecar.state.records import BY_SCORE, TRAINED, Hold, Incident, Told, forget

if TYPE_CHECKING:
    from sidecar.state import State

KEPT_TIMES: Final = 2  # how often alerts of an instance are kept back within an hour before the next one is told
TELLS: Final = (Verdict.NOTIFY, Verdict.FOLD)
AT_ONCE: Final = 300.0  # s: what is kept back within these counts as once


def _decide(state: State, event: Decided) -> None:
    fingerprint = event.episode.rpartition("-")[0]
    known = state.episodes.get(fingerprint)
    joins = known is not None and known.episode == event.episode and known.ended_at is None
    moved = joins and known is not None and known.incident != event.incident
    if known is not None and known.episode == event.episode:
        if moved and known.incident:
            _leave(state, known.incident, event.at)
        state.episodes.put(
            fingerprint, replace(known, incident=event.incident, verdict=event.verdict.value, decided_at=event.at)
        )
    by_score = _kept_by_score(event)
    if by_score and known is not None and fingerprint not in state.holds:
        _keep(state, known.keys.instance or known.keys.alertname, event.at)
    if joins and event.verdict is Verdict.HOLD and event.alert is not None and event.until is not None:
        state.holds.put(fingerprint, _held(event, event.alert, event.until, state.holds.get(fingerprint)))
    elif state.holds.get(fingerprint) is not None:
        state.holds.drop(fingerprint)
    _join(state, event, 1 if moved else 0)


def _kept_by_score(event: Decided) -> bool:
    """Mode shadow counts what it would have kept back: else it would go on where another mode stops."""
    if event.would is not None:
        return event.would.rule == BY_SCORE and event.would.verdict in (Verdict.HOLD, Verdict.SUPPRESS)
    kept = event.verdict is Verdict.HOLD or event.verdict is Verdict.SUPPRESS
    return kept and bool(event.reasons) and event.reasons[-1].rule == BY_SCORE


def _held(event: Decided, alert: Alert, until: float, before: Hold | None) -> Hold:
    by = event.reasons[-1].rule if event.reasons else ""
    score = event.score if by == BY_SCORE and event.model.startswith(TRAINED) else None
    if before is not None and before.by == by == BY_SCORE:  # looked at again while it waits: the lowest score counts
        score = None if score is None or before.score is None else min(score, before.score)
    return Hold(until, alert, event.group_key, event.at, event.given, score, by)


def _keep(state: State, instance: str, at: float) -> None:
    """What is kept back within some minutes counts as one."""
    known = state.kept.get(instance) or ()
    if instance and (not known or at - known[-1] >= AT_ONCE):
        state.kept.put(instance, (*known, at)[-KEPT_TIMES:])


def _join(state: State, event: Decided, firing: int) -> None:
    incident = state.incidents.get(event.incident) or Incident(event.at)
    told, first, rank = incident.told, incident.first_told, incident.rank
    if event.tell or event.again:
        told = _told_now(told, (*event.tell, *event.again), event.at)
        first = event.at if first is None else first
        rank = max(rank, severity_rank(event.severity))
    elif event.verdict in TELLS and any(one.at == event.at for one in told):  # in the message that is on its way
        rank = max(rank, severity_rank(event.severity))
    fires, settle = incident.firing + firing, event.settle or incident.settle
    title = event.title or incident.title
    joined = Incident(
        incident.opened_at,
        fires,
        first,
        told,
        rank,
        incident.resolves,
        event.at,
        settle,
        title,
        _in_name(incident, event),
    )
    state.incidents.put(event.incident, joined)
    if settle:
        _settle(state, event.incident, fires, event.at + settle)
    for key in event.keys:
        state.folding.put(key, event.incident)


def _in_name(incident: Incident, event: Decided) -> bool:
    """Whether all that was told in an incident would have been kept back in another mode than shadow."""
    if event.verdict not in (Verdict.NOTIFY, Verdict.FOLD) or incident.counts:
        return incident.shadow
    if event.would is not None:
        return event.would.verdict is not Verdict.NOTIFY
    return incident.shadow and event.verdict is Verdict.FOLD


def _settle(state: State, name: str, firing: int, due: float) -> None:
    """When people are to be told that it is over: not while anything of it fires."""
    if firing == 0:
        state.settling.put(name, due)
    elif name in state.settling:
        state.settling.drop(name)


def _leave(state: State, name: str, at: float) -> None:
    incident = state.incidents.get(name)
    if incident is None:
        return
    firing = max(0, incident.firing - 1)
    settles = firing == 0 and incident.settle > 0
    resolves = incident.resolves + (firing == 0 and not settles)
    state.incidents.put(name, replace(incident, firing=firing, resolves=resolves, last=at))
    if settles:
        _settle(state, name, 0, at + incident.settle)


def _close(state: State, event: IncidentClosed) -> None:
    if event.incident in state.settling:
        state.settling.drop(event.incident)
    incident = state.incidents.get(event.incident)
    if incident is not None:
        state.incidents.put(event.incident, replace(incident, resolves=incident.resolves + 1, last=event.at))


def _deliver(state: State, event: Delivered) -> None:
    """A message that will never arrive told nobody: the receiver is told again at the next occasion."""
    incident = state.incidents.get(event.incident)
    lost = event.outcome == "dead"
    if incident is None or event.kind == "update":
        return
    if not any(one.receiver == event.receiver and (one.lost != lost or not one.has) for one in incident.told):
        return
    told = tuple(
        replace(one, lost=lost, has=one.has or not lost) if one.receiver == event.receiver else one
        for one in incident.told
    )
    reached = [one.at for one in told if not one.lost]
    first = (incident.first_told or min(reached)) if reached else None
    state.incidents.put(event.incident, replace(incident, told=told, first_told=first))


def _escalate(state: State, event: Escalated) -> None:
    incident = state.incidents.get(event.incident)
    if incident is not None and (event.tell or event.again):
        told = _told_now(incident.told, (*event.tell, *event.again), event.at)
        state.incidents.put(event.incident, replace(incident, told=told, last=event.at))


def _sweep(state: State, event: Swept) -> None:
    before = event.before
    forget(state.incidents, lambda incident: incident.last < before and not incident.firing)
    forget(state.folding, lambda name: name not in state.incidents)
    forget(state.settling, lambda due: due < before)
    forget(state.kept, lambda times: times[-1] < before)
    for fingerprint in [one for one in state.holds if one not in state.episodes]:
        state.holds.drop(fingerprint)


def _told_now(told: tuple[Told, ...], receivers: tuple[str, ...], at: float) -> tuple[Told, ...]:
    before = {one.receiver: one for one in told}
    kept = tuple(one for one in told if one.receiver not in receivers)
    nobody = Told("", at, 0)
    now = ((receiver, before.get(receiver, nobody)) for receiver in receivers)
    return (*kept, *(Told(receiver, at, one.times + 1, has=one.has) for receiver, one in now))


def due(state: State) -> float | None:
    """When the first hold is to be looked at again, or the first incident to be told as over."""
    return min((at for at in (state.holds.first(), *state.settling.values()) if at is not None), default=None)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {
    Decided: _decide,
    Delivered: _deliver,
    Escalated: _escalate,
    IncidentClosed: _close,
    Swept: _sweep,
}
