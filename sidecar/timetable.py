"""When a window is open, whether it was written as a schedule or as Alertmanager's time intervals. Pure.

A timetable is open while one of its parts is, each read by the wall clock of its own zone. All of its questions come down
to the moments at which it may change: the edges of its parts on each day, and the changes of the clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from sidecar.calendar import STRETCH_DAYS, piece_end

_DAY = 86_400.0
_EASTERNMOST = 15 * 3600.0  # s before UTC at which a date can begin: UTC+14, and an hour of summer time
SEARCHED_DAYS = 400  # how far the next opening is looked for: what opens less than once a year counts as never


class Piece(Protocol):
    """What a part is: a `calendar.Schedule` or an `intervals.Interval`."""

    @property
    def edges(self) -> frozenset[int]: ...

    def closing(self, local: datetime) -> int | None: ...


class Part(NamedTuple):
    """One schedule or interval, and the zone whose wall clock it follows."""

    piece: Piece
    zone: ZoneInfo

    def active(self, now: float) -> bool:
        return self.piece.closing(datetime.fromtimestamp(now, self.zone)) is not None

    def turns(self, day: date) -> Iterator[float]:
        """Moments of a day at which it may open or close, seconds since the epoch, in no order."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        for minute in self.piece.edges:
            local = midnight + timedelta(minutes=minute)
            yield local.timestamp()
            if local.replace(fold=1).utcoffset() != local.utcoffset():  # it comes twice, or not at all
                yield local.replace(fold=1).timestamp()
        yield from _jumps(midnight)


def _jumps(midnight: datetime) -> Iterator[float]:
    """When the clocks change within the day that begins here."""
    low, high = midnight.timestamp(), midnight.timestamp() + _DAY + 7200
    before, after = (datetime.fromtimestamp(at, midnight.tzinfo).utcoffset() for at in (low, high))
    if before == after:
        return
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, midnight.tzinfo).utcoffset() == before:
            low = middle
        else:
            high = middle
    yield high


class Timetable(NamedTuple):
    """The parts of a window, one of which has to be open."""

    parts: tuple[Part, ...]

    def active(self, now: float) -> bool:
        """Is it open at `now`, seconds since the epoch?"""
        return any(part.active(now) for part in self.parts)

    def ends(self, now: float) -> float:
        """When the stretch that is open at `now` closes: `now` itself when it is closed, infinity when it never closes."""
        at = now
        for _ in range(STRETCH_DAYS * max(1, len(self.parts))):
            reached = [end for one in self.parts if (end := piece_end(at, one.zone, one.piece.closing)) is not None]
            if not reached:
                return at
            at = max(reached)
            if at - now > STRETCH_DAYS * _DAY:
                break
        return inf

    def opens(self, now: float) -> float:
        """When it is open next: `now` itself when it is, infinity when not within 400 days."""
        if self.active(now):
            return now
        return next((at for at in turns((self,), now, SEARCHED_DAYS) if self.active(at)), inf)

    def open_for(self, now: float, seconds: float) -> float:
        """The moment by which it has been open for so many seconds since `now`; infinity when it never has."""
        at, left = now, seconds
        while (opens := self.opens(at)) < inf:
            ends = self.ends(opens)
            if ends - opens >= left:
                return opens + left
            at, left = ends, left - (ends - opens)
        return inf


def turns(tables: Iterable[Timetable], now: float, days: int) -> Iterator[float]:
    """The moments after `now`, up to so many days later, at which one of these may open or close, in order."""
    parts = [part for table in tables for part in table.parts]
    day = datetime.fromtimestamp(now, UTC).date() - timedelta(days=2)
    waiting: list[float] = []
    newest, begins, last = now, 0.0, now + days * _DAY
    while begins <= last and parts:
        for part in parts:
            for at in part.turns(day):
                heappush(waiting, at)
        day += timedelta(days=1)
        # The earliest that any zone's next day can begin: what lies before it is in order.
        begins = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() - _EASTERNMOST
        while waiting and waiting[0] < begins:
            at = heappop(waiting)
            if newest < at <= last:
                newest = at
                yield at
