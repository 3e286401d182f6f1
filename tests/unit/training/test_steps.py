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


def test_a_quiet_week_validates_with_noise_alone():
    """Where the newest fifth of many episodes is all noise, it stands; a training part of noise alone is refused."""
    data = built(1000)
    data.label[:400] = np.arange(400) % 2
    data.label[400:] = 1.0
    parts = split.split(data)
    assert (parts.method, len(parts.validation)) == ("by time", 200)
    assert data.at[parts.train].max() < data.at[parts.validation].min()
    assert gate.before_fit(data, parts, 50) == []
    data.label[:400] = 1.0
    assert "one class: the training part" in gate.before_fit(data, split.split(data), 50)[0]


def test_the_same_seed_gives_the_same_model():
    """Text for text, and another seed another."""
    data = built(200)
    one, two, other = (fit.fit(data, fit.Setup(seed)).model for seed in (1, 1, 2))
    assert one == two != other


def test_again_learns_from_more_with_the_same_settings():
    """As many trees, text for text the same twice; nothing is kept back for stopping, so the newest tenth counts."""
    data = built(700, flipped=0.05)
    setup = fit.Setup(1)
    first = fit.fit(data.take(np.arange(560)), setup)
    one, two = fit.again(data, first, setup), fit.again(data, first, setup)
    assert one == two
    assert one.rounds == first.rounds
    choice = ("num_leaves", "learning_rate")
    assert [one.parameters[name] for name in choice] == [first.parameters[name] for name in choice]
    other = dataset.build(*taught(700, flipped=0.05)[:2])
    other.label[-60:] = 1.0 - other.label[-60:]
    assert fit.again(other, first, setup).model != one.model


def test_a_search_goes_on_with_what_it_chose():
    """The settings of the grid's best are those of the model that serves."""
    data = built(700, flipped=0.05)
    choice = fit.GRID[2]
    first = fit._fit(data, fit.Setup(1), choice)
    assert {name: fit.again(data, first, fit.Setup(1)).parameters[name] for name in choice} == choice


def test_alerts_of_one_incident_weigh_as_the_root_of_their_number():
    """A storm of a hundred counts as ten alone, and the average weight is one."""
    rows = [(*row(f"e{n}", float(n))[:1], "storm" if n < 100 else f"i{n}", *row("", float(n))[2:]) for n in range(110)]
    found = fit.weights(dataset.build(rows, [said(f"e{n}") for n in range(110)]))
    assert found[:100].sum() == pytest.approx(10 * found[100])
    assert found.mean() == pytest.approx(1.0)


def test_a_search_takes_what_stops_lowest():
    """The grid's best has no higher loss than its first."""
    data = built(700, flipped=0.05)
    searched, plain = fit.fit(data, fit.Setup(1), search=True), fit.fit(data, fit.Setup(1))
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


def test_careful_calibration_needs_incidents():
    """A handful of labels hardly moves a model that knows what a probability is; many do as without care."""
    raw = np.linspace(-2, 2, 10)
    label = np.ones(10)
    hasty, careful = (calibrate.platt(raw, label, np.ones(10), caution) for caution in (1.0, calibrate.CAREFUL))
    moved = [abs(slope - 1.0) + abs(offset) for slope, offset in (careful, hasty)]
    assert 4 * moved[0] < moved[1]
    draw = np.random.default_rng(1)
    raw = draw.normal(size=20_000) * 2
    label = (draw.random(20_000) < calibrate.probability(raw, 2.0, -1.0)).astype(float)
    found = calibrate.platt(raw, label, np.ones_like(raw), calibrate.CAREFUL)
    assert found == pytest.approx((2.0, -1.0), abs=0.1)


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


GOOD = {"roc_auc": 0.9, "calibration_error": 0.02, "log_loss": 0.3, "incidents": 400, "incidents_real": 100}


