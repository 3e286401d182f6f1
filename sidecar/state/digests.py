"""From whom something was kept back since people last heard of it, and what is to be said of silences.

One time per receiver, whatever was kept back: the digest itself is read from the tables when it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from sidecar.domain import Reason, Verdict
from sidecar.events import Decided, DigestDue, ReviewDue, SilenceAsked, SilenceEnded, SilenceReported, Swept
from sidecar.state.records import forget, key_of
from sidecar.state.silences import BY_OURS

if TYPE_CHECKING:
    from sidecar.state import State

KEPT_BACK: Final = frozenset({Verdict.SUPPRESS, Verdict.DIGEST})  # a HOLD ends as one of these, or is told
PAST: Final = "import"  # the rule by which history is recorded: old news
SILENCED: Final = "silenced"  # the rule that suppresses what Alertmanager hides
NOBODY: Final = ""  # stands for decisions that named no receiver
OURS: Final = "silences"  # the one key of `unreviewed`


class Summed(Struct, frozen=True, gc=False):
    """What a receiver's last digest, or review, covered."""

    until: float
    after: int = 0  # log rows up to this one have nothing of the next


def _decide(state: State, event: Decided) -> None:
    if event.verdict in KEPT_BACK and not (event.reasons and _not_ours(event.reasons[-1])):
        for receiver in event.receivers or (NOBODY,):
            if receiver not in state.kept_back:
                state.kept_back.put(receiver, event.at)


def _not_ours(reason: Reason) -> bool:
    """Old news, or what people silenced themselves."""
    return reason.rule == PAST or (reason.rule == SILENCED and BY_OURS not in reason.sentence)


def _sum_up(state: State, event: DigestDue) -> None:
    state.digests.put(event.receiver, Summed(event.until, event.upto))
    for receiver in event.of:
        if receiver in state.kept_back:
            state.kept_back.drop(receiver)


def _ask(state: State, event: SilenceAsked) -> None:
    _remember(state, event.at)


def _end(state: State, event: SilenceEnded) -> None:
    state.endings.put(key_of(event.pattern), event)
    _remember(state, event.at)


def _remember(state: State, at: float) -> None:
    if OURS not in state.unreviewed:
        state.unreviewed.put(OURS, at)


def _report(state: State, event: SilenceReported) -> None:
    if key_of(event.pattern) in state.endings:
        state.endings.drop(key_of(event.pattern))


def _review(state: State, event: ReviewDue) -> None:
    state.reviews.put(event.receiver, Summed(event.until))
    if OURS in state.unreviewed:
        state.unreviewed.drop(OURS)


def _sweep(state: State, event: Swept) -> None:
    forget(state.kept_back, lambda at: at < event.before)
    forget(state.digests, lambda summed: summed.until < event.before)
    forget(state.reviews, lambda summed: summed.until < event.before)
    forget(state.endings, lambda ended: ended.at < event.before)
    forget(state.unreviewed, lambda at: at < event.before)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {
    Decided: _decide,
    DigestDue: _sum_up,
    SilenceAsked: _ask,
    SilenceEnded: _end,
    SilenceReported: _report,
    ReviewDue: _review,
    Swept: _sweep,
}
