"""The digest's clock: when what was kept back is summed up for whom, and what is said of silences. Duties, not rules.

What a digest says is read from the tables when it is sent (delivery/digest.py); here is only that it is due. The state
remembers for each receiver when something was first kept back from it since its last digest; the first time after that
which `digest.schedule` names is when it is due. One that was missed comes late, once, and covers all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from sidecar.calendar import next_run
from sidecar.config import Config
from sidecar.domain import Delivery
from sidecar.events import DigestDue, ReviewDue, SilenceEnded, SilenceReported
from sidecar.rules.base import Due, Facts
from sidecar.state import State, key_of
from sidecar.state.digests import OURS, Summed

INSTANT: Final = 0.001  # s
LONGEST: Final = 35 * 86400.0  # s that one digest, or review, covers at most
_next = lru_cache(256)(next_run)


def sum_up(facts: Facts) -> Iterable[Due]:
    """The digests that are due, each with its message to every channel of its receiver that takes one."""
    state, config = facts.state, facts.config
    if not state.kept_back or not config.digest.enabled:
        return ()
    found = []
    for receiver, (first, of) in _waiting(state, config).items():
        if _when(config, config.digest.schedule, first) <= facts.now:
            last = state.digests.get(receiver)
            after = last.after if last is not None else 0
            found.append(
                DigestDue(facts.now, receiver, _since(first, last, facts.now), facts.now, of, after, state.seq)
            )
    return [_due(event, f"digest-{event.receiver}-{int(event.until)}", (event.receiver,), facts) for event in found]


def report_endings(facts: Facts) -> Iterable[Due]:
    """Silences of ours that are over, to those whom their alerts belong to."""
    if not facts.state.endings or not facts.config.digest.enabled:
        return ()
    return [_ending(ended, facts) for ended in list(facts.state.endings.values())]


def review_silences(facts: Facts) -> Iterable[Due]:
    """The review of our silences, when there were any since the last one."""
    state, settings, first = facts.state, facts.config.digest, facts.state.unreviewed.get(OURS)
    if first is None or not settings.enabled or settings.review is None:
        return ()
    if _when(facts.config, settings.review, first) > facts.now:
        return ()
    found = [
        ReviewDue(facts.now, receiver, _since(first, state.reviews.get(receiver), facts.now), facts.now)
        for receiver in _reviewers(facts.config)
    ]
    return [_due(event, f"review-{event.receiver}-{int(event.until)}", (event.receiver,), facts) for event in found]


def next_digest(state: State, config: Config) -> float | None:
    """When the first of these is due, for the ticker; None when nothing waits. Times are seconds since the epoch."""
    settings = config.digest
    if not settings.enabled:
        return None
    dues = [_when(config, settings.schedule, first) for first, _ in _waiting(state, config).values()]
    if OURS in state.unreviewed and settings.review is not None and _reviewers(config):
        dues.append(_when(config, settings.review, state.unreviewed[OURS]))
    dues += [ended.at for ended in state.endings.values()]
    return min(dues, default=None)


def _reviewers(config: Config) -> tuple[str, ...]:
    return config.digest.takes(config.default, config.digesting, config.default)


def _when(config: Config, schedule: str, first: float) -> float:
    return _next(schedule, first, ZoneInfo(config.digest.timezone))


def _since(first: float, last: Summed | None, now: float) -> float:
    """Where a digest begins: after the last one, and before the first thing that is to be in it."""
    before = first - INSTANT
    return max(before if last is None else min(before, last.until), now - LONGEST)


def _waiting(state: State, config: Config) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Who has something to hear of: since when, and from whom it was kept back."""
    found: dict[str, tuple[float, tuple[str, ...]]] = {}
    for kept_from, at in state.kept_back.items():
        for receiver in config.digest.takes(kept_from, config.digesting, config.default):
            first, of = found.get(receiver, (at, ()))
            found[receiver] = (min(first, at), (*of, kept_from))
    return found


def _ending(ended: SilenceEnded, facts: Facts) -> Due:
    """It goes where alerts of its pattern would go now."""
    config, pattern = facts.config, ended.pattern
    labels = {name: value for name, value in pattern._asdict().items() if value}
    wanted = config.route(pattern.severity, labels, facts.now).receivers or (config.default,)
    receivers = {to: None for name in wanted for to in config.digest.takes(name, config.digesting, config.default)}
    key = hashlib.blake2b(key_of(pattern).encode("utf-8", "replace"), digest_size=8).hexdigest()
    name = f"silence-over-{key}-{int(ended.at)}"
    reported = SilenceReported(facts.now, pattern)
    return Due((reported,), _messages(ended, name, receivers, facts))


def _due(event: DigestDue | ReviewDue, name: str, receivers: Iterable[str], facts: Facts) -> Due:
    return Due((event,), _messages(event, name, receivers, facts))


def _messages(
    event: DigestDue | ReviewDue | SilenceEnded, name: str, receivers: Iterable[str], facts: Facts
) -> tuple[Delivery, ...]:
    """One to each channel that takes it; what is said is made of the event, and the tables, when it is sent."""
    body = msgspec.json.encode(event).decode()
    return tuple(
        Delivery(f"{name}/{target}", target, name, "digest", facts.now, body=body)
        for receiver in receivers
        for target, kinds in facts.config.targets(receiver)
        if "digest" in kinds
    )
