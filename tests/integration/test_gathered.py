"""What people read of incidents that gather: from the rules through the log and the tables to a message."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from sidecar.channels import email, pagerduty
from sidecar.delivery.message import compose
from sidecar.domain import DeliveryKind, Message
from sidecar.events import Plan
from sidecar.pipeline import Inputs
from sidecar.store import log, projections, queries, schema
from sidecar.store.engine import Database, open_engine
from tests.unit.stories import World

APART = {
    "folding": {"labels": [], "group": False},
    "deduplication": {"strategies": {"fuzzy_match": {"enabled": False}}},
}
PODS = {
    "pods": {
        "pattern": "Pod (?P<pod>.*) is failing", "threshold": 3, "window": "5m",
        "aggregate_as": "{count} pods failing in {namespace}",
    }
}  # fmt: skip


class Stored(World):
    """A world whose plans are in the tables."""

    def __init__(self, database: Database, **config) -> None:
        super().__init__(**{**APART, **config})
        self.database = database
        self.plans: list[Plan] = []

    def batch(self, inputs: Inputs) -> Plan:
        self.plans.append(super().batch(inputs))
        return self.last

    async def read(self, incident: str, kind: DeliveryKind = "update") -> Message:
        """What is said of an incident now."""
        async with self.database.write() as connection:
            for plan in [plan for plan in self.plans if plan.events]:
                await log.append(connection, 0, await log.head(connection, 0), self.now, plan.events, ())
        self.plans.clear()
        while await projections.project(self.database, 0, 1000):
            pass
        async with self.database.read() as connection:
            view = await queries.incident_view(connection, incident)
        assert view is not None
        return compose(view, kind, incident, self.config)

    def fail(self, *pods: str, since: float | None = None, ended: bool = False, **labels: str) -> str:
        """These pods fail, or are well again; returns the incident of the last one."""
        alerts = []
        for pod in pods:
            where = {"alertname": "PodFailing", "pod": pod, "instance": f"on-{pod[0]}", "namespace": "shop"} | labels
            one = self.alert("", since, self.now if ended else None, **where)
            text = {"summary": f"Pod {pod} is failing"}
            alerts.append(replace(one, alert=replace(one.alert, annotations=text)))
        made = self.batch(Inputs(tuple(alerts))).decisions
        return made[-1].incident if made else ""


@pytest.fixture
async def database(database_url) -> AsyncIterator[Database]:
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


async def test_an_aggregate_says_how_many_and_at_its_end_how_long_and_where(database):
    world = Stored(database, aggregation_rules=PODS)
    since = world.now
    name = world.fail("a1", "a2", "b1")
    assert (await world.read(name)).title == "3 pods failing in shop"
    world.now += 600
    world.fail("b2", since=since + 1)
    said = await world.read(name)
    assert (said.title, said.named, said.firing) == ("4 pods failing in shop", True, 4)
    world.now += 6600
    world.fail("a1", "a2", "b1", since=since, ended=True)
    world.fail("b2", since=since + 1, ended=True)
    world.tick(400)
    assert [one.kind for one in world.last.deliveries] == ["resolve"]
    over = await world.read(name, "resolve")
    assert (over.status, over.note) == ("resolved", "over: 4 alerts of 2 instances and 4 pods in 2 h")


async def test_the_message_of_what_moved_says_where_it_goes_on(database):
    world = Stored(database, aggregation_rules=PODS)
    first = world.fail("a")
    world.fail("b")
    world.fail("c")
    said = await world.read(first, "resolve")
    assert (said.status, said.note) == ("resolved", "goes on in: 3 pods failing in shop")


async def test_channels_that_name_the_alert_name_the_aggregate(database):
    world = Stored(database, aggregation_rules=PODS)
    said = await world.read(world.fail("a", "b", "c"))
    assert pagerduty.summary(said).startswith("3 pods failing in shop: ")
    assert email.subject(said).startswith("[FIRING] 3 pods failing in shop - ")
    single = await world.read(world.fire(alertname="Other", namespace="bank", instance="far").incident)
    assert pagerduty.summary(single).startswith("Other in bank")


async def test_the_newest_number_is_in_the_title_of_what_flaps(database):
    """Ten comes after nine, though not in the alphabet."""
    world = Stored(database)
    for _ in range(12):
        since = world.now
        name = world.fire().incident
        world.now += 30
        world.clear(since)
        world.now += 30
    assert (await world.read(name)).title == "HighLatency on i1 is flapping (12 times in 30m)"


async def test_a_message_is_as_severe_as_the_worst_that_it_does_not_show(database):
    world = Stored(database, aggregation_rules=PODS)
    name = world.fail("a", "b", "c", severity="critical", since=world.now - 60)
    world.fail(*(f"p{n}" for n in range(30)))
    said = await world.read(name)
    assert (len(said.lines), said.more, said.severity) == (20, 13, "CRITICAL")
    assert {line.labels["severity"] for line in said.lines} == {"warning"}


async def test_what_interrupts_again_says_why(database):
    world = Stored(database, aggregation_rules=PODS)
    name = world.fail("a", "b", "c")
    world.now += 3700
    world.fail("d")
    assert [one.kind for one in world.last.deliveries] == ["raise"]
    assert (await world.read(name, "raise")).note == "it goes on, 1.03 h after people were told"
    world.now += 60
    world.fail("e", severity="critical")
    assert (await world.read(name, "raise")).note == "severity raised to CRITICAL"
