"""The bound on a share, against scipy's beta distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from models.evidence import least_hidden, most_hidden, upper_bound, upper_bound_seen


def exact(hits: int, trials: int, confidence: float) -> float:
    return 1.0 if hits >= trials else float(beta.ppf(confidence, hits + 1, trials - hits))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 3000), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
def test_it_is_the_clopper_pearson_bound(hits, trials, confidence):
    """The quantile of Beta(hits + 1, trials - hits)."""
    hits = min(hits, trials)
    assert upper_bound(hits, trials, confidence) == pytest.approx(exact(hits, trials, confidence), abs=1e-7)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (5, 5), (7, 5), (0, -1)])
def test_without_evidence_anything_is_possible(hits, trials):
    """No trials, or all of them hits: 1."""
    assert upper_bound(hits, trials, 0.9) == 1.0


@pytest.mark.parametrize("trials", [1, 2, 10, 45, 100, 10_000])
def test_no_hits_give_the_rule_of_three(trials):
    """1 - (1 - confidence) ** (1 / n)."""
    assert upper_bound(0, trials, 0.95) == pytest.approx(1 - 0.05 ** (1 / trials), abs=1e-9)


@given(st.integers(0, 200), st.integers(1, 200))
def test_one_more_miss_raises_it_and_one_more_clean_trial_lowers_it(hits, more):
    """The ladder is lost by misses and climbed by evidence."""
    trials = hits + more
    bound = upper_bound(hits, trials, 0.9)
    assert upper_bound(hits + 1, trials, 0.9) > bound
    assert upper_bound(hits, trials + 1, 0.9) < bound
    assert bound > hits / trials


def test_thousands_of_trials_do_not_overflow():
    """Log-factorials carry it."""
    assert upper_bound(50_000, 1_000_000, 0.9) == pytest.approx(exact(50_000, 1_000_000, 0.9), abs=1e-6)


# ------------------------------------------------------------------------------------------- what is seen with a chance only


@pytest.mark.parametrize("chance", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("seen", [0, 1, 4, 30])
def test_the_bounds_on_a_count_are_the_exact_ones(seen, chance):
    """One more has too small a probability to be seen so seldom; one fewer, to be seen so often."""
    most, least = most_hidden(seen, chance, 0.975), least_hidden(seen, chance, 0.975)
    assert binom.cdf(seen, most, chance) > 0.025 >= binom.cdf(seen, most + 1, chance)
    assert binom.sf(seen - 1, least, chance) > 0.025 or seen == 0
    assert seen == least or binom.sf(seen - 1, least - 1, chance) <= 0.025
    assert least <= max(seen, seen / chance) <= most


def test_what_is_always_seen_needs_no_bound():
    """And nothing seen at one in twenty leaves room for 58."""
    assert (most_hidden(7, 1.0, 0.975), least_hidden(7, 1.0, 0.975)) == (7, 7)
    assert most_hidden(0, 0.05, 0.95) == 58


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.sampled_from([0.9, 0.95, 0.99]))
def test_with_everything_seen_it_is_the_clopper_pearson_bound(missed, cases, confidence):
    """Exactly: no digit differs."""
    missed = min(missed, cases)
    seen = ((0.05, 0), (1.0, cases))
    assert upper_bound_seen(missed, seen, confidence) == upper_bound(missed, cases, confidence)


@pytest.mark.parametrize("chance", [0.05, 0.1, 0.4])
@pytest.mark.parametrize(("missed", "cases"), [(0, 50), (2, 400), (9, 60)])
def test_with_one_chance_it_is_the_bound_on_what_is_seen_carried_over(missed, cases, chance):
    """The odds of a missed one among those seen are the chance times the odds of a missed one among all."""
    odds = exact(missed, cases, 0.95) / (1.0 - exact(missed, cases, 0.95)) / chance
    assert upper_bound_seen(missed, ((chance, cases),), 0.95) == pytest.approx(odds / (1.0 + odds), abs=1e-6)


def test_what_was_fully_seen_counts_fully():
    """A time without any miss before anything was kept back proves more than one after it."""
    before, after = upper_bound_seen(0, ((1.0, 100),), 0.95), upper_bound_seen(0, ((0.05, 100),), 0.95)
    both = upper_bound_seen(0, ((0.05, 100), (1.0, 100)), 0.95)
    assert both < before < 0.03
    assert after > 0.3


@pytest.mark.parametrize("chance", [0.05, 0.1])
@pytest.mark.parametrize("share", [0.01, 0.06])
@pytest.mark.parametrize(("early", "late"), [(0, 60), (0, 2000), (30, 300), (200, 200)])
def test_the_bound_covers_in_95_of_100_histories(chance, share, early, late):
    """Of clusters of which a share is missed: `early` are all seen, of the `late` the missed ones with a chance."""
    draw = np.random.default_rng(1)
    runs, covered = 500, 0
    for _ in range(runs):
        first, then = draw.binomial(early, share), draw.binomial(late, share)
        seen = draw.binomial(then, chance)
        cases = ((chance, int(seen + late - then)), (1.0, early))
        covered += upper_bound_seen(int(first + seen), cases, 0.95) >= share
    assert covered / runs >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5
