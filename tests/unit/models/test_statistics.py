from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features import FEATURES, vector
from models.statistics import Keys, Statistics
from tests.unit.models.events import EVENTS, KEYS, START, play, vectors

KEY = KEYS[0]
DAY = 86400.0


def seen(statistics: Statistics, keys: Keys = KEY, now: float = START, **annotations: str) -> dict[str, float]:
    return dict(zip(FEATURES, vector(statistics, keys, annotations, now), strict=True))


@given(EVENTS, EVENTS)
def test_a_snapshot_changes_nothing(before, after):
    """Loading what was dumped, at any moment and by either format, gives the same vectors bit for bit."""
    straight = Statistics()
    at = play(straight, before)
    straight.commit()
    dumped = straight.dump()
    copies = [
        Statistics.load(json.loads(json.dumps(dumped))),
        Statistics.load(msgspec.msgpack.decode(msgspec.msgpack.encode(dumped))),
    ]
    for copy in copies:
        end = play(copy, after, at)
        assert play(straight, [], at) == at
        copy.commit()
        expected = Statistics.load(dumped)
        play(expected, after, at)
        expected.commit()
        assert copy.dump() == expected.dump()
        assert vectors(copy, end + 5.0) == vectors(expected, end + 5.0)
    end = play(straight, after, at)
    straight.commit()
    assert vectors(straight, end + 5.0) == vectors(copies[0], end + 5.0)
    assert straight.dump() == copies[0].dump()


@given(EVENTS, EVENTS)
def test_a_rollback_leaves_no_trace(kept, dropped):
    """Events that were rolled back leave vectors and snapshot as if they had never been."""
    statistics, expected = Statistics(), Statistics()
    at = play(statistics, kept)
    play(expected, kept)
    statistics.commit()
    expected.commit()
    play(statistics, dropped, at)
    assert statistics.dump() == expected.dump(), "a snapshot holds what is committed"
    statistics.rollback()
    assert vectors(statistics, at + 7.0) == vectors(expected, at + 7.0)
    assert statistics.dump() == expected.dump()


@given(EVENTS, st.sets(st.integers(0, 40)))
def test_batches_do_not_matter(events, ends):
    """Where batches begin and end does not change a vector."""
    whole, parts = Statistics(), Statistics()
    at = play(whole, events)
    moment = START
    for number, event in enumerate(events):
        moment = play(parts, [event], moment)
        if number in ends:
            parts.commit()
    assert vectors(parts, at) == vectors(whole, at)


@given(EVENTS, EVENTS, EVENTS)
def test_the_future_does_not_leak(past, future, other):
    """A vector taken when its alert came is the same whatever happens later."""

    def during(events):
        statistics, at, taken = Statistics(), START, []
        for event in events:
            at += event[1]
            taken.append(vector(statistics, event[2], {}, at))
            play(statistics, [(event[0], 0.0, *event[2:])], at)
        return taken

    assert during([*past, *future])[: len(past)] == during([*past, *other])[: len(past)] == during(past)


@given(EVENTS)
def test_vectors_hold_numbers_only(events):
    """No history makes a NaN or an infinity: every vector is valid JSON of the right length."""
    statistics = Statistics()
    at = play(statistics, events)
    for row in vectors(statistics, at):
        assert len(row) == len(FEATURES)
        assert all(type(value) is float for value in row)
        json.dumps(row, allow_nan=False)


@given(EVENTS, st.sampled_from([0.0, 1.0, 0.5]), st.sampled_from([0.0, 10.0, DAY]))
def test_a_retracted_vote_was_never_given(events, label, later):
    """Votes taken back leave exactly what was there, as long as each label is still remembered."""
    starts = [event for event in events if event[0] != "voted"]
    statistics, expected = Statistics(), Statistics()
    at = play(statistics, starts)
    play(expected, starts)
    statistics.voted(at, KEY, 1.0, None)
    expected.voted(at, KEY, 1.0, None)
    statistics.voted(at + 1.0, KEY, label, None)
    statistics.voted(at + 1.0 + later, KEY, None, label)
    now = at + 2.0 + later
    if label == 1.0:  # the newest of two equal labels goes: the older one stays
        assert seen(statistics, KEY, now)["fingerprint_last_label"] == 1.0
    for name in ("fingerprint", "name", "pattern", "instance", "service"):
        got, want = seen(statistics, KEY, now), seen(expected, KEY, now)
        assert got[f"{name}_false_share"] == want[f"{name}_false_share"]
        assert got[f"{name}_votes"] == pytest.approx(want[f"{name}_votes"], rel=1e-12)


def test_a_changed_label_counts_once():
    """From false positive to real: one label, the new one."""
    statistics = Statistics()
    statistics.voted(START, KEY, 1.0, None)
    statistics.voted(START + 60, KEY, 0.0, 1.0)
    found = seen(statistics, now=START + 60)
    assert found["fingerprint_last_label"] == 0.0
    assert found["fingerprint_false_share"] == 0.0
    assert found["fingerprint_votes"] == 1.0


def test_many_votes_keep_a_bounded_record():
    """A thousand votes and a thousand retractions end at no votes, and the record in between stays small."""
    statistics = Statistics()
    for number in range(1000):
        statistics.voted(START + number, KEY, 1.0, None)
    statistics.commit()
    assert len(json.dumps(statistics.dump())) < 10_000
    for number in range(1000):
        statistics.voted(START + 1000 + number, KEY, None, 1.0)
    found = seen(statistics, now=START + 2000)
    assert found["fingerprint_votes"] == 0.0
    assert found["fingerprint_last_label"] == -1.0


