"""Every scorer keeps the same promises."""

from __future__ import annotations

import math
import random

import pytest

from models.artifact import fresh
from models.features import FEATURES, vector
from models.prior import bundled
from models.scorers import ColdStart, LightGBMScorer, Scorer
from models.statistics import Keys, Statistics
from tests.unit.models.conftest import trained  # noqa: F401 -- a fixture

SCORERS = ("cold-start", "cold-start with prior", "lightgbm")
CONFIDENT = 0.85
KEY = Keys("f", "Flaky", "host", "api", "prod", "WARNING")
NOW = 1_790_000_000.0


@pytest.fixture(params=SCORERS)
def scorer(request) -> Scorer:
    if request.param == "cold-start":
        return ColdStart()
    if request.param == "cold-start with prior":
        return ColdStart(bundled())
    return LightGBMScorer(fresh(request.getfixturevalue("trained")))


def random_rows(count: int) -> list[tuple[float, ...]]:
    draw = random.Random(7)
    return [tuple(draw.choice([-1.0, 0.0, 1.0, draw.uniform(-1, 1e4)]) for _ in FEATURES) for _ in range(count)]


def voted(labels: list[float], starts: int = 3) -> tuple[float, ...]:
    statistics = Statistics()
    for number in range(starts):
        statistics.started(NOW + number, KEY)
        statistics.ended(NOW + number + 60, KEY, NOW + number, NOW + number + 60)
    for number, label in enumerate(labels):
        statistics.voted(NOW + 100 + number, KEY, label, None)
    return vector(statistics, KEY, {}, NOW + 3600)


def test_scores_are_probabilities(scorer):
    """One number from 0 to 1 per row, whatever is in it."""
    rows = random_rows(500)
    found = scorer.score(rows)
    assert len(found) == len(rows)
    assert all(isinstance(score, float) and math.isfinite(score) and 0.0 <= score <= 1.0 for score in found)


def test_scores_do_not_depend_on_the_batch(scorer):
    """A row scores the same alone and among others."""
    rows = random_rows(20)
    assert [scorer.score([row])[0] for row in rows] == scorer.score(rows)


def test_it_names_itself(scorer):
    """The version says what scored."""
    assert scorer.version
    assert scorer.version == "cold-start" or scorer.version.startswith("fp-")


def test_contributions_have_one_value_per_feature(trained):  # noqa: F811 -- the fixture
    """What a model made of each feature comes in the order of the features."""
    found = LightGBMScorer(fresh(trained)).contributions(random_rows(2))
    assert [len(row) for row in found] == [len(FEATURES)] * 2
    assert any(value != 0.0 for value in found[0])


def test_without_votes_the_heuristic_only_ranks():
    """No behaviour alone makes it confident."""
    rows = [voted([], starts) for starts in (0, 1, 50)]
    for row in rows:
        assert ColdStart().score([row])[0] < CONFIDENT
    places = [place for place, name in enumerate(FEATURES) if name.endswith("_votes")]
    wild = [tuple(0.0 if place in places else value for place, value in enumerate(row)) for row in random_rows(500)]
    assert max(ColdStart().score(wild)) < CONFIDENT


def test_many_false_votes_make_the_heuristic_confident():
    """Five and none real: confident, weeks later too; as many real: not at all."""
    assert ColdStart().score([voted([1.0] * 5)])[0] > CONFIDENT
    assert ColdStart().score([voted([0.0] * 5)])[0] < 0.3
    assert ColdStart().score([voted([1.0] * 3 + [0.0] * 3)])[0] < CONFIDENT


def test_behaviour_ranks_what_has_no_votes():
    """What flaps and clears by itself outranks what fires for the first time."""
    assert ColdStart().score([voted([], 20)])[0] > ColdStart().score([voted([], 0)])[0]
