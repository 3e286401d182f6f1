"""Silenced alerts: what Alertmanager hides is seen, scored and suppressed with the silence's name; ours end early.

A silence of ours ends by its time, and at once when its votes are taken back or one says "real", when an alert of its name,
namespace and service fires at a higher severity, when far more starts under it than usual, or when what starts is very
unusual for the hour. What still fires under it is told then. A person's silence is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from sidecar.domain import Decision, Mute, Pattern, SilenceRequest, Verdict
from sidecar.events import SilenceEnded
from sidecar.rules.base import Batch, Due, Facts, changed, guarded, refined, silence_delivery
from sidecar.state import STANDING, Silence
from sidecar.state.silences import BY_OURS, LASTING, heat_now

RULE: Final = "silenced"
BURST: Final = 10.0  # starts in about an hour under a silence, from which on it may end,
TIMES: Final = 5.0  # when that many times more than usual start
AGAIN: Final = 3600.0  # s: votes count for a silence from as long before it as the rule looks back, and a little more


def silenced(batch: Batch, facts: Facts) -> Batch:
    """Suppress what a silence in Alertmanager hides; say why of what one of ours hid until it ended early."""
    if not facts.state.muted:
        return batch
    return changed(batch, [_judge(decision, facts) for decision in batch.decisions])


def _judge(decision: Decision, facts: Facts) -> Decision:
    fingerprint = decision.scored.alert.fingerprint
    muted = facts.state.muted.get(fingerprint)
    if muted is None or muted.episode != decision.scored.episode:
        return decision
    why = facts.state.freed.get(fingerprint)
    if why is not None:
        return refined(decision, decision.verdict, RULE, f"its silence ended early: {why}")
    if not muted.by or decision.verdict not in (Verdict.NOTIFY, Verdict.HOLD):
        return decision
    theirs = [one for one in muted.by if one.silence_id not in facts.state.ours]
    sentence = _sentence((theirs or muted.by)[0], theirs=bool(theirs))
    return refined(decision, Verdict.SUPPRESS, RULE, sentence, until=None)


def _sentence(one: Mute, *, theirs: bool) -> str:
    until = f" until {datetime.fromtimestamp(one.ends_at, UTC):%Y-%m-%d %H:%M} UTC" if one.ends_at else ""
    whose = f"silence of {one.created_by or 'somebody'}" if theirs else f"{BY_OURS} for a repeated false positive"
    return f"silenced in Alertmanager{until}, by the {whose} ({one.silence_id})"


def end_silences(facts: Facts) -> Iterable[Due]:
    """The ends of silences of ours: those that are over, and those that have to end early."""
    for key, one in facts.state.silences.items() if facts.state.silences else ():
        if one.state not in LASTING:
            continue
        pattern = Pattern(*key.split("\x1f"))
        if one.ends_at <= facts.now:
            yield Due((SilenceEnded(facts.now, pattern, one.silence_id, "its time was over", one.hidden),))
        elif one.state in STANDING and (found := _reason(key, pattern, one, facts)) is not None:
            cause, why = found
            event = SilenceEnded(facts.now, pattern, one.silence_id, why, one.hidden, cause)
            request = SilenceRequest(
                pattern, one.matchers, one.ends_at, one.created_by, why, end=True, silence_id=one.silence_id
            )
            yield Due((event,), (silence_delivery(request, facts.now),))


def _reason(key: str, pattern: Pattern, one: Silence, facts: Facts) -> tuple[str, str] | None:
    """(cause, sentence) for which a silence has to end now."""
    if one.cause:
        return one.cause, one.why
    if facts.config.mode == "shadow":
        return "guard", "shadow mode keeps nothing back"
    if guarded(dict(one.matchers), pattern.severity, facts.config):
        return "guard", "guard.never_suppress covers it now"
    if pattern in facts.voted and (why := _unjustified(key, one, facts)):
        return "votes", why
    heat = heat_now(one, facts.now)
    if heat >= BURST and heat >= TIMES * (usual := _usual(pattern, one, facts)):
        return "burst", f"{heat:.0f} of it started within about an hour, {usual:.2g} are usual"
    return None


def _unjustified(key: str, one: Silence, facts: Facts) -> str:
    rule = facts.config.auto_silence
    noise, real = facts.state.judged(key, one.asked_at - rule.window - AGAIN)
    if real:
        return "somebody called an incident of it real"
    if noise < rule.pattern_threshold:
        return f"votes were taken back: of {rule.pattern_threshold} incidents, {noise} are left"
    return ""


def _usual(pattern: Pattern, one: Silence, facts: Facts) -> float:
    """Starts that an hour usually brings: of the pattern over the replayed history, or of its alertname at this hour."""
    named, _ = facts.state.statistics.usual(pattern.alertname, facts.now)
    if one.hides is None:
        return named.expected
    began = max(one.hides.since, facts.state.statistics.began() or 0.0)
    hours = max(1.0, (one.asked_at - began) / 3600.0)
    return max(named.expected, one.hides.episodes / hours)
