"""What one batch leads to: inputs + state -> Plan. Pure; read this first.

    observe    each alert becomes an event, and the state folds it; a new episode gets its observation first
    take in    votes and outcomes become events
    score      all new observations at once
    refine     the rules, in order, over all decisions
    settle     decisions become events and deliveries; incidents that cleared are resolved

The state is folded as the plan is made, in its uncommitted layer: the caller commits or rolls back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.features import pack, vector
from models.statistics import Keys, Seen
from sidecar.config import Config
from sidecar.domain import (
    Alert,
    Decided,
    Decision,
    Delivered,
    Delivery,
    EpisodeEnded,
    EpisodeSeen,
    EpisodeStarted,
    Event,
    Pattern,
    Plan,
    Reason,
    Received,
    Scored,
    SilenceAsked,
    SilenceRequest,
    SilenceSettled,
    Swept,
    Verdict,
    Voted,
    episode_id,
    severity_rank,
)
from sidecar.rules import RULES, Batch, Facts, Rule
from sidecar.rules.base import TELLS, changed, guarded, open_incident, refined
from sidecar.rules.correlation import fold_keys
from sidecar.rules.deduplication import exact_key, repeat
from sidecar.scoring import ANOMALY, Scoring, standing_in
from sidecar.state import Episode, State, key_of, keys_of, pattern_of

LATE_SECONDS: Final = 60.0  # after an end was received; the slowest of four Alertmanagers waits 45 s for the others


class Inputs(Struct, frozen=True):
    """What a batch is made of. A tick is a batch without inputs."""

    received: Sequence[Received] = ()
    votes: Sequence[Voted] = ()
    outcomes: Sequence[Delivered | SilenceSettled] = ()
    sweep_before: float | None = None


@dataclass(slots=True)
class Draft:
    """The plan while it is made."""

    now: float
    state: State
    config: Config
    since: float  # when the oldest alert of the batch was received
    events: list[Event] = field(default_factory=list)
    candidates: list[tuple[Received, Keys, str]] = field(default_factory=list)  # to be decided: alert, keys, episode
    observations: list[tuple[float, ...]] = field(default_factory=list)  # of each candidate
    ready: list[Decision] = field(default_factory=list)  # decided without the rules
    ended: list[Episode] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.state.fold(event)
        self.events.append(event)


def plan(
    inputs: Inputs, state: State, scoring: Scoring, config: Config, now: float, rules: Sequence[Rule] = RULES
) -> Plan:
    """Decide one batch; `now` in seconds since the epoch. Folds into the state's layer, changes nothing else."""
    draft = Draft(now, state, config, min((one.at for one in inputs.received), default=now))
    for received in inputs.received:
        _observe(received, draft)
    voted = _take_in(inputs, draft)
    _release_holds(draft)
    facts = Facts(now, config, state, voted, scoring.certificate)
    batch = refine(Batch(_scored(draft, scoring)), facts, rules)
    decisions = (*batch.decisions, *draft.ready)
    deliveries = [*_settle(decisions, draft), *_silences(batch.silences, draft)]
    return Plan(tuple(draft.events), decisions, tuple(deliveries))


# ---------------------------------------------------------------------------------------------------------------- observe


def _observe(received: Received, draft: Draft) -> None:
    known = draft.state.episodes.get(received.alert.fingerprint)
    if received.alert.starts_at <= 0:
        received = _dated(received, known, draft.now)
    alert = received.alert
    if alert.ends_at is not None:
        _observe_end(received, known, draft)
    elif known is None or _is_new(alert, known, draft.now):
        if known is not None and known.ended_at is not None and alert.starts_at <= known.starts_at:
            received = replace(
                received, alert=replace(alert, starts_at=draft.now)
            )  # the old id names the ended episode
        _observe_start(received, known, draft)
    elif known.ended_at is None:
        _observe_repeat(received, known, draft)


def _dated(received: Received, known: Episode | None, now: float) -> Received:
    """An alert without a start belongs to the firing that is known, or starts now."""
    starts_at = known.starts_at if known is not None and known.ended_at is None else now
    return replace(received, alert=replace(received.alert, starts_at=starts_at))


def _is_new(alert: Alert, known: Episode, now: float) -> bool:
    """Whether this firing is another episode than the newest one known of its fingerprint.

    Overlapping firings are one, and Alertmanager can move startsAt back. A start after the last time the old one was
    seen means that its end was never sent (Alertmanager sends none for a silenced alert). One that has just ended and is
    sent again with the same or an earlier start is a late retry, or another Alertmanager's; later it fires again: when
    Prometheus was out of reach for a while, Alertmanager resolves and then goes on with the startsAt it had.
    """
    if known.ended_at is not None:
        return alert.starts_at > known.starts_at or now - known.last_seen > LATE_SECONDS
    return alert.starts_at > max(known.last_seen, known.starts_at)


