"""Whom an incident is told to when nobody acknowledges it, and what stops that."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sidecar.events import Acknowledged, Delivered, Escalated, Plan
from sidecar.pipeline import Inputs
from sidecar.state import State
from sidecar.telemetry import Metrics
from tests.unit.stories import World

LA = ZoneInfo("America/Los_Angeles")
MINUTE = 60.0
NAMES = ("default", "pagerduty", "slack-oncall", "phone", "slack-engineering", "email", "slack-monitoring", "boss")
DEFINITIONS: dict[str, Any] = {
    "CRITICAL": {"sla": "5m", "escalation": "immediate"},
    "WARNING": {"sla": "30m", "escalation": "business_hours"},
    "INFO": {"sla": "4h", "escalation": "none"},
}
TIMING: dict[str, Any] = {
    "business_hours": {
        "schedule": "0 9-17 * * 1-5",
        "timezone": "America/Los_Angeles",
        "routes": {
            "CRITICAL": ["pagerduty", "slack-oncall"],
            "WARNING": ["slack-engineering", "email"],
            "INFO": ["slack-monitoring"],
        },
    },
    "off_hours": {
        "schedule": "0 17-9 * * 1-5,0 0-23 * * 0,6",
        "routes": {"CRITICAL": ["pagerduty", "slack-oncall", "phone"], "WARNING": ["slack-oncall"], "INFO": []},
    },
    "maintenance_windows": [
        {
            "name": "Weekly Maintenance",
            "schedule": "0 2-4 * * 0",
            "suppress": ["INFO", "WARNING"],
            "override_routes": {"CRITICAL": ["slack-oncall"]},
        }
    ],
}
NOON, NIGHT, MAINTENANCE = "2026-11-25T12:00", "2026-11-24T22:00", "2026-11-29T02:30"


def office(now: str = NOON, definitions: dict[str, Any] | None = None, **more: Any) -> World:
    """A world with the specification's routing and severities; its clock is Los Angeles'."""
    world = World(
        time_based_routing=TIMING,
        severity_definitions=DEFINITIONS if definitions is None else definitions,
        receivers=[{"name": name, "log_configs": [{}]} for name in NAMES],
        **{"folding": {"labels": [], "group": False}, **more},
    )
    world.now = at(now)
    return world


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=LA).timestamp()


def told(plan: Plan) -> list[tuple[str, str]]:
    return sorted((delivery.receiver.split("/")[0], delivery.kind) for delivery in plan.deliveries)


def steps(plan: Plan) -> list[Escalated]:
    return [event for event in plan.events if isinstance(event, Escalated)]


def test_a_critical_that_nobody_acknowledges_reaches_the_phone_after_its_sla():
    """The role that the other window names for it; whoever had it before is told nothing new."""
    world = office()
    decision = world.fire(severity="critical")
    assert told(world.last) == [("pagerduty", "notify"), ("slack-oncall", "notify")]
    assert world.state.next_due() == world.now + 5 * MINUTE
    assert steps(world.tick(5 * MINUTE - 1)) == []
    plan = world.tick(1)
    assert told(plan) == [("phone", "raise")]
    (step,) = steps(plan)
    assert (step.incident, step.level, step.tell) == (decision.incident, 1, ("phone",))
    assert step.reason == "not acknowledged within 5 min: escalated to phone, whom off_hours names for CRITICAL"
    assert {delivery.body for delivery in plan.deliveries} == {step.reason}


def test_when_all_have_been_told_they_are_told_once_more_and_that_is_the_end():
    world = office()
    world.fire(severity="critical")
    world.tick(5 * MINUTE)
    plan = world.tick(5 * MINUTE)
    assert told(plan) == [("pagerduty", "raise"), ("phone", "raise"), ("slack-oncall", "raise")]
    assert steps(plan)[0].reason == "not acknowledged within 10 min: everybody who was told is told once more"
    assert world.state.next_due() is None
    assert world.tick(3600).deliveries == ()


@pytest.mark.parametrize("kind", ["ack", "useful", "false_positive", "not_actionable", "resolved"])
def test_a_vote_of_any_kind_stops_it(kind: str):
    world = office()
    decision = world.fire(severity="critical")
    world.now += 120
    plan = world.vote(decision, kind)
    (said,) = [event for event in plan.events if isinstance(event, Acknowledged)]
    assert (said.incident, said.who, said.source, said.severity, said.after) == (
        decision.incident, "ada", "api", "CRITICAL", 120.0,
    )  # fmt: skip
    assert world.state.next_due() is None
    assert world.tick(3600).deliveries == ()


def test_only_the_first_vote_acknowledges_and_one_taken_back_does_not():
    world = office()
    decision = world.fire(severity="critical")
    retracted = world.vote(decision, "ack", retracted=True)
    assert not any(isinstance(event, Acknowledged) for event in retracted.events)
    world.vote(decision, "ack")
    assert not any(isinstance(event, Acknowledged) for event in world.vote(decision, "useful", who="bob").events)


def test_what_had_cleared_before_it_was_heard_of_is_told_and_does_not_escalate():
    world = office()
    assert told(world.clear(world.now - MINUTE, severity="critical"))[0] == ("pagerduty", "notify")
    assert world.state.next_due() is None


def test_what_clears_does_not_escalate_and_goes_on_where_it_was_when_it_fires_again():
    """One step per incident, however often it comes and goes."""
    world = office()
    start = world.now
    first = world.fire(severity="critical", **SAME)
    world.tick(5 * MINUTE)
    world.clear(start, severity="critical", **SAME)
    assert world.state.next_due() is None
    world.now += MINUTE
    again = world.fire(severity="critical", **SAME)
    assert again.incident == first.incident
    assert world.state.next_due() == world.now + 5 * MINUTE
    assert [step.level for step in steps(world.tick(5 * MINUTE))] == [2]
    assert world.state.next_due() is None


SAME = {"namespace": "shop", "service": "cart", "pod": "cart-1"}


def test_a_warning_goes_to_those_that_the_window_names_for_critical():
    world = office()
    world.fire(severity="warning")
    assert world.state.next_due() == world.now + 30 * MINUTE
    plan = world.tick(30 * MINUTE)
    assert told(plan) == [("pagerduty", "raise"), ("slack-oncall", "raise")]
    assert steps(plan)[0].reason == (
        "not acknowledged within 30 min: escalated to pagerduty, slack-oncall, whom business_hours names for CRITICAL"
    )


def test_the_sla_of_a_warning_counts_only_while_business_hours_are_open():
    """Ten minutes before the end of the day, and twenty on the next morning."""
    world = office("2026-11-25T16:50")
    world.fire(severity="warning")
    assert world.state.next_due() == at("2026-11-26T09:20")
    world.now = at("2026-11-25T22:00")
    world.fire(severity="warning", instance="i2")
    assert world.state.escalations[f"i-{world.last.decisions[0].scored.episode}"].due == at("2026-11-26T09:30")


def test_a_critical_of_the_night_escalates_in_the_night():
    world = office(NIGHT)
    world.fire(severity="critical")
    assert told(world.tick(5 * MINUTE)) == [("pagerduty", "raise"), ("phone", "raise"), ("slack-oncall", "raise")]


def test_maintenance_that_says_who_is_told_is_not_overruled():
    """No paging: the same people are told once more."""
    world = office(MAINTENANCE)
    world.fire(severity="critical")
    assert told(world.last) == [("slack-oncall", "notify")]
    assert told(world.tick(5 * MINUTE)) == [("slack-oncall", "raise")]


def test_info_does_not_escalate():
    world = office()
    world.fire(severity="info")
    assert world.state.next_due() is None


def test_roles_that_are_written_are_told_in_turn():
    world = office(definitions={"CRITICAL": {"sla": "5m", "escalation": "immediate", "escalate_to": ["phone", "boss"]}})
    world.fire(severity="critical")
    assert told(world.tick(5 * MINUTE)) == [("phone", "raise")]
    assert told(world.tick(5 * MINUTE)) == [("boss", "raise")]
    assert len(world.tick(5 * MINUTE).deliveries) == 4
    assert world.tick(3600).deliveries == ()


def test_a_role_is_the_receiver_that_the_domain_says():
    world = office(
        definitions={"CRITICAL": {"sla": "5m", "escalation": "immediate", "escalate_to": ["lead"]}},
        domains={"shop": {"matchers": ['namespace="shop"'], "roles": {"lead": "boss"}}},
    )
    world.fire(severity="critical", namespace="shop")
    assert told(world.tick(5 * MINUTE)) == [("boss", "raise")]


def test_a_raised_severity_has_an_sla_of_its_own_although_it_was_acknowledged():
    world = office(folding={})
    decision = world.fire(severity="warning")
    world.vote(decision, "ack")
    world.now += MINUTE
    raised = world.fire(severity="critical", alertname="Down")
    assert raised.incident == decision.incident
    assert world.state.next_due() == world.now + 5 * MINUTE
    assert told(world.tick(5 * MINUTE)) == [("phone", "raise")]


def test_an_alert_that_folds_in_does_not_put_it_off():
    world = office(folding={})
    world.fire(severity="critical")
    due = world.state.next_due()
    world.now += 2 * MINUTE
    world.fire(severity="critical", alertname="Down")
    assert world.state.next_due() == due


def test_without_written_severities_nothing_escalates():
    """The specification's definitions are the defaults; that they are written says that somebody wants this."""
    world = World(receivers=[{"name": "default", "log_configs": [{}]}])
    world.fire(severity="critical")
    assert world.state.next_due() is None
    assert world.tick(86_400).deliveries == ()


