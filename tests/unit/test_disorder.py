"""What comes out of order, late or wrong, each found by the sequences of tests/stateful."""

from __future__ import annotations

import pytest

from sidecar.domain import Verdict
from sidecar.events import EpisodeEnded, Regrouped
from sidecar.pipeline import Inputs
from tests.unit.stories import World


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 1.1, -0.1])
def test_a_score_that_is_no_probability_keeps_nothing_back(score):
    """It counts as no answer: told, also where the score alone decides."""
    world = World(score, mode="auto")
    decision = world.fire()
    assert (decision.verdict, decision.scored.score) == (Verdict.NOTIFY, None)


def test_what_nobody_has_sent_for_two_months_is_over():
    """Its keys are forgotten: people are told, and what else is in the incident is still counted right."""
    world = World()
    first = world.fire()
    world.tick(86_400.0)
    second = world.fire(alertname="DiskFull", instance="i2")
    world.tick(60 * 86_400.0 - 3600.0)
    made = world.batch(Inputs(sweep_before=world.now - 60 * 86_400.0))
    assert [(delivery.incident, delivery.kind) for delivery in made.deliveries] == [(first.incident, "resolve")]
    assert world.state.incidents[second.incident].firing == 1
    assert {name: one.firing for name, one in world.state.incidents.items() if one.firing} == {second.incident: 1}


def test_an_end_that_comes_before_its_start_by_our_clock_is_of_the_same_episode():
    """Prometheus' clock is ahead of ours: nothing is told or ended twice."""
    world = World()
    since = world.now + 30.0
    episode = world.fire(since=since).scored.episode
    world.now += 10.0
    made = world.batch(Inputs((world.alert(since=since, ends_at=since + 1.0),)))
    assert [(type(event).__name__, event.episode) for event in made.events] == [("EpisodeEnded", episode)]
    assert world.kinds() == ["resolve"]


def test_what_still_fires_when_its_keys_are_forgotten_is_told_anew():
    """Nobody sent it for months, and its start is what it was: the outbox would take the same names for sent."""
    world = World()
    since = world.now
    world.fire(severity="critical")
    keys = {delivery.dedup_key for delivery in world.last.deliveries}
    for _ in range(2):
        world.tick(61 * 86_400.0)
        world.batch(Inputs(sweep_before=world.now - 60 * 86_400.0))
    again = world.fire(since=since, severity="critical")
    assert again.verdict is Verdict.NOTIFY
    assert not keys & {delivery.dedup_key for delivery in world.last.deliveries}
    assert again.scored.alert.starts_at == since


@pytest.mark.parametrize("heard", [True, False])
def test_the_end_of_an_earlier_firing_that_comes_late_ends_nothing(heard):
    """A retry, or another Alertmanager's: what fires now goes on, whether that end is known already or not."""
    world = World()
    earlier = world.now
    world.fire()
    world.now += 60
    end = Inputs((world.alert(since=earlier, ends_at=world.now),))
    if heard:
        world.batch(end)
    world.now += 60
    later = world.now
    world.fire()
    world.now += 10
    assert world.batch(end).events == ()
    world.batch(Inputs((world.alert(since=earlier),)))
    assert world.batch(end).events == (), "also after its firing came late"
    assert len(world.clear(later).events) == 1


def test_a_late_webhook_of_an_earlier_firing_does_not_move_the_start_back():
    """Else the next one of the firing that goes on would count as another, with the same name."""
    world = World()
    earlier = world.now
    world.fire()
    world.clear(earlier)
    ahead = world.now + 5.0  # by Prometheus' clock
    world.fire(since=ahead)
    world.batch(Inputs((world.alert(since=earlier),)))
    assert [type(event).__name__ for event in world.batch(Inputs((world.alert(since=ahead),))).events] == [
        "EpisodeSeen"
    ]


def test_a_firing_after_the_end_of_one_that_went_on_with_its_old_start_is_told_at_once():
    """The one before is named for when it was heard of again, which may be later than the next one's start."""
    world = World(folding={"labels": [], "group": False})
    since = world.now
    world.fire(severity="critical")
    world.now += 60
    world.clear(since, severity="critical")
    world.now += 300
    world.fire(since=since, severity="critical")
    ended = world.now - 20
    world.now += 5
    world.batch(Inputs((world.alert(since=since, ends_at=ended, severity="critical"),)))
    world.now += 5
    assert world.fire(since=ended + 10, severity="critical").verdict is Verdict.FOLD
    assert world.kinds() == ["update"]


