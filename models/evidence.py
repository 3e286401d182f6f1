"""Bounds on shares that few observations give."""

from __future__ import annotations

import math
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
    """P(at most `hits` of `trials`) at a share, by log-factorials, so that thousands of trials do not overflow."""
    if share >= 1.0:
        return 0.0
    log, log1 = math.log(share), math.log1p(-share)
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log + (trials - k) * log1)
        for k in range(hits + 1)
    )
