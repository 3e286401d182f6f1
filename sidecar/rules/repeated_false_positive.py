"""Repeated false positives: a pattern that people called noise five times, and never real, is silenced for a day.

The silence goes out through the outbox like any message. Its matchers are the pattern's own, exact and never broader.
One incident counts once; a dispute counts as real; CRITICAL is never silenced; our silences have a budget.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sidecar.domain import CRITICAL, Decision, Pattern, SilenceRequest, Verdict, severity_rank
from sidecar.rules.base import Batch, Facts, changed, moment, refined
from sidecar.state import key_of

RULE = "repeated_false_positive"
LONGEST_PATTERN = 2000  # characters: no silence is worth more, and databases and Alertmanager have limits
STANDING = frozenset({"asked", "active"})


def repeated_false_positive(batch: Batch, facts: Facts) -> Batch:
    """Ask for silences of the patterns that this batch's votes proved false; suppress what one is on its way for.

    Once Alertmanager has it, what still arrives was not silenced there, because somebody ended it: it is told.
    """
    if not facts.config.auto_silence.enabled:
        return batch
    asked = tuple(_requests(facts))
    batch = replace(batch, silences=(*batch.silences, *asked)) if asked else batch
    if not len(facts.state.silences):
        return batch
    return changed(batch, (_suppress(decision, facts) for decision in batch.decisions))


def _requests(facts: Facts) -> Iterable[SilenceRequest]:
    if not facts.voted or facts.config.silence_config is None:  # without an Alertmanager nobody could keep a silence
        return
    room = facts.config.silences.budget - facts.state.silenced(facts.now)
    for pattern in sorted(facts.voted):
        if room > 0 and (request := _request(pattern, facts)) is not None:
            room -= 1
            yield request


def _request(pattern: Pattern, facts: Facts) -> SilenceRequest | None:
    rule, key = facts.config.auto_silence, key_of(pattern)
    if pattern.severity in facts.config.guard.severities or severity_rank(pattern.severity) >= CRITICAL:
        return None
    if not pattern.alertname or len(key) > LONGEST_PATTERN:
        return None
    silence = facts.state.silences.get(key)
    if silence is not None and silence.state in STANDING and silence.ends_at > facts.now:
        return None
    noise, real = facts.state.judged(key, facts.now - rule.window)
    if noise < rule.pattern_threshold or real:
        return None
    evidence = [one for one in facts.state.ballots.get(key) or () if one.at >= facts.now - rule.window]
    episodes = tuple(one.episode for one in evidence)
    comment = (
        f"{noise} incidents of this pattern were called a false positive within {moment(rule.window)}, none real. "
        f"Evidence: {', '.join(episodes[-10:])}. To end it early, expire this silence."
    )
    return SilenceRequest(
        pattern=pattern,
        matchers=matchers_of(pattern, evidence[-1].spelled),
        ends_at=facts.now + rule.duration,
        created_by=facts.config.silences.created_by,
        comment=comment,
        episodes=episodes,
    )


def matchers_of(pattern: Pattern, severity: str) -> tuple[tuple[str, str], ...]:
    """Exact matchers, sorted by name: Alertmanager makes a new silence when their order changes.

    `severity` is the label as the newest voted episode spells it, since Alertmanager compares letter by letter. An
    absent label matches as empty, which is what an empty exact matcher means to Alertmanager too.
    """
    named = {
        "alertname": pattern.alertname,
        "namespace": pattern.namespace,
        "service": pattern.service,
        "severity": severity,
    }
    return tuple(sorted(named.items()))


def _suppress(decision: Decision, facts: Facts) -> Decision:
    if decision.verdict is not Verdict.NOTIFY:
        return decision
    silence = facts.state.silences.get(key_of(decision.scored.pattern))
    if silence is None or silence.state != "asked" or silence.ends_at <= facts.now:
        return decision
    sentence = f"being silenced as a repeated false positive, for {moment(silence.ends_at - facts.now)}"
    return refined(decision, Verdict.SUPPRESS, RULE, sentence)
