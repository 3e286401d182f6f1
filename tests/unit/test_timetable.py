"""Windows against a brute-force oracle: minute by minute, in a hundred time zones, over every change of the clocks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.calendar import Schedule
from sidecar.intervals import Interval, Span
from sidecar.timetable import Part, Timetable, turns

Holds = Callable[[datetime], bool]
ZONES = [
    *random.Random(1).sample(sorted(available_timezones() - {"localtime", "Factory"}), 95),
    "America/Los_Angeles",
    "Australia/Lord_Howe",  # half an hour of summer time
    "America/Sao_Paulo",
    "Africa/Cairo",  # the clocks change at midnight
    "Asia/Beirut",  # likewise
]

# Each window as it is written, and as a plain question about the wall clock.
WINDOWS: dict[str, tuple[Schedule | Interval, Holds]] = {
    "business": (Schedule.parse("0 9-17 * * 1-5"), lambda t: t.isoweekday() <= 5 and 9 <= t.hour < 17),
    "off": (
        Schedule.parse("0 17-9 * * 1-5,0 0-23 * * 0,6"),
        lambda t: t.isoweekday() > 5 or t.hour >= 17 or t.hour < 9,
    ),
    "night": (Schedule.parse("30 1-3 * * *"), lambda t: 90 <= t.hour * 60 + t.minute < 210),
    "leap day": (Schedule.parse("0 0-23 29 2 *"), lambda t: (t.month, t.day) == (2, 29)),
    "interval": (
        Interval(times=((90, 150), (1380, 1440)), weekdays=(Span(0, 0), Span(5, 6))),
        lambda t: t.isoweekday() in (5, 6, 7) and (90 <= t.hour * 60 + t.minute < 150 or t.hour == 23),
    ),
    "end of month": (
        Interval(days_of_month=(Span(-2, -1),), months=(Span(2, 3), Span(12, 12))),
        lambda t: t.month in (2, 3, 12) and (t + timedelta(days=2)).month != t.month,
    ),
    "years": (Interval(times=((0, 1440),), years=(Span(2027, 2027),)), lambda t: t.year == 2027),
}


def jumps(zone: ZoneInfo) -> Iterator[float]:
    """When the clocks of a zone change in 2026 and 2027, found hour by hour."""
    at, end = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2026, 2028))
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    while at < end:
        at += 3600
        after = datetime.fromtimestamp(at, zone).utcoffset()
        if after != offset:
            offset = after
            yield at


def spans(zone: ZoneInfo) -> list[float]:
    """Starts of the days to look at: the newest changes of the clocks, the leap day, and a year whose last week is 53."""
    changes = [at - 13 * 3600 for at in list(jumps(zone))[-2:]]
    leap = datetime(2028, 2, 28, 18, tzinfo=UTC).timestamp()
    year = datetime(2026, 12, 31, 6, tzinfo=UTC).timestamp()
    return [*changes, leap, year]


@pytest.mark.parametrize("tenth", range(10))
def test_a_hundred_zones_agree_with_the_oracle(tenth: int) -> None:
    """Open or closed at every minute; and at some, when the window opens and when it ends."""
    for name in ZONES[tenth::10]:
        zone = ZoneInfo(name)
        for start in spans(zone):
            moments = [(start + 60 * n, datetime.fromtimestamp(start + 60 * n, zone)) for n in range(26 * 60)]
            for window, (piece, holds) in WINDOWS.items():
                compare(f"{window} in {name}", Timetable((Part(piece, zone),)), holds, moments)


def compare(what: str, table: Timetable, holds: Holds, moments: list[tuple[float, datetime]]) -> None:
    expected = [holds(local) for _, local in moments]
    part = table.parts[0]
    assert [part.piece.closing(local) is not None for _, local in moments] == expected, what
    opens = closes = None
    for (at, _), open_ in zip(reversed(moments), reversed(expected), strict=True):
        opens, closes = (at, closes) if open_ else (opens, at)
        if at % 5820 < 60:  # an odd step: it meets every minute of the hour
            assert opens is None or table.opens(at) == opens, (what, at)
            assert closes is None or table.ends(at) == closes, (what, at)
    turned = {at for (at, _), before, now in zip(moments[1:], expected, expected[1:], strict=False) if before != now}
    assert turned <= set(turns((table,), moments[0][0], 2)), what


def test_turns_come_in_order_whatever_the_zones() -> None:
    """Kiritimati is a day ahead of Pago Pago."""
    parts = [
        Timetable((Part(WINDOWS["business"][0], ZoneInfo(name)),))
        for name in ("Pacific/Kiritimati", "Pacific/Pago_Pago")
    ]
    found = list(turns(parts, 1_795_000_000.0, 8))
    assert found == sorted(set(found))
    assert found[0] > 1_795_000_000.0
    assert found[-1] <= 1_795_000_000.0 + 8 * 86_400
    assert len(found) >= 2 * 3 * 7


BERLIN = ZoneInfo("Europe/Berlin")
WEEK = Timetable((Part(Schedule.parse("0 9-17 * * 1-5"), BERLIN),))
MONDAY = datetime(2026, 11, 23, 9, tzinfo=BERLIN).timestamp()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 7 * 24 * 60), st.integers(1, 60 * 60))
def test_open_time_is_counted_minute_by_minute(offset: int, minutes: int) -> None:
    """The moment by which the window has been open for so long."""
    now = MONDAY + 60 * offset
    left, at = minutes, now
    while left:
        left -= WEEK.active(at)
        at += 60
    assert WEEK.open_for(now, 60 * minutes) == at


def test_a_part_that_takes_over_keeps_the_window_open() -> None:
    """Two intervals that touch are one stretch; each follows the clock of its own location."""
    morning = Part(Interval(times=((540, 720),)), BERLIN)
    after = Part(Interval(times=((660, 900),)), ZoneInfo("UTC"))  # 12:00 to 16:00 in Berlin's winter
    table = Timetable((morning, after))
    assert table.ends(MONDAY) == MONDAY + 7 * 3600
    assert table.opens(MONDAY + 7 * 3600) == MONDAY + 24 * 3600


def test_what_never_closes_and_what_never_opens_end_at_infinity() -> None:
    """And nothing at all is never open."""
    always = Timetable((Part(Interval(), BERLIN),))
    never = Timetable((Part(Interval(years=(Span(1999, 1999),)), BERLIN),))
    assert (always.ends(MONDAY), always.opens(MONDAY)) == (inf, MONDAY)
    assert (never.ends(MONDAY), never.opens(MONDAY), never.open_for(MONDAY, 60)) == (MONDAY, inf, inf)
    assert (Timetable(()).active(MONDAY), Timetable(()).opens(MONDAY)) == (False, inf)
