"""Alert histories: the file they come in, and the changes of which the past is made, in the order of time.

A history file has one JSON object per line, plain or gzipped: `{"labels", "annotations", "startsAt", "endsAt", "truth",
"incident"}`. Prometheus keeps no such thing, only samples of the metric `ALERTS`: `Firings` joins them.
"""

from __future__ import annotations

import gzip
import heapq
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

from sidecar.domain import Alert
from sidecar.errors import SidecarError
from sidecar.intake.webhook import fingerprint_of, readable

SHORTEST: Final = (
    0.001  # s: what begins and ends at once is over a moment later, since an episode has a beginning first
)
GAP: Final = 1.5  # steps without a sample that end a firing: one that is missing is an evaluation that was late
NOT_LABELS: Final = frozenset({"__name__", "alertstate"})  # what ALERTS has beside the alert's own labels
Truth = Literal["tp", "fp"]


class HistoryAlert(Struct, frozen=True):
    """One line of a history file."""

    labels: dict[str, str]
    starts_at: float
    ends_at: float
    annotations: dict[str, str] = {}
    truth: Truth | None = None
    incident: str | None = None
    answered_at: float | None = None  # when people said what it was, where that is on record


LONGEST_LINE: Final = 32 << 20  # bytes; a file without line ends is not to fill the memory


class _Line(Struct):
    labels: dict[str, str]
    starts_at: str = field(name="startsAt")
    ends_at: str = field(name="endsAt")
    annotations: dict[str, str] = {}
    truth: Truth | None = None
    incident: str | None = None


def read_history(path: Path) -> list[HistoryAlert]:
    """Every alert of a history file, in its order. Raises SidecarError that names the line."""
    return list(stream_history(path))


def stream_history(path: Path) -> Iterator[HistoryAlert]:
    """As `read_history`, alert by alert: a file may be larger than the memory."""
    decoder = msgspec.json.Decoder(_Line)
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            while line := lines.readline(LONGEST_LINE):
                number += 1
                yield _alert(decoder.decode(_whole(line)))
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise SidecarError(f"{path}, line {number}: {error}") from None
    except (EOFError, OSError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SidecarError(f"{path} cannot be read after line {number}: {why}") from None


def _whole(line: bytes) -> bytes:
    """A line that was read to its end, made readable. Raises ValueError."""
    if len(line) == LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE >> 20} MiB: write one alert on each line")
    return readable(line) if b"\\u" in line else line


def _alert(line: _Line) -> HistoryAlert:
    start, end = _seconds(line.starts_at), _seconds(line.ends_at)
    return HistoryAlert(line.labels, start, max(start, end), line.annotations, line.truth, line.incident)


def _seconds(text: str) -> float:
    """A time without a zone is UTC. Raises ValueError for a time that says nothing, such as Alertmanager's year 1."""
    moment = datetime.fromisoformat(text)
    seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    if seconds <= 0:
        raise ValueError(f"{text} is no time of an alert: leave out what has no end yet")
    return seconds


# ----------------------------------------------------------------------------------------------------------- the changes


class Change(Struct, frozen=True, gc=False):
    """An alert began (its `ends_at` is None) or ended; with `truth`, somebody said at `voted_at` what it was."""

    alert: Alert
    truth: Truth | None = None
    voted_at: float = 0.0

    @property
    def at(self) -> float:
        if self.truth is not None:
            return self.voted_at
        return self.alert.starts_at if self.alert.ends_at is None else self.alert.ends_at

    @property
    def begins(self) -> bool:
        return self.alert.ends_at is None


class Tally(Struct):
    """What became of the alerts of a history before anything was recorded."""

    alerts: int = 0
    joined: int = 0  # began while their like still fired: one firing
    late: int = 0  # began too lately: left to Alertmanager
    cut: int = 0  # did not end in the history: recorded as if they ended with it


def changes(
    alerts: Iterable[HistoryAlert], tally: Tally, horizon: float = float("inf"), voted_after: float | None = None
) -> Iterator[Change]:
    """What happened in a history that is in the order of startsAt; of one time, what ends comes before what begins.

    Nothing is said of what happens after `horizon`, seconds since the epoch: a firing is cut there. Firings of one
    label set that overlap are one; it was real if one of them was. With `voted_after`, seconds, its truth is said so
    long after its end. Raises SidecarError when the order is wrong.
    """
    timeline = _Timeline(tally, horizon, voted_after)
    newest = 0.0
    for number, one in enumerate(alerts, 1):
        if one.starts_at < newest:
            raise SidecarError(f"alert {number} begins before the one above it: sort the history by startsAt")
        newest = one.starts_at
        tally.alerts += 1
        if one.starts_at >= horizon:
            tally.late += 1
            continue
        yield from timeline.until(one.starts_at)
        begun = timeline.begin(one)
        if begun is not None:
            yield begun
    yield from timeline.until(float("inf"))


class _Firing(Struct):
    alert: Alert
    ends_at: float
    truth: Truth | None = None


