"""What one batch leads to: inputs + state -> Plan. Pure; read this first.

    observe    each alert becomes an event, and the state folds it; a new episode gets its observation first (arrival.py)
    take in    votes, outcomes, and what the shell hands in ready-made, become events
    release    what was held long enough is decided anew, and what new evidence speaks about (release.py)
    score      all new observations at once
    refine     the rules, in order, over all decisions
    settle     decisions become events and deliveries; incidents that cleared are resolved (settlement.py)
    duties     what the clock brings beside the rules

The state is folded as the plan is made, in its uncommitted layer: the caller commits or rolls back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from models.statistics import Keys
from sidecar.arrival import end_forgotten, end_unsent, observe
from sidecar.config import Config
from sidecar.domain import Decision, Delivery, Pattern, Verdict
from sidecar.draft import Draft, Inputs, scored_as
from sidecar.events import Acknowledged, EpisodeEnded, Event, IncidentClosed, Plan, Swept, Voted
from sidecar.release import release, release_freed
from sidecar.rules import DUTIES, RULES, Batch, Due, Duty, Facts, Rule
from sidecar.rules.base import changed, refined
from sidecar.scoring import Scoring, standing_in
from sidecar.settlement import settle
from sidecar.state import State, pattern_of
from sidecar.state.silences import fresh


def plan(
    inputs: Inputs,
    state: State,
    scoring: Scoring,
    config: Config,
    now: float,
    rules: Sequence[Rule] = RULES,
    duties: Sequence[Duty] = DUTIES,
) -> Plan:
    """Decide one batch; `now` in seconds since the epoch. Folds into the state's layer, changes nothing else."""
    draft = Draft(now, state, config, min((one.at for one in inputs.received), default=now))
    for received in inputs.received:
        observe(received, draft)
    voted, asked = _take_in(inputs, draft)
    release(inputs, draft)
    release_freed(draft)
    _close_settled(draft)
    facts = Facts(now, config, state, voted, scoring.certificate, asked)
    batch = refine(Batch(_scored(draft, scoring)), facts, rules)
    decisions = (*batch.decisions, *draft.ready)
    deliveries = [*settle(decisions, batch.moves, draft), *_do(duties, facts, draft)]
    return Plan(tuple(draft.events), decisions, tuple(deliveries), tuple(draft.failed))


# ---------------------------------------------------------------------------------------------------------------- take in


def _take_in(inputs: Inputs, draft: Draft) -> tuple[frozenset[Pattern], tuple[Event, ...]]:
    """(patterns that votes touched, what was handed in and is news)."""
    voted, asked = set(), []
    for vote in inputs.votes:
        _acknowledge(vote, draft)
        draft.record(vote)
        voted.add(pattern_of(Keys(*vote.keys)))
    for outcome in inputs.outcomes:
        draft.record(outcome)
    for event in inputs.asks:
        if isinstance(event, EpisodeEnded):
            end_unsent(event, draft)
        elif fresh(draft.state, event):
            draft.record(event)
            asked.append(event)
    if inputs.sweep_before is not None:
        end_forgotten(inputs.sweep_before, draft)
        draft.record(Swept(draft.now, inputs.sweep_before))
    return frozenset(voted), tuple(asked)


def _acknowledge(vote: Voted, draft: Draft) -> None:
    """Whoever says something of an incident has it in hand."""
    known = draft.state.escalations.get(vote.incident)
    if known is not None and known.acked_at is None and not vote.retracted:
        after = max(0.0, draft.now - known.told_at)
        draft.record(Acknowledged(draft.now, vote.incident, vote.who, vote.source, known.severity, after))


def _close_settled(draft: Draft) -> None:
    """What gathered is over when nothing of it has fired for as long as it has to be quiet."""
    for name in [name for name, due in draft.state.settling.items() if due <= draft.now]:
        draft.record(IncidentClosed(draft.now, name))
        draft.closed[name] = None


# ------------------------------------------------------------------------------------------------------------------ score


def _scored(draft: Draft, scoring: Scoring) -> tuple[Decision, ...]:
    scores, model = scoring.score(draft.observations)
    decisions = []
    for (received, keys, episode), observation, score in zip(draft.candidates, draft.observations, scores, strict=True):
        known = score if score is not None and 0.0 <= score <= 1.0 else None  # what is no probability says nothing
        scored = scored_as(draft.config, received, keys, episode, observation, known, model)
        own = _own_incident(episode, keys, draft)
        decision = Decision(scored, Verdict.NOTIFY, own, draft.waited.get(episode, ()))
        decisions.append(decision if received.given is None else standing_in(decision, received.given))
    return tuple(decisions)


def _own_incident(episode: str, keys: Keys, draft: Draft) -> str:
    """The incident that an alert opens; a new name when the memory has forgotten the old one, which the outbox has not."""
    name, known = f"i-{episode}", draft.state.episodes.get(keys.fingerprint)
    if known is not None and known.incident and name not in draft.state.incidents:
        return f"{name}-{int(draft.now * 1000)}"
    return name


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
    if hold.due > facts.now:  # looked at early: it waits on, no longer than it would have
        return decision
    route = facts.config.route(decision.scored.pattern.severity, decision.scored.alert.labels, facts.now)
    return refined(
        decision, Verdict.NOTIFY, "hold", "nothing is held twice by its score", until=None, receivers=route.receivers
    )


# ----------------------------------------------------------------------------------------------------------------- duties


def _do(duties: Iterable[Duty], facts: Facts, draft: Draft) -> Iterable[Delivery]:
    for duty in duties:
        for due in _asked(duty, facts, draft):
            for event in due.events:
                draft.record(event)
            yield from due.deliveries


def _asked(duty: Duty, facts: Facts, draft: Draft) -> Iterable[Due]:
    """What a duty has to say; one that raises is skipped, so that alerts and the other duties go on."""
    try:
        yield from duty(facts)
    except Exception as error:  # noqa: BLE001 - the edge of the loop over the duties
        draft.failed.append(f"{duty.__name__}: {type(error).__name__}: {error}")


__all__ = ["Inputs", "plan", "refine"]
