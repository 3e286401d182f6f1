"""When a digest is due, for whom, and that it comes once: the duties through the pipeline, with a clock over days."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.domain import Delivery, Mute, Pattern, Reason
from sidecar.events import DigestDue, SilenceAsked, SilenceEnded, SilenceReported, Swept
from sidecar.pipeline import Inputs
from sidecar.rules.digest import LONGEST, next_digest
from sidecar.rules.silenced import _sentence
from sidecar.state import State
from tests.unit.stories import World

DAY = 86400.0
QUIET = {
    "time_based_routing": {
        "always": {"schedule": "* * * * *", "routes": {"INFO": [], "WARNING": ["team"], "CRITICAL": ["pager"]}}
    },
    "receivers": [
        {"name": "default", "log_configs": [{}]},
        {"name": "team", "log_configs": [{}], "webhook_configs": [{"url": "http://127.0.0.1:1/hook"}]},
        {"name": "pager", "pagerduty_configs": [{"routing_key": "k"}]},
    ],
}


def local(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def world(at: str = "2026-11-25T10:00", zone: str = "UTC", **config: Any) -> World:
    """In mode auto everything that scores as noise is suppressed."""
    digest = {"timezone": zone, **config.pop("digest", {})}
    made = World(score=0.95, mode="auto", digest=digest, holding={"max": {"INFO": 0, "WARNING": 0}}, **QUIET, **config)
    made.now = local(at, zone)
    return made


def digests(world: World) -> list[DigestDue]:
    return [event for event in world.last.events if isinstance(event, DigestDue)]


def sent(world: World) -> list[Delivery]:
    return [delivery for delivery in world.last.deliveries if delivery.kind == "digest"]


def test_what_was_kept_back_is_summed_up_at_nine_once():
    """Nothing before, one to each channel of its receiver then, nothing after."""
    made = world()
    assert made.fire().verdict == "suppress"
    assert next_digest(made.state, made.config) == local("2026-11-26T09:00")
    made.tick(22 * 3600)
    assert digests(made) == []
    made.tick(3600)
    (due,) = digests(made)
    assert (due.receiver, due.of, due.until) == ("team", ("team",), local("2026-11-26T09:00"))
    assert due.since < local("2026-11-25T10:00") < due.until
    name = f"digest-team-{int(due.until)}"
    assert [(d.receiver, d.incident, d.dedup_key) for d in sent(made)] == [
        ("team/webhook/0", name, f"{name}/team/webhook/0"),
        ("team/log/0", name, f"{name}/team/log/0"),
    ]
    assert msgspec.json.decode(sent(made)[0].body, type=DigestDue) == due
    made.tick(1)
    assert made.last.events == ()
    assert next_digest(made.state, made.config) is None


def test_a_day_on_which_nothing_was_kept_back_has_no_digest():
    """Told is not kept back."""
    made = world()
    made.scoring.value = 0.1
    assert made.fire().verdict == "notify"
    for _ in range(3):
        made.tick(DAY)
        assert (digests(made), sent(made)) == ([], [])


def test_one_digest_begins_where_the_last_one_ended():
    """So that every alert is in one of them, and in one alone."""
    made = world()
    made.fire()
    made.tick(DAY)
    (first,) = digests(made)
    made.now += 60
    made.fire(pod="b", instance="i2")
    made.tick(DAY)
    (second,) = digests(made)
    assert second.since == first.until
    assert second.after == first.upto < second.upto


def test_one_that_was_missed_comes_late_once_and_covers_all_of_it():
    """The sidecar was down over three mornings."""
    made = world()
    made.fire()
    made.tick(3.2 * DAY)
    (due,) = digests(made)
    assert due.until == made.now
    made.tick(1)
    assert digests(made) == []


def test_it_covers_no_more_than_some_weeks():
    """However long it was off."""
    made = world()
    made.fire()
    made.tick(100 * DAY)
    (due,) = digests(made)
    assert due.since == made.now - LONGEST


def test_what_nobody_was_to_be_told_goes_to_the_default_receivers_digest():
    """An operator's empty list, and what is kept back from the pager, which takes no digest."""
    made = world(guard={"never_suppress": {"severities": []}})
    assert made.fire(severity="info").verdict == "suppress"
    assert made.fire(severity="critical", instance="i2").verdict == "suppress"
    made.tick(DAY)
    (due,) = digests(made)
    assert (due.receiver, set(due.of)) == ("default", {"", "pager"})


