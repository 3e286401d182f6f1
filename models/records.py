"""The flat tuples of which the pattern statistics are made, and how an event changes them.

A decayed counter forgets by mean life: an event's weight falls to 1/e after that time, so that under a steady rate the
counter shows the number of events in a window of that length. Counters of one record share its time, and an event costs
one `exp` for each mean life. Time never runs backwards: an event older than the record counts as if it came now.
"""

from __future__ import annotations

from bisect import bisect_left
from math import exp, log, log1p

from models.ballots import Ballot

MINUTE, HOUR, DAY, WEEK = 60.0, 3600.0, 86400.0, 604800.0
QUICK = 5 * MINUTE  # an episode that clears within this resolved itself

_QUARTERS_PER_WEEK = 7 * 24 * 4
_PER_15M, _PER_HOUR, _PER_WEEK = -1 / (15 * MINUTE), -1 / HOUR, -1 / WEEK

# Upper edges, seconds, of the histogram of durations; what lasted longer is in one more bucket at the end.
EDGES = (30.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0, 900.0, 1200.0, 1800.0, 3600.0)
ENOUGH = 5.0  # weight of ended episodes below which a histogram says nothing

# (last event, last start, starts in 1 h, starts in 7 d, ended episodes, their mean log duration, share that cleared
# quickly, votes); means are -1 before the first end. What is asked together lies together: a lookup in a large table
# costs more than all the arithmetic on what it finds.
Series = tuple[float, float, float, float, float, float, float, Ballot | None]
# (last event, starts in 15 min, in 1 h, in 7 d, distinct names in 15 min, in 1 h, surprise in 15 min, active, criticals,
# votes)
Host = tuple[float, float, float, float, float, float, float, int, int, Ballot | None]
# (last event, first event, starts in 1 h, starts in 7 d, active)
Whole = tuple[float, float, float, float, int]
# (last event, weight of each bucket of EDGES, weight beyond); weighted forward like `detector.Hour`: an end touches one.
Bins = tuple[float, ...]
_NO_BINS: Bins = (0.0,) * (len(EDGES) + 2)


def count_start(record: Series | None, at: float) -> Series:
    """One more start."""
    if record is None:
        return (at, at, 1.0, 1.0, 0.0, -1.0, -1.0, None)
    last, _, hour, week, ended, mean, quick, votes = record
    past = at - last
    if past <= 0.0:
        return (last, last, hour + 1.0, week + 1.0, ended, mean, quick, votes)
    keep = exp(past * _PER_WEEK)
    return (at, at, hour * exp(past * _PER_HOUR) + 1.0, week * keep + 1.0, ended * keep, mean, quick, votes)


def count_end(record: Series | None, at: float, duration: float) -> Series:
    """One more end, of an episode that lasted `duration` seconds."""
    quickly, log_duration = float(duration <= QUICK), log1p(duration)
    if record is None:
        return (at, at - duration, 0.0, 0.0, 1.0, log_duration, quickly, None)
    last, began, hour, week, ended, mean, quick, votes = record
    past = max(0.0, at - last)
    keep = exp(past * _PER_WEEK)
    ended = ended * keep + 1.0
    return (
        last + past,
        began,
        hour * exp(past * _PER_HOUR),
        week * keep,
        ended,
        mean + (log_duration - mean) / ended if mean >= 0.0 else log_duration,
        quick + (quickly - quick) / ended if mean >= 0.0 else quickly,
        votes,
    )


def starts(record: Series | None, now: float) -> tuple[float, float]:
    """(starts in 1 h, starts in 7 d), as of `now`."""
    if record is None:
        return (0.0, 0.0)
    past = now - record[0]
    if past <= 0.0:
        return (record[2], record[3])
    return (record[2] * exp(past * _PER_HOUR), record[3] * exp(past * _PER_WEEK))


def starts_anywhere(record: Whole | None, now: float) -> tuple[float, float]:
    """(starts in 1 h, starts in 7 d), as of `now`."""
    if record is None:
        return (0.0, 0.0)
    past = now - record[0]
    if past <= 0.0:
        return (record[2], record[3])
    return (record[2] * exp(past * _PER_HOUR), record[3] * exp(past * _PER_WEEK))


