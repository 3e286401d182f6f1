"""The numbers of the training page on data whose answers can be counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from models.features import FEATURES
from training import charts, dataset
from training.charts import Detail


def made(*rows, x=None):
    """(dataset, score) of rows (label, score, incident, alertname, severity), an hour apart."""
    given = [(*row, *("", "A", "WARNING")[len(row) - 2 :]) for row in rows]
    count = len(given)
    part = dataset.Dataset(
        x=np.zeros((count, len(FEATURES))) if x is None else x,
        label=np.array([float(row[0]) for row in given]),
        weight=np.ones(count),
        at=np.arange(count) * 3600.0 + charts.MONDAY,
        known_at=np.arange(count) * 3600.0 + charts.MONDAY,
        incident=np.array([row[2] for row in given], dtype=object),
        severity=np.array([row[4] for row in given], dtype=object),
        alertname=np.array([row[3] for row in given], dtype=object),
        episode=np.array([f"e{number}" for number in range(count)], dtype=object),
        instance=np.array([row[2] for row in given], dtype=object),
        served=np.full(count, np.nan),
        trained=np.ones(count, dtype=np.bool_),
        started=np.arange(count) * 3600.0 + charts.MONDAY,
        ended=np.full(count, np.nan),
        drawn=np.ones(count),
        guarded=np.zeros(count, dtype=np.bool_),
        propensity=np.ones(count),
        told=np.ones(count, dtype=np.bool_),
    )
    return part, np.array([row[1] for row in given])


def test_an_incident_is_lost_only_when_every_real_episode_is_hidden():
    """A real one that is told saves it; a false one that is told does not."""
    part, score = made((0, 0.9, "lost"), (0, 0.95, "lost"), (1, 0.1, "lost"), (0, 0.9, "told"), (0, 0.2, "told"))

    head = charts.headline(part, score, 0.85)
    assert (head["incidents_lost"]["hits"], head["incidents_lost"]["trials"]) == (1, 2)
    assert (head["real_episodes_hidden"]["hits"], head["real_episodes_hidden"]["trials"]) == (3, 4)
    assert head["incidents_lost"]["high"] == pytest.approx(0.9874, abs=1e-4)


def test_the_tradeoff_counts_incidents_as_the_threshold_moves():
    """Everything is suppressed at 0, nothing above 1; an episode without an incident is one of its own."""
    part, score = made((1, 0.9, "a"), (1, 0.6, "a"), (1, 0.8, ""), (0, 0.4, "r"))
    steps = {one["threshold"]: one for one in charts.tradeoff(part, score)}

    assert [(steps[at]["false_left"], steps[at]["lost"]) for at in (0.0, 0.4, 0.41, 0.6, 0.61, 0.81, 1.0)] == [
        (0, 1), (0, 1), (0, 0), (0, 0), (1, 0), (2, 0), (2, 0),
    ]  # fmt: skip


def test_precision_and_recall_are_those_of_each_threshold():
    """Equal scores are one point; the last has all recall."""
    part, score = made((1, 0.9), (0, 0.8), (1, 0.8), (1, 0.3))

    points = [(p["threshold"], p["precision"], p["recall"]) for p in charts.precision_recall(part, score)]
    assert points == [
        (0.9, 1.0, pytest.approx(1 / 3)),
        (0.8, pytest.approx(2 / 3), pytest.approx(2 / 3)),
        (0.3, 0.75, 1.0),
    ]
    assert charts.precision_recall(*made((0, 0.5))) == []


def test_long_curves_are_thinned_and_keep_their_ends():
    """A page draws no more points than a screen shows."""
    part, score = made(*((number % 2, number / 2000) for number in range(2000)))
    points = charts.precision_recall(part, score)

    assert len(points) == charts.MOST_POINTS
    assert points[-1]["recall"] == 1.0


def test_calibration_has_counts_and_bounds():
    """Only bins that hold something; a score of 1 is in the last."""
    part, score = made((1, 0.95), (0, 0.91), (1, 1.0), (0, 0.05))
    low, high = charts.calibration(part, score)

    assert (low["low"], low["false"]["share"], low["false"]["trials"]) == (0.0, 0.0, 1)
    assert (high["high"], high["false"]["hits"], high["false"]["trials"]) == (1.0, 2, 3)
    assert high["mean_score"] == pytest.approx(0.9533, abs=1e-4)


def test_groups_say_what_the_threshold_would_do_to_each():
    """By name, the most frequent first."""
    part, score = made((1, 0.9, "", "A"), (1, 0.1, "", "A"), (0, 0.9, "", "A"), (0, 0.2, "", "B"))
    first, second = charts.by_group(part, score, part.alertname.tolist(), 0.85)

    assert (first["name"], first["episodes"], first["false"]["hits"]) == ("A", 3, 2)
    assert (first["suppressed"]["hits"], first["suppressed"]["trials"]) == (1, 2)
    assert (first["hidden"]["hits"], first["hidden"]["trials"]) == (1, 1)
    assert first["mean_score"] == pytest.approx(1.9 / 3)
    assert (second["name"], second["suppressed"]["share"]) == ("B", None)


def test_weeks_begin_on_monday():
    """170 hourly episodes from a Monday on are a week and two hours."""
    part, score = made(*((1, 0.5) for _ in range(169)), (0, 0.5))
    first, second = charts.weeks(part, score)

    assert (first["episodes"], second["episodes"]) == (168, 2)
    assert (first["from"] - charts.MONDAY, second["from"] - first["from"]) == (0.0, charts.WEEK)
    assert second["false"]["share"] == 0.5
    assert second["quantiles"] == {"0.1": 0.5, "0.5": 0.5, "0.9": 0.5}


def test_labels_by_week_are_those_of_both_parts():
    """What was learned from is in the first week, what proves it in the second."""
    part, score = made(*((number % 2, 0.5) for number in range(168)), (1, 0.5), (1, 0.5))
    cut = np.arange(len(part)) < 160
    proof = dataset.Proof(part.take(np.flatnonzero(cut)), part.take(np.flatnonzero(~cut)), score[~cut])

    first, second = charts.label_weeks(proof)
    assert (first["false"]["hits"], first["false"]["trials"]) == (84, 168)
    assert (second["false"]["hits"], second["false"]["trials"]) == (2, 2)


def test_the_stability_index_is_none_for_the_same_and_known_for_a_shift():
    """Half of what was in one value has gone to the other: (0.75 - 0.5) ln 1.5 + (0.25 - 0.5) ln 0.5."""
    before, after = np.repeat([0.0, 1.0], 50), np.repeat([0.0, 1.0], [25, 75])

    assert charts.stability_index(before, before) == 0.0
    assert charts.stability_index(before, after) == pytest.approx(0.25 * np.log(1.5) + -0.25 * np.log(0.5))
    uniform = np.linspace(0, 1, 1000)
    assert charts.stability_index(uniform, uniform + 2.0) > 0.25


def test_drift_names_the_feature_that_moved():
    """The one that moved most is first."""
    before = np.zeros((100, len(FEATURES)))
    after = before.copy()
    after[:, 3] = 1.0

    assert charts.drift(before, after)[0]["feature"] == FEATURES[3]


def test_every_miss_is_listed_with_where_it_was():
    """The highest score first; whether its incident is lost; what may be opened."""
    part, score = made((0, 0.86, "a", "Disk"), (0, 0.99, "b"), (0, 0.1, "b"), (1, 0.99, "c"))
    known = {"e0": Detail("db-1", "web", (("Dashboard", "https://example.org/d"),))}
    first, second = charts.misses(part, score, 0.85, known)

    assert (first["episode"], first["lost"]) == ("e1", False)
    assert (second["episode"], second["alertname"], second["instance"], second["lost"]) == ("e0", "Disk", "db-1", True)
    assert second["links"] == [{"text": "Dashboard", "url": "https://example.org/d"}]


def test_the_charts_of_a_real_run_are_json(trained):
    """Everything at once, of a model that was fitted: valid JSON without NaN, and the same counts as its metrics."""
    result, _, _, _ = trained
    found = charts.charts(result.proof, threshold=0.85, importance=result.report["importance"])

    assert json.loads(json.dumps(found, allow_nan=False)) == found
    at = result.report["metrics"]["at_threshold"]
    assert found["headline"]["false_episodes_suppressed"] == at["recall"]
    assert found["headline"]["real_episodes_hidden"] == at["real_hidden"]
    assert len(found["misses"]) == at["real_hidden"]["hits"]
    assert sum(one["false"]["trials"] for one in found["calibration"]) == result.report["metrics"]["episodes"]


def test_disputed_labels_are_left_out(trained):
    """What people do not agree on is no miss."""
    result, _, _, _ = trained
    validation = result.proof.validation
    disputed = replace(validation, label=np.full(len(validation), 0.5))
    found = charts.charts(result.proof._replace(validation=disputed), threshold=0.0, importance={})

    assert found["misses"] == []
    assert found["headline"]["incidents_lost"]["share"] is None


def test_drift_is_measured_on_a_sample_of_many(monkeypatch):
    """Evenly over time, the first and the last included; of few it is all of them."""
    part, _ = made(*[(0, 0.5)] * 50)
    assert charts._sample(part) is part
    monkeypatch.setattr(charts, "SAMPLE", 8)
    assert charts._sample(part).episode.tolist() == [f"e{number}" for number in (0, 7, 14, 21, 28, 35, 42, 49)]