def test_a_configuration_that_no_longer_escalates_ends_what_was_due():
    world = office()
    world.fire(severity="critical")
    world.config = office(definitions={"CRITICAL": {"sla": "5m", "escalation": "none"}}).config
    assert world.tick(5 * MINUTE).deliveries == ()
    assert world.state.next_due() is None


def test_it_survives_a_restart():
    """From the log and from a snapshot: the same step, with the same key in the outbox."""
    world = office()
    world.fire(severity="critical")
    replayed = State()
    for seq, events in enumerate(world.log, 1):
        for event in events:
            replayed.fold(event)
        replayed.commit(seq)
    states = [State.load(world.state.dump()), replayed, world.state]
    world.now += 5 * MINUTE
    keys = []
    for world.state in states:
        keys.append([delivery.dedup_key for delivery in world.tick().deliveries])
    assert keys[0] == keys[1] == keys[2] != []


def test_those_who_are_told_by_escalation_have_the_incident():
    """They get its end like everybody else."""
    world = office()
    start = world.now
    world.fire(severity="critical")
    world.tick(5 * MINUTE)
    assert told(world.clear(start, severity="critical")) == [
        ("pagerduty", "resolve"), ("phone", "resolve"), ("slack-oncall", "resolve"),
    ]  # fmt: skip