def rarity(name: float, anything: float) -> float:
    """How rare a name is, from its starts and all starts, this one included: log(all / its own)."""
    return log(anything / name) if anything > name else 0.0


def count_on_host(record: Host | None, at: float, before: tuple[float] | None, rare: float, critical: bool) -> Host:
    """One more start on an instance, of a name that started there `before` (None: never), as surprising as `rare`.

    The number of distinct names is the sum over names of exp(-age of its last start / mean life). A start makes its own
    term 1, so the sum grows by what that term had lost: constant time, nothing to enumerate.
    """
    if record is None:
        return (at, 1.0, 1.0, 1.0, 1.0, 1.0, rare, 1, int(critical), None)
    last, quarter, hour, week, names_15m, names_1h, odd, active, criticals, votes = record
    past = at - last
    if past < 0.0:
        past, at = 0.0, last
    keep_15m, keep_hour = exp(past * _PER_15M), exp(past * _PER_HOUR)
    new_15m = new_hour = 1.0
    if before is not None:
        since = at - before[0]
        new_15m -= exp(since * _PER_15M)
        new_hour -= exp(since * _PER_HOUR)
    return (
        at,
        quarter * keep_15m + 1.0,
        hour * keep_hour + 1.0,
        week * exp(past * _PER_WEEK) + 1.0,
        names_15m * keep_15m + new_15m,
        names_1h * keep_hour + new_hour,
        odd * keep_15m + rare * new_15m,
        active + 1,
        criticals + critical,
        votes,
    )


def view_host(record: Host, now: float, rare: float) -> tuple[float, ...]:
    """(starts in 15 min, in 1 h, burst, distinct names in 15 min, in 1 h, rarity of the recent set, active, criticals).

    The burst compares 15 minutes with the week's average; the set includes one more alert, as surprising as `rare`.
    """
    last, quarter, hour, week, names_15m, names_1h, odd, active, criticals, _ = record
    past = now - last
    if past > 0.0:
        keep_15m, keep_hour = exp(past * _PER_15M), exp(past * _PER_HOUR)
        quarter *= keep_15m
        hour *= keep_hour
        week *= exp(past * _PER_WEEK)
        names_15m *= keep_15m
        names_1h *= keep_hour
        odd *= keep_15m
    burst = (quarter + 1.0) / (week / _QUARTERS_PER_WEEK + 1.0)
    return (quarter, hour, burst, names_15m, names_1h, odd + rare, float(active), float(criticals))


def count_in_whole(record: Whole | None, at: float) -> Whole:
    """One more start anywhere."""
    if record is None:
        return (at, at, 1.0, 1.0, 1)
    last, first, hour, week, active = record
    past = at - last
    if past <= 0.0:
        return (last, first, hour + 1.0, week + 1.0, active + 1)
    return (at, first, hour * exp(past * _PER_HOUR) + 1.0, week * exp(past * _PER_WEEK) + 1.0, active + 1)


def count_duration(record: Bins | None, at: float, bucket: int, weight: float) -> Bins:
    """One more ended episode, in the histogram of how long false positives last; `weight` is as of `detector.LANDMARK`."""
    if record is None:
        record = _NO_BINS
    place = bucket + 1
    return (max(record[0], at), *record[1:place], record[place] + weight, *record[place + 1 :])


def bucket_of(duration: float) -> int:
    """The place of a duration, seconds, in the histogram."""
    return bisect_left(EDGES, duration)


def quantile(record: Bins | None, q: float, each: float) -> float | None:
    """Seconds within which a share `q` of them cleared; None with too few, or when it is over an hour.

    `each` is what an end weighs now.
    """
    if record is None or sum(record[1:]) < ENOUGH * each:
        return None
    wanted = q * sum(record[1:])
    seen = below = 0.0
    for edge, weight in zip(EDGES, record[1:], strict=False):
        if seen + weight >= wanted and weight > 0.0:
            return below + (edge - below) * max(0.0, wanted - seen) / weight
        seen, below = seen + weight, edge
    return None