def _observe_start(received: Received, known: Episode | None, draft: Draft) -> None:
    alert = received.alert
    keys = keys_of(alert.fingerprint, alert.labels)
    seen = draft.state.statistics.look(keys)
    draft.observations.append(vector(draft.state.statistics, keys, alert.annotations, draft.now, seen))
    draft.candidates.append((received, keys, _start(received, keys, known, draft, seen)))


def _start(received: Received, keys: Keys, known: Episode | None, draft: Draft, seen: Seen | None = None) -> str:
    """Record the start of an episode, and the end of the one before it that was never sent; returns its id."""
    alert = received.alert
    if known is not None and known.ended_at is None:
        draft.ended.append(known)
        draft.record(EpisodeEnded(draft.now, known.episode, alert.fingerprint, min(alert.starts_at, draft.now)))
        seen = None  # the end changed what was looked up
    episode = episode_id(alert.fingerprint, alert.starts_at)
    event = EpisodeStarted(
        draft.now, episode, alert.fingerprint, alert.starts_at, alert.labels, alert.annotations, received.group_key,
        alert.generator_url, received.external_url,
    )  # fmt: skip
    draft.state.start(event, keys, seen)
    draft.events.append(event)
    return episode


def _observe_repeat(received: Received, known: Episode, draft: Draft) -> None:
    alert = received.alert
    every = draft.config.group_for(draft.config.domain_of(alert.labels)).repeat_interval
    needs = repeat(known, Facts(draft.now, draft.config, draft.state), every)
    draft.record(EpisodeSeen(draft.now, known.episode, alert.fingerprint, alert.starts_at))
    if needs == "decide":
        draft.candidates.append((received, known.keys, known.episode))
        draft.observations.append(vector(draft.state.statistics, known.keys, alert.annotations, draft.now))
    elif needs == "remind":
        scored = _scored_as(draft.config, received, known.keys, known.episode)
        draft.ready.append(_reminder(scored, known, draft))


def _reminder(scored: Scored, known: Episode, draft: Draft) -> Decision:
    incident = draft.state.incidents.get(known.incident)
    receivers = tuple(one.receiver for one in incident.reached) if incident is not None else ()
    reason = Reason("exact_deduplication", "still firing after the repeat interval")
    return Decision(scored, Verdict.FOLD, known.incident, (reason,), receivers, interrupts=True)


def _observe_end(received: Received, known: Episode | None, draft: Draft) -> None:
    alert = received.alert
    ends_at, before = alert.ends_at if alert.ends_at is not None else draft.now, known
    if known is not None and (known.ended_at is not None or alert.starts_at > known.last_seen):
        if known.ended_at is not None and alert.starts_at <= known.starts_at:
            return  # sent again
        known = None
    if known is None:  # its firing never reached us
        keys = keys_of(alert.fingerprint, alert.labels)
        episode = _start(received, keys, before, draft)
        draft.ready.append(_unheard(_scored_as(draft.config, received, keys, episode), f"i-{episode}", draft))
        known = draft.state.episodes[alert.fingerprint]
    hold = draft.state.holds.get(alert.fingerprint)
    draft.ended.append(known)
    draft.record(EpisodeEnded(draft.now, known.episode, alert.fingerprint, ends_at))
    if hold is not None and known.verdict == Verdict.HOLD:
        scored = _scored_as(draft.config, Received(hold.alert, hold.group_key), known.keys, known.episode)
        draft.ready.append(_cleared(scored, known, draft))


def _unheard(scored: Scored, incident: str, draft: Draft) -> Decision:
    """What cleared before it was first heard of, between two of Alertmanager's messages: told only if it is guarded."""
    reason = Reason("intake", "it had cleared before it was first heard of")
    severity, labels = scored.pattern.severity, scored.alert.labels
    if not guarded(labels, severity, draft.config):
        return Decision(scored, Verdict.DIGEST, incident, (reason,))
    receivers = draft.config.route(severity, labels, draft.now).receivers or (draft.config.default,)
    found = open_incident(scored.keys[:-1], Facts(draft.now, draft.config, draft.state))
    known = draft.state.incidents.get(found[1]) if found is not None else None
    joins = found is not None and known is not None and known.firing > 0 and severity_rank(severity) <= known.rank
    verdict, name = (Verdict.FOLD, found[1]) if joins and found is not None else (Verdict.NOTIFY, incident)
    return Decision(scored, verdict, name, (reason, Reason("guard", f"{severity} is never kept back")), receivers)


