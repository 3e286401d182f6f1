"""The bound on a share, against scipy's beta distribution."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from models.evidence import upper_bound


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


@settings(deadline=None)
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
