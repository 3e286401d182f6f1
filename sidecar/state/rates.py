"""What is counted over a while: alerts alike, incidents of a domain, and how many alerts were suppressed.

It comes before the incidents: whether a decision is the first of its episode is known as long as that is not folded.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from sidecar.domain import Tally, Verdict
from sidecar.events import Decided, Swept
from sidecar.state.records import BY_SCORE, forget

if TYPE_CHECKING:
    from sidecar.state import State

SLOTS: Final = 10  # that a tally's window is divided into
WEEK: Final = 7 * 86_400.0  # s: what is usual is learned from about so much
DAY: Final = 86_400.0
SHARED_SLOT: Final = 1800.0  # s
SHARES_KEPT: Final = 48  # slots: as long as the longest window of a budget
BUDGETED: Final = frozenset({BY_SCORE, "repeated_false_positive"})  # the rules whose suppression has a budget
ALL: Final = ""  # the key of the shares of everything; the others are alertnames


class Counted(Struct, frozen=True, gc=False, array_like=True):
    episode: str
    at: float


class Rate(Struct, frozen=True, gc=False, array_like=True):
    """How many lately, and how many usually."""

    since: float
    at: float  # when the newest was counted
    decayed: float  # as of then; what is older counts less and less
    slots: tuple[tuple[int, int], ...]  # (number of the slot since the epoch, how many in it), newest last

    def lately(self, now: float, window: float) -> int:
        """How many within the window, to a tenth of it."""
        oldest = int(now * SLOTS / window) - SLOTS
        return sum(
            count for slot, count in self.slots if oldest < slot <= oldest + SLOTS
        )  # another window has other slots

    def usually(self, now: float, window: float) -> float:
        """How many in such a time, on average; a history of less than a day counts as one."""
        exposed = WEEK * (1.0 - exp(-max(DAY, now - self.since) / WEEK))
        return self.decayed * exp(-max(0.0, now - self.at) / WEEK) * window / exposed


class Share(Struct, frozen=True, gc=False, array_like=True):
    """Within one slot of time: episodes decided, and how many of them were suppressed."""

    slot: int
    alerts: int
    suppressed: int


def within(shares: tuple[Share, ...], now: float, window: float) -> tuple[int, int]:
    """(alerts, suppressed) of a window, to half an hour."""
    oldest = int((now - window) // SHARED_SLOT)
    recent = [one for one in shares if one.slot > oldest]
    return sum(one.alerts for one in recent), sum(one.suppressed for one in recent)


def _decide(state: State, event: Decided) -> None:
    known = state.episodes.get(event.episode.rpartition("-")[0])
    if known is None or known.episode != event.episode:
        return
    first = not known.verdict
    gone = known.verdict != Verdict.SUPPRESS.value and _budgeted(event)
    if first or gone:
        for key in (ALL, known.keys.alertname):
            _share(state, key, int(event.at // SHARED_SLOT), int(first), int(gone))
    for tally in event.tallies:
        _count(state, tally, event)


def _budgeted(event: Decided) -> bool:
    """Whether one of these rules suppressed it, or would have in another mode than shadow."""
    if event.would is not None:
        return event.would.verdict is Verdict.SUPPRESS and event.would.rule in BUDGETED
    return event.verdict is Verdict.SUPPRESS and bool(event.reasons) and event.reasons[-1].rule in BUDGETED


def _share(state: State, key: str, slot: int, alerts: int, suppressed: int) -> None:
    shares = state.shares.get(key)
    if shares is None:
        state.shares.change(key, None, (Share(slot, alerts, suppressed),))
        return
    last = shares[-1]
    if last.slot == slot:
        counted = (*shares[:-1], Share(slot, last.alerts + alerts, last.suppressed + suppressed))
    else:
        counted = (*[one for one in shares if one.slot > slot - SHARES_KEPT], Share(slot, alerts, suppressed))
    state.shares.change(key, shares, counted)


def _count(state: State, tally: Tally, event: Decided) -> None:
    if tally.keep:
        before = state.tallies.get(tally.key) or ()
        kept = [one for one in before if event.at - one.at <= tally.window and one.episode != event.episode]
        state.tallies.put(tally.key, (*kept, Counted(event.episode, event.at))[-tally.keep :])
        return
    slot, rate = int(event.at * SLOTS / tally.window), state.rates.get(tally.key)
    if rate is None:
        state.rates.put(tally.key, Rate(event.at, event.at, 1.0, ((slot, 1),)))
        return
    decayed = rate.decayed * exp(-max(0.0, event.at - rate.at) / WEEK) + 1.0
    slots = tuple([one for one in rate.slots if slot - SLOTS < one[0] < slot])
    same = sum(count for number, count in rate.slots if number == slot)
    state.rates.put(tally.key, Rate(rate.since, event.at, decayed, (*slots, (slot, same + 1))))


def _sweep(state: State, event: Swept) -> None:
    forget(state.tallies, lambda counted: counted[-1].at < event.before)
    forget(state.rates, lambda rate: rate.at < event.before)
    forget(state.shares, lambda shares: (shares[-1].slot + 1) * SHARED_SLOT < event.before)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {Decided: _decide, Swept: _sweep}
