"""Alertmanager's `time_intervals`, under its own keys: what it accepts is accepted here."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema, model_validator

from sidecar import intervals
from sidecar.config.fields import Section, check_zone
from sidecar.config.problems import Wrong
from sidecar.timetable import Part


def _text(given: Any) -> Any:
    """YAML reads a bare 5 or 2026 as a number; Alertmanager takes it."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _checked(parse: Callable[[str], object], example: str, text: str) -> str:
    try:
        parse(text)
    except ValueError as fault:
        raise Wrong(str(fault), f"write e.g. {example}") from None
    return text


def _range(parse: Callable[[str], object], example: str) -> Any:
    schema = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}], "description": f"e.g. {example}"})
    return Annotated[str, BeforeValidator(_text), AfterValidator(partial(_checked, parse, example)), schema]


def _location(name: str) -> str:
    return name if name in ("", "Local") else check_zone(name)


def zone_of(location: str) -> ZoneInfo:
    """The zone of a location as Go reads it: "" is UTC, "Local" this host's."""
    if location != "Local":
        return ZoneInfo(location or "UTC")
    name = os.environ.get("TZ")
    try:
        if name is not None:
            return ZoneInfo(name.lstrip(":") or "UTC")
        with open("/etc/localtime", "rb") as file:  # noqa: PTH123 - read once, when the configuration is
            return ZoneInfo.from_file(file, key="Local")
    except (OSError, ValueError, KeyError):  # KeyError is ZoneInfoNotFoundError
        return ZoneInfo("UTC")


class TimeSpan(Section):
    """A span of the day; the end is not part of it, and is 24:00 at most."""

    start_time: Annotated[str, BeforeValidator(_text)]
    end_time: Annotated[str, BeforeValidator(_text)]

    @model_validator(mode="after")
    def _ordered(self) -> TimeSpan:
        _checked(lambda _: intervals.parse_times(self.start_time, self.end_time), '"09:00" and "17:00"', "")
        return self


class IntervalElement(Section):
    """Contains a moment when every field that is given does."""

    times: tuple[TimeSpan, ...] | None = None
    weekdays: tuple[_range(intervals.parse_weekdays, '"monday:friday"'), ...] | None = None  # type: ignore[valid-type]
    days_of_month: tuple[_range(intervals.parse_days_of_month, '"1:5" or "-3:-1"'), ...] | None = None  # type: ignore[valid-type]
    months: tuple[_range(intervals.parse_months, '"may:august" or "5:8"'), ...] | None = None  # type: ignore[valid-type]
    years: tuple[_range(intervals.parse_years, '"2026:2028"'), ...] | None = None  # type: ignore[valid-type]
    location: Annotated[str, AfterValidator(_location)] | None = None
    """The time zone, by default UTC; "Local" is this host's."""

    def part(self, zone: str | None) -> Part:
        """Ready to be asked; `zone` stands in for a location that is left out."""
        element = intervals.Interval(
            None
            if self.times is None
            else tuple(intervals.parse_times(one.start_time, one.end_time) for one in self.times),
            _each(intervals.parse_weekdays, self.weekdays),
            _each(intervals.parse_days_of_month, self.days_of_month),
            _each(intervals.parse_months, self.months),
            _each(intervals.parse_years, self.years),
        )
        return Part(element, zone_of((zone or "UTC") if self.location is None else self.location))


def _each(parse: Callable[[str], intervals.Span], texts: tuple[str, ...] | None) -> intervals.Spans:
    return None if texts is None else tuple(map(parse, texts))


class NamedInterval(Section):
    """Alertmanager's time interval: a name, and elements of which one has to contain the moment."""

    name: str
    time_intervals: tuple[IntervalElement, ...] = ()

    def parts(self, zone: str | None) -> tuple[Part, ...]:
        """Its elements, ready to be asked; `zone` stands in for a location that is left out."""
        return tuple(element.part(zone) for element in self.time_intervals)
