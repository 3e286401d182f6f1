"""Suppression by score: what is taken for noise is held, and what then still looks like it suppressed, as far as that
has been proven and earned.

In mode ladder two proofs are needed. The certificate says from which score on alerts may be kept back at all: it bounds
the share of real incidents that would not have been told within 15 minutes (training/certify.py). The alertname says how
far: three incidents voted noise let it hold, eleven in a row since one was voted real let it suppress. One confirmed
miss, an alert kept back and then called real, takes the rung away until eleven noise incidents have earned it anew. A
hold delays what still fires, and hides only what has cleared by itself; the third within an hour on one instance is
told, since an incident seldom is a single alert. Suppressed is only what still fires when its hold is over, or when it is
first heard of after as long, and whose scores, then and before, are high enough. A drift alarm (training/drift.py) takes
the rung away until a later run finds none. In mode auto the score alone decides, as the specification reads literally.
"""

from __future__ import annotations

from math import inf
from typing import Final

from models.certificate import STALE_SECONDS, Certificate, speaks_against
from models.features import unpack
from sidecar.domain import Decision, Verdict
from sidecar.rules.base import Batch, Facts, changed, moment, refined
from sidecar.state import AT_ONCE, KEPT_TIMES, TRAINED, Hold, Incident, keys_of

RULE: Final = "suppression_by_score"
WINDOW: Final = 60 * 86400.0  # s: how far back labelled incidents count
TYPICAL: Final = 0.9  # a hold waits as long as this share of the pattern's short episodes lasts
HOUR: Final = 3600.0
FAMILIAR: Final = 3  # judged noise incidents of an alertname before anything of it is held
EARNED: Final = (
    11  # noise incidents in a row: with none real among them, to suppress, and to hold after a confirmed miss
)

Rungs = dict[str, tuple[str, str]]  # alertname -> its rung and why, of one batch


def suppression_by_score(batch: Batch, facts: Facts) -> Batch:
    """Suppress or hold by score; what was folded into a message of this very batch is judged on its own."""
    gone: set[str] = set()
    rungs: Rungs = {}
    return changed(batch, [_judge(decision, facts, gone, rungs) for decision in batch.decisions])


def _judge(decision: Decision, facts: Facts, gone: set[str], rungs: Rungs) -> Decision:
    if decision.verdict is Verdict.FOLD:
        if _told(facts.state.incidents.get(decision.incident)):
            return decision
        if _early(decision, facts) is not None:
            return decision  # what tells people of it goes out anyway
    elif decision.verdict is not Verdict.NOTIFY:
        return decision
    judged = _by_score(decision, facts, rungs)
    if judged.verdict in (Verdict.SUPPRESS, Verdict.HOLD):
        gone.add(judged.incident)
    elif judged.incident in gone:  # the alert it was folded behind is not told: this one opens the incident instead
        gone.discard(judged.incident)
        return refined(judged, Verdict.NOTIFY, RULE, "the first of its incident to pass the score")
    return judged


def _early(decision: Decision, facts: Facts) -> Hold | None:
    """The hold of what is looked at before its time, since something speaks against keeping it back."""
    hold = facts.state.holds.get(decision.scored.alert.fingerprint)
    return hold if hold is not None and hold.by == RULE and hold.due > facts.now else None


def _waits_on(decision: Decision, score: float, hold: Hold, facts: Facts) -> Decision:
    left = moment(hold.due - facts.now)
    sentence = f"looked at again: score {score:.2f}, told if it still fires in {left}"
    return refined(decision, Verdict.HOLD, RULE, sentence, until=hold.due)


def _told(incident: Incident | None) -> bool:
    return incident is not None and incident.counts


def _by_score(decision: Decision, facts: Facts, rungs: Rungs) -> Decision:
    score, config = decision.scored.score, facts.config
    if facts.state.freed and decision.scored.alert.fingerprint in facts.state.freed:
        return decision  # a silence of ours ended early: what it hid is told
    if (
        not config.ml_anomaly_detection.enabled
        or score is None
        or score < min(config.holding.min_score, config.confidence_threshold)
    ):
        return decision
    return _literally(decision, score, facts) if config.mode == "auto" else _laddered(decision, score, facts, rungs)


def _literally(decision: Decision, score: float, facts: Facts) -> Decision:
    usual, hold = facts.config.confidence_threshold, _early(decision, facts)
    if hold is not None:
        return _waits_on(decision, score, hold, facts) if score >= facts.config.holding.min_score else decision
    threshold, why = max(usual, _floor(decision, facts)), "mode auto lets the score decide"
    if score >= threshold and facts.config.auto_suppress:
        return refined(decision, Verdict.SUPPRESS, RULE, f"score {score:.2f} is at or above {threshold:.2f}; {why}")
    if score < facts.config.holding.min_score:
        return decision
    return _held(decision, score, why, facts, unknown=0.0)