def test_the_times_to_acknowledge_and_the_escalations_are_counted():
    world, metrics = office(), Metrics()
    decision = world.fire(severity="critical")
    metrics.planned(world.tick(5 * MINUTE))
    metrics.planned(world.vote(decision, "ack"))
    sample = metrics.registry.get_sample_value
    assert sample("sidecar_escalations_total", {"severity": "CRITICAL"}) == 1
    assert sample("sidecar_time_to_acknowledge_seconds_sum", {"severity": "CRITICAL"}) == 300


def test_idle_escalations_leave_the_memory_with_their_incident():
    world = office()
    world.fire(severity="critical")
    world.tick(5 * MINUTE)
    for _ in range(2):  # what nobody has sent for so long is ended by the first, and forgotten by the second
        world.now += 1e7
        world.batch(Inputs(sweep_before=world.now))
    assert len(world.state.escalations) == 0


def test_what_goes_on_in_a_milder_aggregate_still_escalates_in_time():
    """A CRITICAL alert that nobody acknowledged keeps its time when an INFO alert makes an aggregate of them."""
    rules = {"pods": {"pattern": "PodFail", "threshold": 2, "window": "5m", "aggregate_as": "Pods failing"}}
    here = office(aggregation_rules=rules, deduplication={"strategies": {"fuzzy_match": {"enabled": False}}})
    here.fire(alertname="PodFail", severity="critical", instance="n1")
    here.now += MINUTE
    joined = here.fire(alertname="PodFail", severity="info", instance="n2")
    assert (
        here.state.episodes[
            here.alert(alertname="PodFail", severity="critical", instance="n1").alert.fingerprint
        ].incident
        == joined.incident
    )
    assert here.state.escalations[joined.incident].due == at(NOON) + 5 * MINUTE
    here.tick(4 * MINUTE)
    assert [event.incident for event in here.last.events if isinstance(event, Escalated)] == [joined.incident]


