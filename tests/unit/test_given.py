"""What models of others said of an alert, in the pipeline: it replaces the built-in answer, is recorded, and replays."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.domain import Decision, Given, Verdict
from sidecar.events import Decided, Event
from sidecar.pipeline import Inputs
from sidecar.state import State
from tests.unit.stories import World

OURS = 0.1
NOISE = Given(score=0.97, model="http:theirs-7")


def fire(world: World, given: Given | None, **labels: str) -> Decision:
    """One alert with what was said of it; returns its decision."""
    received = replace(world.alert("", None, None, **labels), given=given)
    return world.batch(Inputs((received,))).decisions[0]


def decided(world: World) -> list[Decided]:
    return [event for row in world.log for event in row if isinstance(event, Decided)]


def test_a_given_score_replaces_ours_and_is_recorded():
    """With the version of who said it; the observation stays for training."""
    world = World(score=OURS, mode="auto")
    decision = fire(world, NOISE)
    assert decision.verdict is Verdict.SUPPRESS
    (event,) = decided(world)
    assert (event.score, event.model, event.given) == (0.97, "http:theirs-7", NOISE)
    assert event.observation


def test_what_was_not_said_is_ours():
    """Without an answer, and where only the anomaly was answered, the built-in model scores under its own name."""
    world = World(score=OURS, mode="auto")
    fire(world, None, instance="a")
    fire(world, Given(anomaly=0.2, anomaly_model="http:odd-1"), instance="b")
    first, second = decided(world)
    assert (first.score, first.model, first.given) == (OURS, "fp-fixed", None)
    assert (second.score, second.model, second.anomaly) == (OURS, "fp-fixed", 0.2)
    assert first.anomaly is not None


@pytest.mark.parametrize(("anomaly", "marked"), [(0.98, False), (0.99, True), (1.0, True)])
def test_an_unusual_alert_says_so(anomaly, marked):
    """People read who found it unusual; it changes no verdict."""
    world = World(score=OURS)
    decision = fire(world, Given(anomaly=anomaly, anomaly_model="http:odd-1"))
    assert decision.verdict is Verdict.NOTIFY
    assert any("says http:odd-1" in mark for mark in decision.marks) is marked


def test_the_guard_wins_over_a_given_score():
    """CRITICAL is told whatever a model of others says."""
    world = World(score=OURS, mode="auto")
    assert fire(world, Given(score=1.0, model="http:x"), severity="critical").verdict is Verdict.NOTIFY


def held(world: World) -> Decision:
    """An alert that is held for what was said of it."""
    labels = {"severity": "warning"}
    for n in range(12):  # what clears quickly is worth a hold
        early = fire(world, None, instance=f"old-{n}", **labels)
        world.vote(early)
        world.now += 60
        world.clear(early.scored.alert.starts_at, instance=f"old-{n}", **labels)
        world.now += 4000
    return fire(world, Given(score=0.8, model="http:theirs-7"), instance="new", **labels)


def test_a_hold_keeps_what_was_said():
    """When it is released, nobody asks again: the same score decides, also after a restart from a snapshot."""
    world = World(score=OURS, mode="auto", holding={"min_score": 0.7})
    assert held(world).verdict is Verdict.HOLD
    world.state = State.load(world.state.dump())
    due = world.state.next_due()
    assert due is not None
    world.tick(due - world.now)
    last = decided(world)[-1]
    assert (last.verdict, last.score, last.model) == (Verdict.NOTIFY, 0.8, "http:theirs-7")


def through_json(event: Event) -> Event:
    """As it comes back from the log."""
    return msgspec.json.decode(msgspec.json.encode(event), type=Event)


def test_a_replay_of_the_log_gives_the_same_state():
    """Given answers are facts in it: no endpoint is asked again."""
    world = World(score=OURS, mode="auto", holding={"min_score": 0.7})
    held(world)
    fire(world, NOISE, instance="other")
    again = State()
    for seq, events in enumerate(world.log, 1):
        for event in events:
            again.fold(through_json(event))
        again.commit(seq)
    assert again.dump() == world.state.dump()
    assert any(hold.given == Given(score=0.8, model="http:theirs-7") for _, hold in again.holds.items())


def test_deciding_again_gives_the_same_decision():
    """After a lost race the same alerts are planned again, with the answers they came with."""
    world = World(score=OURS, mode="auto")
    received = replace(world.alert(), given=NOISE)
    first = world.batch(Inputs((received,)))
    fresh = World(score=OURS, mode="auto")
    fresh.batch(Inputs((received,)))
    assert fresh.last == first
