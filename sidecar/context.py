"""What a metric did around an alert's start: points of a range query -> a line for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from statistics import median
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from sidecar.channels.prose import format_span, one_line

POINTS: Final = 60  # before the start, at most
SHORTEST_STEP: Final = 1.0  # s
LONGEST_WHY: Final = 300  # characters

Point = tuple[float, float]  # seconds since the epoch, value
Result = Literal["ok", "empty", "failed"]


class Measured(Struct, frozen=True):
    """One query for one episode. Times are seconds since the epoch, `before` is seconds; None where there was no data."""

    episode: str
    name: str
    query: str  # with the labels filled in
    at: float  # when it was asked
    before: float
    result: Result
    usual: float | None = None  # the median over `before` the start
    started: float | None = None  # the value at the start
    later: float | None = None  # the newest value after it
    later_by: float | None = None  # s after the start
    why: str = ""  # it failed


class Span(Struct, frozen=True):
    """Moments to ask for, `step` seconds apart; both ends are among them, and so is the alert's start."""

    start: float
    end: float
    step: float


def span_of(start: float, before: float, after: float, now: float) -> Span:
    """What to ask for: the start is one of the moments, and none is in the future."""
    step = max(SHORTEST_STEP, round(before / POINTS, 3))
    past = max(1, int(before / step + 1e-6))
    future = int(max(0.0, min(after, now - start)) / step + 1e-6)
    return Span(start - past * step, start + future * step, step)


def measure(asked: Measured, start: float, span: Span, points: Sequence[Point]) -> Measured:
    """The same with what the points say. NaN is no value."""
    known = sorted(point for point in points if not isnan(point[1]))
    near = span.step / 2
    past = [value for at, value in known if at < start - near]
    present = [value for at, value in known if abs(at - start) <= near]
    future = [(at, value) for at, value in known if at > start + near]
    if not known:
        return replace(asked, result="empty")
    return replace(
        asked,
        result="ok",
        usual=median(past) if past else None,
        started=present[0] if present else None,
        later=future[-1][1] if future else None,
        later_by=future[-1][0] - start if future else None,
    )


def failed(asked: Measured, why: str) -> Measured:
    """The same with the reason why there is nothing."""
    return replace(asked, result="failed", why=one_line(why, LONGEST_WHY))


def line_of(measured: Measured) -> str:
    """`cpu: 0.31 usually (30 min before), 0.97 at the start`; empty when the query failed."""
    if measured.result == "failed":
        return ""
    if measured.result == "empty":
        return f"{measured.name}: no data"
    usual = "no data" if measured.usual is None else f"{_number(measured.usual)} usually"
    started = "no data" if measured.started is None else _number(measured.started)
    parts = [f"{usual} ({format_span(measured.before)} before)", f"{started} at the start"]
    if measured.later is not None and measured.later_by is not None:
        parts.append(f"{_number(measured.later)} {format_span(measured.later_by)} later")
    return f"{measured.name}: {', '.join(parts)}"


def _number(value: float) -> str:
    """Three digits are enough for people."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"
