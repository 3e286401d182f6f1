"""Suppression by score: what the model takes for noise is suppressed or held, as far as its pattern has earned it.

The ladder (mode: ladder) is climbed per alertname by labelled incidents: the Clopper-Pearson upper bound on the share
of real ones must be at or below the miss budget to suppress, and at or below four times it to hold. One confirmed miss
raises the bound at once. In mode auto the score alone decides, as the specification reads literally.
"""

from __future__ import annotations

from models.evidence import upper_bound
from sidecar.domain import Decision, Verdict
from sidecar.rules.base import Batch, Facts, changed, moment, refined
from sidecar.state import Incident, keys_of

CONFIDENCE = 0.9
HOLD_BUDGET = 4  # times the miss budget: a hold delays, it does not hide
WINDOW = 60 * 86400.0  # s: how far back labelled incidents count
TYPICAL = 0.8  # a hold waits as long as this share of the pattern's short episodes lasts


def suppression_by_score(batch: Batch, facts: Facts) -> Batch:
    """Suppress or hold by score; what was folded into a message of this very batch is judged on its own."""
    gone: set[str] = set()
    return changed(batch, [_judge(decision, facts, gone) for decision in batch.decisions])


def _judge(decision: Decision, facts: Facts, gone: set[str]) -> Decision:
    if decision.verdict is Verdict.FOLD:
        if _told(facts.state.incidents.get(decision.incident)):
            return decision
    elif decision.verdict is not Verdict.NOTIFY:
        return decision
    judged = _by_score(decision, facts)
    if judged.verdict in (Verdict.SUPPRESS, Verdict.HOLD):
        gone.add(judged.incident)
    elif judged.incident in gone:  # the alert it was folded behind is not told: this one opens the incident instead
        gone.discard(judged.incident)
        return refined(judged, Verdict.NOTIFY, "suppression_by_score", "the first of its incident to pass the score")
    return judged


def _told(incident: Incident | None) -> bool:
    return incident is not None and incident.first_told is not None


def _by_score(decision: Decision, facts: Facts) -> Decision:
    score, config = decision.scored.score, facts.config
    if score is None or score < min(config.holding.min_score, config.confidence_threshold):
        return decision
    rung, why = _rung(decision, facts)
    threshold = config.confidence_threshold
    if rung == "suppress" and score >= threshold and config.auto_suppress:
        sentence = f"score {score:.2f} is at or above {threshold:.2f}; {why}"
        return refined(decision, Verdict.SUPPRESS, "suppression_by_score", sentence)
    wait = _hold_time(decision, facts) if rung in ("suppress", "hold") and score >= config.holding.min_score else 0.0
    if wait <= 0:
        return decision
    sentence = f"score {score:.2f}, and alerts like it usually clear within {moment(wait)}; {why}"
    return refined(decision, Verdict.HOLD, "suppression_by_score", sentence, until=facts.now + wait)


def _rung(decision: Decision, facts: Facts) -> tuple[str, str]:
    """How far this alertname may go, and why."""
    if facts.config.mode == "auto":
        return "suppress", "mode auto lets the score decide"
    name = decision.scored.pattern.alertname
    noise, real = facts.state.judged(name, facts.now - WINDOW)
    streak = facts.state.noise_since_real(name, facts.now - WINDOW)  # one confirmed miss, and the rung is earned anew
    bound = max(upper_bound(real, noise + real, CONFIDENCE), upper_bound(0, streak, CONFIDENCE))
    budget = facts.config.training.miss_budget
    said = f"{noise} of {noise + real} judged incidents of {name} were noise, at most {bound:.0%} of them are real"
    if bound <= budget:
        return "suppress", said
    return ("hold" if bound <= HOLD_BUDGET * budget else "observe"), said


def _hold_time(decision: Decision, facts: Facts) -> float:
    """How long this pattern's short episodes usually last, bounded per severity by configuration."""
    alert, now = decision.scored.alert, facts.now
    bound = facts.config.holding.max_for(decision.scored.pattern.severity)
    if bound <= 0 or now - alert.starts_at >= bound:
        return 0.0  # it has fired as long as we would have waited
    usual = facts.state.statistics.clears_within(keys_of(alert.fingerprint, alert.labels), TYPICAL, now)
    return 0.0 if usual is None else min(bound, usual)
