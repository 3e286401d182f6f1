"""What is a hint, what is none, and where hints may not go."""

from __future__ import annotations

import pytest

from models.features import FEATURES
from tests.unit.training.history import taught
from training import implicit
from training.dataset import Row, build
from training.job import run

AT = 1_790_000_000.0
LATER = AT + 3 * 86400.0


def row(
    episode: str = "e", incident: str = "i", *, at: float = AT, lasts: float | None = 60.0, told: bool = True
) -> Row:
    ended = None if lasts is None else at + lasts
    return Row(episode, incident, at, "WARNING", "A", [-1.0] * len(FEATURES), "fp-1", 1.0, 0.5, at, ended, {}, told)


def vote(episode: str, kind: str, who: str = "ada", at: float = AT + 600.0, *, retracted: bool = False):
    return (episode, who, kind, at, retracted)


def hints(rows, votes=(), now=LATER) -> dict[str, tuple[float, float]]:
    found = implicit.hints(rows, votes, now)
    return {e: (v, w) for e, v, w in zip(found.episode, found.label, found.weight, strict=True)}


def test_what_was_told_and_cleared_untouched_is_rather_noise():
    assert hints([row()]) == {"e": implicit.LEFT_ALONE}


@pytest.mark.parametrize(
    ("one", "votes", "now"),
    [
        (row(told=False), (), LATER),  # nobody could react
        (row(lasts=None), (), LATER),  # it still fires
        (row(lasts=400.0), (), LATER),  # it lasted: somebody may have repaired it
        (row(), (), AT + 80_000.0),  # somebody may still react
    ],
)
def test_what_says_nothing_is_no_hint(one, votes, now):
    assert hints([one], votes, now) == {}


@pytest.mark.parametrize("kind", ["useful", "false_positive", "ack", "resolved"])
def test_an_incident_that_somebody_reacted_to_was_not_left_alone(kind):
    """Whatever they said, and of whichever of its alerts; what they voted on carries a vote and needs no hint."""
    found = hints([row("a"), row("b"), row("c", "other")], [vote("a", kind)])
    assert found.pop("c") == implicit.LEFT_ALONE
    assert found == ({"a": implicit.ACK} if kind == "ack" else {})


def test_an_acknowledgement_is_rather_real():
    """However long it lasted; one that was taken back is none, and a vote beside it counts alone."""
    assert hints([row(lasts=9000.0)], [vote("e", "ack")]) == {"e": implicit.ACK}
    assert hints([row()], [vote("e", "ack"), vote("e", "ack", at=AT + 700.0, retracted=True)]) == {}
    assert hints([row()], [vote("e", "ack"), vote("e", "false_positive", "bo")]) == {}


def test_hints_come_from_before_validation_and_weigh_at_most_half_of_the_votes():
    """None of an incident that proves, and a thousand of them outweigh nobody."""
    votes = [vote("t0", "useful"), vote("t1", "false_positive"), vote("v", "useful", at=LATER + 9.0)]
    train = build([row("t0"), row("t1")], votes)
    validation = build([row("v", "judged", at=LATER)], votes)
    many = [row(f"h{n}", f"h{n}") for n in range(1000)]
    late = row("late", "late", at=LATER - 3600.0)
    found = implicit.hints([*many, late, row("w", "judged")], [], LATER + 9 * 86400.0)
    kept = implicit.beside(found, train, validation)
    assert set(kept.episode) == {one.episode for one in many}
    assert kept.weight.sum() == pytest.approx(implicit.MOST * 2.0)
    few = implicit.beside(implicit.hints(many[:3], [], LATER), train, validation)
    assert few.weight.tolist() == [implicit.LEFT_ALONE[1]] * 3


def test_a_run_learns_from_hints_in_the_fit_alone(tmp_path):
    """Without `hinted`, rows without a vote change nothing; with it the model changes, and nothing that is proven does."""
    rows, votes, _, at = taught(200, apart=3600.0)
    plain_rows = [Row(*one) for one in rows]
    quiet = [
        one._replace(episode=f"q{n}", incident=f"q{n}", started=one.at, ended=one.at + 60.0)
        for n, one in enumerate(plain_rows)
    ]

    def made(given, hinted):
        folder = tmp_path / f"{len(given)}{hinted}"
        return run(given, votes, now=at + 60.0, folder=folder, min_votes=50, trial=False, hinted=hinted)

    without, off, on = made(plain_rows, False), made([*plain_rows, *quiet], False), made([*plain_rows, *quiet], True)
    assert off.version == without.version
    assert on.version != without.version
    assert on.report["fit"]["hints"]["left_alone"] > 50
    assert off.report["fit"]["hints"] is None
    for name in ("data", "certificate", "split", "drift", "audit"):
        assert on.report[name] == off.report[name]
    assert on.report["metrics"]["episodes"] == off.report["metrics"]["episodes"]
    assert "hints without a vote" in on.text
    assert "hints without a vote" not in off.text
