from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from models.stream import WARM, Stream

STEP = 300.0
ALARM = 0.47  # about the best threshold on the synthetic suite


def scores(values, stream: Stream | None = None, start: int = 0) -> list[float]:
    stream = stream or Stream()
    return [stream.score((start + n) * STEP, float(value)) for n, value in enumerate(values)]


def alarms(values, after: int = 600) -> list[int]:
    return [n for n, score in enumerate(scores(values)) if score >= ALARM and n >= after]


@pytest.fixture
def noise():
    return np.random.default_rng(3).normal(50.0, 2.0, 4000)


@pytest.fixture
def days():
    """Two weeks of busy days and quiet nights."""
    day = np.arange(4032) % 288
    return np.where((day >= 108) & (day < 216), 80.0, 20.0) + np.random.default_rng(4).uniform(-2, 2, 4032)


def test_scores_are_0_to_1(noise):
    """Whatever comes, and 0 while it is warming up."""
    noise[::97] *= 1e6
    found = scores(noise)
    assert all(0.0 <= score <= 1.0 for score in found)
    assert not any(found[:WARM])
    assert max(found) > ALARM


def test_a_spike_is_found_at_once(noise):
    """At its first point, and once."""
    noise[2500] += 30.0
    assert alarms(noise, 2000)[0] == 2500
    assert len(alarms(noise, 2000)) <= 2


@pytest.mark.parametrize("sign", [1, -1])
def test_a_level_shift_is_found_early(noise, sign):
    """A shift of three times the noise, up or down, within a dozen points, and it is no alarm for ever."""
    noise[2500:] += sign * 6.0
    found = alarms(noise, 2000)
    assert 2500 <= found[0] <= 2512
    assert len(found) <= 3


def test_noise_is_quiet(noise):
    """Stationary noise raises almost no alarm in two weeks."""
    assert len(alarms(noise)) <= 2


def test_a_season_is_no_anomaly(days):
    """What comes at every same time of day is expected after some days."""
    assert alarms(days, 4 * 288) == []


def test_a_day_that_is_missing_is_found(days):
    """The quiet level by day is unusual, though it is usual by night."""
    at = 10 * 288 + 108
    days[at : at + 108] -= 60.0
    found = [n for n in alarms(days, 4 * 288) if at <= n < at + 108]
    assert found
    assert found[0] <= at + 12


def test_usual_spikes_are_usual():
    """Spikes that always came are no alarm, one far above them is."""
    draw = np.random.default_rng(5)
    values = draw.normal(1.0, 0.1, 4000) + (draw.random(4000) < 0.02) * draw.uniform(5.0, 8.0, 4000)
    before = alarms(values, 1500)
    values[3000:3003] += 60.0
    assert len(before) <= 3
    assert 3000 in alarms(values, 1500)


def test_after_an_alarm_the_same_is_silent(noise):
    """A second spike of the same size shortly after the first is no second alarm, a much larger one is."""
    noise[2500] = noise[2540] = 80.0
    assert 2540 not in alarms(noise)
    noise[2560] = 50000.0
    assert 2560 in alarms(noise)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_no_number_is_left_out(noise, odd):
    """It scores 0, and all other points score as if it had not come."""
    stream, plain = Stream(), Stream()
    for n, value in enumerate(noise[:1500]):
        if n % 100 == 50:
            assert stream.score(n * STEP, odd) == 0.0
        assert stream.score(n * STEP, value) == plain.score(n * STEP, value)


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_none_is_left_out(at):
    """It scores 0 and raises nothing."""
    assert Stream().score(at, 1.0) == 0.0


def test_times_before_the_epoch_and_repeated_are_taken(noise):
    """A series may begin before 1970, and stand still in time."""
    stream = Stream()
    assert all(0.0 <= stream.score(-1e-9 if n % 2 else -5e9, value) <= 1.0 for n, value in enumerate(noise))


@pytest.mark.parametrize("level", [0.0, 45.0, -1e9, 1e-300, 1e149])
def test_a_constant_is_quiet_and_its_end_is_found(level):
    """No alarm while nothing changes; the first other value is one."""
    values = [level] * 3000
    assert not any(scores(values))
    values[2000] = level + max(1.0, abs(level))
    assert scores(values)[2000] > ALARM


def test_an_anomaly_needs_no_scale(noise):
    """The same series in other units has the same scores."""
    noise[2500] += 30.0
    assert scores(noise * 1e6) == pytest.approx(scores(noise), abs=0.01)


def test_feeding_in_pieces_is_the_same(noise):
    """A stream that was stored and restored between two points goes on as if it had not been."""
    stream = Stream()
    first = scores(noise[:1234], stream)
    rest = scores(noise[1234:], pickle.loads(pickle.dumps(stream)), start=1234)
    assert first + rest == scores(noise)


def test_nothing_looks_ahead(noise):
    """What comes later changes no score before it."""
    whole = scores(noise)
    noise[2000:] = 0.0
    assert scores(noise)[:2000] == whole[:2000]


def test_memory_is_constant(noise):
    """Ten times the points take no more than a little more: numbers get longer, nothing is kept."""
    stream = Stream()
    scores(noise[:2000], stream)
    early = len(pickle.dumps(stream))
    for round_ in range(1, 10):
        scores(noise, stream, start=2000 + 4000 * round_)
    assert len(pickle.dumps(stream)) < 1.05 * early
