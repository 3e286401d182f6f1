"""Repeated false positives: a pattern that people called noise five times, and never real, is silenced for a day.

First the silence is only proposed: the shell replays its matchers over the stored history and hands in what they would
have hidden. One real episode among that, or one that the guard covers, and it is not written, until the votes change. Else
it goes out through the outbox like any message. Its matchers are the pattern's own, exact and never broader. One incident
counts once; a dispute counts as real; CRITICAL is never silenced; our silences have a budget. What a person ended is not
silenced again for as long as votes count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sidecar.domain import CRITICAL, Decision, Pattern, SilenceRequest, Verdict, severity_rank
from sidecar.events import Hides, SilenceAsked, SilenceProposed, SilenceReplayed, SilenceWithheld
from sidecar.rules.base import Batch, Due, Facts, changed, moment, refined, silence_delivery
from sidecar.state import Ballot, Silence, key_of
from sidecar.state.silences import EARLY, LASTING, evidence_of

RULE: Final = "repeated_false_positive"
REASON: Final = "false_positive"
LONGEST_PATTERN: Final = 2000  # characters: no silence is worth more, and databases and Alertmanager have limits


def repeated_false_positive(batch: Batch, facts: Facts) -> Batch:
    """Suppress what a silence is on its way for.

    Once Alertmanager has it, what still arrives was not silenced there, because somebody ended it: it is told.
    """
    if not facts.state.hushed or not facts.config.auto_silence.enabled:
        return batch
    return changed(batch, [_suppress(decision, facts) for decision in batch.decisions])


def _suppress(decision: Decision, facts: Facts) -> Decision:
    if decision.verdict is not Verdict.NOTIFY or decision.scored.pattern.alertname not in facts.state.hushed:
        return decision
    silence = facts.state.silences.get(key_of(decision.scored.pattern))
    if silence is None or silence.state != "asked" or silence.ends_at <= facts.now:
        return decision
    sentence = f"being silenced as a repeated false positive, for {moment(silence.ends_at - facts.now)}"
    return refined(decision, Verdict.SUPPRESS, RULE, sentence)


def ask_silences(facts: Facts) -> Iterable[Due]:
    """Propose silences of the patterns that this batch's votes proved false; ask for those that the history allows."""
    config = facts.config
    if not (facts.voted or facts.asked) or not config.auto_silence.enabled:
        return
    if config.silence_config is None:  # without an Alertmanager nobody could keep a silence
        return
    for pattern in sorted(facts.voted):
        if facts.state.silenced(facts.now) < config.silences.budget and (due := _proposed(pattern, facts)) is not None:
            yield due
    for event in facts.asked:
        if isinstance(event, SilenceReplayed) and facts.state.silenced(facts.now) < config.silences.budget:
            yield from _asked(event, facts)


def _proposed(pattern: Pattern, facts: Facts) -> Due | None:
    ballots = _evidence(pattern, facts)
    if not ballots:
        return None
    known, evidence = facts.state.silences.get(key_of(pattern)), evidence_of(_said(pattern, facts))
    if known is not None and known.state in ("proposed", "refused") and known.evidence == evidence:
        return None  # it is being replayed, or was for nothing
    matchers = matchers_of(pattern, ballots[-1].spelled)
    ends_at = facts.now + facts.config.auto_silence.duration
    names = tuple(one.episode for one in ballots)
    return Due((SilenceProposed(facts.now, pattern, matchers, ends_at, evidence, names),))


def _asked(event: SilenceReplayed, facts: Facts) -> Iterable[Due]:
    key, pattern = key_of(event.pattern), event.pattern
    known, ballots = facts.state.silences.get(key), _evidence(event.pattern, facts)
    if known is None or known.state != "replayed" or not ballots:
        return
    names, created_by = tuple(one.episode for one in ballots), facts.config.silences.created_by
    noise, _ = facts.state.judged(key, _since(known, facts))
    ends_at = facts.now + facts.config.auto_silence.duration
    request = SilenceRequest(
        pattern, known.matchers, ends_at, created_by, comment_of(pattern, noise, event, names, facts), REASON, names
    )
    if facts.config.mode == "shadow":
        yield Due((SilenceWithheld(facts.now, pattern, ends_at, REASON, request.comment, names),))
        return
    asked = SilenceAsked(facts.now, pattern, ends_at, REASON, request.comment, names, known.matchers, created_by)
    yield Due((asked,), (silence_delivery(request, facts.now),))


def _said(pattern: Pattern, facts: Facts) -> tuple[Ballot, ...]:
    return facts.state.ballots.get(key_of(pattern)) or ()


def _since(known: Silence | None, facts: Facts) -> float:
    """From when on votes count: none that a person, or what happened under the last silence, spoke against."""
    since = facts.now - facts.config.auto_silence.window
    spoken = known is not None and (known.state == "revoked" or (known.state == "ended" and known.cause in EARLY))
    return max(since, known.at) if known is not None and spoken else since


def _evidence(pattern: Pattern, facts: Facts) -> list[Ballot]:
    """The votes that justify a silence of this pattern; none when they do not, or none may be written now."""
    rule, key = facts.config.auto_silence, key_of(pattern)
    if pattern.severity in facts.config.guard.severities or severity_rank(pattern.severity) >= CRITICAL:
        return []
    if not pattern.alertname or len(key) > LONGEST_PATTERN:
        return []
    known = facts.state.silences.get(key)
    if _stands(key, known, facts):
        return []
    if known is not None and known.state == "revoked" and facts.now < known.at + rule.window:
        return []
    since = _since(known, facts)
    noise, real = facts.state.judged(key, since)
    if noise < rule.pattern_threshold or real:
        return []
    return [one for one in _said(pattern, facts) if one.at >= since]


def _stands(key: str, known: Silence | None, facts: Facts) -> bool:
    """Whether there is a silence of it, or in mode shadow one in name."""
    if facts.config.mode == "shadow" and (facts.state.unasked.get(key) or 0.0) > facts.now:
        return True
    return known is not None and known.state in LASTING and known.ends_at > facts.now


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


def comment_of(pattern: Pattern, noise: int, replayed: SilenceReplayed, episodes: tuple[str, ...], facts: Facts) -> str:
    """What people read at Alertmanager: the evidence, what it would have hidden, and how to end it."""
    window = moment(facts.config.auto_silence.window)
    return (
        f"{noise} incidents of this pattern were called a false positive within {window}, none real. "
        f"{told(replayed.hides, facts.now)} Model: {replayed.model or 'none'}. Evidence: {', '.join(episodes[-10:])}. "
        f"To end it early, expire this silence, or: sidecar silences end {pattern.alertname}"
    )


def told(hides: Hides, now: float) -> str:
    """What a silence would have hidden, in a sentence."""
    return (
        f"On the last {moment(now - hides.since)} it would have hidden {hides.episodes} episodes in {hides.incidents} "
        f"incidents, of them {hides.noise} voted noise, {hides.real} real, {hides.unanswered} unanswered."
    )
