"""What /classify and /anomaly say of alerts: the same as serving, of the present state, which stays as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.features import FEATURES, pack, vector
from sidecar.errors import PayloadError
from sidecar.events import Decided
from sidecar.intake.assessment import MOST_ALERTS, classify, read, spot
from sidecar.pipeline import Inputs
from sidecar.scoring import Scorers
from sidecar.state import keys_of
from tests.unit.stories import NOON, Fixed, World

FLAKY = {"alertname": "Flaky", "severity": "warning", "instance": "i1"}


def body(*labels: dict[str, str], **more: Any) -> bytes:
    return json.dumps([{"labels": each, **more} for each in labels]).encode()


def lived() -> World:
    """Some days of a flaky alert that people call noise."""
    world = World(score=0.2)
    for _ in range(6):
        decision = world.fire(**FLAKY)
        world.vote(decision)
        world.now += 120
        world.clear(decision.scored.alert.starts_at, **FLAKY)
        world.now += 40_000
    return world


# ----------------------------------------------------------------------------------------------------------- what is read


def test_an_alert_a_list_and_a_webhook_are_the_same():
    """Three spellings of one question."""
    alert = {"labels": FLAKY, "annotations": {"a": "b"}, "startsAt": "2026-11-23T17:36:18Z"}
    spelled = [alert, [alert], {"version": "4", "alerts": [alert], "groupKey": "g"}]
    first, second, third = (read(json.dumps(each).encode(), NOON)[0].alert for each in spelled)
    assert first == second == third
    assert first.labels == FLAKY
    assert read(b"[]", NOON) == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "send an alert"),
        (b"nonsense", "send an alert"),
        (b"null", "send an alert"),
        (b"7", "send an alert"),
        (b"{}", "alert 0: .*labels"),
        (b'{"labels": []}', "alert 0"),
        (b'{"labels": {}}', "alert 0: `labels` is empty"),
        (b'{"alerts": 3}', "array"),
        (b'{"alerts": [{"labels": {"a": "b"}}, {"labels": {"a": 1}}]}', "alert 1"),
        (b'[{"labels": {"a": "b"}, "startsAt": "yesterday"}]', "alert 0.*startsAt"),
        (b"[" * 100_000, "nested too deeply|malformed|truncated"),
        (b'{"labels": ' * 100_000, "nested too deeply|malformed|truncated"),
        (json.dumps([{"labels": {"a": "b"}}] * (MOST_ALERTS + 1)).encode(), f"at most {MOST_ALERTS}"),
    ],
)
def test_what_cannot_be_read_says_what_to_send(given, said):
    """With the number of the alert that is wrong."""
    with pytest.raises(PayloadError, match=said):
        read(given, NOON)


# ------------------------------------------------------------------------------------------------------------ /classify


def test_it_says_what_serving_would_say():
    """The same alert at the same moment: the same probability, model and observation."""
    world = lived()
    world.scoring = Scorers()  # type: ignore[assignment]
    asked = read(body(FLAKY), world.now)
    (said,) = classify(asked, world.state, world.scoring, world.config, world.now).results
    row = vector(world.state.statistics, keys_of(asked[0].alert.fingerprint, FLAKY), {}, world.now)
    world.batch(Inputs((world.alert(**FLAKY),)))
    (event,) = [one for one in world.log[-1] if isinstance(one, Decided)]
    assert (said.false_positive_probability, said.model) == (event.score, event.model)
    assert pack(row) == event.observation
    assert said.fingerprint == event.episode.rpartition("-")[0]


def test_asking_changes_nothing():
    """Neither the committed state nor what is on its way."""
    world = lived()
    before = world.state.dump()
    asked = read(body(FLAKY, {"alertname": "New"}), world.now)
    classify(asked, world.state, Scorers(), world.config, world.now)
    spot(asked, world.state, world.now)
    world.state.commit(world.state.seq)
    assert world.state.dump() == before


def test_it_gives_reasons_in_words():
    """Up to three, from what is known of the alert."""
    world = lived()
    flaky, new = classify(
        read(body(FLAKY, {"alertname": "New"}), world.now), world.state, Scorers(), world.config, world.now
    ).results
    assert any("in 7 days" in reason for reason in flaky.reasons)
    assert any("said noise" in reason for reason in flaky.reasons)
    assert "first time in 7 days that exactly this fires" in new.reasons
    assert all(1 <= len(one.reasons) <= 3 for one in (flaky, new))


@pytest.mark.parametrize(
    ("score", "severity", "verdict"),
    [
        (0.84, "warning", "notify"),
        (0.85, "warning", "suppress"),
        (1.0, "critical", "notify"),
        (1.0, "nobody-defined", "notify"),
        (None, "warning", "notify"),
    ],
)
def test_the_verdict_follows_the_threshold_and_the_guard(score, severity, verdict):
    """At or above confidence_threshold it is noise; what is guarded never is."""
    world = World()
    asked = read(body(FLAKY | {"severity": severity}), NOON)
    answer = classify(asked, world.state, Fixed(score), world.config, NOON)
    assert answer.confidence_threshold == 0.85
    assert [one.verdict for one in answer.results] == [verdict]


# ------------------------------------------------------------------------------------------------------------- /anomaly


def test_the_anomaly_score_is_the_features():
    """Of the name and of everything: what the classifier sees, in the same numbers."""
    world = lived()
    for n in range(5):
        world.fire(alertname="Burst", instance=f"i{n}")
    asked = read(body({"alertname": "Burst"}, FLAKY, {"alertname": "New"}), world.now)
    for received, said in zip(asked, spot(asked, world.state, world.now).results, strict=True):
        row = vector(world.state.statistics, keys_of("x", received.alert.labels), {}, world.now)
        assert said.anomaly_score == row[FEATURES.index("anomaly_score")]
        assert said.overall.anomaly_score == row[FEATURES.index("anomaly_of_all")]


def test_a_burst_is_unusual_and_says_so():
    """With how many there are and how many are usual, for the hour and weekday of the question."""
    world = lived()
    for n in range(9):
        world.fire(alertname="Burst", instance=f"i{n}")
    answer = spot(read(body({"alertname": "Burst"}), world.now), world.state, world.now)
    (burst,) = answer.results
    assert (burst.seen, burst.anomaly_score > 0.99, burst.expected < 1) == (10, True, True)
    assert burst.words.startswith("10 starts of Burst in the last hour, this one included; 0.")
    assert f"{answer.weekday}s from {answer.hour}:00" in burst.words
    assert burst.words.endswith("unusually many")
    assert burst.overall.seen == 10


def test_an_hour_that_always_brings_many_is_not_unusual():
    """What every week brings at this hour is expected then, and not twelve hours later."""
    world = World()
    week = 7 * 86_400.0
    for _ in range(6):
        for n in range(5):
            decision = world.fire(alertname="Backup", instance=f"i{n}")
            world.clear(decision.scored.alert.starts_at, alertname="Backup", instance=f"i{n}")
        world.now += week
    asked = read(body({"alertname": "Backup"}), world.now)
    (usual,) = spot(asked, world.state, world.now).results
    (later,) = spot(asked, world.state, world.now + 12 * 3600).results
    assert usual.expected > 2
    assert later.expected < 1
    assert "unusually" not in usual.words


def test_without_a_past_nothing_is_unusual():
    """The first alert ever scores 0."""
    (said,) = spot(read(body(FLAKY), NOON), World().state, NOON).results
    assert (said.anomaly_score, said.seen, said.overall.anomaly_score) == (0.0, 1, 0.0)
