from __future__ import annotations

import pytest

from models.features import FEATURES, VERSION, pack, unpack, vector
from models.statistics import Statistics
from tests.unit.models.events import KEYS, START


def one(name: str, *, now: float = START, severity: str = "WARNING", **annotations: str) -> float:
    row = vector(Statistics(), KEYS[0]._replace(severity=severity), annotations, now)
    return row[FEATURES.index(name)]


def test_names_are_unique_and_versioned():
    """The version stands for exactly this list."""
    assert len(set(FEATURES)) == len(FEATURES)
    assert len(VERSION) == 16


@pytest.mark.parametrize(
    ("value", "threshold", "ratio"),
    [
        ("1.02", "1", 1.02),
        ("0", "5", 0.0),
        ("-3", "5", 0.0),
        ("1e300", "1e-300", 100.0),
        ("1", "0", -1.0),
        ("nan", "1", -1.0),
        ("inf", "inf", -1.0),
        ("98 %", "90", -1.0),
        ("", "", -1.0),
    ],
)
def test_value_against_threshold(value, threshold, ratio):
    """Numbers divide, within 0 to 100; anything else is unknown."""
    assert one("value_ratio", value=value, threshold=threshold) == ratio


def test_a_missing_annotation_is_unknown():
    """Half of the ratio is none."""
    assert one("value_ratio", value="1") == -1.0


@pytest.mark.parametrize(("severity", "rank"), [("CRITICAL", 3.0), ("WARNING", 2.0), ("INFO", 1.0), ("P1", 3.0)])
def test_severity_rank(severity, rank):
    """What nobody defined ranks as critical."""
    assert one("severity_rank", severity=severity) == rank


def test_the_clock_goes_round():
    """Midnight of a Monday is where both circles start; a week later is the same place."""
    monday = 4 * 86400.0
    assert (one("hour_sin", now=monday), one("hour_cos", now=monday)) == (0.0, 1.0)
    assert (one("weekday_sin", now=monday), one("weekday_cos", now=monday)) == (0.0, 1.0)
    assert one("hour_sin", now=monday + 6 * 3600) == pytest.approx(1.0)
    assert one("weekday_sin", now=monday + 86400) == one("weekday_sin", now=monday + 8 * 86400) != 0.0


def test_an_unknown_alert_is_all_defaults():
    """Before any history, what is unknown says so and what is counted is zero."""
    row = dict(zip(FEATURES, vector(Statistics(), KEYS[0], {}, START), strict=True))
    assert {row[name] for name in FEATURES if name.endswith(("_label", "_share", "_duration", "_gap"))} == {-1.0}
    assert {row[name] for name in FEATURES if name.endswith(("_votes", "_1h", "_7d", "_active", "_15m"))} == {0.0}
    assert row["anomaly_score"] == 0.0


def test_an_observation_is_stored_in_four_bytes_a_number():
    """What is packed comes back to seven digits, of other versions of the features too; anything else is an error."""
    row = vector(Statistics(), KEYS[0], {"value": "1", "threshold": "3"}, START)
    assert unpack(pack(row)) == pytest.approx(row, rel=1e-6)
    assert unpack(pack(row)[:8]) == pytest.approx(row[:2], rel=1e-6)
    with pytest.raises(ValueError, match="no observation"):
        unpack(b"12345")
