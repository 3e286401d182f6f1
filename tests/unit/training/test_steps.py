from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from models.features import FEATURES
from tests.unit.training.history import taught
from training import calibrate, dataset, evaluate, fit, gate, split


def built(count: int = 200, **how):
    rows, votes, _, _ = taught(count, **how)
    return dataset.build(rows, votes)


def row(episode: str, at: float, observation: list[float] | None = None, propensity: float = 1.0):
    return (
        episode,
        "i",
        at,
        "INFO",
        "A",
        observation if observation is not None else [0.0] * len(FEATURES),
        "m",
        propensity,
    )


def said(episode: str, kind: str = "useful"):
    return (episode, "ada", kind, 100.0, False)


def test_the_dataset_joins_first_decisions_with_labels():
    """Later decisions, unvoted episodes and observations of other features stay out; the order is that of time."""
    rows = [
        row("b", 5.0),
        row("a", 3.0),
        row("a", 4.0),
        row("unvoted", 1.0),
        row("old", 1.0, [1.0]),
        row("none", 1.0, []),
    ]
    found = dataset.build(rows, [said("a", "false_positive"), said("b"), said("old"), said("none")])
    assert found.at.tolist() == [3.0, 5.0]
    assert found.label.tolist() == [1.0, 0.0]
    assert found.skipped == 1


def test_propensities_weigh_and_are_clipped():
    """What was delivered by a draw of one in five counts five times, one in a thousand ten times."""
    found = dataset.build([row("a", 1.0, None, 0.2), row("b", 2.0, None, 0.001)], [said("a"), said("b")])
    assert found.weight.tolist() == pytest.approx([5.0, 10.0])


def test_an_empty_dataset_is_one():
    """Nothing stored is no error."""
    found = dataset.build([], [])
    assert len(found) == 0
    assert found.x.shape == (0, len(FEATURES))


def test_the_split_is_by_time_and_whole_incidents():
    """Everything that validates began after everything that trains, and shares no incident with it."""
    data = built(400)
    parts = split.split(data)
    assert parts.method == "by time"
    assert data.at[parts.train].max() < data.at[parts.validation].min()
    assert not set(data.incident[parts.train]) & set(data.incident[parts.validation])
    assert 0.15 < len(parts.validation) / len(data) < 0.25


def test_late_labels_do_not_train():
    """What was voted on after validation had begun was not known then."""
    data = built(400)
    data.known_at[:50] = data.at.max() + 1
    parts = split.split(data)
    assert parts.late == 50
    assert parts.train.min() == 50


def test_a_small_history_of_one_class_after_the_other_splits_by_class():
    """Thirty of one kind, then thirty of another, in two incidents: both sides still hold both."""
    rows = [row(f"e{n}", float(n)) for n in range(60)]
    rows = [(*each[:1], f"i{n // 30}", *each[2:]) for n, each in enumerate(rows)]
    data = dataset.build(rows, [said(f"e{n}", "false_positive" if n < 30 else "useful") for n in range(60)])
    parts = split.split(data)
    assert parts.method == "by time within each class, incidents cut"
    for part in (parts.train, parts.validation):
        assert 0 < data.false_positive[part].sum() < len(part)
    assert sorted([*parts.train, *parts.validation]) == list(range(60))


def test_the_same_seed_gives_the_same_model():
    """Text for text, and another seed another."""
    data = built(200)
    one, two, other = (fit.fit(data, seed=seed).model for seed in (1, 1, 2))
    assert one == two != other


def test_a_search_takes_what_stops_lowest():
    """The grid's best has no higher loss than its first."""
    data = built(700, flipped=0.05)
    searched, plain = fit.fit(data, seed=1, search=True), fit.fit(data, seed=1)
    assert searched.stopped_loss is not None
    assert plain.stopped_loss is not None
    assert searched.stopped_loss <= plain.stopped_loss


def test_platt_finds_the_sigmoid():
    """From many labels drawn at slope 2 and offset -1 it finds them; from none it keeps the raw odds."""
    draw = np.random.default_rng(1)
    raw = draw.normal(size=20_000) * 2
    label = (draw.random(20_000) < calibrate.probability(raw, 2.0, -1.0)).astype(float)
    slope, offset = calibrate.platt(raw, label, np.ones_like(raw))
    assert slope == pytest.approx(2.0, abs=0.1)
    assert offset == pytest.approx(-1.0, abs=0.1)
    assert calibrate.platt(np.array([]), np.array([]), np.array([])) == (1.0, 0.0)


