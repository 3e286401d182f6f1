from __future__ import annotations

from models.explanation import reasons, top
from models.features import FEATURES, vector
from models.statistics import Statistics
from tests.unit.models.events import KEYS, START

UNKNOWN = vector(Statistics(), KEYS[0], {}, START)


def seen(**values: float) -> tuple[float, ...]:
    return tuple(values.get(name, value) for name, value in zip(FEATURES, UNKNOWN, strict=True))


NOISY = seen(
    fingerprint_starts_7d=14.0,
    fingerprint_votes=13.0,
    fingerprint_false_share=1.0,
    fingerprint_last_label=1.0,
    fingerprint_duration=5.2,
    fingerprint_quick_share=0.9,
    value_ratio=1.02,
    name_votes=13.0,
    name_false_share=1.0,
)


def test_reasons_tell_the_past_in_words():
    """How often it fired, what people said and how fast it clears, at most three."""
    said = reasons(NOISY)
    assert len(said) == 3
    assert any("fired 14 times in 7 days" in each for each in said)
    assert any("usually clears in 3 min" in each for each in said)


def test_without_a_past_it_says_so():
    """A first alert has a reason too."""
    assert any("nobody has voted" in each for each in reasons(UNKNOWN))


def test_contributions_rank():
    """What the model weighed most is said first."""
    weights = tuple(9.0 if name == "value_ratio" else 0.1 for name in FEATURES)
    assert "1.02" in top(NOISY, weights, 1)[0]


def test_an_observation_of_other_features_has_no_reasons():
    """Numbers whose meaning is unknown are not put into words."""
    assert reasons((1.0, 2.0)) == ()
    assert top((1.0, 2.0), (1.0, 2.0)) == ()