def test_an_empty_route_is_summed_up_too():
    """It is not noise: it is what somebody wanted to read later."""
    made = world()
    made.scoring.value = 0.1
    assert made.fire(severity="info").verdict == "digest"
    made.tick(DAY)
    assert [due.of for due in digests(made)] == [("",)]


def test_a_hold_that_cleared_is_in_the_digest_of_its_receiver_and_one_that_was_told_is_not():
    """Only what stayed back is kept back."""
    window = {"name": "weekly", "schedule": "0 8-18 * * *", "timezone": "UTC", "suppress": ["WARNING"]}
    routed = QUIET["time_based_routing"] | {"maintenance_windows": [window]}
    made = World(receivers=QUIET["receivers"], time_based_routing=routed)
    made.now = local("2026-11-25T10:00")
    assert made.fire().verdict == "hold"
    made.fire(instance="i2")
    assert not made.state.kept_back
    made.now += 60
    made.clear(made.now - 60)
    assert set(made.state.kept_back) == {"team"}
    made.state = State.load(made.state.dump())
    made.tick(DAY - 3600)
    assert [due.of for due in digests(made)] == [("team",)]
    made = World(receivers=QUIET["receivers"], time_based_routing=routed)
    made.now = local("2026-11-25T17:59")
    made.fire()
    made.tick(60)
    assert [d.verdict for d in made.last.decisions] == ["notify"]
    assert not made.state.kept_back


def test_critical_alerts_are_not_kept_back_and_so_in_no_digest():
    """The guard comes before it."""
    made = world()
    for number in range(20):
        assert made.fire(severity="critical", instance=f"i{number}").verdict == "notify"
    made.tick(DAY)
    assert digests(made) == []


def test_chosen_receivers_get_everything():
    """And those whom it was kept back from get none of their own."""
    made = world(digest={"receivers": ["default", "pager"]})
    made.fire()
    made.fire(severity="info", instance="i2")
    made.tick(DAY)
    (due,) = digests(made)
    assert (due.receiver, set(due.of)) == ("default", {"", "team"})


def test_several_receivers_each_get_their_own():
    """In one plan."""
    made = world()
    made.fire()
    made.fire(severity="info", instance="i2")
    made.tick(DAY)
    assert {due.receiver: due.of for due in digests(made)} == {"team": ("team",), "default": ("",)}


def test_turned_off_it_says_nothing_and_wakes_nobody():
    """What was kept back is remembered for as long as it is young."""
    made = world(digest={"enabled": False})
    made.fire()
    made.tick(2 * DAY)
    assert (digests(made), next_digest(made.state, made.config)) == ([], None)
    made.state.fold(Swept(made.now, made.now))
    assert not made.state.kept_back


@pytest.mark.parametrize(
    ("fired", "due"),
    [
        ("2026-03-28T10:00", "2026-03-29T09:00"),  # the clocks go forward in this night
        ("2026-10-24T10:00", "2026-10-25T09:00"),  # and back in this one
    ],
)
def test_nine_is_nine_on_the_wall_also_when_the_clocks_change(fired, due):
    """An hour less, or more, than a day after the one before."""
    made = world(fired, "Europe/Berlin")
    made.fire()
    assert next_digest(made.state, made.config) == local(due, "Europe/Berlin")
    made.now = local(due, "Europe/Berlin") - 1
    made.tick()
    assert digests(made) == []
    made.tick(1)
    assert len(digests(made)) == 1


def test_over_days_there_is_one_digest_a_day():
    """A week with an alert every three hours, ticks every ten minutes, in a zone of half hours."""
    made, found = world(zone="Asia/Kolkata"), []
    for step in range(7 * 144):
        if step % 18 == 0:
            made.fire(pod=str(step), instance=f"i{step}")
        made.tick(600)
        found += digests(made)
    assert [datetime.fromtimestamp(due.until, ZoneInfo("Asia/Kolkata")).strftime("%H:%M") for due in found] == [
        "09:00"
    ] * 7
    assert all(later.since == earlier.until for earlier, later in pairwise(found))


