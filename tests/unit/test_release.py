"""What is held by its score is looked at again when something speaks against keeping it back, and not before."""

from __future__ import annotations

import pytest

from models.certificate import Certificate, Grant
from sidecar.domain import Verdict
from sidecar.events import Decided
from sidecar.state import State
from tests.unit.stories import Fixed, World

APART = {"folding": {"labels": [], "group": False}}


def holding(mode: str = "auto", **more) -> World:
    """A world that has learned that HighLatency clears in a minute, and holds it by its score."""
    world = World(0.1, mode=mode, **{**APART, **more})
    for _ in range(30):
        decision = world.fire()
        world.vote(decision)
        world.now += 60
        world.clear(world.now - 60)
        world.now += 3600
    world.state.silences.clear()
    world.scoring = Fixed(0.7)
    if mode == "ladder":
        world.scoring = Fixed(0.95, Certificate(world.now, Grant(0.9), Grant(None)))
    return world


def worse(world: World, score: float, **labels: str):
    """Another alert arrives; by then everything of the batch scores so."""
    world.scoring = Fixed(score, world.scoring.certificate)
    world.fire(alertname="Down", **labels)
    return [event for event in world.last.events if isinstance(event, Decided)]


@pytest.mark.parametrize("mode", ["auto", "ladder"])
def test_a_critical_on_its_instance_has_it_told_when_its_score_falls(mode: str):
    world = holding(mode)
    held = world.fire()
    assert held.verdict is Verdict.HOLD
    world.now += 10
    down, again = worse(world, 0.2, severity="critical")
    assert (down.verdict, again.episode, again.verdict) == (Verdict.NOTIFY, held.scored.episode, Verdict.NOTIFY)
    assert len(world.state.holds) == 0


@pytest.mark.parametrize(("mode", "score"), [("auto", 0.7), ("ladder", 0.95)])
def test_it_waits_on_no_longer_than_it_would_have_when_its_score_stays(mode: str, score: float):
    world = holding(mode)
    held = world.fire()
    world.now += 10
    _, again = worse(world, score, severity="critical")
    assert (again.verdict, again.until) == (Verdict.HOLD, held.until)
    assert again.reasons[-1].sentence.startswith(f"looked at again: score {score:.2f}, told if it still fires in")
    world.now = held.until
    assert [d.verdict for d in world.tick().decisions] == [Verdict.NOTIFY]


def test_it_is_never_suppressed_early():
    """Mode auto would suppress at this score what comes anew; what spoke up spoke against it."""
    world = holding()
    world.fire()
    world.now += 10
    _, again = worse(world, 0.99, severity="critical")
    assert again.verdict is Verdict.HOLD


def test_it_joins_the_message_that_goes_out_anyway():
    """A critical of its instance opens an incident: it folds in at once, whatever its score."""
    world = holding(folding={"labels": ["instance"], "group": False})
    held = world.fire()
    if held.verdict is not Verdict.HOLD:  # it folded into the last message of its instance
        world.now += 7200
        held = world.fire(since=world.now)
    world.now += 10
    down, again = worse(world, 0.7, severity="critical")
    assert (again.verdict, again.incident) == (Verdict.FOLD, down.incident)


@pytest.mark.parametrize(
    ("labels", "count"),
    [({"severity": "info"}, 1), ({"severity": "warning"}, 1), ({"instance": "i2", "severity": "critical"}, 1)],
)
def test_other_alerts_leave_it_alone(labels: dict[str, str], count: int):
    """As severe or less, or elsewhere."""
    world = holding()
    world.fire()
    world.now += 10
    assert len(worse(world, 0.2, **labels)) == count


def test_a_raised_severity_that_is_not_guarded_speaks_as_well():
    world = holding()
    for _ in range(30):
        world.fire(severity="info")
        world.now += 60
        world.clear(world.now - 60, severity="info")
        world.now += 3600
    held = world.fire(severity="info")
    assert held.verdict is Verdict.HOLD
    world.now += 10
    assert [one.episode for one in worse(world, 0.2)][1:] == [held.scored.episode]


@pytest.mark.parametrize(("kind", "verdicts"), [("useful", [Verdict.NOTIFY]), ("false_positive", []), ("ack", [])])
def test_a_vote_that_its_like_is_real_has_it_told(kind: str, verdicts: list[Verdict]):
    world = holding()
    told = world.fire(instance="i7")
    world.scoring = Fixed(0.7)
    world.fire(instance="i8")
    world.scoring = Fixed(0.2)
    held = {fingerprint for fingerprint, _ in world.state.holds.items()}
    plan = world.vote(told, kind)
    assert [d.verdict for d in plan.decisions if d.scored.alert.fingerprint in held] == verdicts * len(held)


def test_what_waits_for_a_window_waits_on():
    """A maintenance window is the operator's word, not a guess."""
    world = World(
        time_based_routing={
            "maintenance_windows": [{"name": "move", "schedule": "0 0-12 * * *", "suppress": ["WARNING"]}]
        },
        **APART,
    )
    world.fire()
    world.now += 10
    assert len(worse(world, 0.1, severity="critical")) == 1


def test_the_lowest_score_counts_after_a_restart_too():
    world = holding()
    world.fire()
    world.now += 10
    worse(world, 0.6, severity="critical")
    (hold,) = State.load(world.state.dump()).holds.values()
    assert hold.score == 0.6
