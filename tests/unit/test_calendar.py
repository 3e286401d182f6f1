"""Windows and nightly times, through both changes of the clocks."""

from __future__ import annotations

from datetime import datetime
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.calendar import Cron, Schedule, next_run

LA = ZoneInfo("America/Los_Angeles")
UTC = ZoneInfo("UTC")
BUSINESS = "0 9-17 * * 1-5"
OFF = "0 17-9 * * 1-5,0 0-23 * * 0,6"
WEEKLY = "0 2-4 * * 0"


def at(text: str, zone: ZoneInfo = LA, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("when", "open_"),
    [
        ("2026-11-23T08:59:59", False),
        ("2026-11-23T09:00", True),
        ("2026-11-23T16:59:59", True),
        ("2026-11-23T17:00", False),
        ("2026-11-22T12:00", False),
        ("2026-11-28T12:00", False),
        ("2026-11-27T12:00", True),
    ],
)
def test_business_hours_run_from_nine_up_to_seventeen(when: str, open_: bool) -> None:
    """The end of a window is not part of it, and the weekend is not in 1-5."""
    assert Schedule.parse(BUSINESS).active(at(when), LA) is open_


@pytest.mark.parametrize(
    "zone", ["America/Los_Angeles", "UTC", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"]
)
def test_the_specifications_hours_are_exact_complements(zone: str) -> None:
    """At every quarter of an hour of a year exactly one of business_hours and off_hours is open."""
    where, business, off = ZoneInfo(zone), Schedule.parse(BUSINESS), Schedule.parse(OFF)
    start = at("2026-01-01T00:00", UTC)
    for quarter in range(366 * 96):
        now = start + quarter * 900
        assert business.active(now, where) != off.active(now, where)


def test_a_comma_joins_two_schedules_and_two_values() -> None:
    """Friday night and Saturday noon are off hours, Monday at eight as well."""
    schedule = Schedule.parse(OFF)
    assert len(schedule.windows) == 2
    assert [schedule.active(at(f"2026-11-{day}"), LA) for day in ("20T23:00", "21T12:00", "22T00:00", "23T08:00")] == [
        True,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "text", ["0 9-12 * * 1-5, 0 13-17 * * 1-5", "0 9-12 * * 1-5;0 13-17 * * MON-FRI", "0 9-12,13-17 * * 1-5"]
)
def test_ways_to_write_a_lunch_break(text: str) -> None:
    """Comma with a space, semicolon with names, and a list in the hour field mean the same."""
    schedule = Schedule.parse(text)
    noon = at("2026-11-23T12:30")
    assert [schedule.active(noon + hours * 3600, LA) for hours in (-1, 0, 1, 5)] == [True, False, True, False]


def test_the_minute_field_moves_both_ends() -> None:
    """30 9-17 is 9:30 to 17:30."""
    schedule = Schedule.parse("30 9-17 * * *")
    assert [schedule.active(at(f"2026-11-23T{clock}"), LA) for clock in ("09:29", "09:30", "17:29", "17:30")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_single_hour_is_that_hour() -> None:
    """0 2 is 2:00 to 3:00, and 30 23 runs over midnight on the same days."""
    assert Schedule.parse("0 2 * * *").windows[0].open == ((120, 180),)
    assert Schedule.parse("30 23 * * *").windows[0].open == ((0, 30), (1410, 1440))
    assert Schedule.parse("0 */6 * * *").windows[0].open == ((0, 60), (360, 420), (720, 780), (1080, 1140))


def test_day_of_month_or_day_of_week_is_enough() -> None:
    """As in cron, both given are alternatives."""
    schedule = Schedule.parse("0 2-4 1 * 0")
    assert schedule.active(at("2026-11-01T02:00"), LA)  # a Sunday
    assert schedule.active(at("2026-12-01T02:00"), LA)  # a Tuesday, the first
    assert schedule.active(at("2026-11-22T02:00"), LA)  # a Sunday
    assert not schedule.active(at("2026-11-24T02:00"), LA)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9-17 * *", "4 fields"),
        ("", "0 fields"),
        ("0 9-17 * * 1-5 0 9-17 * * 6", "10 fields"),
        ("0 9-17 * * 1-5 0 9-17 * *", "no comma"),
        ("60 9-17 * * *", "minute"),
        ("0 9-24 * * *", "hour"),
        ("0 9-17 32 * *", "day of the month"),
        ("0 9-17 31 2 *", "never"),
        ("0 9-17 * 13 *", "month"),
        ("0 9-17 * * 8", "day of the week"),
        ("0 9-9 * * *", "same hour"),
        ("* 9-17 * * *", "minute of a window"),
        ("0 */0 * * *", "step"),
        ("0 ٣ * * *", "hour"),
    ],
)
def test_a_schedule_that_cannot_be_read_says_why(text: str, words: str) -> None:
    """Every refusal names what is wrong."""
    with pytest.raises(ValueError, match=words):
        Schedule.parse(text)


