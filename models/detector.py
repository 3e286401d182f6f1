"""The alert-pattern-detector: is what fires now more than this hour of this weekday usually brings?

Counts are kept for each hour of the day by weekday, decayed over two months. The expected count is shrunk: the hour of
the week towards the hour of the day, and that towards the overall rate, so that a young history expects what is usual
at any hour. The score is 1 minus the Poisson probability of seeing at least this many. It ranks and explains; it never
decides alone.
"""

from __future__ import annotations

from math import erf, exp, sqrt
from typing import Final

from models.records import DAY, WEEK

# One hour of the day: (last event, all counts, counts of Monday to Sunday). Counts are weighted forward, by
# exp((at - LANDMARK) / LIFE), and divided by today's weight when read: one `exp` for all cells of a moment, and old
# counts need not be touched. The weight stays a double until the year 2120.
Hour = tuple[float, ...]

LANDMARK: Final = 1577836800.0  # 2020-01-01
LIFE: Final = 56 * DAY
_PRIOR = 2.0  # periods that the coarser rate counts for
_DOUBT = 0.5  # starts added to every past: a first one is new, not unusual
_EXACT = 3  # up to this count the tail is summed; above, its normal approximation is as good
_SQRT_2 = sqrt(2.0)
_NEVER: Hour = (0.0,) * 9


# (the moment, hour of the day, place of the weekday in an `Hour`, weight of a start): the same for a whole batch.
Moment = tuple[float, int, int, float]


def moment(at: float) -> Moment:
    hours = int(at) // 3600
    return at, hours % 24, (hours // 24 + 3) % 7 + 2, exp((at - LANDMARK) / LIFE)  # the epoch began on a Thursday


def count(record: Hour | None, at: Moment) -> Hour:
    """One more start."""
    now, _, weekday, each = at
    if record is None:
        record = _NEVER
    head = (now, record[1] + each)
    return head + record[2:weekday] + (record[weekday] + each,) + record[weekday + 1 :]


def exposure(age: float) -> tuple[float, float]:
    """(hours that seven-day counters stand for, days that an `Hour` stands for) after `age` seconds of history."""
    return (168.0 * (1.0 - exp(-age / WEEK)) + 24.0, (1.0 - exp(-age / LIFE)) * (LIFE / DAY))


def score(starts: tuple[float, float], record: Hour | None, now: Moment, exposed: tuple[float, float]) -> float:
    """0..1: how unlikely it is to see the last hour's starts and this one more.

    `starts` are (in 1 h, in 7 d), `exposed` is what `exposure` gave. What fires now is taken out of the past: it is not
    its own precedent. This is `unlikely(arrivals(starts), usual(...))`, written out: calls are half of what it costs.
    """
    present, week = starts
    hours, days = exposed
    rate = ((week - present if week > present else 0.0) + _DOUBT) / hours
    expected = _PRIOR * rate
    weekly = 0.0
    if record is not None:
        _, _, weekday, each = now
        daily, weekly = record[1] / each - present, record[weekday] / each - present
        if daily > 0.0:
            expected += daily
    expected = _PRIOR * expected / (days + _PRIOR)
    if weekly > 0.0:
        expected += weekly
    expected /= days / 7.0 + _PRIOR
    if present < 0.5:
        return exp(-expected)
    seen = int(present + 1.5)
    if seen > _EXACT:
        return 0.5 + 0.5 * erf(_SQRT_2 * (sqrt(seen - 0.5) - sqrt(expected)))
    return unlikely(seen, expected)


def usual(starts: tuple[float, float], record: Hour | None, now: Moment, exposed: tuple[float, float]) -> float:
    """How many starts this hour of this weekday usually brings; arguments as `score` has them."""
    present, week = starts
    hours, days = exposed
    rate = ((week - present if week > present else 0.0) + _DOUBT) / hours
    daily = weekly = 0.0
    if record is not None:
        _, _, weekday, each = now
        daily, weekly = record[1] / each - present, record[weekday] / each - present
    hourly = ((max(0.0, daily)) + _PRIOR * rate) / (days + _PRIOR)
    return ((max(0.0, weekly)) + _PRIOR * hourly) / (days / 7.0 + _PRIOR)


def arrivals(starts: tuple[float, float]) -> int:
    """The last hour's starts with the one that arrives now, as `score` counts them; `starts` as there."""
    return int(starts[0] + 1.5)


def unlikely(seen: int, expected: float) -> float:
    """1 - P(X >= seen) for a Poisson X, in constant time; 0 when nothing was seen."""
    if seen > _EXACT:
        return 0.5 + 0.5 * erf(_SQRT_2 * (sqrt(seen - 0.5) - sqrt(expected)))
    term = exp(-expected)
    below = 0.0
    for n in range(1, seen + 1):
        below += term
        term *= expected / n
    return min(1.0, below)
