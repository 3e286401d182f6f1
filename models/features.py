"""What a scorer sees of an alert: the past as the statistics know it, and this arrival. One definition for all.

A vector is taken before the alert's own start is folded. -1 stands for "unknown"; there is no NaN, so that a vector is
also valid JSON. Nothing here grows with the age of the system: what behaves like a clock teaches a model when an
incident was, not what it looked like.
"""

from __future__ import annotations

import hashlib
from math import cos, log1p, pi, sin
from typing import Final

from models import records
from models.records import HOUR, Host, Series
from models.statistics import Keys, Statistics

FEATURES: Final[tuple[str, ...]] = (
    "severity_rank",  # 1 INFO, 2 WARNING, 3 CRITICAL and what nobody defined
    "hour_sin",
    "hour_cos",
    "weekday_sin",
    "weekday_cos",
    "value_ratio",  # annotation `value` over annotation `threshold`, 0 to 100
    "fingerprint_last_label",  # 1 false positive, 0 real
    "fingerprint_false_share",  # of recency-weighted votes
    "fingerprint_votes",  # their decayed number
    "name_last_label",
    "name_false_share",
    "name_votes",
    "pattern_last_label",  # alertname, namespace, service, severity
    "pattern_false_share",
    "pattern_votes",
    "instance_last_label",
    "instance_false_share",
    "instance_votes",
    "service_last_label",  # of the service on this instance
    "service_false_share",
    "service_votes",
    "fingerprint_starts_1h",  # flapping
    "fingerprint_starts_7d",
    "fingerprint_duration",  # log(1 + seconds), mean of ended episodes
    "fingerprint_quick_share",  # of ended episodes: cleared within 5 minutes
    "fingerprint_gap",  # log(1 + seconds) since it last started
    "name_starts_1h",
    "name_starts_7d",
    "name_duration",
    "name_quick_share",
    "name_rarity",  # log(all starts / its own)
    "service_starts_1h",
    "service_starts_7d",
    "instance_starts_15m",
    "instance_starts_1h",
    "instance_burst",  # starts in 15 min against the week's average of 15 min
    "instance_names_15m",  # distinct alertnames
    "instance_names_1h",
    "instance_rarity",  # how rare the set of its recent alerts is, this one included
    "instance_active",
    "instance_criticals",
    "all_starts_1h",
    "all_active",
    "anomaly_score",  # of this name, for the hour and weekday
    "anomaly_of_all",
)
VERSION: Final = hashlib.sha256("\n".join(FEATURES).encode()).hexdigest()[:16]

UNKNOWN: Final = -1.0
_RATIO_LIMIT = 100.0
_SEVERITY_RANK = {"CRITICAL": 3.0, "ERROR": 2.0, "WARNING": 2.0, "INFO": 1.0}
_QUARTERS_PER_WEEK = 7 * 24 * 4
_HOURS_TO_MONDAY = 72  # the epoch began on a Thursday: hour 0 of our weeks is Monday 00:00


def _clock(hour: int) -> tuple[float, float, float, float]:
    day, week = 2 * pi * (hour % 24) / 24, 2 * pi * (hour // 24) / 7
    return (sin(day), cos(day), sin(week), cos(week))


_CLOCK = tuple(_clock(hour) for hour in range(168))


def vector(statistics: Statistics, keys: Keys, annotations: dict[str, str], now: float) -> tuple[float, ...]:
    """The features of an alert that arrives at `now`, in the order of FEATURES; O(1), nothing is changed."""
    fingerprint, name, service = statistics.series(keys)
    named = records.starts(name, now)
    return (
        _SEVERITY_RANK.get(keys.severity, 3.0),
        *_CLOCK[(int(now // HOUR) - _HOURS_TO_MONDAY) % 168],
        _ratio(annotations),
        *statistics.votes(keys, now),
        *_of_fingerprint(fingerprint, now),
        *named,
        *_lasting(name),
        *_around(statistics, keys, named, records.starts(service, now), now),
    )


def _of_fingerprint(record: Series | None, now: float) -> tuple[float, float, float, float, float]:
    if record is None:
        return (0.0, 0.0, UNKNOWN, UNKNOWN, UNKNOWN)
    since = now - record[1]
    return (*records.starts(record, now), *_lasting(record), log1p(since) if since > 0.0 else 0.0)


def _lasting(record: Series | None) -> tuple[float, float]:
    """(mean log duration, share that cleared quickly): ratios of sums that decay alike, so no decay is needed."""
    if record is None or record[4] <= 0.0:
        return (UNKNOWN, UNKNOWN)
    return (record[5] / record[4], record[6] / record[4])


def _around(
    statistics: Statistics, keys: Keys, name: tuple[float, float], service: tuple[float, float], now: float
) -> tuple[float, ...]:
    """From `name_rarity` on: what else happens on the instance and everywhere."""
    whole = statistics.whole()
    if whole is None:
        return (0.0, *service, *(0.0,) * 12)
    anything = records.starts_anywhere(whole, now)
    rarity = records.surprise(name[1], anything[1])
    host = statistics.host(keys.instance)
    near = (0.0, 0.0, 0.0, 0.0, 0.0, rarity, 0.0, 0.0) if host is None else _of_host(host, rarity, now)
    unusual = statistics.anomaly(keys.alertname, name, anything, now - whole[1], now)
    return (rarity, *service, *near, anything[0], float(whole[4]), *unusual)


def _of_host(host: Host, rarity: float, now: float) -> tuple[float, float, float, float, float, float, float, float]:
    quarter, hour, week, names_15m, names_1h, odd = records.view_host(host, now)
    burst = (quarter + 1.0) / (week / _QUARTERS_PER_WEEK + 1.0)
    return (quarter, hour, burst, names_15m, names_1h, odd + rarity, float(host[7]), float(host[8]))


def _ratio(annotations: dict[str, str]) -> float:
    value, threshold = annotations.get("value"), annotations.get("threshold")
    if value is None or threshold is None:
        return UNKNOWN
    try:
        ratio = float(value) / float(threshold)
    except (ValueError, ZeroDivisionError, OverflowError):
        return UNKNOWN
    return min(_RATIO_LIMIT, max(0.0, ratio)) if ratio == ratio else UNKNOWN  # noqa: PLR0124: only NaN differs from itself
