"""What a scorer sees of an alert: the past as the statistics know it, and this arrival. One definition for all.

A vector is taken before the alert's own start is folded. -1 stands for "unknown"; there is no NaN, so that a vector is
also valid JSON. Nothing here grows with the age of the system: what behaves like a clock teaches a model when an
incident was, not what it looked like.
"""

from __future__ import annotations

import hashlib
import struct
from math import cos, isnan, log1p, pi, sin
from typing import Final

from models import ballots, records
from models.ballots import NO_VOTES, UNKNOWN
from models.records import Series
from models.statistics import LONG, SHORT, Keys, Seen, Statistics

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

_PACKED: Final = struct.Struct(f"<{len(FEATURES)}f")
_RATIO_LIMIT = 100.0
_SEVERITY_RANK = {"CRITICAL": 3.0, "ERROR": 2.0, "WARNING": 2.0, "INFO": 1.0}
_HOURS_SINCE_MONDAY = 72  # at the epoch, a Thursday: hour 0 of our weeks is Monday 00:00


def _clock(hour: int) -> tuple[float, float, float, float]:
    day, week = 2 * pi * (hour % 24) / 24, 2 * pi * (hour // 24) / 7
    return (sin(day), cos(day), sin(week), cos(week))


_NOTHING_ENDED = (UNKNOWN, UNKNOWN)
_CLOCK = tuple(_clock(hour) for hour in range(168))


def vector(
    statistics: Statistics, keys: Keys, annotations: dict[str, str], now: float, seen: Seen | None = None
) -> tuple[float, ...]:
    """The features of an alert that arrives at `now`, in the order of FEATURES; O(1), nothing is changed.

    `seen` is what `statistics.look` gave, with nothing folded since.
    """
    fingerprint, name, pattern, host, service, whole = seen if seen is not None else statistics.look(keys)
    named = records.starts(name, now)
    anything = records.starts_anywhere(whole, now)
    rare = records.rarity(named[1] + 1.0, anything[1] + 1.0)
    # Concatenated, in a third of the time that unpacking takes; short ones first, since each + copies both its sides.
    votes = (
        (NO_VOTES if fingerprint is None else ballots.view(fingerprint[7], now, LONG))
        + (NO_VOTES if name is None else ballots.view(name[7], now, LONG))
        + (NO_VOTES if pattern is None else ballots.view(pattern, now, LONG))
        + (NO_VOTES if host is None else ballots.view(host[9], now, SHORT))
        + (NO_VOTES if service is None else ballots.view(service, now, SHORT))
    )
    return (
        (
            _SEVERITY_RANK.get(keys.severity, 3.0),
            *_CLOCK[(int(now) // 3600 + _HOURS_SINCE_MONDAY) % 168],
            _ratio(annotations),
        )
        + votes
        + (_of_fingerprint(fingerprint, now) + named + (_NOTHING_ENDED if name is None else name[5:7]))
        + (rare,)
        + ((0.0, 0.0, 0.0, 0.0, 0.0, rare, 0.0, 0.0) if host is None else records.view_host(host, now, rare))
        + (anything[0], 0.0 if whole is None else float(whole[4]))
        + statistics.anomaly(keys.alertname, named, anything, now if whole is None else whole[1], now)
    )


def pack(row: tuple[float, ...]) -> bytes:
    """A vector as it is stored: four bytes a number, a tenth of its JSON."""
    return _PACKED.pack(*row)


def unpack(packed: bytes) -> tuple[float, ...]:
    """What `pack` made, of this version of the features or another. Raises ValueError for what it did not make."""
    if len(packed) % 4:
        raise ValueError(f"{len(packed)} bytes are no observation: four for each number")
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def _of_fingerprint(record: Series | None, now: float) -> tuple[float, ...]:
    if record is None:
        return (0.0, 0.0, UNKNOWN, UNKNOWN, UNKNOWN)
    since = now - record[1]
    return records.starts(record, now) + record[5:7] + (log1p(since) if since > 0.0 else 0.0,)


def _ratio(annotations: dict[str, str]) -> float:
    value, threshold = annotations.get("value"), annotations.get("threshold")
    if value is None or threshold is None:
        return UNKNOWN
    try:
        ratio = float(value) / float(threshold)
    except (ValueError, ZeroDivisionError, OverflowError):
        return UNKNOWN
    if 0.0 <= ratio <= _RATIO_LIMIT:
        return ratio
    return UNKNOWN if isnan(ratio) else min(_RATIO_LIMIT, max(0.0, ratio))
