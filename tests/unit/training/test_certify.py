"""What a certificate may say of past clusters, and how much evidence it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.certificate import Certificate
from models.evidence import upper_bound, upper_bound_seen
from models.features import FEATURES
from training import certify
from training.dataset import Row, build

HOUR = 3600.0
QUIET = [-1.0] * len(FEATURES)  # no votes known, no burst


def row(
    n: int, at: float, instance: str, score: float | None, lasts: float | None = 60.0, severity: str = "WARNING", **more
):
    propensity = more.get("propensity", 1.0)
    ended = None if lasts is None else at + lasts
    return Row(
        f"e{n}",
        f"i{n}",
        at,
        severity,
        "A",
        more.get("observation", QUIET),
        more.get("model", "fp-1"),
        propensity,
        score,
        at,
        ended,
        {"instance": instance},
        more.get("told", True),
    )


def made(rows, kinds=None):
    """Everything is voted on but what was kept back."""
    votes = [
        (one.episode, "ada", (kinds or {}).get(one.episode, "useful"), one.at + 2 * HOUR, False)
        for one in rows
        if one.told
    ]
    return build(rows, votes)


def certified(rows, kinds=None, **more) -> Certificate:
    settings = {"now": 1e9, "budget": 0.05, "floor": 0.85, "holds": {"WARNING": 600.0}} | more
    return certify.certify(made(rows, kinds), **settings)


def one_each(count: int, score: float, lasts: float = 60.0, **more):
    return [row(n, n * HOUR, f"h{n}", score, lasts, **more) for n in range(count)]


def test_a_cluster_is_an_instances_real_alerts_without_half_an_hour_of_quiet():
    """A gap is from the last end to the next start; false alerts and other instances are not in it."""
    rows = [
        row(0, 0.0, "a", 0.1, 3600.0), row(1, 600.0, "a", 0.1, 60.0), row(2, 5300.0, "a", 0.1), row(3, 7300.0, "a", 0.1),
        row(4, 7400.0, "b", 0.1), row(5, 9000.0, "a", 0.1),
    ]  # fmt: skip
    found = certify.clusters(made(rows, {"e5": "false_positive"}), 1e9)
    assert sorted(cluster.places for cluster in found) == [(0, 1, 2), (3,), (4,)]


def test_what_has_not_ended_joins_all_that_follows():
    rows = [row(0, 0.0, "a", 0.1, None), row(1, 9 * HOUR, "a", 0.1)]
    assert [cluster.places for cluster in certify.clusters(made(rows), 1e9)] == [(0, 1)]


def test_too_few_clusters_allow_nothing_and_say_how_many_more():
    first = certify.first_look(0.1, certify.ALPHA)
    assert upper_bound(0, first, 0.915) <= 0.1 < upper_bound(0, first - 1, 0.915)
    grant = certified(one_each(first - 1, 0.1)).hold
    assert (grant.threshold, grant.clusters, grant.needed, grant.look) == (None, first - 1, 1, 0)
    assert certified(one_each(first, 0.1)).hold.threshold == 0.85


def test_no_rows_are_no_proof():
    grant = certified([]).hold
    assert (grant.threshold, grant.clusters) == (None, 0)


def test_the_walk_stops_above_the_real_ones():
    """With most real alerts at 0.93, nothing at or below it is allowed."""
    grant = certified([*one_each(40, 0.93), *(row(n, n * HOUR, f"h{n}", 0.2) for n in range(40, 60))]).hold
    assert grant.threshold == pytest.approx(0.94)
    assert (grant.missed, grant.clusters) == (0, 2 * certify.first_look(0.1, certify.ALPHA))
    assert grant.bound == pytest.approx(upper_bound(0, grant.clusters, grant.confidence))


def test_an_unsafe_top_allows_nothing_and_shows_what_was_missed():
    grant = certified(one_each(60, 1.0)).hold
    assert (grant.threshold, grant.missed) == (None, grant.clusters)


def test_the_floor_is_never_crossed():
    assert certified(one_each(60, 0.1), floor=0.95).hold.threshold == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lasts": 700.0}, True),  # it outlasts the hold, and is told then
        ({"lasts": 500.0}, False),
        ({"severity": "CRITICAL"}, True),
        ({"severity": "INFO", "lasts": 700.0}, True),  # no hold for it: told at once, or suppressed
    ],
)
def test_what_the_policy_would_tell_is_not_missed(change, told):
    rows = one_each(60, 0.99, **change)
    grant = certified(rows, holds={"WARNING": 600.0, "INFO": 600.0}).hold
    assert (grant.threshold is not None) is told


def test_suppressing_takes_more_clusters_than_holding():
    """None of 49 missed proves the miss budget itself; to hold, 24 prove twice of it."""
    allowed = [certified(one_each(count, 0.1)) for count in (23, 24, 48, 49)]
    assert [made_.hold.threshold for made_ in allowed] == [None, 0.85, 0.85, 0.85]
    assert [made_.suppress.threshold for made_ in allowed] == [None, None, None, 0.85]


def test_suppressing_hides_what_a_hold_would_have_told():
    made_ = certified(one_each(300, 0.99, lasts=5000.0))
    assert made_.hold.threshold == 0.85
    assert made_.suppress.threshold is None


def test_a_cluster_is_told_by_any_of_its_alerts_in_time():
    """A second alert with a low score ten minutes later saves it; one after twenty minutes saves only the loss."""

    def pairs(later: float):
        return [
            one
            for n in range(60)
            for one in (row(2 * n, n * 9 * HOUR, f"h{n}", 0.99), row(2 * n + 1, n * 9 * HOUR + later, f"h{n}", 0.1))
        ]

    assert certified(pairs(600.0)).hold.missed == 0
    late = certified(pairs(1200.0)).hold
    assert (late.threshold, late.missed) == (None, late.clusters)


def test_looks_spend_the_confidence_once():
    """All looks together are wrong with at most alpha; they come at each doubling."""
    looks = certify.looks(14, 0.1)
    first = [next(looks) for _ in range(200)]
    assert [size for _, size, _ in first[:4]] == [14, 28, 56, 112]
    spent = [1 - confidence for *_, confidence in first]
    assert spent[:3] == pytest.approx([0.085, 0.01275, 0.0019125])
    assert math.fsum(spent) == pytest.approx(0.1)


def test_between_looks_the_certificate_stands():
    """What comes after a look changes nothing until the next one."""
    first = certify.first_look(0.1, certify.ALPHA)
    good = one_each(first, 0.1)
    bad = [row(n, n * HOUR, f"h{n}", 0.99) for n in range(first, 2 * first)]
    assert certified([*good, *bad[:-1]]).hold.threshold == 0.85
    assert certified([*good, *bad]).hold.threshold is None


def test_a_missed_cluster_that_only_the_audit_sample_saw_stands_for_those_it_was_drawn_from():
    good = one_each(100, 0.1)
    seen = [*good, row(200, 1.0, "x", 0.99)]
    assert certified(seen).hold.missed <= 1
    drawn = [*good[:50], row(200, 60.0, "x", 0.99, propensity=0.05), *good[50:]]
    grant = certified(drawn).hold
    assert grant.threshold is None
    assert grant.missed == 20


def test_an_unscored_alert_is_told():
    assert certified([row(n, n * HOUR, f"h{n}", None) for n in range(60)]).hold.threshold == 0.85


@pytest.mark.parametrize("model", ["cold-start", "http:v1"])
def test_clusters_that_no_trained_model_scored_prove_nothing(model):
    assert certified(one_each(100, 0.1, model=model)).hold.clusters == 0


def test_a_later_vote_moves_no_cluster_across_looks():
    """Clusters are tested in the order they began, whenever people said what they were."""
    rows = [
        *one_each(26, 0.1),
        *(row(n, n * HOUR, f"h{n}", 0.99) for n in range(26, 29)),
        *(row(n, n * HOUR, f"h{n}", 0.1) for n in range(29, 40)),
    ]
    votes = [(one.episode, "ada", "useful", one.at + 2 * HOUR, False) for one in rows]
    again = [(f"e{n}", "bob", "useful", 900 * HOUR, False) for n in range(26, 29)]
    settings = {"now": 1e9, "budget": 0.05, "floor": 0.85, "holds": {"WARNING": 600.0}}
    assert certify.certify(build(rows, votes), **settings) == certify.certify(build(rows, [*votes, *again]), **settings)


def test_a_hold_counts_from_when_the_alert_arrived():
    """One that Alertmanager kept for five minutes clears within a hold that its own length would have outlasted."""
    rows = [one._replace(at=one.started + 300.0) for one in one_each(60, 0.99, lasts=800.0)]
    assert certified(rows).hold.threshold is None
    assert certified(one_each(60, 0.99, lasts=800.0)).hold.threshold == 0.85


def test_twice_the_cleared_holds_are_too_many_when_nobody_is_told_of_them():
    """What a hold hides for good has half the budget of what it tells late."""
    grant = certified([*one_each(2, 0.99), *(row(n, n * HOUR, f"h{n}", 0.1) for n in range(2, 60))]).hold
    assert upper_bound(2, 48, grant.confidence) > 0.1
    assert grant.bound == pytest.approx(upper_bound(2, 48, grant.confidence))
    assert grant.bound <= grant.budget
    assert grant.threshold is None
    late = [*one_each(2, 0.99, lasts=2000.0), *(row(n, n * HOUR, f"h{n}", 0.1) for n in range(2, 60))]
    assert certified(late, holds={"WARNING": 1000.0}).hold.threshold == 0.85


@pytest.mark.parametrize(
    ("feature", "value"), [("fingerprint_last_label", 0.0), ("instance_names_15m", 4.0), ("usual", 0.0)]
)
def test_what_speaks_against_keeping_it_back_tells_it(feature, value):
    """A last vote that said real, or a burst of different alerts: told whatever the score."""
    observation = [3.0 if name == "instance_burst" else -1.0 for name in FEATURES]
    if feature in FEATURES:
        observation[FEATURES.index(feature)] = value
    grant = certified(one_each(60, 0.99, observation=observation)).hold
    assert (grant.threshold == 0.85) is (feature in FEATURES)


def test_a_hold_that_ends_after_a_quarter_of_an_hour_tells_late():
    """An alert that Alertmanager kept for ten minutes and a hold of ten: told in twenty, and so not in time."""
    rows = [one._replace(at=one.started + 600.0) for one in one_each(60, 0.99, lasts=5000.0)]
    rows[0] = rows[0]._replace(started=1.0)  # no start is on record as 0
    grant = certified(rows).hold
    assert (grant.threshold, grant.missed) == (None, grant.clusters)
    assert certified(rows, holds={"WARNING": 300.0}).hold.threshold == 0.85


def test_a_hold_counts_on_no_release_of_what_would_be_suppressed():
    """One alert at .99 that lasts, one at .90 that clears: held both, and suppressed and forgotten, if both were granted."""
    rows = [
        one
        for n in range(100)
        for one in (
            row(2 * n, n * 9 * HOUR, f"h{n}", 0.99, lasts=7200.0),
            row(2 * n + 1, n * 9 * HOUR + 120.0, f"h{n}", 0.90, lasts=60.0),
        )
    ]
    found = certified(rows)
    assert found.suppress.threshold == pytest.approx(0.91)
    assert found.hold.threshold == pytest.approx(0.91)


# ------------------------------------------------------------------------------ what is seen through the audit sample only


def kept_back(n: int, at: float) -> Row:
    """What the scores kept back, and nobody judged."""
    return row(n, at, f"k{n}", 0.99, propensity=0.95, told=False)


def test_before_anything_was_kept_back_the_bound_is_clopper_pearson_s():
    """And as long as what was kept back comes later, nothing changes."""
    rows = [*one_each(100, 0.1), row(100, 60.0, "x", 0.99)]
    grant = certified(rows).hold
    assert grant.bound == upper_bound(1, 96, grant.confidence)
    assert certified([*rows, kept_back(200, 99 * HOUR)]).hold == grant


def test_what_came_after_proves_as_little_as_the_audit_sample_is_small():
    """The same clusters, none missed: once alerts are kept back, a missed one would have been seen one time in twenty."""
    rows = one_each(60, 0.1)
    grant = certified([*rows, kept_back(200, 10 * HOUR)]).hold
    assert grant.threshold is None
    assert grant.missed == 0
    assert grant.bound == pytest.approx(upper_bound_seen(0, ((0.05, 38), (1.0, 10)), grant.confidence), abs=1e-6)


def test_where_only_what_was_drawn_is_on_record_nothing_counts_as_fully_seen():
    """Nobody knows since when alerts were kept back."""
    rows = [*one_each(99, 0.1), row(99, 99 * HOUR, "x", 0.3, propensity=0.05)]
    assert certified(rows).hold.bound == pytest.approx(
        upper_bound_seen(0, ((0.05, 96),), 1 - 0.085 * 0.15**2), abs=1e-6
    )


def test_a_miss_among_what_was_kept_back_is_not_excused_by_better_times():
    """Ninety clusters before it and one drawn miss after: all times alike, it would pass; it stands for twenty."""
    drawn = row(300, 91 * HOUR, "x", 0.99, propensity=0.05)
    rows = [one for one in one_each(96, 0.1) if one.at != 91 * HOUR]
    grant = certified([*rows, drawn, kept_back(200, 90 * HOUR)]).hold
    assert grant.clusters == 115
    assert upper_bound_seen(1, ((0.05, 6), (1.0, 90)), grant.confidence) < 0.1
    assert (grant.threshold, grant.missed) == (None, 20)


def test_with_votes_on_everything_nothing_is_hidden():
    """A vote on what nobody was told of shows that telling decides nothing about voting."""
    rows = one_each(60, 0.1)
    silent = [kept_back(200, 10 * HOUR), row(201, 11 * HOUR, "y", 0.1, told=False)]
    votes = [(one.episode, "ada", "useful", one.at + 2 * HOUR, False) for one in [*rows, silent[1]]]
    settings = {"now": 1e9, "budget": 0.05, "floor": 0.85, "holds": {"WARNING": 600.0}}
    found = certify.certify(build([*rows, *silent], votes), **settings).hold
    assert found.bound == upper_bound(0, 48, found.confidence)


@pytest.mark.parametrize("chance", [0.05, 0.1])
@pytest.mark.parametrize("count", [200, 1500])
def test_a_policy_that_misses_too_many_is_seldom_certified(chance, count):
    """Six in a hundred missed against a budget of five, and the missed seen through the audit sample only: as seldom as
    the confidence says. Letting each stand for those it was drawn from certifies more than one of ten.
    """
    draw, runs, passed = np.random.default_rng(3), 300, {"bound": 0, "stands for": 0}
    for _ in range(runs):
        gone = draw.random(count) < 0.06
        seen = ~gone | (draw.random(count) < chance)
        found = [
            certify.Cluster((n,), round(1 / chance) if lost else 1, chance) for n, lost in enumerate(gone) if seen[n]
        ]
        survives = [0.99 if lost else 0.1 for lost in gone[seen]]
        passed["bound"] += certify.missed_bound(survives, found, 0.9, 0.95) <= 0.05
        passed["stands for"] += upper_bound(*certify._missed(survives, found, 0.9), 0.95) <= 0.05
    assert passed["bound"] / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    if count == 1500:
        assert passed["stands for"] / runs > 0.1
