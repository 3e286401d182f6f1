"""Bounds on shares and counts that few observations give."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=65536)
def upper_bound(hits: int, trials: int, confidence: float) -> float:
    """The one-sided Clopper-Pearson upper bound on a share, given `hits` among `trials`; 1.0 when there are none."""
    if trials <= 0 or hits >= trials:
        return 1.0
    low, high, tail = hits / trials, 1.0, 1.0 - confidence
    for _ in range(50):  # bisection: the bound is where seeing this few hits has probability `tail`
        middle = (low + high) / 2
        if _at_most(hits, trials, middle) > tail:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, trials: int, share: float) -> float:
    """P(at most `hits` of `trials`) at a share."""
    return math.fsum(_exactly(k, trials, share) for k in range(min(hits, trials) + 1))


def _exactly(hits: int, trials: int, share: float) -> float:
    """P(`hits` of `trials`) at a share, by log-factorials, so that thousands of trials do not overflow."""
    if share <= 0.0 or share >= 1.0:
        return float(hits == (trials if share >= 1.0 else 0))
    ways = math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
    return math.exp(ways + hits * math.log(share) + (trials - hits) * math.log1p(-share))


@lru_cache(maxsize=65536)
def most_hidden(seen: int, chance: float, confidence: float) -> int:
    """The upper bound on how many there are, when each is seen with `chance`, independently, and `seen` were.

    Exact: the largest number of which seeing this few has a probability above 1 - `confidence`. With none seen at 5 %
    it is 58 at 95 % confidence: seeing nothing proves little.
    """
    if chance >= 1.0:
        return seen
    return _last(seen, lambda number: _at_most(seen, number, chance) > 1.0 - confidence)


@lru_cache(maxsize=65536)
def least_hidden(seen: int, chance: float, confidence: float) -> int:
    """The lower bound that goes with `most_hidden`."""
    if chance >= 1.0 or seen == 0:
        return seen
    if 1.0 - _at_most(seen - 1, seen, chance) > 1.0 - confidence:
        return seen
    return 1 + _last(seen, lambda number: 1.0 - _at_most(seen - 1, number, chance) <= 1.0 - confidence)


def _last(low: int, holds: Callable[[int], bool]) -> int:
    """The largest number for which it holds, of a condition that holds up to some number, and at `low`."""
    high = low + 1
    while holds(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@lru_cache(maxsize=65536)
def upper_bound_seen(missed: int, seen: tuple[tuple[float, int], ...], confidence: float) -> float:
    """The upper bound on the share that is missed, where what is missed is itself seen with a chance only.

    `seen` has (chance, cases): cases of every kind that were seen while a missed one would have been seen with this
    chance, and all others for sure; `missed` of all of them are. Of a share s that is missed, chance * s is seen beside
    1 - s, so a case that is seen is a missed one with probability chance * s / (chance * s + 1 - s). The bound is the
    share at which seeing at most `missed` has probability 1 - `confidence`: exact for every mixture of chances. When
    all chances are 1, it is the Clopper-Pearson bound.
    """
    seen = tuple((chance, cases) for chance, cases in seen if cases > 0)
    cases = sum(count for _, count in seen)
    if all(chance >= 1.0 for chance, _ in seen):
        return upper_bound(missed, cases, confidence)
    if missed >= cases:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _sum_at_most(missed, [(count, _as_seen(middle, chance)) for chance, count in seen]) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def _as_seen(share: float, chance: float) -> float:
    return chance * share / (chance * share + 1.0 - share)


def _sum_at_most(hits: int, parts: list[tuple[int, float]]) -> float:
    """P(at most `hits`) of the sum of independent binomials (trials, share)."""
    chances = [1.0]  # of each number of hits so far, as far as `hits`
    for trials, share in parts:
        mine = [_exactly(k, trials, share) for k in range(min(hits, trials) + 1)]
        longer = min(hits + 1, len(chances) + len(mine) - 1)
        chances = [
            math.fsum(chances[k - n] * mine[n] for n in range(max(0, k - len(chances) + 1), min(k + 1, len(mine))))
            for k in range(longer)
        ]
    return math.fsum(chances)