def against(loss: float, behind: float, error: float = 0.0, **more: float):
    """A champion with a log-loss of 0.2, and a challenger beside it."""
    challenger = GOOD | {"log_loss": loss} | more
    return GOOD | {
        "log_loss": 0.2,
        "challenger": challenger,
        "behind": {"log_loss": behind, "error": error, "incidents": 50.0},
    }


def test_the_gate_lets_a_good_model_pass():
    assert gate.after_fit(GOOD, None) == []
    assert gate.after_fit(GOOD, against(0.2, 0.0)) == []


@pytest.mark.parametrize(
    ("loss", "behind", "error", "refused"),
    [
        (0.3, 0.1, 0.01, True),
        (0.21, 0.1, 0.01, False),  # less than a tenth worse
        (0.3, 0.015, 0.001, False),  # sure, and too little to change a decision
        (0.3, 0.1, 0.06, False),  # few incidents account for it: may be chance
        (0.3, -0.1, 0.01, False),  # ahead, once both are calibrated in the same way
    ],
)
def test_the_gate_keeps_a_champion_that_is_better_beyond_doubt(loss, behind, error, refused):
    """By ratio, by what it amounts to, and by more than two standard errors: all three."""
    reasons = gate.after_fit(GOOD, against(loss, behind, error))
    assert bool(reasons) is refused
    assert all("worse than the champion" in reason for reason in reasons)


@pytest.mark.parametrize(("incidents", "allowed"), [(400, 0.17), (25, 0.32)])
def test_calibration_may_be_off_by_chance_of_incidents(incidents, allowed):
    """However many alerts they have; a champion that is off by more lets it pass."""
    for error, refused in ((allowed - 0.001, False), (allowed + 0.001, True)):
        found = GOOD | {"calibration_error": error, "incidents": incidents, "episodes": 10_000}
        reasons = gate.after_fit(found, None)
        assert bool(reasons) is refused
        assert all(f"with {incidents} incidents" in reason for reason in reasons)
    off = GOOD | {"calibration_error": 0.5}
    assert gate.after_fit(off, against(0.2, 0.0) | {"calibration_error": 0.6}) == []
    assert gate.after_fit(off, against(0.2, 0.0, calibration_error=0.7) | {"calibration_error": 0.6}) != []


@pytest.mark.parametrize(("incidents", "hopeless"), [(100, 0.549), (4, 0.349)])
def test_few_real_incidents_may_be_ranked_badly_by_chance(incidents, hopeless):
    """However many alerts they have: what is refused is a ranking that luck does not explain."""
    found = GOOD | {"incidents_real": incidents, "real": 10_000}
    assert "hopeless" in gate.after_fit(found | {"roc_auc": hopeless}, None)[0]
    assert gate.after_fit(found | {"roc_auc": hopeless + 0.002}, None) == []


def test_a_handful_of_incidents_says_nothing_of_a_champion():
    """Four on which a challenger does badly are luck, whatever their spread."""
    champion = against(0.9, 0.5)
    assert gate.after_fit(GOOD, champion) != []
    assert gate.after_fit(GOOD, champion | {"behind": champion["behind"] | {"incidents": 4.0}}) == []


def test_a_quiet_validation_raises_no_score():
    """With few real incidents the calibration takes certainty back, and never adds any; with many it does both."""
    draw = np.random.default_rng(1)
    raw = draw.normal(size=600) + 1.0
    ones, names = np.ones(600), np.array([f"i{n}" for n in range(600)], dtype=object)
    quiet = calibrate.careful(raw, np.ones(600), ones, names)
    assert quiet[0] <= 1.0
    assert quiet[1] <= 0.0
    sure = (draw.random(600) < calibrate.probability(raw, 0.2, -1.0)).astype(float)
    assert calibrate.careful(raw, sure, ones, np.array(["i"] * 600, dtype=object))[0] < 1.0
    under = (draw.random(600) < calibrate.probability(raw, 2.0, 1.0)).astype(float)
    assert calibrate.careful(raw, under, ones, names)[0] > 1.0


