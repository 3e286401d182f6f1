"""Times of day and week: when a window is open, and when a nightly job runs next. Pure: the clock is an input.

A window is written as the five fields of cron, read as a stretch of time rather than as points:

- ``0 9-17 * * 1-5`` is open from 9:00 to 17:00 (the end is not part of it), Monday to Friday. The minute field says at
  which minute of the hour it opens and closes.
- An hour alone, ``0 2 * * *``, is that hour: 2:00 to 3:00. ``0-23`` and ``*`` are the whole day.
- ``0 17-9 * * 1-5`` wraps around midnight: before 9:00 and from 17:00. **The day is always that of the moment itself**,
  as in cron: Monday at 8:00 is inside, Saturday at 8:00 (Friday night's end) is not. So ``0 9-17 * * 1-5`` and
  ``0 17-9 * * 1-5,0 0-23 * * 0,6`` are exact complements.
- Several schedules are joined by a comma (or a semicolon); one of them has to be open. A comma between two schedules
  looks like a comma within a field: since every schedule has five fields, the last comma of every fourth field is
  taken for the joint. A schedule whose minute field is itself a list has to be joined by a semicolon.
- Day of month and day of week, when both are given, are alternatives, as in cron.

Everything follows the wall clock of a time zone: a window of 2:00 to 4:00 is one hour long in the night in which 2:00 to
3:00 does not exist, and three hours long where an hour inside it comes twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from math import inf
from typing import NamedTuple
from zoneinfo import ZoneInfo

_DAY = 24 * 60
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_HORIZON_DAYS = 366 * 12  # the longest gap is that of 29 February around 2100: eight years
STRETCH_DAYS = 400  # a window still open after that long is taken to be always open


Closing = Callable[[datetime], int | None]  # local time -> the minute of the day at which what is open then closes


class _Field(NamedTuple):
    """One place of the five: its name in messages, its bounds, and the names that stand for numbers."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        if not text.isascii() or not text.isdigit() or not self.low <= int(text) <= self.high:
            raise ValueError(f"{text!r} is not a {self.name} ({self.low} to {self.high})")
        return int(text)

    def bounds(self, term: str) -> tuple[int, int, int]:
        """(first, last, step) of a term: ``*``, ``5``, ``1-5``, ``*/2``, ``8-18/2``. First may be after last: it wraps."""
        body, slash, step = term.partition("/")
        if slash and (not step.isdigit() or int(step) == 0):
            raise ValueError(f"{term!r}: the step after / is a number from 1 up")
        if body == "*":
            return self.low, self.high, int(step or 1)
        first, dash, last = body.partition("-")
        start = self.number(first)
        end = self.number(last) if dash else (self.high if slash else start)
        return start, end, int(step or 1)

    def values(self, text: str) -> frozenset[int]:
        """All values a field names; a range that wraps runs over the end."""
        found: set[int] = set()
        for term in text.split(","):
            first, last, step = self.bounds(term)
            found.update(range(first, (last if first <= last else self.high) + 1, step))
            if first > last:
                found.update(range(self.low, last + 1, step))
        return frozenset(found)