def test_counters_show_a_steady_rate():
    """Once an hour for eight weeks: 168 a week, one an hour."""
    statistics = Statistics()
    for hour in range(24 * 56):
        statistics.started(START + hour * 3600.0, KEY)
    found = seen(statistics, now=START + 24 * 56 * 3600.0)
    assert found["fingerprint_starts_7d"] == pytest.approx(168.0, rel=0.01)
    assert 0.5 < found["fingerprint_starts_1h"] < 1.0


def test_distinct_names_are_counted_once():
    """Five starts of one name and one of two others: three names on the instance."""
    statistics = Statistics()
    for name in ("a", "a", "a", "a", "a", "b", "c"):
        statistics.started(START, KEY._replace(alertname=name, fingerprint=name))
    found = seen(statistics, now=START)
    assert found["instance_names_15m"] == pytest.approx(3.0)
    assert found["instance_starts_15m"] == 7.0


def test_active_alerts_follow_starts_and_ends():
    """Criticals count until they end, an end without a start changes nothing, nor does one after a sweep."""
    statistics = Statistics()
    statistics.started(START, KEY)
    statistics.started(START, KEY._replace(severity="WARNING", fingerprint="other"))
    found = seen(statistics)
    assert (found["instance_active"], found["instance_criticals"], found["all_active"]) == (2.0, 1.0, 2.0)
    statistics.ended(START + 9, KEY, START, START + 9)
    found = seen(statistics, now=START + 9)
    assert (found["instance_active"], found["instance_criticals"], found["all_active"]) == (1.0, 0.0, 1.0)
    statistics.sweep(START + 10 * DAY)
    statistics.ended(START + 9, KEY._replace(severity="WARNING"), START, START + 9)
    found = seen(statistics, now=START + 20 * DAY)
    assert (found["instance_active"], found["all_active"]) == (0.0, 0.0)


def test_durations_describe_what_ended():
    """Three quick ends and one of an hour: a quick share of 3/4, a mean between."""
    statistics = Statistics()
    for lasted in (60.0, 60.0, 60.0, 3600.0):
        statistics.ended(START, KEY, START - lasted, START)
    found = seen(statistics)
    assert found["fingerprint_quick_share"] == 0.75
    assert 60.0 < 2.718281828 ** found["fingerprint_duration"] < 3600.0


def test_hold_time_is_a_quantile_of_false_positives():
    """It needs five of them, lies by what they lasted, and is unknown when they outlast an hour or are real."""
    statistics = Statistics()
    for number in range(4):
        statistics.ended(START + number, KEY, START + number - 100.0, START + number)
    assert statistics.clears_within(KEY, 0.9, START + 10) is None
    for number in range(6):
        statistics.ended(START + number, KEY, START + number - 100.0, START + number)
    usual = statistics.clears_within(KEY, 0.9, START + 10)
    assert usual is not None
    assert 90.0 <= usual <= 120.0
    assert statistics.clears_within(KEY._replace(fingerprint="new"), 0.9, START + 10) == usual, "the name stands in"
    for _ in range(20):
        statistics.ended(START + 10, KEY, START - 9999.0, START + 10)
    assert statistics.clears_within(KEY, 0.9, START + 10) is None
    real = Statistics()
    real.voted(START, KEY, 0.0, None)
    for number in range(20):
        real.ended(START + number, KEY, START + number - 100.0, START + number)
    assert real.clears_within(KEY, 0.9, START + 10) is None


def test_hold_times_forget():
    """What ended long ago weighs next to nothing against what ended lately."""
    statistics = Statistics()
    for number in range(50):
        statistics.ended(START + number, KEY, START + number - 1000.0, START + number)
    later = START + 300 * DAY
    for number in range(20):
        statistics.ended(later + number, KEY, later + number - 100.0, later + number)
    assert 90.0 <= (statistics.clears_within(KEY, 0.9, later + 20) or 0.0) <= 120.0


def test_a_sweep_forgets_idle_keys_only():
    """What had an event or a vote since stays, the rest costs no memory."""
    statistics = Statistics()
    statistics.started(START, KEY)
    statistics.started(START, KEYS[5])
    statistics.started(START + 30 * DAY, KEYS[-1])
    statistics.voted(START + 30 * DAY, KEYS[5], 1.0, None)
    statistics.commit()
    statistics.sweep(START + 10 * DAY)
    statistics.commit()
    now = START + 30 * DAY
    assert seen(statistics, KEY, now)["fingerprint_gap"] == -1.0
    assert seen(statistics, KEYS[5], now)["fingerprint_votes"] == 1.0
    assert seen(statistics, KEYS[-1], now)["fingerprint_gap"] == 0.0
    assert KEY.fingerprint not in json.dumps(statistics.dump()["fingerprints"])


def test_a_burst_is_unusual_and_a_habit_is_not():
    """Weeks of one start a day at nine make ten at nine unusual, and one more at nine usual."""
    statistics, monday = Statistics(), 1_790_000_000.0 // 604800 * 604800 + 4 * DAY
    for day in range(28):
        statistics.started(monday + day * DAY + 9 * 3600.0, KEY)
    at_nine = monday + 28 * DAY + 9 * 3600.0
    usual = seen(statistics, now=at_nine)["anomaly_score"]
    odd_hour = seen(statistics, now=at_nine + 6 * 3600.0)["anomaly_score"]
    for _ in range(10):
        statistics.started(at_nine, KEY)
    burst = seen(statistics, now=at_nine)["anomaly_score"]
    assert 0.0 <= usual < odd_hour <= 1.0
    assert usual < 0.6
    assert burst > 0.99


def test_another_layout_is_refused():
    """A snapshot of another layout is not read as if it were this one."""
    with pytest.raises(ValueError, match="layout"):
        Statistics.load({"layout": 0})
