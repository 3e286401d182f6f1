"""The language of a step: `09:00 fires HighLatency severity=warning instance=web-1 score 0.97`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sidecar.config.durations import parse_duration

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SAID_BESIDE = ("summary", "description", "runbook_url")  # annotations; every other name is a label
_CLOCK = re.compile(
    r"(?:(?P<date>\d{4}-\d\d-\d\d) |(?P<day>Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d))?"
    r"|\+(?P<later>[\d.]+(?:s|m|h|d))"
)


class Unreadable(ValueError):
    """A step that says nothing the stage can play."""


@dataclass(frozen=True)
class Named:
    """An alert as a step names it."""

    verb: str  # fires | again | resolves, or what the step does with it
    alertname: str
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    score: float | None = None
    since: str = ""  # a clock: when it started, if not now
    group: str = ""


def clock(text: str, now: float, zone: ZoneInfo) -> tuple[float, str]:
    """(seconds since the epoch, what follows the clock). A time without a day is the next one that is not past."""
    found = _CLOCK.match(text)
    if found is None:
        raise Unreadable(f"{text!r} begins with no time: write 09:00, 09:00:30, Thu 09:00, 2026-11-29 09:00 or +5m")
    rest = text[found.end() :].strip()
    if found["later"]:
        return now + parse_duration(found["later"]), rest
    here = datetime.fromtimestamp(now, zone)
    wall = here.replace(
        hour=int(found["hour"]), minute=int(found["minute"]), second=int(found["second"] or 0), microsecond=0
    )
    if found["date"]:
        day = datetime.fromisoformat(found["date"])
        wall = wall.replace(year=day.year, month=day.month, day=day.day, fold=0)
        return wall.timestamp(), rest
    if found["day"]:
        wall += timedelta(days=(DAYS.index(found["day"]) - wall.weekday()) % 7)
        return (wall if wall.timestamp() >= now else wall + timedelta(days=7)).timestamp(), rest
    return (wall if wall.timestamp() >= now - 1 else wall + timedelta(days=1)).timestamp(), rest


def alerts(text: str, verb: str) -> Iterator[Named]:
    """The alerts of a step: parts between semicolons, each with its own verb or that of the one before."""
    for part in text.split(";"):
        words = shlex.split(part)
        if words and words[0] in ("fires", "again", "resolves"):
            verb = words.pop(0)
        if not words:
            raise Unreadable(f"{text!r} names no alert")
        for spelled in _spread(words):
            yield _named(spelled, verb)


def _spread(words: list[str]) -> Iterator[list[str]]:
    """`web-{1..20}` is twenty alerts, counted together where it stands more than once."""
    ranges = {found for word in words for found in re.findall(r"\{(\d+)\.\.(\d+)\}", word)}
    if not ranges:
        yield words
        return
    if len(ranges) > 1:
        raise Unreadable(f"{' '.join(words)!r} counts in two ways")
    first, last = next(iter(ranges))
    for n in range(int(first), int(last) + 1):
        yield [re.sub(r"\{\d+\.\.\d+\}", str(n), word) for word in words]


def _named(words: list[str], verb: str) -> Named:
    name, *rest = words
    labels, annotations = {}, {}
    said: dict[str, str] = {}
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        if equals:
            (annotations if key in SAID_BESIDE else labels)[key] = value
        elif word in ("score", "since", "group") and rest:
            said[word] = rest.pop(0)
            if word == "since" and said[word] in DAYS and rest:
                said[word] += f" {rest.pop(0)}"
        else:
            raise Unreadable(f"{word!r} is neither label=value nor score, since or group")
    score = float(said["score"]) if "score" in said else None
    return Named(verb, name, labels, annotations, score, said.get("since", ""), said.get("group", ""))