# -------------------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize(
    ("text", "now", "end"),
    [
        (BUSINESS, "2026-11-23T09:00", "2026-11-23T17:00"),
        (BUSINESS, "2026-11-23T16:59:59.5", "2026-11-23T17:00"),
        (OFF, "2026-11-20T17:00", "2026-11-23T09:00"),
        (OFF, "2026-11-23T23:00", "2026-11-24T09:00"),
        (WEEKLY, "2026-11-22T03:15:30", "2026-11-22T04:00"),
    ],
)
def test_a_stretch_ends_when_its_window_closes(text: str, now: str, end: str) -> None:
    """Pieces that touch, over midnight and from one schedule to the next, are one stretch."""
    assert Schedule.parse(text).ends(at(now), LA) == pytest.approx(at(end), abs=0.001)


def test_the_spring_night_shortens_a_window() -> None:
    """2:00 to 4:00 begins at 3:00 in the night without 2:00, and is one hour long."""
    schedule = Schedule.parse(WEEKLY)
    before, after = at("2026-03-08T01:59:59"), at("2026-03-08T03:00")
    assert not schedule.active(before, LA)
    assert schedule.active(after, LA)
    assert schedule.ends(after, LA) - after == 3600
    assert Schedule.parse("0 0-4 * * 0").ends(at("2026-03-08T00:00"), LA) - at("2026-03-08T00:00") == 3 * 3600


def test_the_autumn_night_lengthens_a_window() -> None:
    """1:00 to 3:00 holds 1:00 to 2:00 twice: three hours."""
    schedule, start = Schedule.parse("0 1-3 * * 0"), at("2026-11-01T01:00")
    assert schedule.ends(start, LA) - start == 3 * 3600
    assert schedule.ends(at("2026-11-01T01:30", fold=1), LA) == at("2026-11-01T03:00")


def test_a_window_that_ends_within_the_repeated_hour_ends_the_first_time() -> None:
    """0:00 to 1:30 is over at the first 1:30, and open again when 1:00 comes back."""
    schedule = Schedule.parse("30 0-1 * * 0")
    first = at("2026-11-01T01:30")
    assert schedule.ends(at("2026-11-01T00:45"), LA) == first
    assert not schedule.active(first, LA)
    assert schedule.active(first + 1800, LA)


def test_ends_of_closed_and_of_always_open() -> None:
    """A closed window ends now; one that never closes ends never."""
    now = at("2026-11-23T08:00")
    assert Schedule.parse(BUSINESS).ends(now, LA) == now
    assert Schedule.parse("* * * * *").ends(now, LA) == inf
    assert Schedule.parse("0 0-23 * 6 *").ends(at("2026-06-10T00:00"), LA) == at("2026-07-01T00:00")


