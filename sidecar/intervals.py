"""Alertmanager's time intervals: which minutes they contain. Pure: the clock is an input.

As Alertmanager documents them (https://prometheus.io/docs/alerting/latest/configuration/#time_interval): an interval
contains a moment when every field that is given has an element that does. Ranges include both ends, but for times, whose
end is not part of it. A field that is left out restricts nothing; one that is an empty list contains nothing. Days of the
month count from its end where they are negative (-1 is the last), and a range that runs past the end of a month is cut
there. All of it is read by the wall clock of the interval's location, by default UTC.

One thing differs: where the clocks go forward, Alertmanager takes the month to be a day shorter, and its last day to be the
one before. Here it is the last.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date, datetime
from typing import NamedTuple

DAY = 24 * 60  # minutes
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_SHORTEST = 28  # days of a month


class Span(NamedTuple):
    """A range with both ends in it."""

    first: int
    last: int


Spans = tuple[Span, ...] | None


class Interval(NamedTuple):
    """One element of a time interval. None: the field is left out."""

    times: tuple[tuple[int, int], ...] | None = None  # minutes since midnight; the end is not part of it
    weekdays: Spans = None  # Sunday is 0
    days_of_month: Spans = None
    months: Spans = None
    years: Spans = None

    def has(self, day: date) -> bool:
        """Whether its days include this one."""
        return (
            _in(self.years, day.year)
            and _in(self.months, day.month)
            and _in(self.weekdays, day.isoweekday() % 7)
            and (self.days_of_month is None or any(_in_month(span, day) for span in self.days_of_month))
        )

    def closing(self, local: datetime) -> int | None:
        """The minute of the day at which the piece that is open at `local` closes; None when nothing is open."""
        if self.times is None:
            return DAY if self.has(local.date()) else None
        minute = local.hour * 60 + local.minute
        closing = [last for first, last in self.times if first <= minute < last]
        return max(closing) if closing and self.has(local.date()) else None

    @property
    def edges(self) -> frozenset[int]:
        """Minutes of the day at which it may open or close."""
        return frozenset({0, *(minute for piece in self.times or () for minute in piece)})


def _in(spans: Spans, value: int) -> bool:
    return spans is None or any(span.first <= value <= span.last for span in spans)


def _in_month(span: Span, day: date) -> bool:
    length = monthrange(day.year, day.month)[1]
    first, last = (n if n > 0 else length + n + 1 for n in span)
    return first <= day.day <= last  # days before the first and after the last do not exist: nothing to cut


# ------------------------------------------------------------------------------------------------------------------ words


def parse_time(text: str) -> int:
    """Minutes since midnight of "09:30"; 24:00 is the end of the day. Raises ValueError in words."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is not a time: write hours and minutes, 00:00 to 24:00")
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def parse_times(start: str, end: str) -> tuple[int, int]:
    """(from, to) in minutes since midnight. Raises ValueError in words."""
    first, last = parse_time(start), parse_time(end)
    if first >= last:
        raise ValueError(
            f"{start} is not before {end}: a span over midnight is written as two, up to 24:00 and from 00:00"
        )
    return first, last


def parse_weekdays(text: str) -> Span:
    """Of "monday" or "monday:friday". Raises ValueError in words, as the next ones do."""
    span = _span(text, _weekday)
    if span.first > span.last:
        raise ValueError(f"{text!r} ends before it starts: the week begins with sunday; write two ranges")
    return span


def parse_months(text: str) -> Span:
    """Of "5", "may", "may:august"."""
    span = _span(text, _month)
    if span.first > span.last:
        raise ValueError(f"{text!r} ends before it starts: write two ranges, to december and from january")
    return span


def parse_years(text: str) -> Span:
    """Of "2026", "2026:2028"."""
    span = _span(text, lambda word: _number(word, "year"))
    if span.first > span.last:
        raise ValueError(f"{text!r} ends before it starts")
    return span


def parse_days_of_month(text: str) -> Span:
    """Of "1", "1:5", "-3:-1", "1:-1"."""
    span = _span(text, lambda word: _number(word, "day of the month"))
    if any(n == 0 or abs(n) > 31 for n in span):
        raise ValueError(f"{text!r}: days of the month are 1 to 31, or -1 (the last) to -31")
    if span.first < 0 < span.last:
        raise ValueError(f"{text!r}: a range that starts from the end of the month ends there too, as -3:-1 does")
    first, last = (n if n > 0 else _SHORTEST + n for n in span)
    if first > last:
        raise ValueError(f"{text!r} ends before it starts")
    return span


def _span(text: str, member: Callable[[str], int]) -> Span:
    words = text.lower().split(":")
    if len(words) > 2:
        raise ValueError(f"{text!r} is no range: write one value, or two with a colon between them")
    return Span(member(words[0]), member(words[-1]))


def _weekday(word: str) -> int:
    if word not in WEEKDAYS:
        raise ValueError(f"{word!r} is not a weekday: write sunday, monday, ...")
    return WEEKDAYS.index(word)


def _month(word: str) -> int:
    if word in MONTHS:
        return MONTHS.index(word) + 1
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word!r} is not a month: write 1 to 12, or january, february, ...")
    return int(word)


def _number(word: str, what: str) -> int:
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word!r} is not a {what}")
    return int(word)