class _Timeline:
    """What fires, and what is to come."""

    def __init__(self, tally: Tally, horizon: float, voted_after: float | None) -> None:
        self._tally = tally
        self._horizon = horizon
        self._voted_after = voted_after
        self._firing: dict[str, _Firing] = {}
        self._due: list[tuple[float, int, Change | str]] = []  # time, a number that is nobody else's, a vote or an end
        self._pushed = 0

    def begin(self, one: HistoryAlert) -> Change | None:
        labels = {name: value for name, value in one.labels.items() if value}  # as Alertmanager does
        fingerprint = fingerprint_of(labels)
        until = min(max(one.ends_at, one.starts_at + SHORTEST), self._horizon)
        self._tally.cut += one.ends_at > self._horizon
        known = self._firing.get(fingerprint)
        if known is not None:
            known.ends_at = max(known.ends_at, until)
            known.truth = "tp" if "tp" in (known.truth, one.truth) else known.truth or one.truth
            self._tally.joined += 1
            return None
        alert = Alert(fingerprint, labels, one.annotations, one.starts_at, None)
        self._firing[fingerprint] = _Firing(alert, until, one.truth)
        self._push(until, fingerprint)
        return Change(alert)

    def until(self, upto: float) -> Iterator[Change]:
        """The ends and votes up to a time, it included."""
        while self._due and self._due[0][0] <= upto:
            at, _, what = heapq.heappop(self._due)
            if isinstance(what, Change):
                yield what
            elif self._firing[what].ends_at > at:  # another one has made it longer
                self._push(self._firing[what].ends_at, what)
            else:
                yield self._end(self._firing.pop(what), at)

    def _end(self, known: _Firing, at: float) -> Change:
        ended = Change(msgspec.structs.replace(known.alert, ends_at=at))
        if known.truth is not None and self._voted_after is not None:
            due = min(at + self._voted_after, self._horizon)
            self._push(due, Change(ended.alert, known.truth, due))
        return ended

    def _push(self, at: float, what: Change | str) -> None:
        self._pushed += 1
        heapq.heappush(self._due, (at, self._pushed, what))


# ------------------------------------------------------------------------------------------------- samples of Prometheus


class Series(Struct, frozen=True):
    """One series of a range query: its labels, and when it had a sample, seconds since the epoch, ascending."""

    labels: dict[str, str]
    times: list[float]


class Firings:
    """Joins samples of `ALERTS` into firings, window by window.

    A firing ends one `step` after its last sample, when more than 1.5 steps and `lookback` pass without another, all in
    seconds. `external` are Prometheus's external labels: Alertmanager sees them, the metric has none. `begun` are
    firings (fingerprint, start) that an earlier run recorded up to `since`, and whose end it did not see.
    """

    def __init__(
        self,
        step: float,
        lookback: float,
        external: Mapping[str, str],
        begun: Mapping[str, float] | None = None,
        since: float = 0.0,
    ) -> None:
        self.tally = Tally()
        self._step = step
        self._gap = GAP * step + lookback
        self._external = dict(external)
        self._alerts = {name: Alert(name, {}, {}, starts_at, None) for name, starts_at in (begun or {}).items()}
        self._last = dict.fromkeys(self._alerts, since)
        self._made: list[Change] = []  # of which it is not yet certain that none comes before them

    def take(self, series: Sequence[Series], upto: float) -> list[Change]:
        """The changes that are certain once everything up to `upto` was seen, in the order of time."""
        times: dict[str, list[float]] = {}
        labels_of: dict[str, dict[str, str]] = {}
        for one in series:
            if one.labels.get("alertstate", "firing") != "firing":
                continue  # a --match of your own found what was only pending
            labels = self._as_alertmanager_has_them(one.labels)
            fingerprint = fingerprint_of(labels)
            labels_of[fingerprint] = labels
            times.setdefault(fingerprint, []).extend(one.times)
        for fingerprint, found in times.items():
            self._see(fingerprint, labels_of[fingerprint], sorted(found))
        for fingerprint in [name for name, last in self._last.items() if upto - last > self._gap]:
            self._end(fingerprint, self._last[fingerprint] + self._step)
        return self._certain(upto - self._gap)

    def finish(self, until: float) -> list[Change]:
        """The rest; what fires still is cut at `until`."""
        self.tally.cut += len(self._last)
        for fingerprint in list(self._last):
            self._end(fingerprint, max(until, self._alerts[fingerprint].starts_at + SHORTEST))
        return self._certain(float("inf"))

    def _as_alertmanager_has_them(self, labels: Mapping[str, str]) -> dict[str, str]:
        own = {name: value for name, value in labels.items() if name not in NOT_LABELS and value}
        return {**self._external, **own}

    def _see(self, fingerprint: str, labels: dict[str, str], times: list[float]) -> None:
        for at in times:
            last = self._last.get(fingerprint)
            if last is not None and at - last > self._gap:
                self._end(fingerprint, last + self._step)
                last = None
            if last is None:
                alert = self._alerts[fingerprint] = Alert(fingerprint, labels, {}, at, None)
                self._made.append(Change(alert))
                self.tally.alerts += 1
            self._last[fingerprint] = at

    def _end(self, fingerprint: str, at: float) -> None:
        del self._last[fingerprint]
        self._made.append(Change(msgspec.structs.replace(self._alerts.pop(fingerprint), ends_at=at)))

    def _certain(self, upto: float) -> list[Change]:
        self._made.sort(key=lambda change: (change.at, change.begins))
        certain = [change for change in self._made if change.at <= upto]
        self._made = self._made[len(certain) :]
        return certain


__all__ = ["Change", "Firings", "HistoryAlert", "Series", "Tally", "changes", "read_history", "stream_history"]
