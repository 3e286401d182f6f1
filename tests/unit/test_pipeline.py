"""Stories of whole batches: what comes in, what is decided, who is told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.domain import Verdict
from sidecar.events import Delivered, SilenceAsked
from sidecar.pipeline import Inputs, plan
from sidecar.rules import RULES
from sidecar.rules.base import Batch
from sidecar.state import State, key_of
from tests.unit.stories import NOON, Fixed, World

NO_FOLDING = {"folding": {"labels": [], "group": False}}


def test_a_new_alert_interrupts_its_receivers():
    world = World()
    decision = world.fire()
    assert decision.verdict is Verdict.NOTIFY
    assert decision.receivers == ("default",)
    assert world.kinds() == ["notify"]


def test_a_repeat_does_not_interrupt_again():
    world = World()
    world.fire()
    world.now += 300
    assert world.batch(Inputs((world.alert(since=NOON),))).decisions == ()
    assert world.last.deliveries == ()


def test_a_repeat_after_the_repeat_interval_is_a_reminder():
    world = World()
    first = world.fire()
    world.now += 4 * 3600
    reminder = world.fire(since=NOON)
    assert (reminder.verdict, reminder.incident) == (Verdict.FOLD, first.incident)
    assert world.kinds() == ["reminder"]


def test_a_resolve_updates_what_people_have():
    world = World()
    world.fire()
    world.now += 60
    assert [d.kind for d in world.clear(NOON).deliveries] == ["resolve"]


def test_a_start_that_moves_back_is_the_same_episode():
    world = World()
    world.fire()
    world.now += 60
    assert world.batch(Inputs((world.alert(since=NOON - 30),))).decisions == ()


def test_a_firing_after_a_lost_resolve_is_a_new_episode():
    world = World(**NO_FOLDING)
    first = world.fire()
    world.now += 7200
    second = world.fire()
    assert second.scored.episode != first.scored.episode
    assert second.verdict is Verdict.NOTIFY


def test_a_late_retry_after_the_resolve_changes_nothing():
    world = World()
    world.fire()
    world.now += 60
    world.clear(NOON)
    before = world.state.dump()
    assert world.batch(Inputs((world.alert(since=NOON),))).events == ()
    assert world.state.dump() == before


@pytest.mark.parametrize("severity", ["warning", "critical"])
def test_an_end_that_two_alertmanagers_send_is_one(severity):
    """Their startsAt differ by some seconds, and the later one is not a firing that nobody has heard of."""
    world = World()
    world.fire(severity=severity, since=NOON - 15)
    world.now += 60
    world.clear(NOON - 15, severity=severity)
    assert world.clear(NOON, severity=severity).events == ()


def test_a_resolve_before_its_firing_leaves_nothing_open():
    world = World()
    plan = world.clear(NOON - 60)
    assert plan.decisions[0].verdict is Verdict.DIGEST
    assert world.batch(Inputs((world.alert(since=NOON - 60),))).decisions == ()


def test_an_alert_without_a_start_belongs_to_the_firing_that_is_known():
    world = World()
    world.fire(since=0.0)
    world.now += 60
    assert world.batch(Inputs((world.alert(since=0.0),))).decisions == ()


def test_alerts_of_one_instance_fold_for_an_hour_and_then_interrupt_again():
    world = World()
    first = world.fire()
    world.now += 1800
    second = world.fire(alertname="DiskFull")
    assert (second.verdict, second.incident) == (Verdict.FOLD, first.incident)
    assert world.kinds() == ["update"]
    world.now += 1801
    assert world.fire(alertname="OutOfMemory").verdict is Verdict.NOTIFY


def test_alerts_of_one_group_in_one_batch_are_one_message():
    world = World()
    batch = world.batch(Inputs(tuple(world.alert("g", instance=f"i{n}") for n in range(5))))
    assert [d.verdict for d in batch.decisions] == [Verdict.NOTIFY] + [Verdict.FOLD] * 4
    assert [(d.kind, d.alerts) for d in batch.deliveries] == [("notify", 5)]


def test_twenty_alerts_without_the_deduplication_fields_are_twenty():
    world = World(**NO_FOLDING)
    batch = world.batch(Inputs(tuple(world.alert(alertname="NodeDown", instance=f"i{n}") for n in range(20))))
    assert [d.verdict for d in batch.decisions] == [Verdict.NOTIFY] * 20


def test_equal_fields_fold_within_the_correlation_window_only():
    fields = {"namespace": "shop", "service": "cart", "pod": "cart-1"}
    world = World(**NO_FOLDING)
    first = world.fire(**fields, instance="a")
    world.now += 299
    assert world.fire(**fields, instance="b").incident == first.incident
    world.now += 301
    assert world.fire(**fields, instance="c").verdict is Verdict.NOTIFY


def test_a_raised_severity_reaches_receivers_that_were_not_told_and_interrupts_those_that_were():
    routes = {"WARNING": ["mail"], "CRITICAL": ["mail", "page"]}
    world = World(
        time_based_routing={"always": {"schedule": "0 0-23 * * *", "routes": routes}},
        receivers=[{"name": name, "log_configs": [{}]} for name in ("default", "mail", "page")],
    )
    world.fire()
    world.now += 60
    raised = world.fire(alertname="Down", severity="critical")
    assert raised.verdict is Verdict.FOLD
    assert sorted((d.receiver.split("/")[0], d.kind) for d in world.last.deliveries) == [
        ("mail", "raise"),
        ("page", "notify"),
    ]


def test_a_raised_severity_that_is_not_guarded_interrupts_nobody_twice():
    """WARNING in an incident of INFO: those who have it see the change, those who have not are told."""
    routes = {"INFO": ["mail"], "WARNING": ["mail", "page"]}
    world = World(
        time_based_routing={"always": {"schedule": "0 0-23 * * *", "routes": routes}},
        receivers=[{"name": name, "log_configs": [{}]} for name in ("default", "mail", "page")],
    )
    world.fire(severity="info")
    world.now += 60
    raised = world.fire(alertname="Down", severity="warning")
    assert (raised.verdict, raised.interrupts) == (Verdict.FOLD, False)
    told = {d.receiver.split("/")[0]: d.kind for d in world.last.deliveries}
    assert told.pop("page") == "notify"
    assert "raise" not in told.values()


def test_a_dead_letter_tells_nobody_so_the_next_repeat_does():
    world = World()
    first = world.fire()
    (lost,) = world.last.deliveries
    world.dead(first.incident)
    world.now += 60
    assert world.fire(since=NOON).verdict is Verdict.NOTIFY
    (again,) = world.last.deliveries
    assert (again.kind, again.dedup_key == lost.dedup_key) == ("notify", False)


def test_a_dead_letter_that_is_replayed_is_resolved_with_the_rest():
    world = World()
    first = world.fire()
    world.dead(first.incident)
    world.batch(Inputs(outcomes=(Delivered(world.now, first.incident, "default", "notify", "sent"),)))
    world.now += 60
    assert [d.kind for d in world.clear(NOON).deliveries] == ["resolve"]


@pytest.mark.parametrize("mode", ["shadow", "ladder", "auto"])
def test_what_fires_again_with_the_start_it_had_is_told_again(mode):
    world = World(mode=mode, **NO_FOLDING)
    world.fire(severity="critical")
    world.now += 300
    world.clear(NOON, severity="critical")
    world.now += 3600
    assert world.fire(since=NOON, severity="critical").verdict is Verdict.NOTIFY
    assert world.kinds() == ["notify"]
    world.now += 60
    assert [d.kind for d in world.clear(NOON, severity="critical").deliveries] == ["resolve"]


CHANNELS = {
    "receivers": [
        {
            "name": "default",
            "pagerduty_configs": [{"routing_key": "r" * 32}],
            "msteams_configs": [{"webhook_url": "https://example.logic.azure.com/x"}],
            "log_configs": [{}],
        }
    ]
}


def told(world: World) -> list[tuple[str, str]]:
    return sorted((d.receiver.split("/")[1], d.kind) for d in world.last.deliveries)


def test_a_second_critical_of_an_instance_reaches_channels_that_cannot_edit():
    world = World(**CHANNELS)
    world.fire(severity="critical")
    world.now += 1800
    assert world.fire(severity="critical", alertname="RaidFailed").verdict is Verdict.FOLD
    assert told(world) == [("log", "update"), ("msteams", "raise"), ("pagerduty", "update")]


def test_what_fires_again_after_all_had_cleared_is_told_everywhere():
    world = World(**CHANNELS)
    world.fire()
    world.now += 60
    world.clear(NOON)
    world.now += 300
    assert world.fire().verdict is Verdict.FOLD
    assert told(world) == [("log", "update"), ("msteams", "raise"), ("pagerduty", "update")]


@pytest.mark.parametrize("severity", ["fatal", "P1", "emergency"])
def test_a_severity_that_nobody_defined_is_kept_back_as_little_as_critical(severity):
    assert World(1.0, mode="auto").fire(severity=severity).verdict is Verdict.NOTIFY
    world = World(**NO_FOLDING)
    five_false(world, severity=severity)
    assert len(world.state.silences) == 0


def test_an_empty_route_does_not_hide_critical():
    world = World(time_based_routing={"always": {"schedule": "0 0-23 * * *", "routes": {"CRITICAL": []}}})
    decision = world.fire(severity="critical")
    assert (decision.verdict, decision.receivers) == (Verdict.NOTIFY, ("default",))


def test_the_same_alert_twice_in_one_batch_is_decided_once():
    world = World(0.95, mode="auto")
    assert len(world.batch(Inputs((world.alert(), world.alert()))).decisions) == 1


def test_a_start_in_the_future_is_one_episode_all_the_same():
    world = World()
    world.fire(since=NOON + 120)
    world.now += 60
    assert world.batch(Inputs((world.alert(since=NOON + 120),))).decisions == ()


def test_a_hold_on_what_has_ended_leaves_nothing_to_wait_for():
    world = held_world()
    since = world.now
    world.batch(Inputs((world.alert(since=since), world.alert(since=since, ends_at=world.now))))
    assert world.state.next_due() is None


def test_mode_auto_suppresses_by_score_and_shadow_only_says_so():
    assert World(0.95, mode="auto").fire().verdict is Verdict.SUPPRESS
    shadow = World(0.95, mode="shadow", **NO_FOLDING)
    assert shadow.fire().verdict is Verdict.NOTIFY
    assert World(0.95, mode="ladder").fire().verdict is Verdict.NOTIFY


def test_no_critical_is_ever_suppressed_by_score():
    world = World(1.0, mode="auto")
    decision = world.fire(severity="critical")
    assert decision.verdict is Verdict.NOTIFY
    assert decision.reasons[-2].rule == "guard"


def test_an_alert_without_a_score_is_told():
    assert World(None, mode="auto").fire().verdict is Verdict.NOTIFY


def test_what_follows_a_suppressed_alert_is_not_folded_into_silence():
    world = World(0.95, mode="auto")
    world.fire()
    world.scoring = Fixed(0.2)
    world.now += 60
    assert world.fire(alertname="DiskFull").verdict is Verdict.NOTIFY


def test_a_follower_in_the_batch_of_a_suppressed_alert_opens_the_incident():
    class Two:
        certificate = None

        def score(self, rows):
            return [0.95, 0.2][: len(rows)], "two"

    world = World(mode="auto")
    world.scoring = Two()
    batch = world.batch(Inputs((world.alert("g"), world.alert("g", alertname="DiskFull"))))
    assert [d.verdict for d in batch.decisions] == [Verdict.SUPPRESS, Verdict.NOTIFY]


def held_world() -> World:
    """A world that has learned that HighLatency clears in a minute, and holds it by its score."""
    world = World(0.1, mode="auto", **NO_FOLDING)
    for _ in range(30):
        world.fire()
        world.now += 60
        world.clear(world.now - 60)
        world.now += 3600
    world.scoring = Fixed(0.7)
    return world


def test_a_hold_is_released_when_it_still_fires():
    world = held_world()
    held = world.fire()
    assert held.verdict is Verdict.HOLD
    assert world.last.deliveries == ()
    assert world.state.next_due() == held.until
    released = world.tick(held.until - world.now).decisions[0]
    assert released.verdict is Verdict.NOTIFY
    assert world.kinds() == ["notify"]
    assert world.state.next_due() is None


def test_a_hold_that_clears_goes_to_the_digest():
    world = held_world()
    since = world.now
    world.fire()
    world.now += 20
    assert world.clear(since).decisions[0].verdict is Verdict.DIGEST
    assert world.last.deliveries == ()
    assert world.tick(3600).decisions == ()


def test_a_maintenance_window_holds_until_its_end_and_then_tells_what_still_fires():
    window = {"name": "weekly", "schedule": "0 8-18 * * *", "timezone": "UTC", "suppress": ["WARNING"]}
    world = World(time_based_routing={"maintenance_windows": [window]})
    held = world.fire()
    assert held.verdict is Verdict.HOLD
    assert held.reasons[0].rule == "maintenance_windows"
    assert world.fire(severity="info", alertname="Other", instance="i2").verdict is Verdict.NOTIFY
    released = world.tick(held.until - world.now).decisions[0]
    assert released.verdict is Verdict.NOTIFY


def test_an_empty_route_is_the_digest():
    routes = {"INFO": []}
    world = World(time_based_routing={"always": {"schedule": "0 0-23 * * *", "routes": routes}})
    assert world.fire(severity="info").verdict is Verdict.DIGEST
    assert world.fire(severity="warning").verdict is Verdict.NOTIFY


def five_false(world: World, **labels: str) -> None:
    for n in range(5):
        world.vote(world.fire(instance=f"i{n}", **labels), who=f"person-{n % 2}")
        world.now += 60


@pytest.mark.parametrize("severity", ["critical", "CRITICAL"])
def test_critical_is_never_silenced(severity):
    world = World(**NO_FOLDING)
    five_false(world, severity=severity)
    assert len(world.state.silences) == 0


def test_one_real_vote_stops_the_silence():
    world = World(**NO_FOLDING)
    world.vote(world.fire(instance="real"), "useful")
    five_false(world)
    assert len(world.state.silences) == 0


def test_a_vote_taken_back_does_not_count():
    world = World(**NO_FOLDING)
    decision = world.fire(instance="again")
    world.vote(decision)
    world.vote(decision, retracted=True)
    key = key_of(decision.scored.pattern)
    assert world.state.judged(key, 0.0) == (0, 0)


def test_one_incident_counts_once():
    world = World()
    first = world.fire()
    decisions = [first, *(world.fire(alertname="HighLatency", service="", pod=f"p{n}") for n in range(6))]
    for decision in decisions:
        world.vote(decision)
    assert len(world.state.silences) == 0


def test_a_disputed_incident_counts_as_real():
    world = World(**NO_FOLDING)
    decision = world.fire()
    world.vote(decision, who="ada")
    world.vote(decision, "useful", who="grace")
    assert world.state.judged(key_of(decision.scored.pattern), 0.0) == (0, 1)


def test_shadow_mode_asks_for_no_silence():
    """It replays what it would ask for, so as to say on later alerts that they would have been silenced."""
    world = World(mode="shadow", **NO_FOLDING)
    five_false(world)
    assert {silence.state for silence in world.state.silences.values()} == {"proposed"}
    assert not any(isinstance(event, SilenceAsked) for events in world.log for event in events)


def test_a_rule_that_raises_is_skipped_and_the_alert_told():
    def broken(batch: Batch, facts):
        raise RuntimeError("a defect")

    world = World()
    made = plan(Inputs((world.alert(),)), world.state, world.scoring, world.config, world.now, (broken, *RULES))
    assert made.decisions[0].verdict is Verdict.NOTIFY
    assert made.decisions[0].reasons[0].rule == "failed_open"
    assert [d.kind for d in made.deliveries] == ["notify"]


steps = st.lists(
    st.tuples(
        st.sampled_from(["fire", "clear", "repeat", "tick", "vote", "unvote", "dead"]),
        st.integers(0, 4),
        st.integers(1, 4000),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps, st.sampled_from([0.1, 0.7, 0.95]), st.sampled_from(["shadow", "ladder", "auto"]))
def test_the_state_rebuilt_from_the_log_equals_the_state_in_memory(steps, score, mode):
    world, since, decided = World(score, mode=mode), {}, {}
    for what, which, seconds in steps:
        world.now += seconds
        labels = {"instance": f"i{which}", "severity": ("info", "warning", "critical")[which % 3]}
        if what == "fire":
            since[which] = world.now
            decided[which] = world.fire(**labels)
        elif what == "repeat" and which in since:
            world.batch(Inputs((world.alert(since=since[which], **labels),)))
        elif what == "clear" and which in since:
            world.clear(since[which], **labels)
        elif what == "tick":
            world.tick()
        elif what == "dead" and which in decided:
            world.dead(decided[which].incident)
        elif what in ("vote", "unvote") and which in decided:
            world.vote(decided[which], retracted=what == "unvote")
    rebuilt = State()
    for seq, events in enumerate(world.log, 1):
        for event in events:
            rebuilt.fold(event)
        rebuilt.commit(seq)
    assert rebuilt.dump() == world.state.dump()
    assert State.load(world.state.dump()).dump() == world.state.dump()


def test_a_critical_that_cleared_between_two_messages_is_told_all_the_same():
    """Alertmanager sends it as resolved only; a warning goes to the digest, a critical joins what people have, or opens it."""
    world = World(0.1, **CHANNELS)
    assert world.clear(world.now - 60).decisions[0].verdict is Verdict.DIGEST
    told = world.clear(world.now - 60, severity="critical", instance="i2").decisions[0]
    assert (told.verdict, told.receivers) == (Verdict.NOTIFY, ("default",))
    assert world.kinds()[0] == "notify"
    assert "resolve" in world.kinds()
    world.fire(instance="i4")
    raised = world.clear(world.now - 30, severity="critical", instance="i4", alertname="Other").decisions[0]
    assert raised.verdict is Verdict.NOTIFY, "above what people were told of"
    opened = world.fire(instance="i3", severity="critical")
    joined = world.clear(world.now - 30, severity="critical", instance="i3", alertname="Other").decisions[0]
    assert (joined.verdict, joined.incident) == (Verdict.FOLD, opened.incident)