_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DOM = _Field("day of the month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_DOW = _Field("day of the week", 0, 7, _WEEKDAYS)


class _Days(NamedTuple):
    """Which days: day of month, month and day of week (Sunday is 0) of a schedule."""

    dom: frozenset[int]
    months: frozenset[int]
    dow: frozenset[int]
    either: bool  # both day of month and day of week are given: one of them is enough

    @classmethod
    def parse(cls, dom: str, month: str, dow: str) -> _Days:
        days = cls(
            _DOM.values(dom),
            _MONTH.values(month),
            frozenset(day % 7 for day in _DOW.values(dow)),
            either=dom[0] != "*" and dow[0] != "*",
        )
        if not days.either and all(min(days.dom) > _LONGEST[month - 1] for month in days.months):
            raise ValueError(f"no month it names has a day {min(days.dom)}: it would never come")
        return days

    def has(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.dom, day.isoweekday() % 7 in self.dow
        return (in_month or in_week) if self.either else (in_month and in_week)


def _windows(minute: str, hours: str) -> tuple[tuple[int, int], ...]:
    """The open stretches of a day as (from, to) in minutes since midnight, `to` not included, sorted and merged."""
    if minute == "*" and hours != "*":
        raise ValueError("the minute of a window is a number: write 0 for full hours, as in '0 9-17 * * 1-5'")
    at = 0 if minute == "*" else _MINUTE.number(minute)
    pieces: list[tuple[int, int]] = []
    for term in hours.split(","):
        first, last, step = _HOUR.bounds(term)
        if step == 1 and "-" in term and first == last:
            raise ValueError(f"{term!r} opens and closes at the same hour: write {first}, or * for the whole day")
        if step == 1 and (first, last) == (0, 23):
            pieces.append((0, _DAY))
        elif step == 1 and "-" in term:
            opens, closes = first * 60 + at, last * 60 + at
            pieces += [(opens, closes)] if opens < closes else [(0, closes), (opens, _DAY)]
        else:
            for hour in sorted(_HOUR.values(term)):
                opens, closes = hour * 60 + at, hour * 60 + at + 60
                pieces += [(opens, min(closes, _DAY))] + ([(0, closes - _DAY)] if closes > _DAY else [])
    return _merged(pieces)


def _merged(pieces: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for opens, closes in sorted(piece for piece in pieces if piece[0] < piece[1]):
        if merged and opens <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(closes, merged[-1][1]))
        else:
            merged.append((opens, closes))
    return tuple(merged)


def _five_fields(text: str) -> list[list[str]]:
    """The schedules a text joins, each as its five fields."""
    found: list[list[str]] = []
    for part in text.split(";"):
        words = re.sub(r"\s*,\s*", ",", part.strip()).split()
        if len(words) < 5 or len(words) % 4 != 1:
            raise ValueError(
                f"{part.strip()!r} has {len(words)} fields: a schedule has 5, minute hour day month weekday"
            )
        while len(words) > 5:
            weekdays, comma, minute = words[4].rpartition(",")
            if not comma:
                raise ValueError(f"{part.strip()!r} has more than 5 fields and no comma that joins two schedules")
            found.append([*words[:4], weekdays])
            words = [minute, *words[5:]]
        found.append(words)
    return found


class _Window(NamedTuple):
    days: _Days
    open: tuple[tuple[int, int], ...]


class Schedule(NamedTuple):
    """When a window is open; `parse` makes one, the module's docstring says what the text means."""

    text: str
    windows: tuple[_Window, ...]

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read a schedule. Raises ValueError in words for whoever wrote it."""
        fields = _five_fields(_NICKNAMES.get(text.strip(), text))
        return cls(text, tuple(_Window(_Days.parse(*days), _windows(minute, hours)) for minute, hours, *days in fields))

    def active(self, now: float, zone: ZoneInfo) -> bool:
        """Is the window open at `now` (seconds since the epoch) by the wall clock of `zone`?"""
        return self.closing(datetime.fromtimestamp(now, zone)) is not None

    def ends(self, now: float, zone: ZoneInfo) -> float:
        """When the stretch that is open at `now` closes, in seconds since the epoch: `now` itself when the window is
        closed, infinity when it never closes.
        """
        at = now
        for _ in range(STRETCH_DAYS):
            reached = piece_end(at, zone, self.closing)
            if reached is None:
                return at
            at = reached
        return inf

    @property
    def edges(self) -> frozenset[int]:
        """Minutes of the day at which it may open or close."""
        return frozenset({0, *(minute for window in self.windows for piece in window.open for minute in piece)})

    def closing(self, local: datetime) -> int | None:
        """The minute of the day at which the piece that is open at `local` closes; None when nothing is open."""
        minute, day = local.hour * 60 + local.minute, local.date()
        closing = [
            closes
            for window in self.windows
            for opens, closes in window.open
            if opens <= minute < closes and window.days.has(day)
        ]
        return max(closing) if closing else None


def piece_end(at: float, zone: ZoneInfo, closing: Closing) -> float | None:
    """When the piece that is open at `at` (seconds since the epoch) closes; None when nothing is open."""
    local = datetime.fromtimestamp(at, zone)
    closes = closing(local)
    if closes is None:
        return None
    reached = at + (closes - local.hour * 60 - local.minute) * 60 - local.second - local.microsecond / 1e6
    if datetime.fromtimestamp(reached, zone).utcoffset() != local.utcoffset():
        return _walk(at, zone, closing)
    return reached


def _walk(at: float, zone: ZoneInfo, closing: Closing) -> float:
    """Minute by minute over a change of the clocks: the first closed minute, or where a day has passed."""
    step = at - at % 60
    for _ in range(_DAY + 120):
        step += 60
        if closing(datetime.fromtimestamp(step, zone)) is None:
            break
    return step


class Cron(NamedTuple):
    """Points in time, as cron reads the five fields."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: _Days

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read one cron expression. Raises ValueError in words for whoever wrote it."""
        words = _NICKNAMES.get(text.strip(), text).split()
        if len(words) != 5:
            raise ValueError(f"{text!r} has {len(words)} fields: cron has 5, minute hour day month weekday")
        minute, hour, *days = words
        return cls(text, tuple(sorted(_MINUTE.values(minute))), tuple(sorted(_HOUR.values(hour))), _Days.parse(*days))


_cron: Callable[[str], Cron] = lru_cache(64)(Cron.parse)


def next_run(cron: str, now: float, zone: ZoneInfo) -> float:
    """The first time after `now` (seconds since the epoch) that `cron` names by the wall clock of `zone`.

    A time that the spring change skips runs as much later as the clock jumped; one that comes twice in autumn runs the
    first time only. Raises ValueError for text that is not cron.
    """
    points = _cron(cron)
    day = datetime.fromtimestamp(now, zone).date() - timedelta(days=1)  # a skipped 23:30 runs on the next date
    for _ in range(_HORIZON_DAYS):
        if points.days.has(day):
            runs = [
                at
                for hour in points.hours
                for minute in points.minutes
                if (at := datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()) > now
            ]
            if runs:
                return min(runs)
        day += timedelta(days=1)
    raise ValueError(f"{cron!r} names no time in the next twelve years")
