from __future__ import annotations

import numpy as np
import pytest

from training.sweep import PROFILES, Profile, Scored, probation, sigmoid, sweep, worths

STANDARD = PROFILES["standard"]
LENGTH, WINDOWS = 200, [(60, 79), (140, 149)]  # probation: 30 points


def scored(*alarms: int, windows=WINDOWS, name="some/file.csv") -> Scored:
    """A detector that says 1 at these points and 0 elsewhere."""
    scores = np.zeros(LENGTH)
    scores[list(alarms)] = 1.0
    return Scored(name, scores, windows)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_perfect_detector_has_100(profile):
    """One alarm at the start of each window is all there is to win."""
    result = sweep([scored(60, 140)], profile)
    assert result.score == pytest.approx(100.0)
    assert (result.found, result.windows, result.false_alarms, result.threshold) == (2, 2, 0, 1.0)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_silence_has_0(profile):
    """The same score everywhere tells nothing: the best threshold is above it."""
    result = sweep([Scored("some/file.csv", np.full(LENGTH, 0.5), WINDOWS)], profile)
    assert result.score == 0.0
    assert (result.found, result.false_alarms) == (0, 0)


def test_a_false_alarm_costs_its_weight():
    """Before the first window it costs 0.11, of 4 points between silence and perfection."""
    result = sweep([scored(40, 60, 140)], STANDARD)
    assert result.raw == pytest.approx(2.0 - 0.11)
    assert result.score == pytest.approx(100.0 * (4.0 - 0.11) / 4.0)
    assert sweep([scored(40, 60, 140)], PROFILES["reward_low_FP_rate"]).raw == pytest.approx(2.0 - 0.22)


def test_a_miss_costs_its_weight():
    """One window of two: half of what there is, whatever a miss costs."""
    assert sweep([scored(60)], STANDARD).raw == pytest.approx(0.0)
    assert sweep([scored(60)], PROFILES["reward_low_FN_rate"]).raw == pytest.approx(-1.0)
    assert sweep([scored(60)], STANDARD).score == pytest.approx(50.0)


def test_the_sigmoid_at_the_windows_edges():
    """1 at the first point, nearly nothing at the last, and then less than nothing, down to the full cost."""
    worth, window = worths(LENGTH, WINDOWS, STANDARD)
    assert worth[60] == pytest.approx(1.0)
    assert worth[70] == pytest.approx(0.848284 / 0.986614, abs=1e-5)
    assert worth[79] == pytest.approx(sigmoid(-1 / 20) / sigmoid(-1.0))
    assert 0.0 < worth[79] < 0.13
    assert worth[80] == pytest.approx(0.11 * sigmoid(1 / 19))
    assert worth[98] == pytest.approx(-0.11 * 0.986614, abs=1e-6)
    assert worth[137] == -0.11
    assert window[59:61].tolist() == [-1, 0]
    assert window[79:81].tolist() == [0, -1]


def test_sigmoid_is_the_published_one():
    """Its values at -1, 0 and 1 window widths, and -1 from three of them."""
    assert [sigmoid(place) for place in (-1.0, 0.0, 1.0)] == pytest.approx([0.98661, 0.0, -0.98661], abs=1e-5)
    assert sigmoid(3.0) == -1.0


def test_only_the_first_alarm_in_a_window_counts():
    """Those after it neither help nor cost."""
    assert sweep([scored(65, 140)], STANDARD) == sweep([scored(65, 66, 70, 79, 140, 149)], STANDARD)


def test_an_earlier_alarm_at_a_lower_threshold_helps():
    """The threshold falls to the earlier, lower score when that is worth more than the false alarms."""
    file = scored(75, 140)
    file.scores[60] = 0.7
    assert sweep([file], STANDARD).threshold == 0.7
    assert sweep([file], STANDARD).score == pytest.approx(100.0)
    file.scores[[35, 40, 45, 50, 110, 115, 120, 125, 190, 195]] = 0.8
    assert sweep([file], STANDARD).threshold == 1.0


def test_probation_is_ignored():
    """Alarms in it cost nothing, and a window in it is none; it ends at 750 points."""
    assert sweep([scored(0, 12, 29, 60, 140)], STANDARD) == sweep([scored(60, 140)], STANDARD)
    assert sweep([scored(30, 60, 140)], STANDARD).false_alarms == 1
    assert sweep([scored(60, windows=[(5, 20), (60, 79)])], STANDARD).windows == 1
    assert [probation(length) for length in (100, 4032, 5000, 22695)] == [15, 604, 750, 750]


def test_without_windows_there_is_no_score():
    """Only false alarms can be counted, and the best threshold raises none."""
    result = sweep([scored(50, 100, windows=[])], STANDARD)
    assert result.score is None
    assert result.false_alarms == 0
    assert sweep([scored(50, 100, windows=[])], STANDARD, threshold=0.9).raw == pytest.approx(-0.22)


def test_one_threshold_for_all_files():
    """A file whose scores are lower loses, when its windows are not worth the other's false alarms."""
    low = Scored("low/file.csv", scored(60, 140).scores * 0.5, WINDOWS)
    noisy = Scored("noisy/file.csv", np.where(np.arange(LENGTH) % 2, 0.5, 0.0), [])
    assert sweep([scored(60, 140), low], STANDARD).score == pytest.approx(100.0)
    assert sweep([scored(60, 140), low, noisy], STANDARD).score == pytest.approx(50.0)


def test_a_given_threshold_takes_what_reaches_it():
    """A score equal to the threshold is an alarm, one just below is none."""
    file = scored(60, 140)
    file.scores[100] = 0.6
    assert [sweep([file], STANDARD, threshold=at).false_alarms for at in (0.61, 0.6, 0.59)] == [0, 1, 1]


def test_the_sweep_agrees_with_counting():
    """At every threshold the sum is what going through the points one by one gives."""
    draw = np.random.default_rng(7)
    file = Scored("some/file.csv", np.round(draw.random(LENGTH), 2), WINDOWS)
    profile = Profile(1.0, 0.3, 1.5)
    worth, window = worths(LENGTH, WINDOWS, profile)

    def counted(threshold: float) -> float:
        alarms = [at for at in range(30, LENGTH) if file.scores[at] >= threshold]
        outside = sum(worth[at] for at in alarms if window[at] < 0)
        return outside + sum(max((worth[at] for at in alarms if window[at] == n), default=-1.5) for n in (0, 1))

    grid = np.round(np.arange(0.0, 1.02, 0.01), 2)
    for threshold in grid:
        assert sweep([file], profile, threshold=threshold).raw == pytest.approx(counted(threshold))
    assert sweep([file], profile).raw == pytest.approx(max(counted(threshold) for threshold in grid))
