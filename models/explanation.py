"""An observation in words: up to three reasons that a person can read beside the score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import expm1
from typing import Final

from models.features import FEATURES

Row = Sequence[float]
_AT: Final = {name: place for place, name in enumerate(FEATURES)}
LIMIT: Final = 3


def _get(row: Row, name: str) -> float:
    return row[_AT[name]]


def _time(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "a moment"


def _history(row: Row) -> str:
    starts, votes = round(_get(row, "fingerprint_starts_7d")), _get(row, "fingerprint_votes")
    if starts < 1:
        return "first time in 7 days that exactly this fires"
    said = f"fired {starts} time{'s' if starts > 1 else ''} in 7 days"
    if votes >= 0.5:
        said += f", {_get(row, 'fingerprint_false_share'):.0%} of the votes on it said noise"
    return said


def _votes(row: Row) -> str:
    votes, share = _get(row, "name_votes"), _get(row, "name_false_share")
    if votes < 0.5:
        return "nobody has voted on this kind of alert yet"
    return (
        f"{share:.0%} of {max(1, round(votes))} recent vote{'s' if votes >= 1.5 else ''} on this alertname said noise"
    )


def _clears(row: Row) -> str:
    for whose in ("fingerprint", "name"):
        duration = _get(row, f"{whose}_duration")
        if duration > 0.0:
            quick = _get(row, f"{whose}_quick_share")
            often = f", {quick:.0%} of the time within 5 min" if quick > 0 else ""
            return f"usually clears in {_time(expm1(duration))}{often}"
    return ""


def _crowd(row: Row) -> str:
    names = round(_get(row, "instance_names_15m"))
    if names >= 2:
        return f"{names} other kinds of alert on this instance within 15 min"
    return ""


def _threshold(row: Row) -> str:
    ratio = _get(row, "value_ratio")
    return f"its value is {ratio:.3g} times its threshold" if ratio >= 0 else ""


def _unusual(row: Row) -> str:
    anomaly = _get(row, "anomaly_score")
    return "unusually many of this alertname for this hour" if anomaly >= 0.99 else ""


def _flaps(row: Row) -> str:
    starts = round(_get(row, "fingerprint_starts_1h"))
    return f"flapping: {starts} times within the hour" if starts >= 3 else ""


def _criticals(row: Row) -> str:
    criticals = round(_get(row, "instance_criticals"))
    return f"{criticals} critical on this instance at the moment" if criticals else ""


# Each reason with the features it speaks of, in the order in which they are worth reading when nothing ranks them.
_REASONS: Final[tuple[tuple[Callable[[Row], str], tuple[str, ...]], ...]] = (
    (_criticals, ("instance_criticals",)),
    (_flaps, ("fingerprint_starts_1h",)),
    (_history, ("fingerprint_starts_7d", "fingerprint_false_share", "fingerprint_last_label", "fingerprint_votes")),
    (_votes, ("name_false_share", "name_votes", "name_last_label", "pattern_false_share", "pattern_last_label")),
    (_clears, ("fingerprint_duration", "fingerprint_quick_share", "name_duration", "name_quick_share")),
    (_crowd, ("instance_names_15m", "instance_names_1h", "instance_starts_15m", "instance_rarity", "instance_active")),
    (_unusual, ("anomaly_score", "anomaly_of_all")),
    (_threshold, ("value_ratio",)),
)


def reasons(observation: Row, limit: int = LIMIT) -> tuple[str, ...]:
    """Up to `limit` sentences; none for an observation of another version of the features."""
    return _first((say for say, _ in _REASONS), observation, limit)


def top(observation: Row, contributions: Row, limit: int = LIMIT) -> tuple[str, ...]:
    """The same, ranked by what each feature contributed to the score (SHAP values in the order of FEATURES)."""
    if len(observation) != len(FEATURES) or len(contributions) != len(FEATURES):
        return ()
    weight = {names: sum(abs(contributions[_AT[name]]) for name in names) for _, names in _REASONS}
    ranked = sorted(_REASONS, key=lambda reason: -weight[reason[1]])
    return _first((say for say, _ in ranked), observation, limit)


def _first(sayings: Iterable[Callable[[Row], str]], observation: Row, limit: int) -> tuple[str, ...]:
    if len(observation) != len(FEATURES):
        return ()
    said = (say(observation) for say in sayings)
    return tuple([sentence for sentence in said if sentence][:limit])
