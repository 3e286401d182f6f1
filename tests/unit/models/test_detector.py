from __future__ import annotations

import pytest
from scipy.stats import poisson

from models import detector


@pytest.mark.parametrize("expected", [0.01, 0.3, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("seen", [1, 2, 3, 4, 8, 30, 300])
def test_unlikely_is_the_poisson_tail(seen, expected):
    """Exact for few, within four points of the true tail for many."""
    true = 1.0 - poisson.sf(seen - 1, expected)
    assert detector.unlikely(seen, expected) == pytest.approx(true, abs=1e-9 if seen <= 3 else 0.04)


def test_a_first_start_is_new_but_not_unusual():
    """Without a past nothing is called unusual, whatever comes first."""
    now = detector.moment(1_790_000_000.0)
    assert detector.score((0.0, 0.0), None, now, detector.exposure(3600.0)) < 0.99


def test_weekdays_are_apart():
    """A count on Monday at nine adds to Monday and to nine o'clock, not to Tuesday."""
    monday = detector.moment(1_790_000_000.0 // 604800 * 604800 + 4 * 86400 + 9 * 3600.0)
    record = detector.count(None, monday)
    assert monday[1:3] == (9, 2)
    assert record[1] == record[2] > 0.0
    assert record[3:] == (0.0,) * 6


def test_weights_stay_finite_for_a_century():
    """The forward weight neither overflows nor vanishes."""
    for year in (0, 30, 90):
        assert 1e-300 < detector.moment(1_600_000_000.0 + year * 31_557_600)[3] < 1e300


def test_what_arrives_is_counted_to_the_nearest_whole():
    """The decayed starts of the last hour, rounded, and the one that arrives."""
    assert [detector.arrivals((present, 9.0)) for present in (0.0, 0.4, 0.6, 1.0, 2.4, 2.6)] == [1, 1, 2, 2, 3, 4]


@pytest.mark.parametrize("present", [0.0, 0.3, 0.5, 1.2, 7.0])
def test_the_score_is_the_chance_of_fewer_than_arrive(present):
    """From what is usual and what arrives, as both are shown to people."""
    now = detector.moment(1_790_000_000.0)
    record, exposed = detector.count(None, now), detector.exposure(30 * 86400.0)
    usual = detector.usual((present, 9.0), record, now, exposed)
    said = detector.unlikely(detector.arrivals((present, 9.0)), usual)
    assert detector.score((present, 9.0), record, now, exposed) == pytest.approx(said)
