"""What votes say of the score from which on single alertnames may be kept back."""

from __future__ import annotations

import msgspec
import pytest

from models.certificate import Certificate, Grant
from models.evidence import upper_bound
from models.features import FEATURES
from sidecar.config import Config
from training import floors
from training.dataset import Row, build
from training.floors import Tuning
from training.job import certificate_of, run

NOW = 1_790_000_000.0
WANTED = Tuning(required=0.85, min_samples=100, lowest=0.5)


def judged(count, score, *, real=0, name="A", per_incident=1, model="fp-1", since=0, age=1000.0):
    """(rows, votes): `real` of `count` episodes, spread evenly, are real."""
    rows = [
        Row(f"{name}{score}{n}", f"{name}{score}{n // per_incident}", NOW - age - n, "WARNING", name,
            [-1.0] * len(FEATURES), model, 1.0, score, NOW - age - n, NOW - age, {"instance": f"h{n}"})
        for n in range(since, since + count)
    ]  # fmt: skip
    bad = {rows[n * count // real].episode for n in range(real)}
    return rows, [
        (one.episode, "ada", "useful" if one.episode in bad else "false_positive", NOW - 1.0, False) for one in rows
    ]


def found(*parts, wanted=WANTED):
    rows = [row for part in parts for row in part[0]]
    votes = [vote for part in parts for vote in part[1]]
    return floors.find(build(rows, votes), NOW, wanted)


def test_the_floor_is_the_lowest_score_whose_bound_is_enough():
    """At 0.605 half are real; what is above that is false often enough."""
    one = found(judged(60, 0.605, real=30), judged(120, 0.905))["A"]
    assert one["floor"] == 0.61
    assert (one["samples"], one["incidents"], one["noise"]) == (180, 120, 120)
    assert one["bound"] == pytest.approx(1 - upper_bound(0, 120, 0.9))


def test_some_real_ones_are_borne_as_far_as_the_bound_says():
    assert found(judged(200, 0.705, real=10))["A"]["floor"] == 0.5
    worse = found(judged(200, 0.705, real=25))["A"]
    assert worse["floor"] is None
    assert worse["noise"] == 175


def test_too_few_votes_set_no_floor():
    assert found(judged(99, 0.9)) == {}
    assert list(found(judged(100, 0.9), judged(99, 0.9, name="B"))) == ["A"]


def test_incidents_are_counted_not_alerts():
    """Ten incidents of ten alerts each are ten observations, and prove nothing yet: the usual floor stays."""
    assert found(judged(100, 0.9, per_incident=10)) == {}
    assert found(judged(160, 0.9, per_incident=10))["A"]["floor"] == 0.5
    one_bad = found(judged(160, 0.9, per_incident=10, real=8))["A"]
    assert (one_bad["incidents"], one_bad["noise"]) == (16, 8)


def test_only_scores_of_trained_models_of_the_last_sixty_days_count():
    assert found(judged(200, 0.9, model="cold-start")) == {}
    assert found(judged(200, 0.9, age=61 * 86400.0)) == {}


def test_a_floor_below_the_certified_threshold_counts_as_that():
    """Without one, as the confidence_threshold; where no score proves it, as more than any score."""
    own = {"A": {"floor": 0.5}, "B": {"floor": 0.92}, "C": {"floor": None}}
    certified = floors.applied(Certificate(1.0, Grant(0.7)), own, 0.85)
    assert certified.floors == {"A": 0.7, "B": 0.92, "C": floors.NEVER}
    assert floors.applied(Certificate(1.0), own, 0.85).floors == {"A": 0.85, "B": 0.92, "C": floors.NEVER}
    assert msgspec.convert(msgspec.to_builtins(certified), Certificate) == certified


def test_the_configuration_turns_it_on_and_off():
    """It is off unless it is written, and as it is in the specification when it is."""

    def tuned(**section):
        automation = {"feedback_loop": {"automation": section}}
        return floors.tuning(Config.model_validate(automation))

    assert tuned() is None
    assert tuned(auto_tune_thresholds={"enabled": False}) is None
    assert tuned(auto_tune_thresholds={}) == Tuning(0.85, 100, 0.5)
    assert tuned(auto_tune_thresholds={"confidence_required": 0.9, "min_samples": 20}) == Tuning(0.9, 20, 0.5)


def test_a_run_certifies_down_to_the_lowest_floor_and_reports_the_floors(tmp_path):
    """Without it, nothing below the confidence_threshold is tested."""
    noise, real = judged(200, 0.705), judged(120, 0.305, real=120, name="B")
    rows, votes = [*noise[0], *real[0]], [*noise[1], *real[1]]

    def made(tune):
        return run(
            rows, votes, now=NOW, folder=tmp_path / str(tune), min_votes=50, trial=False, tune=tune,
            holds={"WARNING": 660.0},
        )  # fmt: skip

    plain, tuned = made(None), made(WANTED)
    assert certificate_of(plain.report).hold.threshold == 0.85
    assert certificate_of(plain.report).floors == {}
    assert "floors" not in plain.report
    certificate = certificate_of(tuned.report)
    assert certificate.hold.threshold == 0.5
    assert certificate.floors == {"A": 0.5, "B": floors.NEVER}
    assert "A: from 0.50 on, where certified: 200 of 200 incidents were noise" in tuned.text
    assert "B: no score proves it" in tuned.text
