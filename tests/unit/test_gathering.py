"""Incidents that gather: one title for many alerts, quiet before they are over, and what goes on in them."""

from __future__ import annotations

from msgspec.structs import replace

from sidecar.domain import Gather, Move, Reason, Verdict
from sidecar.events import Decided, IncidentClosed
from sidecar.pipeline import Inputs, plan
from sidecar.rules import RULES, Due
from sidecar.state import State
from tests.unit.stories import World

STORM = Gather("gather=test", "{count} alerts", 600.0)
APART = {
    "folding": {"labels": [], "group": False},
    "deduplication": {"strategies": {"exact_match": {"enabled": False}}},
}


class Gathering(World):
    """A world in which every alert joins one incident that gathers; `moves` are asked for with the next batch."""

    def __init__(self, gather: Gather | None = STORM, **config) -> None:
        super().__init__(**{**APART, **config})
        self.gather = gather
        self.moves: tuple[Move, ...] = ()

    def batch(self, inputs: Inputs):
        self.last = plan(inputs, self.state, self.scoring, self.config, self.now, (self._rule, *RULES))
        self.state.commit(self.state.seq + 1)
        self.log.append(self.last.events)
        self.moves = ()
        return self.last

    def _rule(self, batch, facts):
        decisions = batch.decisions
        if self.gather is not None:
            decisions = tuple(self._gathered(decision, facts) for decision in decisions)
        return replace(batch, decisions=decisions, moves=self.moves)

    def _gathered(self, decision, facts):
        name = facts.state.folding.get(self.gather.key)
        if name is None:
            return replace(decision, gather=self.gather)
        reason = Reason("test", "it belongs to them")
        return replace(
            decision, verdict=Verdict.FOLD, incident=name, reasons=(*decision.reasons, reason), gather=self.gather
        )


def test_a_duty_that_raises_stops_neither_alerts_nor_other_duties():
    """It is named in the plan, for the logs."""

    def broken(facts):
        yield Due((IncidentClosed(facts.now, "a"),))
        raise ValueError("no")

    def sound(facts):
        yield Due((IncidentClosed(facts.now, "b"),))

    world = World()
    inputs = Inputs((world.alert(),))
    made = plan(inputs, world.state, world.scoring, world.config, world.now, RULES, (broken, sound))
    assert [decision.verdict for decision in made.decisions] == [Verdict.NOTIFY]
    assert [event.incident for event in made.events if isinstance(event, IncidentClosed)] == ["a", "b"]
    assert made.failed == ("broken: ValueError: no",)


def test_what_gathers_is_over_only_after_it_was_quiet():
    """Its clearing is an update; the resolve comes when nothing has fired for as long as it has to settle."""
    world = Gathering()
    start = world.now
    world.fire()
    world.now += 60
    assert [d.kind for d in world.clear(start).deliveries] == ["update"]
    assert world.state.next_due() == world.now + 600
    assert world.tick(599).deliveries == ()
    assert [d.kind for d in world.tick(2).deliveries] == ["resolve"]
    assert any(isinstance(event, IncidentClosed) for event in world.last.events)
    assert world.tick(3600).deliveries == ()


def test_what_fires_again_before_it_is_over_is_not_resolved():
    """The clock of its quiet begins anew."""
    world = Gathering()
    start = world.now
    world.fire()
    world.now += 60
    world.clear(start)
    world.now += 500
    again = world.fire()
    assert again.verdict is Verdict.FOLD
    assert world.tick(3600).deliveries == ()


def test_an_episode_that_moves_leaves_its_incident_empty_and_that_is_resolved():
    """The old message is closed, the new one updated, and people who had the old one are told of the new."""
    world = Gathering(gather=None)
    first, second = world.fire(instance="a"), world.fire(instance="b")
    world.moves = (Move(first.scored.alert.fingerprint, second.incident, Reason("test", "they are one"), STORM),)
    made = world.tick(10)
    moved = next(event for event in made.events if isinstance(event, Decided))
    assert (moved.incident, moved.came_from, moved.title) == (second.incident, first.incident, "{count} alerts")
    assert [(d.incident, d.kind) for d in made.deliveries] == [(second.incident, "update"), (first.incident, "resolve")]
    assert world.state.incidents[second.incident].firing == 2
    assert world.state.incidents[first.incident].firing == 0


def test_a_move_into_what_nobody_was_told_of_does_not_happen():
    """It would hide what people have."""
    world = Gathering(gather=None)
    first = world.fire(instance="a")
    world.moves = (Move(first.scored.alert.fingerprint, "i-none", Reason("test", "they are one")),)
    assert world.tick(10).events == ()


def test_a_snapshot_keeps_what_gathers():
    """Title, quiet time and the time at which it is over come back, and the log folds to the same."""
    world = Gathering()
    start = world.now
    world.fire()
    world.now += 60
    world.clear(start)
    assert State.load(world.state.dump()).dump() == world.state.dump()
    folded = State()
    for seq, events in enumerate(world.log, 1):
        for event in events:
            folded.fold(event)
        folded.commit(seq)
    assert folded.dump() == world.state.dump()