def _laddered(decision: Decision, score: float, facts: Facts, rungs: Rungs) -> Decision:
    certificate = facts.certificate
    if certificate is None or not _may_hold(decision, score, certificate, facts):
        return decision
    name = decision.scored.pattern.alertname
    rung, why = rungs.get(name) or rungs.setdefault(name, _rung(name, facts))
    allowed = certificate.suppress.threshold
    limit = inf if certificate.unsettled or allowed is None else allowed
    proven = rung == "suppress" and score >= limit and facts.config.auto_suppress
    hold = facts.state.holds.get(decision.scored.alert.fingerprint)
    if hold is not None and _early(decision, facts) is not None:
        return decision if rung == "observe" else _waits_on(decision, score, hold, facts)
    if hold is not None:  # it was held, and still fires
        # The certificate is about first scores: a later one may only speak against keeping it back.
        high = proven and hold.score is not None and hold.score >= limit
        told = f"score {score:.2f} after it was held; {why}"
        return refined(decision, Verdict.SUPPRESS, RULE, told) if high else decision
    if rung == "observe" or _decided_before(decision, facts):
        return decision
    if not proven and _keeps_coming(decision, facts):
        sentence = f"{KEPT_TIMES} alerts of this instance were held within the hour: what keeps coming is told"
        return refined(decision, decision.verdict, RULE, sentence)
    return _kept_back(decision, score, why, facts, proven)


def _decided_before(decision: Decision, facts: Facts) -> bool:
    """Whether this very episode was not kept back when it was first scored: a later score alone never does that."""
    known = facts.state.episodes.get(decision.scored.alert.fingerprint)
    here = known is not None and known.episode == decision.scored.episode
    return known is not None and here and known.verdict not in ("", Verdict.SUPPRESS.value)


def _kept_back(decision: Decision, score: float, why: str, facts: Facts, proven: bool) -> Decision:
    held = _held(decision, score, why, facts)
    if held is decision and proven and facts.config.holding.max_for(decision.scored.pattern.severity) > 0:
        return refined(decision, Verdict.SUPPRESS, RULE, f"score {score:.2f}, and fires for longer than a hold; {why}")
    return held


def _keeps_coming(decision: Decision, facts: Facts) -> bool:
    """Whether as many alerts of the instance were kept back within the hour as may be: an incident seldom is one alert."""
    labels = decision.scored.alert.labels
    times = facts.state.kept.get(labels.get("instance", "") or labels.get("alertname", "")) or ()
    return sum(HOUR > facts.now - at >= AT_ONCE for at in times) >= KEPT_TIMES


def _may_hold(decision: Decision, score: float, certificate: Certificate, facts: Facts) -> bool:
    """Whether it is proven that alerts like this one may be kept back at all."""
    allowed, scored = certificate.hold.threshold, decision.scored
    if allowed is None or score < max(allowed, _floor(decision, facts)):
        return False
    if facts.now - certificate.at > STALE_SECONDS or scored.pattern.alertname in certificate.drifted:
        return False
    # Proven is what trained models said, nobody else.
    return scored.model.startswith(TRAINED) and not speaks_against(unpack(scored.observation))


def _floor(decision: Decision, facts: Facts) -> float:
    """The least score that may keep an alert back: the alertname's own where votes have set one (training/floors.py)."""
    usual, certificate = facts.config.confidence_threshold, facts.certificate
    if certificate is None or facts.config.auto_tune is None:
        return usual
    return certificate.floors.get(decision.scored.pattern.alertname, usual)


def _rung(name: str, facts: Facts) -> tuple[str, str]:
    """How far this alertname may go, and why."""
    since = facts.now - WINDOW
    noise, real = facts.state.judged(name, since)
    said = f"{noise} of {noise + real} judged incidents of {name} were noise"
    missed = facts.state.missed.get(name)
    earned = noise if missed is None else facts.state.judged(name, max(since, missed))[0]
    if noise < FAMILIAR or (missed is not None and earned < EARNED):
        return "observe", said
    streak = facts.state.noise_since_real(name, since)
    return ("suppress", f"{said}, the last {streak} all") if streak >= EARNED else ("hold", said)


def _held(decision: Decision, score: float, why: str, facts: Facts, unknown: float = inf) -> Decision:
    """Held as long as its like usually lasts; `unknown` seconds, within its severity's bound, where nobody knows."""
    wait = _hold_time(decision, facts, unknown)
    if wait <= 0:
        return decision
    sentence = f"score {score:.2f}: told if it still fires in {moment(wait)}; {why}"
    return refined(decision, Verdict.HOLD, RULE, sentence, until=facts.now + wait)


def _hold_time(decision: Decision, facts: Facts, unknown: float) -> float:
    """How long this pattern's short episodes usually last, and until Alertmanager tells us of their end, bounded."""
    alert, now, config = decision.scored.alert, facts.now, facts.config
    bound = config.holding.max_for(decision.scored.pattern.severity)
    if bound <= 0 or now - alert.starts_at >= bound:
        return 0.0  # it has fired as long as we would have waited
    usual = facts.state.statistics.clears_within(keys_of(alert.fingerprint, alert.labels), TYPICAL, now)
    if usual is None:
        return min(bound, unknown)
    return min(bound, usual + config.group_for(config.domain_of(alert.labels)).group_interval)