def test_another_replica_that_folded_it_has_nothing_more_to_say():
    """And the state that a snapshot gives back is the same."""
    made = world()
    made.fire()
    twin = State.load(made.state.dump())
    made.tick(DAY)
    for event in made.last.events:
        twin.fold(event)
    twin.commit(made.state.seq)
    assert twin.dump() == made.state.dump()
    made.state = State.load(twin.dump())
    made.tick(1)
    assert made.last.events == ()


def test_imported_history_is_old_news():
    """Its decisions say so."""
    made = world()
    made.fire()
    (decided,) = [event for event in made.log[0] if type(event).__name__ == "Decided"]
    fresh = State()
    past = replace(decided, reasons=(replace(decided.reasons[0], rule="import"),))
    fresh.fold(past)
    assert not fresh.kept_back
    fresh.fold(decided)
    assert fresh.kept_back


def test_what_people_silenced_themselves_was_not_kept_back_from_them():
    """What a silence of the sidecar hides was."""
    made = world()
    made.fire()
    (decided,) = [event for event in made.log[0] if type(event).__name__ == "Decided"]
    for created_by, ours, kept in (("ada", {}, False), ("alertmanager-sidecar", {"s-1": "key"}, True)):
        sentence = _sentence(Mute("s-1", created_by, 0.0), theirs=not ours)
        fresh = State()
        fresh.fold(replace(decided, reasons=(Reason("silenced", sentence),)))
        assert bool(fresh.kept_back) is kept, sentence


# ------------------------------------------------------------------------------------------------------------- silences


PATTERN = Pattern("HighLatency", "payments", "checkout", "WARNING")


def ended(made: World, pattern: Pattern = PATTERN) -> tuple[SilenceAsked, SilenceEnded]:
    """A silence that was asked for, and its end."""
    asked = SilenceAsked(made.now - 60, pattern, made.now + DAY, "false_positive", "noise", ("e-1",))
    return asked, SilenceEnded(made.now, pattern, "s-1", "it expired after 1 d", 12)


def test_the_end_of_a_silence_is_told_at_once_where_its_alerts_belong():
    """Once, even when the same end is recorded twice in a row."""
    made = world()
    made.batch(Inputs(asks=ended(made)))
    assert [event for event in made.last.events if isinstance(event, SilenceReported)]
    assert {d.receiver for d in sent(made)} == {"team/webhook/0", "team/log/0"}
    assert msgspec.json.decode(sent(made)[0].body, type=SilenceEnded).hidden == 12
    made.tick(1)
    assert made.last.events == ()


def test_the_end_of_a_silence_for_the_pager_goes_to_the_default_receiver():
    """Nobody is woken to hear that a silence is over."""
    made = world()
    pattern = Pattern("HighLatency", "", "", "CRITICAL")
    made.batch(Inputs(asks=ended(made, pattern)))
    assert [d.receiver for d in sent(made)] == ["default/log/0"]


def test_silences_are_reviewed_on_monday_when_there_were_any():
    """For the default receiver; not in a week without one."""
    made = world("2026-11-25T10:00")  # a Wednesday
    made.batch(Inputs(asks=ended(made)))
    assert next_digest(made.state, made.config) == local("2026-11-30T09:00")
    made.now = local("2026-11-30T09:00")
    made.tick()
    assert [d.incident for d in sent(made)] == [f"review-default-{int(made.now)}"]
    made.tick(7 * DAY)
    assert sent(made) == []


def test_the_review_can_be_turned_off():
    """By null."""
    made = world(digest={"review": None})
    made.batch(Inputs(asks=ended(made)))
    assert next_digest(made.state, made.config) is None
    made.tick(30 * DAY)
    assert sent(made) == []


def test_asking_what_is_due_costs_little():
    """It is asked in every plan: under 20 microseconds."""
    made = world()
    made.fire()
    began = time.perf_counter()
    for _ in range(1000):
        next_digest(made.state, made.config)
    assert (time.perf_counter() - began) / 1000 < 20e-6
