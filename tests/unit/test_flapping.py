"""Flapping: what fires again and again is one incident with its number, over when it has been quiet."""

from __future__ import annotations

import pytest

from sidecar.domain import Decision, Verdict
from sidecar.events import Decided, IncidentClosed
from sidecar.pipeline import Inputs
from tests.unit.stories import Fixed, World

APART = {"folding": {"labels": [], "group": False}, "storm": {"enabled": False}}


class Flapping(World):
    """A world in which HighLatency of i1 fires for a minute, again and again."""

    def flap(self, pause: float = 360.0, **labels: str) -> Decision:
        since = self.now
        decision = self.fire(**labels)
        self.fired = self.kinds()
        self.titles = [event.title for event in self.last.events if isinstance(event, Decided)]
        self.now += 60
        self.clear(since, **labels)
        self.now += pause
        return decision


def test_two_starts_are_not_flapping():
    world = Flapping(**APART)
    assert [world.flap().gather for _ in range(2)] == [None, None]


def test_three_starts_within_half_an_hour_are():
    world = Flapping(**APART)
    world.flap()
    world.flap()
    third = world.flap()
    assert third.gather.title == "HighLatency on i1 is flapping (3 times in 30m)"
    assert third.reasons[0].sentence == "it fired 3 times in 30m"


def test_slow_starts_are_not():
    world = Flapping(**APART)
    assert [world.flap(1000.0).gather for _ in range(6)] == [None] * 6


def test_its_resolves_are_not_sent_until_it_is_quiet():
    world = Flapping(**APART)
    for _ in range(3):
        opened = world.flap()
    assert world.kinds() == ["update"]
    later = [world.flap() for _ in range(3)]
    assert {(one.verdict, one.incident, one.interrupts) for one in later} == {(Verdict.FOLD, opened.incident, False)}
    assert world.titles == ["HighLatency on i1 is flapping (5 times in 30m)"]
    assert world.fired == ["update"]
    world.tick(500)
    assert world.last.deliveries == ()
    world.tick(200)
    assert world.kinds() == ["resolve"]
    assert any(isinstance(event, IncidentClosed) for event in world.last.events)


def test_the_message_that_people_have_becomes_the_one_that_says_so():
    """It folds into its own incident anyhow: nobody is interrupted, and the title changes."""
    world = Flapping()
    first = world.flap()
    world.flap()
    third = world.flap()
    assert (third.verdict, third.incident, third.interrupts) == (Verdict.FOLD, first.incident, False)
    assert world.fired == ["update"]
    assert world.titles == ["HighLatency on i1 is flapping (3 times in 30m)"]
    assert world.kinds() == ["update"]


def test_in_the_incident_of_another_alert_it_changes_no_title():
    """But its resolves wait, there too."""
    world = Flapping()
    down = world.fire(alertname="Down")
    since = world.now
    for _ in range(3):
        third = world.flap()
    assert third.incident == down.incident
    assert world.titles == [""]
    assert world.state.incidents[down.incident].settle == 900.0
    world.clear(since, alertname="Down")
    assert world.kinds() == ["update"]


def test_the_score_may_hold_it_as_any_other():
    """Flapping is no way around the score: where people have no message, the alert opens one, or does not."""
    world = Flapping(mode="auto", **APART)
    world.scoring = Fixed(0.99)
    made = [world.flap() for _ in range(4)]
    assert {one.verdict for one in made} == {Verdict.SUPPRESS}
    assert len(world.state.settling) == 0


def test_an_hour_later_it_interrupts_again():
    world = Flapping(**APART)
    made = [world.flap() for _ in range(14)]
    opened = [n for n, one in enumerate(made) if one.verdict is Verdict.NOTIFY]
    assert opened[-1] - opened[-2] in (9, 10, 11)
    assert made[opened[-1]].gather is not None


def test_a_critical_is_told_each_time_it_fires_after_a_while():
    world = Flapping(**APART)
    made = [world.flap(700.0, severity="critical") for _ in range(4)]
    assert all(one.verdict is Verdict.NOTIFY or one.interrupts for one in made)


def test_the_number_of_a_very_busy_one_is_a_least():
    world = Flapping(**APART)
    for _ in range(25):
        world.flap(5.0)
    assert world.titles == ["HighLatency on i1 is flapping (20 or more times in 30m)"]


@pytest.mark.parametrize("name", ["{count}", "a{b}c"])
def test_braces_of_a_label_stay_as_they_are(name):
    world = Flapping(**APART)
    for _ in range(3):
        world.flap(instance=name)
    assert world.titles[0].format(count=1) == f"HighLatency on {name} is flapping (3 times in 30m)"


def test_it_can_be_turned_off():
    world = Flapping(flapping={"enabled": False}, **APART)
    assert [world.flap().gather for _ in range(5)] == [None] * 5


def test_idle_alerts_leave_the_memory():
    world = Flapping(**APART)
    world.flap()
    assert len(world.state.starts) == 1
    world.batch(Inputs(sweep_before=world.now))
    assert len(world.state.starts) == 0
