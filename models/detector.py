"""The alert-pattern-detector: is what fires now more than this hour of this weekday usually brings?

Counts are kept per name for each hour of the day and each hour of the week, decayed over two months. The expected count
is shrunk: the hour of the week towards the hour of the day, and that towards the name's overall rate, so that a young
history expects what is usual at any hour. The score is 1 minus the Poisson probability of seeing at least this many.
It ranks and explains; it never decides alone.
"""

from __future__ import annotations

from math import erf, exp, sqrt

from models.records import DAY, HOUR, WEEK

Cell = tuple[float, float]  # (last event, decayed count)

LIFE = 56 * DAY
_LIVES = 1 / LIFE
_PER_LIFE, _PER_WEEK = -_LIVES, -1 / WEEK
_PRIOR = 2.0  # periods that the coarser rate counts for
_EXACT = 8  # up to this count the tail is summed; above, its normal approximation is as good


def slots(at: float) -> tuple[int, int]:
    """(hour of the week 0..167, 168 + hour of the day): the two cells a moment counts in."""
    hour = int(at // HOUR)
    return hour % 168, 168 + hour % 24


def count(cell: Cell | None, at: float) -> Cell:
    if cell is None:
        return (at, 1.0)
    past = at - cell[0]
    return (at, cell[1] * exp(past * _PER_LIFE) + 1.0) if past > 0.0 else (cell[0], cell[1] + 1.0)


def exposure(age: float) -> tuple[float, float]:
    """(hours that seven-day counters stand for, days that the cells stand for) after `age` seconds of history."""
    return (168.0 * (1.0 - exp(age * _PER_WEEK)) + 24.0, (1.0 - exp(age * _PER_LIFE)) * (LIFE / DAY))


def score(
    present: float, week: float, of_week: Cell | None, of_day: Cell | None, now: float, exposed: tuple[float, float]
) -> float:
    """0..1: how unlikely it is to see `present` starts in an hour and this one more.

    `week` is the decayed count over seven days. What fires now is taken out of the past: it is not its own precedent.
    """
    hours, days = exposed
    rate = (week - present) / hours if week > present else 0.0
    daily = weekly = 0.0
    if of_day is not None:
        daily = of_day[1] * exp((of_day[0] - now) * _LIVES) - present
        if daily < 0.0:
            daily = 0.0
    if of_week is not None:
        weekly = of_week[1] * exp((of_week[0] - now) * _LIVES) - present
        if weekly < 0.0:
            weekly = 0.0
    hourly = (daily + _PRIOR * rate) / (days + _PRIOR)
    expected = (weekly + _PRIOR * hourly) / (days / 7.0 + _PRIOR)
    seen = int(present + 1.5)
    return exp(-expected) if seen == 1 else unlikely(seen, expected)


def unlikely(seen: int, expected: float) -> float:
    """1 - P(X >= seen) for a Poisson X, in constant time; 0 when nothing was seen."""
    if seen > _EXACT:
        deviations = 2.0 * (sqrt(seen - 0.5) - sqrt(expected))
        return max(0.0, 0.5 + 0.5 * erf(deviations / sqrt(2.0)))
    term = exp(-expected)
    below = 0.0
    for n in range(1, seen + 1):
        below += term
        term *= expected / n
    return min(1.0, below)
