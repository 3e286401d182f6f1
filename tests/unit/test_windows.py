"""What waits for a window: off hours, maintenance, deployments; and that it is told when the window is over."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sidecar.domain import Verdict
from sidecar.events import WindowClosed, WindowOpened
from sidecar.pipeline import Inputs
from sidecar.release import MOST
from sidecar.state import State
from tests.unit.stories import World

LA = ZoneInfo("America/Los_Angeles")
HOUR = 3600.0
ROUTING: dict[str, Any] = {
    "business_hours": {
        "schedule": "0 9-17 * * 1-5",
        "timezone": "America/Los_Angeles",
        "routes": {"CRITICAL": ["default"], "WARNING": ["default"], "INFO": ["monitoring"]},
    },
    "off_hours": {
        "schedule": "0 17-9 * * 1-5,0 0-23 * * 0,6",
        "routes": {"CRITICAL": ["default"], "WARNING": ["default"], "INFO": []},
    },
}
RECEIVERS = [{"name": name, "log_configs": [{}]} for name in ("default", "monitoring")]


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=LA).timestamp()


def office(now: str, **more: Any) -> World:
    timing = {**ROUTING, **more.pop("timing", {})}
    world = World(time_based_routing=timing, receivers=RECEIVERS, **more)
    world.now = at(now)
    return world


# -------------------------------------------------------------------------------------------------------------- off hours


def test_info_of_the_night_is_told_in_the_morning_if_it_still_fires():
    """It waits for the first moment at which somebody is named for it."""
    world = office("2026-11-24T22:00")
    decision = world.fire(severity="info")
    assert (decision.verdict, decision.until) == (Verdict.HOLD, at("2026-11-25T09:00"))
    assert decision.reasons[-1].sentence.startswith(
        "INFO is not delivered in off_hours: told if it still fires in 11 h"
    )
    assert world.last.deliveries == ()
    assert world.state.next_due() == at("2026-11-25T09:00")
    assert world.tick(11 * HOUR - 1).decisions == ()
    (released,) = world.tick(1).decisions
    assert (released.verdict, released.receivers) == (Verdict.NOTIFY, ("monitoring",))
    assert world.kinds() == ["notify"]
    assert world.state.next_due() is None


def test_info_that_clears_in_the_night_goes_to_the_digest():
    """Nobody is told of it in the morning."""
    world = office("2026-11-24T22:00")
    start = world.now
    world.fire(severity="info")
    world.now += HOUR
    (cleared,) = world.clear(start, severity="info").decisions
    assert cleared.verdict is Verdict.DIGEST
    assert world.tick(12 * HOUR).decisions == ()


@pytest.mark.parametrize(
    ("friday", "monday", "hours"),
    [
        ("2026-03-06T18:00", "2026-03-09T09:00", 62),  # the clocks go forward in between
        ("2026-10-30T18:00", "2026-11-02T09:00", 64),  # and back
    ],
)
def test_a_weekend_waits_for_monday_over_both_changes_of_the_clocks(friday: str, monday: str, hours: int):
    world = office(friday)
    decision = world.fire(severity="info")
    assert decision.until == at(monday) == world.now + hours * HOUR


def test_a_window_that_is_followed_by_another_keeps_it_waiting():
    """A maintenance window lies over the morning: what waits is decided there, and waits on until it ends."""
    resting = {"name": "move", "schedule": "0 8-11 * * *", "suppress": ["INFO"]}
    world = office("2026-11-24T22:00", timing={"maintenance_windows": [resting]})
    assert world.fire(severity="info").until == at("2026-11-25T09:00")
    (again,) = world.tick(11 * HOUR).decisions
    assert (again.verdict, again.until) == (Verdict.HOLD, at("2026-11-25T11:00"))
    assert again.reasons[-1].rule == "maintenance_windows"
    (told,) = world.tick(2 * HOUR).decisions
    assert told.verdict is Verdict.NOTIFY


def test_what_nobody_is_ever_named_for_goes_to_the_digest():
    """The search has an end."""
    world = World(time_based_routing={"always": {"schedule": "0 0-23 * * *", "routes": {"INFO": []}}})
    decision = world.fire(severity="info")
    assert decision.verdict is Verdict.DIGEST
    assert decision.reasons[-1].sentence == "INFO is not delivered in always, nor within the next eight days"


def test_what_waits_survives_a_restart():
    """From a snapshot, and from the log."""
    world = office("2026-11-24T22:00")
    world.fire(severity="info")
    again = State()
    for seq, events in enumerate(world.log, 1):
        for event in events:
            again.fold(event)
        again.commit(seq)
    for state in (State.load(world.state.dump()), again):
        world.state, world.now = state, at("2026-11-24T23:00")
        assert state.next_due() == at("2026-11-25T09:00")
        assert world.tick(10 * HOUR).decisions[0].verdict is Verdict.NOTIFY


def test_off_hours_are_the_operators_word_in_shadow_mode_too():
    """Maintenance would be told and marked; whom a window names is no suppression."""
    assert office("2026-11-24T22:00", mode="shadow").fire(severity="info").verdict is Verdict.HOLD


def test_what_waits_does_not_keep_an_incident_open_that_people_have():
    """INFO of an instance whose WARNING was told: the WARNING's end is told when it comes."""
    world = office("2026-11-24T22:00")
    start = world.now
    world.fire(severity="warning")
    waiting = world.fire(severity="info", alertname="Slow")
    assert waiting.verdict is Verdict.HOLD
    world.now += 60
    assert [d.kind for d in world.clear(start, severity="warning").deliveries] == ["resolve"]