def _cleared(scored: Scored, known: Episode, draft: Draft) -> Decision:
    """What cleared while it was held joins the incident that people have by now, else it goes to the digest."""
    found = open_incident(scored.keys[:-1], Facts(draft.now, draft.config, draft.state))
    if found is None:
        return Decision(scored, Verdict.DIGEST, known.incident, (Reason("hold", "it cleared while it was held"),))
    key, name, _ = found
    reason = Reason("hold", f"it cleared while it was held, and people were told of {key} meanwhile")
    told = draft.state.incidents[name].reached
    return Decision(scored, Verdict.FOLD, name, (reason,), tuple([one.receiver for one in told]))


# ---------------------------------------------------------------------------------------------------------------- take in


def _take_in(inputs: Inputs, draft: Draft) -> frozenset[Pattern]:
    voted = set()
    for vote in inputs.votes:
        draft.record(vote)
        voted.add(pattern_of(Keys(*vote.keys)))
    for outcome in inputs.outcomes:
        draft.record(outcome)
    if inputs.sweep_before is not None:
        draft.record(Swept(draft.now, inputs.sweep_before))
    return frozenset(voted)


def _release_holds(draft: Draft) -> None:
    """What was held long enough is decided again, with what is known now."""
    state = draft.state
    for fingerprint, hold in list(state.holds.items()):
        known = state.episodes.get(fingerprint)
        if hold.due <= draft.now and known is not None and known.ended_at is None:
            held = Received(hold.alert, hold.group_key, given=hold.given)
            draft.candidates.append((held, known.keys, known.episode))
            draft.observations.append(vector(state.statistics, known.keys, hold.alert.annotations, draft.now))


# ------------------------------------------------------------------------------------------------------------------ score


def _scored_as(
    config: Config,
    received: Received,
    keys: Keys,
    episode: str,
    observation: tuple[float, ...] = (),
    score: float | None = None,
    model: str = "",
) -> Scored:
    anomaly = observation[ANOMALY] if observation else None
    packed = pack(observation) if observation else b""
    known_as = (*fold_keys(received, config), exact_key(received.alert.labels, keys.fingerprint, config))
    pattern = pattern_of(keys)
    return Scored(episode, received.alert, pattern, received.group_key, packed, score, anomaly, model, known_as)


def _scored(draft: Draft, scoring: Scoring) -> tuple[Decision, ...]:
    scores, model = scoring.score(draft.observations)
    decisions = []
    for (received, keys, episode), observation, score in zip(draft.candidates, draft.observations, scores, strict=True):
        scored = _scored_as(draft.config, received, keys, episode, observation, score, model)
        decision = Decision(scored, Verdict.NOTIFY, f"i-{episode}")
        decisions.append(decision if received.given is None else standing_in(decision, received.given))
    return tuple(decisions)


# ----------------------------------------------------------------------------------------------------------------- refine


def refine(batch: Batch, facts: Facts, rules: Iterable[Rule]) -> Batch:
    """The rules in order. One that raises is skipped for the alerts it raised on, and those are told, with the reason."""
    for rule in rules:
        try:
            batch = rule(batch, facts)
        except Exception as error:  # noqa: BLE001 - the edge of the loop over the rules: fail open, alert by alert
            batch = _without(rule, batch, facts, error)
    held = {d.scored.episode for d in batch.decisions if d.verdict is Verdict.HOLD}
    return batch if not held else changed(batch, (_held_once(d, facts) for d in batch.decisions))


def _without(rule: Rule, batch: Batch, facts: Facts, error: Exception) -> Batch:
    decisions: list[Decision] = []
    for decision in batch.decisions:
        try:
            decisions.extend(rule(Batch((decision,)), facts).decisions)
        except Exception:  # noqa: BLE001 - as above
            receivers = decision.receivers or (facts.config.default,)
            sentence = f"the rule {rule.__name__} failed ({type(error).__name__}): told to be safe"
            told = refined(decision, Verdict.NOTIFY, "failed_open", sentence, receivers=receivers)
            decisions.append(told)
    return replace(batch, decisions=tuple(decisions))