def test_calibration_never_turns_the_order_round():
    """Labels against the scores flatten them, no more."""
    raw = np.linspace(-3, 3, 500)
    slope, _ = calibrate.platt(raw, (raw < 0).astype(float), np.ones_like(raw))
    assert slope > 0


def test_held_out_does_not_see_itself():
    """Changing one incident's labels changes no score of that incident."""
    raw, groups = np.linspace(-3, 3, 40), np.array([f"i{n // 5}" for n in range(40)], dtype=object)
    label = (raw > 0).astype(float)
    before = calibrate.held_out(raw, label, np.ones(40), groups)
    label[:5] = 1.0
    after = calibrate.held_out(raw, label, np.ones(40), groups)
    assert before[:5].tolist() == after[:5].tolist()
    assert before.tolist() != after.tolist()


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (1, 10), (10, 10), (37, 200)])
def test_shares_have_clopper_pearson_bounds(hits, trials):
    """At each bound, seeing this or something more extreme has probability 2.5 %."""
    found = evaluate.share(hits, trials)
    assert found["low"] <= found["share"] <= found["high"]
    if hits:
        assert binom.sf(hits - 1, trials, found["low"]) == pytest.approx(0.025)
    if hits < trials:
        assert binom.cdf(hits, trials, found["high"]) == pytest.approx(0.025)
    assert evaluate.share(0, 0)["high"] == 1.0


def test_evaluation_of_a_perfect_score():
    """All noise goes, no real alert does, in all and by severity."""
    data = built(200)
    found = evaluate.evaluate(data, data.label.copy(), threshold=0.85)
    assert found["suppressed"]["0.99"]["false_positives"]["share"] == 1.0
    assert found["at_threshold"]["real_hidden"]["share"] == 0.0
    assert found["by_severity"]["WARNING"]["roc_auc"] == 1.0
    assert found["calibration_error"] == 0.0


def test_evaluation_ranks_by_recall():
    """The threshold that keeps 95 % of real alerts may lose five of a hundred."""
    rows = [row(f"e{n}", float(n)) for n in range(200)]
    data = dataset.build(rows, [said(f"e{n}", "useful" if n < 100 else "false_positive") for n in range(200)])
    score = np.concatenate([np.linspace(0, 0.99, 100), np.full(100, 0.955)])
    found = evaluate.evaluate(data, score, threshold=0.85)["suppressed"]
    assert found["0.95"]["false_positives"]["share"] == 1.0
    assert found["0.95"]["real_hidden"]["hits"] == 5
    assert found["0.99"]["false_positives"]["share"] == 0.0


def test_the_gate_knows_worse_and_off():
    """A loss above the champion's, a calibration that is off, a ranking that is none: each has its reason."""
    good = {"roc_auc": 0.9, "calibration_error": 0.02, "episodes": 400, "log_loss": 0.3}
    assert gate.after_fit(good, good, None) == []
    assert gate.after_fit(good, good, {"log_loss": 0.3}) == []
    assert "worse than the champion" in gate.after_fit(good, good, {"log_loss": 0.2})[0]
    assert gate.after_fit(good, good | {"log_loss": 0.2}, {"log_loss": 0.2}) == [], "the newest episodes decide"
    assert "calibration" in gate.after_fit(good | {"calibration_error": 0.3}, good, None)[0]
    assert "hopeless" in gate.after_fit(good | {"roc_auc": 0.45}, good, None)[0]


def test_a_released_hold_does_not_end_the_audit_sample():
    """Weights stand for the draw as long as every vote is on something that was told; else telling decides nothing."""
    rows = [dataset.Row(*row(f"e{n}", float(n), propensity=share)) for n, share in enumerate((0.05, 0.95, 1.0))]
    votes = [(f"e{n}", "ada", "useful", 9.0, False) for n in range(3)]
    assert dataset.build(rows, votes).drawn.tolist() == [0.05, 1.0, 1.0]
    assert dataset.build([rows[0], rows[1]._replace(told=False), rows[2]], votes).drawn.tolist() == [1.0, 1.0, 1.0]