def test_what_flaps_is_told_where_people_read_that_it_is_over():
    """The first firing that counts as flapping comes after a resolve: a card that nobody can edit has to follow."""
    teams = [{"name": "default", "msteams_configs": [{"webhook_url": "https://example.logic.azure.com/x"}]}]
    world = World(receivers=teams)
    for _ in range(2):
        world.fire(severity="critical")
        world.now += 60
        world.clear(world.now - 60, severity="critical")
        world.now += 60
    decision = world.fire(severity="critical")
    assert decision.gather is not None
    assert world.kinds() == ["raise"]
    world.now += 60
    assert world.clear(world.now - 60, severity="critical").deliveries == ()
    world.now += 60
    world.fire(severity="critical")
    assert world.kinds() == []


def test_what_is_taken_out_of_an_incident_whose_message_was_lost_is_told():
    """Nobody has the incident, and everybody it was meant for gets the new one."""
    world = World()
    first = world.fire(severity="critical")
    second = world.fire(severity="critical", alertname="DiskFull")
    assert second.incident == first.incident
    world.dead(first.incident)
    taken, pair = second.scored.episode, ("DiskFull\x1f\x1f", "HighLatency\x1f\x1f")
    asked = Regrouped(world.now, "ada", first.incident, "i-new", together=False, episodes=(taken,), pairs=(pair,))
    made = world.batch(Inputs(asks=(asked,)))
    assert ("i-new", "notify") in [(delivery.incident, delivery.kind) for delivery in made.deliveries]


def test_a_firing_that_began_before_somebody_saw_the_end_of_the_last_one_ends_by_its_own_end():
    """The watcher knows only when it looked."""
    world = World()
    episode = world.fire().scored.episode
    fingerprint = world.alert().alert.fingerprint
    world.now += 60
    looked = EpisodeEnded(world.now, episode, fingerprint, world.now)
    world.batch(Inputs(asks=(looked,)))
    since = world.now - 30
    world.now += 1
    world.fire(since=since)
    made = world.batch(Inputs((world.alert(since=since, ends_at=looked.ends_at - 10),)))
    assert [type(event).__name__ for event in made.events] == ["EpisodeEnded"]


def test_what_comes_back_to_an_incident_that_is_over_interrupts():
    """Merged away, and the other message lost: it is decided anew, and people read of its first incident that it is over."""
    teams = [{"name": "default", "msteams_configs": [{"webhook_url": "https://example.logic.azure.com/x"}]}]
    world = World(receivers=teams, folding={"labels": [], "group": False})
    since = world.now
    first, second = world.fire(), world.fire(alertname="DiskFull")
    pair = ("HighLatency\x1f\x1f", "DiskFull\x1f\x1f")
    episodes = (first.scored.episode,)
    asked = Regrouped(
        world.now, "ada", first.incident, second.incident, together=True, episodes=episodes, pairs=(pair,)
    )
    world.batch(Inputs(asks=(asked,)))
    assert world.kinds() == ["resolve"]
    world.dead(second.incident)
    world.now += 60
    again = world.fire(since=since)
    assert (again.verdict, again.incident) == (Verdict.NOTIFY, first.incident)
    assert world.kinds() == ["raise"]


def test_an_incident_that_was_forgotten_is_not_opened_again_under_its_name():
    """Its alert went on in another one for months: the outbox would take the new message for one that was sent."""
    world = World()
    since = world.now
    first, second = world.fire(severity="critical"), world.fire(severity="critical", instance="i2")
    keys = {delivery.dedup_key for delivery in world.last.deliveries}
    pair = ("HighLatency\x1f\x1f", "HighLatency\x1f\x1f")
    merged = (first.scored.episode,)
    asked = Regrouped(world.now, "ada", first.incident, second.incident, together=True, episodes=merged, pairs=(pair,))
    world.batch(Inputs(asks=(asked,)))
    for _ in range(3):
        world.now += 30 * 86_400.0
        world.fire(since=since, severity="critical")
        world.batch(Inputs(sweep_before=world.now - 60 * 86_400.0))
    assert first.incident not in world.state.incidents
    world.dead(second.incident)
    world.now += 60
    again = world.fire(since=since, severity="critical")
    assert (again.verdict, again.incident == first.incident) == (Verdict.NOTIFY, False)
    assert not keys & {delivery.dedup_key for delivery in world.last.deliveries}


def test_two_reasons_to_interrupt_have_keys_of_their_own():
    """One is counted by how often somebody was told, the other by the log's row: a second 2 would never be sent."""
    teams = [{"name": "default", "msteams_configs": [{"webhook_url": "https://example.logic.azure.com/x"}]}]
    world = World(receivers=teams)
    since = world.now
    world.fire(severity="critical")
    world.now += 60
    world.fire(severity="critical", alertname="DiskFull")  # row 2
    (joined,) = world.last.deliveries
    world.clear(since, severity="critical")
    world.clear(since + 60, severity="critical", alertname="DiskFull")
    world.now += 900
    world.fire(severity="critical")  # interrupts a second time
    (anew,) = world.last.deliveries
    assert (joined.kind, anew.kind) == ("raise", "raise")
    assert joined.dedup_key != anew.dedup_key