def _held_once(decision: Decision, facts: Facts) -> Decision:
    """Nothing is held by its score twice; a maintenance window may begin while it waits."""
    hold = facts.state.holds.get(decision.scored.alert.fingerprint)
    if decision.verdict is not Verdict.HOLD or hold is None or decision.reasons[-1].rule != "suppression_by_score":
        return decision
    route = facts.config.route(decision.scored.pattern.severity, decision.scored.alert.labels, facts.now)
    return refined(
        decision, Verdict.NOTIFY, "hold", "it still fires after its hold", until=None, receivers=route.receivers
    )


# ----------------------------------------------------------------------------------------------------------------- settle


def _settle(decisions: Sequence[Decision], draft: Draft) -> Iterable[Delivery]:
    """Record the decisions, and tell whom they concern."""
    told: dict[str, _Telling] = {}
    for decision in decisions:
        _settle_one(decision, draft, told)
    for episode in draft.ended:
        incident = draft.state.incidents.get(_incident_of(episode, draft))
        if incident is not None and incident.first_told is not None:
            told.setdefault(_incident_of(episode, draft), _Telling())
    for name, telling in told.items():
        yield from _deliveries(name, telling, draft)


def _recorded(decision: Decision) -> tuple[str, ...]:
    """What joins an incident brings no keys of its own but the exact one: else incidents would chain without end."""
    if decision.verdict is Verdict.NOTIFY:
        return decision.scored.keys
    return decision.scored.keys[-1:] if decision.verdict is Verdict.FOLD else ()


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
    if incident is not None and incident.told:
        have = {one.receiver for one in incident.reached}
        again = tuple([name for name in decision.receivers if name in have]) if decision.interrupts else ()
        tell = tuple([name for name in tell if name not in have])
    held = decision.verdict is Verdict.HOLD
    event = Decided(
        draft.now, scored.episode, decision.incident, decision.verdict, scored.pattern.severity, decision.reasons,
        _recorded(decision), tell, again, decision.receivers, decision.until, scored.score, scored.anomaly, scored.model,
        scored.observation, decision.propensity, decision.marks, scored.alert if held else None,
        scored.group_key if held else "", scored.given,
    )  # fmt: skip
    draft.record(event)
    if tells:
        telling = told.get(decision.incident)
        if telling is None:
            telling = told[decision.incident] = _Telling()
        if tell:
            telling.tell.update(dict.fromkeys(tell))
        if again:
            kind = "reminder" if decision.reasons[-1].rule == "exact_deduplication" else "raise"
            telling.again.update(dict.fromkeys(again, kind))
        telling.alerts += 1
        if decision.verdict is Verdict.FOLD:
            refires = incident is not None and incident.firing == 0
            telling.urgent = (
                telling.urgent or refires or guarded(scored.alert.labels, scored.pattern.severity, draft.config)
            )


def _deliveries(name: str, telling: _Telling, draft: Draft) -> Iterable[Delivery]:
    incident = draft.state.incidents.get(name)
    if incident is None:
        return
    cleared = incident.firing == 0
    for one in incident.reached:
        new, again = one.receiver in telling.tell, telling.again.get(one.receiver)
        for target, kinds in draft.config.targets(one.receiver):
            if new:
                yield _delivery(name, target, "notify", one.times, telling, draft)
            elif again is not None and again in kinds:
                yield _delivery(name, target, again, one.times, telling, draft)
            elif not cleared and "update" in kinds:
                yield _delivery(name, target, "update", draft.state.next_seq, telling, draft)
            elif not cleared and telling.urgent and "raise" in kinds:  # it cannot edit what people have
                yield _delivery(name, target, "raise", draft.state.next_seq, telling, draft)
            if cleared and "resolve" in kinds:
                yield _delivery(name, target, "resolve", incident.resolves, telling, draft)


def _delivery(name: str, target: str, kind: str, n: int, telling: _Telling, draft: Draft) -> Delivery:
    key = f"{name}/{target}/{kind}/{n}"
    return Delivery(key, target, name, kind, draft.since, max(1, telling.alerts))  # type: ignore[arg-type]


def _silences(requests: Iterable[SilenceRequest], draft: Draft) -> Iterable[Delivery]:
    for request in requests:
        event = SilenceAsked(
            draft.now, request.pattern, request.ends_at, request.reason, request.comment, request.episodes
        )
        draft.record(event)
        key = key_of(request.pattern)
        body = msgspec.json.encode(request).decode()
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()  # a pattern can be longer than an index takes
        yield Delivery(
            f"silence/{name}/{int(request.ends_at)}", "silence", f"silence-{name}", "silence", draft.now, body=body
        )