def test_a_morning_of_many_is_told_piece_by_piece():
    """A batch releases a bounded number; the state says that more is due until nothing is."""
    world = office("2026-11-24T22:00", folding={"labels": [], "group": False})
    count = MOST + 100
    world.batch(Inputs(tuple(world.alert(severity="info", instance=f"i{n}") for n in range(count))))
    released = []
    world.now += 11 * HOUR
    while (due := world.state.next_due()) is not None and due <= world.now:
        released.append(len(world.tick().decisions))
    assert released == [MOST, 100]


# ------------------------------------------------------------------------------------------------------------ deployments


def opened(world: World, name: str = "deploy", owner: str = "ci", lease: float = 600.0, **more: Any):
    said = {"matchers": ('namespace="shop"',), "severities": ("INFO", "WARNING")} | more
    event = WindowOpened(world.now, name, owner, said["matchers"], said["severities"], world.now + lease)
    return world.batch(Inputs(asks=(event,)))


def ended(world: World, name: str = "deploy"):
    return world.batch(Inputs(asks=(WindowClosed(world.now, name, "ended"),)))


def test_what_a_deployment_covers_waits_and_all_else_is_told():
    world = World(folding={"labels": [], "group": False})
    opened(world)
    waiting = world.fire(namespace="shop")
    assert (waiting.verdict, waiting.until) == (Verdict.HOLD, world.now + 600)
    assert waiting.reasons[-1].sentence == "WARNING waits until “deploy” of ci ends"
    assert world.fire(namespace="bank").verdict is Verdict.NOTIFY
    critical = world.fire(namespace="shop", severity="critical", instance="i9")
    assert critical.verdict is Verdict.NOTIFY


def test_a_lease_that_nobody_renews_ends_the_window():
    """What still fires then is told, and the window is gone, with an event that says so."""
    world = World()
    opened(world)
    world.fire(namespace="shop")
    assert world.tick(599).events == ()
    told = world.tick(1)
    assert [d.verdict for d in told.decisions] == [Verdict.NOTIFY]
    assert [e.reason for e in told.events if isinstance(e, WindowClosed)] == ["its lease ended"]
    assert len(world.state.windows) == 0
    assert world.tick(60).events == ()


def test_a_renewed_lease_keeps_it_waiting():
    world = World()
    opened(world)
    world.fire(namespace="shop")
    world.now += 300
    opened(world)
    (again,) = world.tick(300).decisions
    assert (again.verdict, again.until) == (Verdict.HOLD, world.now + 300)


def test_a_window_that_is_ended_early_tells_what_still_fires_at_once():
    """Not what another window still covers."""
    world = World(folding={"labels": [], "group": False})
    opened(world)
    opened(world, "other", "ada", lease=3000, matchers=('service="cart"',))
    world.fire(namespace="shop")
    world.fire(namespace="shop", service="cart", instance="i2")
    world.now += 60
    plan = ended(world)
    assert sorted(d.verdict for d in plan.decisions) == [Verdict.HOLD, Verdict.NOTIFY]
    assert [d.kind for d in plan.deliveries] == ["notify"]


def test_a_renewal_that_covers_less_tells_what_it_no_longer_covers():
    world = World()
    opened(world)
    world.fire(namespace="shop")
    world.now += 60
    plan = opened(world, matchers=('namespace="bank"',))
    assert [d.verdict for d in plan.decisions] == [Verdict.NOTIFY]


def test_another_owner_changes_nothing():
    """Until the lease is over; then the name is free."""
    world = World()
    opened(world)
    opened(world, owner="ada", lease=3000)
    assert world.state.windows["deploy"].owner == "ci"
    world.now += 601
    opened(world, owner="ada")
    assert world.state.windows["deploy"].owner == "ada"


def test_what_clears_during_a_deployment_is_left_to_the_digest():
    world = World()
    opened(world)
    start = world.now
    world.fire(namespace="shop")
    world.now += 60
    assert [d.verdict for d in world.clear(start, namespace="shop").decisions] == [Verdict.DIGEST]
    assert ended(world).decisions == ()


def test_shadow_mode_marks_what_a_deployment_would_have_held():
    world = World(mode="shadow")
    opened(world)
    told = world.fire(namespace="shop")
    assert (told.verdict, told.marks) == (Verdict.NOTIFY, ("shadow: would have been held for 10 min by window",))


def test_what_a_matcher_guards_is_told_during_a_deployment():
    world = World(guard={"never_suppress": {"matchers": ['compliance=~".+"']}})
    opened(world)
    assert world.fire(namespace="shop", compliance="pci").verdict is Verdict.NOTIFY


def test_open_windows_survive_a_snapshot():
    world = World()
    opened(world)
    world.state = State.load(world.state.dump())
    assert world.fire(namespace="shop").verdict is Verdict.HOLD
    assert world.state.next_due() == world.now + 600
