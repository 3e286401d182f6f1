"""Storms: far more incidents than usual are one for each domain and severity, and nothing of them is lost."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from sidecar.domain import Decision, Verdict
from sidecar.events import Delivered
from sidecar.pipeline import Inputs
from sidecar.state import State
from tests.unit.stories import Fixed, World

APART = {"folding": {"labels": [], "group": False}}
SLACK = {"receivers": [{"name": "default", "slack_configs": [{"bot_token": "xoxb-1", "channel": "#oncall"}]}]}
SEVERITIES = ("critical", "warning", "info")


class Storm(World):
    """A world in which alerts come that have nothing to do with each other."""

    def __init__(self, score: float | None = 0.1, **config) -> None:
        super().__init__(score, **{**APART, **config})
        self.number = 0

    def some(self, count: int, **labels: str) -> list[Decision]:
        """So many new alerts in one batch."""
        numbers = range(self.number, self.number + count)
        self.number += count
        return list(self.batch(Inputs(tuple(self.alert(instance=f"i{n}", **labels) for n in numbers))).decisions)

    def verdicts(self, count: int, **labels: str) -> Counter[str]:
        return Counter(one.verdict.value for one in self.some(count, **labels))


def test_as_many_as_the_limit_are_no_storm():
    assert Storm().verdicts(50) == {"notify": 50}


def test_one_more_in_a_batch_is_one_message():
    world = Storm()
    assert world.verdicts(51) == {"notify": 1, "fold": 50}
    assert [(one.kind, one.alerts) for one in world.last.deliveries] == [("notify", 51)]
    (gather,) = {one.gather for one in world.last.decisions}
    assert gather.title == "Alert storm: {count} WARNING alerts"
    assert "51 incidents within 5 min: from 50 on it is a storm" in world.last.decisions[0].reasons[0].sentence


def test_what_comes_one_by_one_is_a_storm_from_the_limit_on():
    world = Storm(storm={"min_incidents": 5})
    assert [world.some(1)[0].verdict for _ in range(8)] == [*[Verdict.NOTIFY] * 6, *[Verdict.FOLD] * 2]


def test_what_is_spread_over_time_is_no_storm():
    world = Storm(storm={"min_incidents": 5})
    for _ in range(30):
        assert world.some(1)[0].verdict is Verdict.NOTIFY
        world.now += 70


def test_what_folds_into_one_incident_is_no_storm():
    world = Storm(folding={"group": True})
    made = world.batch(Inputs(tuple(world.alert("g", instance=f"i{n}") for n in range(500)))).decisions
    assert Counter(one.verdict.value for one in made) == {"notify": 1, "fold": 499}
    assert made[0].gather is None


def test_each_severity_has_its_own_and_its_first_alert_interrupts():
    world = Storm()
    alerts = [world.alert(instance=f"i{n}", severity=SEVERITIES[n % 3]) for n in range(90)]
    made = world.batch(Inputs(tuple(alerts))).decisions
    assert Counter(one.gather.title.split()[-2] for one in made) == {"CRITICAL": 30, "WARNING": 30, "INFO": 30}
    assert [one.kind for one in world.last.deliveries] == ["notify"] * 3
    ranks = {one.gather.title.split()[-2]: world.state.incidents[one.incident].rank for one in made}
    assert ranks == {"CRITICAL": 3, "WARNING": 2, "INFO": 1}


@pytest.mark.parametrize("together", [True, False])
def test_what_folds_into_a_part_of_the_storm_goes_with_it(together):
    """Five alerts in each of 200 namespaces, of which the last ones join the first: still one storm, not 200 messages."""
    world = Storm()
    groups = [[world.alert(instance=f"{n}-{k}", namespace=f"ns{n}") for k in range(5)] for n in range(200)]
    decisions: list[Decision] = []
    for batch in [[one for group in groups for one in group]] if together else groups:
        decisions += world.batch(Inputs(tuple(batch))).decisions
    told = {one.incident for one in decisions if one.verdict is Verdict.NOTIFY}
    assert len(told) <= (1 if together else 51)
    assert {one.incident for one in decisions} == told


def test_severities_that_nobody_defined_are_one_and_as_urgent_as_critical():
    world = Storm()
    alerts = [world.alert(instance=f"i{n}", severity=f"sev{n}") for n in range(60)]
    made = world.batch(Inputs(tuple(alerts))).decisions
    assert {one.gather.title for one in made} == {"Alert storm: {count} OTHER alerts"}
    assert world.state.incidents[made[0].incident].rank == 3


def test_the_storm_of_one_domain_leaves_the_others_alone():
    world = Storm()
    world.some(60, domain="artemis")
    assert world.last.decisions[0].gather.title == "Alert storm in artemis: {count} WARNING alerts"
    assert world.verdicts(3, domain="sophia") == {"notify": 3}
    assert world.verdicts(3, domain="artemis") == {"fold": 3}


def test_it_is_over_when_the_rate_has_fallen_by_half():
    world = Storm()
    world.some(60)
    world.now += 200
    assert world.verdicts(5) == {"fold": 5}
    world.now += 150
    assert world.verdicts(5) == {"notify": 5}


def test_people_are_told_that_it_is_over_when_nothing_of_it_fires():
    world = Storm(storm={"min_incidents": 3})
    since = world.now
    opened = world.some(4)[0]
    world.now += 60
    for n in range(4):
        world.clear(since, instance=f"i{n}")
    world.tick(599)
    assert world.last.deliveries == ()
    world.tick(2)
    assert [(one.incident, one.kind) for one in world.last.deliveries] == [(opened.incident, "resolve")]


def test_a_busy_domain_needs_ten_times_its_usual_number():
    """A week at ten incidents in five minutes: ninety are no storm there, two hundred are."""
    world = Storm()
    for _ in range(7 * 24):
        world.some(20)
        world.now += 600
        world.some(20)
        world.now += 3000
    assert world.verdicts(15) == {"notify": 15}
    quiet = Storm()
    quiet.some(20)
    quiet.now += 7 * 86400
    assert world.state.rates["storm=/"].usually(world.now, 300.0) == pytest.approx(40 / 12, rel=0.1)
    world.now += 400
    assert quiet.verdicts(60)["notify"] == 1
    assert world.verdicts(31) == {"notify": 31}
    assert world.verdicts(31)["notify"] == 1, "62 within the window"


def test_what_the_score_keeps_back_opens_no_storm():
    """The first that passes opens it; what comes after is in a message that people have."""
    world = Storm(0.99, mode="auto", suppression_budget={"enabled": False})
    assert world.verdicts(60) == {"suppress": 60}
    world.scoring = Fixed(0.1)
    made = world.some(3)
    assert [one.verdict for one in made] == [Verdict.NOTIFY, Verdict.FOLD, Verdict.FOLD]
    assert made[0].gather is not None


def test_incidents_whose_message_has_not_left_go_on_in_the_storms():
    """A destination takes one a second: what is still in the queue is closed there, what has left stays."""
    world = Storm(storm={"min_incidents": 4})
    sent, queued, cleared = world.some(3)
    world.batch(Inputs(outcomes=(Delivered(world.now, sent.incident, "default", "notify", "sent"),)))
    world.clear(world.now, instance="i2")
    (opened, _) = world.some(2)
    assert [(one.incident, one.kind) for one in world.last.deliveries] == [
        (opened.incident, "notify"),
        (queued.incident, "resolve"),
    ]
    assert world.state.incidents[opened.incident].firing == 3
    assert world.state.incidents[sent.incident].firing == 1
    assert cleared.incident in world.state.outgoing


def test_what_a_window_held_is_a_storm_at_its_end():
    """Nobody heard of it before: what then still fires is few messages, too."""
    window = {"name": "w", "schedule": "0 8-18 * * *", "suppress": ["WARNING"]}
    world = Storm(storm={"min_incidents": 4}, time_based_routing={"maintenance_windows": [window]})
    world.some(20)
    assert {one.verdict for one in world.last.decisions} == {Verdict.HOLD}
    assert len(world.state.rates) == 0
    world.tick(world.state.next_due() - world.now)
    assert Counter(one.verdict for one in world.last.decisions) == {Verdict.NOTIFY: 1, Verdict.FOLD: 19}


def test_the_end_of_a_hold_by_score_is_no_new_alert():
    """What is decided anew when its hold is over was counted when it came."""
    world = Storm(0.1, mode="auto", storm={"min_incidents": 30})
    for _ in range(30):
        world.some(1)
        world.now += 60
        world.clear(world.now - 60, instance=f"i{world.number - 1}")
        world.now += 3600
    world.scoring = Fixed(0.7)
    world.some(20)
    assert {one.verdict for one in world.last.decisions} == {Verdict.HOLD}
    world.tick(world.state.next_due() - world.now)
    assert {one.verdict for one in world.last.decisions} == {Verdict.NOTIFY}
    (rate,) = world.state.rates.values()
    assert sum(count for _, count in rate.slots) <= 20


@pytest.mark.parametrize("size", [1, 7, 400, 10_000])
def test_ten_thousand_alerts_in_a_minute_are_twenty_messages_at_most(size):
    """Distinct alerts, whatever a batch holds; what has not left before it was a storm is closed and never sent."""
    world, draw, kinds, told = Storm(**SLACK), random.Random(size), Counter(), set()
    began = time.perf_counter()
    for first in range(0, 10_000, size):
        world.now += 60 * size / 10_000
        alerts = [
            world.alert(instance=f"i{n}", severity=draw.choice(SEVERITIES))
            for n in range(first, min(first + size, 10_000))
        ]
        world.batch(Inputs(tuple(alerts)))
        kinds.update(one.kind for one in world.last.deliveries)
        told |= {one.incident for one in world.last.deliveries if one.kind == "notify"}
        assert {one.verdict for one in world.last.decisions} <= {Verdict.NOTIFY, Verdict.FOLD}
    open_ones = {name for name in told if world.state.incidents[name].firing}
    assert len(open_ones) <= 3
    assert kinds["notify"] - kinds["resolve"] == len(open_ones)
    assert kinds["raise"] + kinds["reminder"] == 0
    assert sum(one.firing for one in world.state.incidents.values()) == 10_000
    assert kinds["notify"] <= (20 if size > 50 else 54)
    assert (time.perf_counter() - began) / 10_000 < 0.005


def test_channels_that_cannot_edit_are_not_told_of_each_critical_that_joins():
    receivers = [{"name": "default", "msteams_configs": [{"webhook_url": "https://example.logic.azure.com/x"}]}]
    world = Storm(receivers=receivers)
    world.some(60, severity="critical")
    assert world.kinds() == ["notify"]
    world.some(10, severity="critical")
    assert world.kinds() == []


def test_it_can_be_turned_off():
    assert Storm(storm={"enabled": False}).verdicts(500) == {"notify": 500}


def test_rates_survive_a_snapshot_and_idle_ones_leave_the_memory():
    world = Storm()
    world.some(60)
    assert State.load(world.state.dump()).rates == world.state.rates
    world.batch(Inputs(sweep_before=world.now + 1))
    assert (len(world.state.rates), len(world.state.outgoing)) == (0, 0)


@pytest.mark.parametrize("window", ["1m", "1h"])
def test_another_window_begins_to_count_anew(window):
    """What was counted by slots of another length is no storm."""
    world = Storm()
    world.some(45)
    changed = Storm(storm={"window": window})
    world.config = changed.config
    world.now += 10
    assert world.verdicts(10) == {"notify": 10}
    assert world.verdicts(45)["fold"] == 44