@settings(max_examples=150, deadline=None)
@given(
    minute=st.sampled_from([0, 15, 30]),
    first=st.integers(0, 23),
    last=st.integers(0, 23),
    days=st.sampled_from(["*", "0", "1-5", "0,6", "5-1"]),
    now=st.integers(int(at("2026-02-20T00:00", UTC)), int(at("2026-11-10T00:00", UTC))),
    zone=st.sampled_from(["America/Los_Angeles", "Australia/Lord_Howe", "UTC"]),
)
def test_ends_is_the_first_closed_minute(minute: int, first: int, last: int, days: str, now: int, zone: str) -> None:
    """The end found by jumping is the one that walking minute by minute finds."""
    where, hours = ZoneInfo(zone), f"{first}-{last}" if first != last else f"{first}"
    schedule = Schedule.parse(f"{minute} {hours} * * {days}")
    end = schedule.ends(now, where)
    if not schedule.active(now, where):
        assert end == now
        return
    step = now - now % 60 + 60
    while schedule.active(step, where) and step < now + 9 * 86400:
        step += 60
    assert end >= step if step >= now + 9 * 86400 else end == step


# ----------------------------------------------------------------------------------------------------------------- next_run


@pytest.mark.parametrize(
    ("cron", "now", "due"),
    [
        ("0 0 * * *", "2026-11-23T00:00", "2026-11-24T00:00"),
        ("0 0 * * *", "2026-11-22T23:59:59", "2026-11-23T00:00"),
        ("*/20 * * * *", "2026-11-23T10:41", "2026-11-23T11:00"),
        ("30 4 1,15 * *", "2026-11-02T00:00", "2026-11-15T04:30"),
        ("0 4 * * MON", "2026-11-23T04:00", "2026-11-30T04:00"),
        ("0 4 * * 7", "2026-11-23T04:00", "2026-11-29T04:00"),
        ("0 0 29 2 *", "2026-11-23T04:00", "2028-02-29T00:00"),
        ("@daily", "2026-11-23T04:00", "2026-11-24T00:00"),
        ("0 12 13 * 5", "2026-11-14T00:00", "2026-11-20T12:00"),
    ],
)
def test_the_next_run(cron: str, now: str, due: str) -> None:
    """Strictly after now, by the wall clock."""
    assert next_run(cron, at(now), LA) == at(due)


def test_a_time_that_spring_skips_runs_as_much_later() -> None:
    """2:30 does not exist on 8 March 2026 in Los Angeles: it runs at 3:30, and the next night at 2:30."""
    due = next_run("30 2 * * *", at("2026-03-08T00:00"), LA)
    assert due == at("2026-03-08T03:30")
    assert next_run("30 2 * * *", due, LA) == at("2026-03-09T02:30")


def test_a_time_that_autumn_repeats_runs_once() -> None:
    """1:30 comes twice on 1 November 2026: it runs the first time only."""
    due = next_run("30 1 * * *", at("2026-11-01T00:00"), LA)
    assert due == at("2026-11-01T01:30", fold=0)
    assert next_run("30 1 * * *", due, LA) == at("2026-11-02T01:30")
    assert next_run("30 1 * * *", at("2026-11-01T01:10", fold=1), LA) == at("2026-11-02T01:30")


def test_midnight_runs_once_a_day_through_a_year() -> None:
    """365 nights, none twice and none left out."""
    now, end, runs = at("2026-01-01T00:00"), at("2027-01-01T00:00"), 0
    while (now := next_run("0 0 * * *", now, LA)) <= end:
        runs += 1
        assert datetime.fromtimestamp(now, LA).strftime("%H:%M") == "00:00"
    assert runs == 365


@pytest.mark.parametrize("text", ["0 0 * *", "0 0 30 2 *", "a * * * *", "0 0 0 * *", "* * * * * *"])
def test_cron_that_cannot_be_read_is_refused(text: str) -> None:
    """What names no time, or is no cron, is a ValueError."""
    with pytest.raises(ValueError, match=r"fields|never|is not a"):
        Cron.parse(text)
