from __future__ import annotations

import pytest

from training.labels import labels


def vote(who: str, kind: str, at: float = 1.0, *, retracted: bool = False, episode: str = "e"):
    return (episode, who, kind, at, retracted)


@pytest.mark.parametrize(
    ("votes", "value", "weight"),
    [
        ([vote("ada", "false_positive")], 1.0, 1.0),
        ([vote("ada", "not_actionable")], 1.0, 0.5),
        ([vote("ada", "useful")], 0.0, 1.0),
        ([vote("ada", "resolved")], 0.0, 1.0),
        ([vote("ada", "false_positive"), vote("bo", "useful")], 0.5, 1.0),
        ([vote("ada", "not_actionable"), vote("bo", "useful")], 1 / 3, 1.0),
        ([vote("ada", "false_positive"), vote("bo", "false_positive"), vote("cy", "resolved")], 2 / 3, 1.0),
    ],
)
def test_votes_become_a_label(votes, value, weight):
    """Noise is 1, real is 0, disagreement lies between, and many weigh no more than one."""
    found = labels(votes)["e"]
    assert (found.value, found.weight) == (pytest.approx(value), weight)


def test_one_person_has_one_vote():
    """The newest counts, however often somebody votes and in whatever order it is read."""
    votes = [
        vote("ada", "useful", 9.0),
        *(vote("ada", "false_positive", float(at)) for at in range(5)),
        vote("bo", "resolved", 3.0),
    ]
    assert labels(votes)["e"] == labels(votes[::-1])["e"] == (0.0, 1.0, 9.0)


def test_a_retracted_vote_is_none():
    """Neither the vote nor what the person said before counts."""
    assert labels([vote("ada", "useful", 1.0), vote("ada", "false_positive", 2.0, retracted=True)]) == {}


def test_an_acknowledgement_is_no_label():
    """Somebody looked, and said nothing yet: the same as to the rules; what others said stands."""
    assert labels([vote("ada", "ack")]) == {}
    assert labels([vote("ada", "false_positive"), vote("bo", "ack", 2.0)])["e"] == (1.0, 1.0, 1.0)


def test_an_unknown_kind_says_nothing():
    """What a later version stores is not read as an opinion."""
    assert labels([vote("ada", "curious")]) == {}