def test_scores_against_the_labels_leave_their_share():
    """Where the found slope would fall, the offset is that of the flat one that is taken instead."""
    raw = np.linspace(-3, 3, 500)
    label = (raw < 0.6).astype(float)
    slope, offset = calibrate.platt(raw, label, np.ones_like(raw))
    assert slope == calibrate.LEAST_SLOPE
    assert calibrate.probability(raw, slope, offset).mean() == pytest.approx(label.mean(), abs=0.01)


def test_the_judged_model_and_the_one_that_serves_have_the_same_settings():
    """Also where the rest takes the data over the size from which settings change."""
    data = built(560)
    setup = fit.Setup(1)
    judged = fit.fit(data.take(np.arange(450)), setup)
    serving = fit.again(data, judged, setup)
    differ = {name for name, value in serving.parameters.items() if judged.parameters[name] != value}
    assert differ == {"min_data_in_leaf"}
    assert fit.then(data, judged, setup).parameters["lambda_l2"] != judged.parameters["lambda_l2"]


def test_labels_that_contradict_each_other_are_untrusted():
    """A few do not matter, and a third of them do."""
    assert gate.untrusted(built(600, flipped=0.02)) == []
    assert "poisoned" in gate.untrusted(built(600, flipped=0.33))[0]
    assert gate.untrusted(built(0)) == []


def test_evaluation_counts_incidents():
    """Of one incident all alerts are right or wrong together."""
    rows = [(*row(f"e{n}", float(n))[:1], f"i{n // 10}", *row("", float(n))[2:]) for n in range(40)]
    data = dataset.build(rows, [said(f"e{n}", "useful" if n < 20 else "false_positive") for n in range(40)])
    found = evaluate.evaluate(data, data.label.copy(), threshold=0.85)
    assert (found["episodes"], found["incidents"], found["incidents_real"]) == (40, 4, 2)


def test_behind_is_the_difference_of_the_losses_and_its_error_that_of_incidents():
    """Ten alerts of an incident are one observation: the error does not shrink with their number."""
    data = built(400)
    draw = np.random.default_rng(1)
    score, other = draw.uniform(0.05, 0.95, len(data)), draw.uniform(0.05, 0.95, len(data))
    found = evaluate.behind(data, score, other)
    assert found["log_loss"] == pytest.approx(evaluate.log_loss(data, score) - evaluate.log_loss(data, other))
    assert evaluate.behind(data, other, other) == {"log_loss": 0.0, "error": 0.0, "incidents": 100.0}
    often = data.take(np.repeat(np.arange(len(data)), 10))
    again = evaluate.behind(often, np.repeat(score, 10), np.repeat(other, 10))
    assert again == pytest.approx(found)
    names, places = np.unique(data.incident.astype(str), return_inverse=True)
    sums = []
    for _ in range(400):  # the same by drawing incidents anew
        times = np.bincount(draw.integers(len(names), size=len(names)), minlength=len(names))[places]
        losses = evaluate._losses(data, score) - evaluate._losses(data, other)
        sums.append(float((losses * times).sum() / len(data)))
    assert found["error"] == pytest.approx(np.std(sums), rel=0.25)


def test_a_released_hold_does_not_end_the_audit_sample():
    """Weights stand for the draw as long as every vote is on something that was told; else telling decides nothing."""
    rows = [dataset.Row(*row(f"e{n}", float(n), propensity=share)) for n, share in enumerate((0.05, 0.95, 1.0))]
    votes = [(f"e{n}", "ada", "useful", 9.0, False) for n in range(3)]
    assert dataset.build(rows, votes).drawn.tolist() == [0.05, 1.0, 1.0]
    assert dataset.build([rows[0], rows[1]._replace(told=False), rows[2]], votes).drawn.tolist() == [1.0, 1.0, 1.0]