def flap(here: World, times: int) -> list[Escalated]:
    """It fires for three minutes and is quiet for one, again and again; how that escalated."""
    found: list[Escalated] = []
    for _ in range(times):
        since = here.now
        here.fire(severity="critical", since=since)
        for _ in range(3):
            found += [event for event in here.tick(MINUTE).events if isinstance(event, Escalated)]
        here.clear(since, severity="critical")
        found += [event for event in here.tick(MINUTE).events if isinstance(event, Escalated)]
    return found


def test_what_flaps_escalates_though_it_clears_within_its_time():
    """Its times to acknowledge do not begin anew with each start; a vote stops it as usual."""
    here = office()
    assert flap(here, 5)
    acknowledged = office()
    flap(acknowledged, 2)
    since = acknowledged.now
    acknowledged.vote(acknowledged.fire(severity="critical"), "ack")
    acknowledged.now += MINUTE
    acknowledged.clear(since, severity="critical")
    acknowledged.now += MINUTE
    assert not flap(acknowledged, 4)


def test_what_has_been_quiet_for_long_has_its_whole_time_again():
    """People were told that it is over; what fires then is news."""
    here = office()
    flap(here, 3)
    here.tick(20 * MINUTE)
    assert all(one.rests is None for one in here.state.escalations.values())


def test_what_joins_a_milder_incident_without_a_word_has_its_own_time():
    """People see a WARNING alert in the message about an INFO alert; nobody acknowledges it."""
    here = World(severity_definitions={**DEFINITIONS, "WARNING": {"sla": "30m", "escalation": "immediate"}})
    info = here.fire(alertname="A", severity="info")
    here.now += MINUTE
    joined = here.fire(alertname="B", severity="warning")
    assert (joined.incident, here.kinds()) == (info.incident, ["update"])
    assert here.state.escalations[info.incident].due == here.now + 30 * MINUTE
    here.tick(31 * MINUTE)
    assert any(isinstance(event, Escalated) for event in here.last.events)


def test_a_message_that_arrived_is_closed_though_a_later_one_did_not():
    """The escalation ended in the dead letters; the alert itself had been told, and is over."""
    here = World(severity_definitions=DEFINITIONS)
    told = here.fire(severity="critical")
    here.batch(Inputs(outcomes=(Delivered(here.now, told.incident, "default", "notify", "sent"),)))
    here.tick(5 * MINUTE)
    here.batch(Inputs(outcomes=(Delivered(here.now, told.incident, "default", "raise", "dead"),)))
    here.now += MINUTE
    here.clear(told.scored.alert.starts_at, severity="critical")
    assert here.kinds() == ["resolve"]
