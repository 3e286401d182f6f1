"""Decisions become events and deliveries: who is told of what, what goes on elsewhere, and what is over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from sidecar.domain import Decision, Delivery, Move, Scored, Verdict, severity_rank
from sidecar.draft import Draft
from sidecar.events import Decided
from sidecar.rules.base import TELLS, guarded
from sidecar.state import Episode, Incident


def settle(decisions: Sequence[Decision], moves: Iterable[Move], draft: Draft) -> Iterable[Delivery]:
    """Record the decisions and moves, and tell whom they concern."""
    told: dict[str, _Telling] = {}
    for decision in decisions:
        _settle_one(decision, draft, told)
    for move in moves:
        _move(move, draft, told)
    for name in draft.closed:
        told.setdefault(name, _Telling())
    for episode in draft.ended:
        incident = draft.state.incidents.get(_incident_of(episode, draft))
        if incident is not None and incident.heard:
            told.setdefault(_incident_of(episode, draft), _Telling())
    for name, telling in told.items():
        yield from _deliveries(name, telling, draft)


def _recorded(decision: Decision) -> tuple[str, ...]:
    """What joins an incident brings no keys of its own but the exact one: else incidents would chain without end."""
    if decision.verdict not in TELLS:
        return ()
    scored, keys = decision.scored, decision.scored.keys[-1:]
    if decision.verdict is Verdict.NOTIFY:
        keys = (*scored.keys, scored.text) if scored.text else scored.keys
    return keys if decision.gather is None else (*keys, decision.gather.key)


class _Telling(Struct):
    """Whom one incident is told to in this batch, and how many alerts of the batch are in it."""

    tell: dict[str, None] = msgspec.field(default_factory=dict)
    again: dict[str, str] = msgspec.field(default_factory=dict)
    alerts: int = 0
    urgent: bool = False  # a guarded alert joined, or one that fires after all had cleared


def _incident_of(episode: Episode, draft: Draft) -> str:
    known = draft.state.episodes.get(episode.keys.fingerprint)
    return known.incident if known is not None and known.episode == episode.episode else episode.incident


def _settle_one(decision: Decision, draft: Draft, told: dict[str, _Telling]) -> None:
    scored, tells = decision.scored, decision.verdict in TELLS
    incident = draft.state.incidents.get(decision.incident)
    tell: tuple[str, ...] = decision.receivers if tells else ()
    again: tuple[str, ...] = ()
    over = incident is not None and incident.firing == 0 and decision.incident not in draft.state.settling
    if incident is not None and incident.told:
        have = {one.receiver for one in incident.reached}
        loud = decision.interrupts or (
            over and decision.verdict is Verdict.NOTIFY
        )  # what they have says that it is over
        again = tuple([name for name in decision.receivers if name in have]) if loud else ()
        tell = tuple([name for name in tell if name not in have])
    held, gather = decision.verdict is Verdict.HOLD, decision.gather if tells else None
    came_from = _came_from(scored.episode, decision.incident, draft)
    kind = "reminder" if decision.reasons and decision.reasons[-1].rule == "exact_deduplication" else "raise"
    asks = bool(tell) or (bool(again) and kind == "raise") or (tells and _asks_anew(decision, incident, draft))
    ack_by, domain = _acknowledged_by(scored, draft) if asks else (None, "")
    event = Decided(
        draft.now, scored.episode, decision.incident, decision.verdict, scored.pattern.severity, decision.reasons,
        _recorded(decision), tell, again, decision.receivers, decision.until, scored.score, scored.anomaly, scored.model,
        scored.observation, decision.propensity, decision.marks, scored.alert if held else None,
        scored.group_key if held else "", scored.given, gather.title if gather else "", gather.settle if gather else 0.0,
        came_from, decision.tallies, scored.near if tells and scored.observation else (), ack_by, domain,
        decision.would,
    )  # fmt: skip
    draft.record(event)
    if came_from:
        told.setdefault(came_from, _Telling())
    if tells:
        telling = told.get(decision.incident)
        if telling is None:
            telling = told[decision.incident] = _Telling()
        if tell:
            telling.tell.update(dict.fromkeys(tell))
        if again:
            telling.again.update(dict.fromkeys(again, kind))
        telling.alerts += 1
        if decision.verdict is Verdict.FOLD:
            calm = gather is not None and gather.calm
            urgent = over or (not calm and guarded(scored.alert.labels, scored.pattern.severity, draft.config))
            telling.urgent = telling.urgent or urgent


def _asks_anew(decision: Decision, incident: Incident | None, draft: Draft) -> bool:
    """Whether what joins without a word has to be acknowledged: all had cleared, or it is more urgent than what was told."""
    if incident is None or not incident.told:
        return False
    known = draft.state.escalations.get(decision.incident)
    severity = decision.scored.pattern.severity
    return incident.firing == 0 or (known is not None and severity_rank(severity) > severity_rank(known.severity))


def _acknowledged_by(scored: Scored, draft: Draft) -> tuple[float | None, str]:
    """When what is told now escalates, and the domain whose roles are told then."""
    ack_by = draft.config.acknowledged_by(scored.pattern.severity, draft.now)
    return ack_by, draft.config.domain_of(scored.alert.labels) if ack_by is not None else ""


def _came_from(episode: str, incident: str, draft: Draft) -> str:
    """The incident in which people have this episode, when it goes on in another."""
    known = draft.state.episodes.get(episode.rpartition("-")[0])
    if known is None or known.episode != episode or known.incident in ("", incident):
        return ""
    before = draft.state.incidents.get(known.incident)
    return known.incident if before is not None and before.first_told is not None else ""


def _move(move: Move, draft: Draft, told: dict[str, _Telling]) -> None:
    """Let an earlier episode go on in an incident that people have been told of, as everybody is who had it before."""
    known, target = draft.state.episodes.get(move.fingerprint), draft.state.incidents.get(move.incident)
    if known is None or known.incident == move.incident:
        return
    if not move.opens and (target is None or target.first_told is None):
        return
    before = draft.state.incidents.get(known.incident)
    had = () if before is None else before.reached or before.told  # whoever's message was lost is told now
    receivers = tuple([one.receiver for one in had])
    have = {one.receiver for one in target.reached} if target is not None else set()
    tell = tuple([name for name in receivers if name not in have])
    came_from = _came_from(known.episode, move.incident, draft)
    keys, gather = (move.gather.key,) if move.gather else (), move.gather
    verdict = Verdict.NOTIFY if move.opens else Verdict.FOLD
    ack_by, domain = _still_waits(known, draft)
    event = Decided(
        draft.now, known.episode, move.incident, verdict, known.keys.severity, (move.reason,), keys, tell, (),
        receivers, title=gather.title if gather else "", settle=gather.settle if gather else 0.0, came_from=came_from,
        ack_by=ack_by, domain=domain,
    )  # fmt: skip
    over = target is not None and target.firing == 0 and move.incident not in draft.state.settling
    draft.record(event)
    telling = told.setdefault(move.incident, _Telling())
    telling.tell.update(dict.fromkeys(tell))
    telling.urgent = telling.urgent or over  # what they have says that it is over
    if came_from:
        told.setdefault(came_from, _Telling())


def _still_waits(known: Episode, draft: Draft) -> tuple[float | None, str]:
    """When what nobody has acknowledged escalates: moving it is no answer to it."""
    waits = draft.state.escalations.get(known.incident)
    if waits is None or waits.due is None or severity_rank(known.keys.severity) < severity_rank(waits.severity):
        return None, ""
    return waits.due, waits.domain


def _deliveries(name: str, telling: _Telling, draft: Draft) -> Iterable[Delivery]:
    incident = draft.state.incidents.get(name)
    if incident is None:
        return
    cleared = incident.firing == 0 and (not incident.settle or name in draft.closed)
    for one in incident.heard:
        new, again = one.receiver in telling.tell, telling.again.get(one.receiver)
        for target, kinds in draft.config.targets(one.receiver):
            if one.lost:
                pass  # what was to interrupt them did not arrive; what they have is closed all the same
            elif new:
                yield _delivery(name, target, "notify", one.times, telling, draft)
            elif again is not None and again in kinds:
                yield _delivery(name, target, again, one.times, telling, draft)
            elif not cleared and "update" in kinds:
                yield _delivery(name, target, "update", draft.state.next_seq, telling, draft)
            elif not cleared and telling.urgent and "raise" in kinds:  # it cannot edit what people have
                yield _delivery(name, target, "raise", f"row-{draft.state.next_seq}", telling, draft)
            if cleared and "resolve" in kinds:
                yield _delivery(name, target, "resolve", incident.resolves, telling, draft)


def _delivery(name: str, target: str, kind: str, n: int | str, telling: _Telling, draft: Draft) -> Delivery:
    key = f"{name}/{target}/{kind}/{n}"
    return Delivery(key, target, name, kind, draft.since, max(1, telling.alerts))  # type: ignore[arg-type]
