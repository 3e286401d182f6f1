"""What a replayed history says of a way of telling people: interruptions, false ones, incidents told and lost, delay.

The unit people lose sleep over is the incident, not the alert; an interruption is false when not one real alert is in
it. What is added to a message first sent over an hour before tells nobody: people have moved on.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles
from typing import Final

from msgspec import Struct

from sidecar.config import Config
from sidecar.replay import Groups, HistoryAlert, Result

READ_FOR: Final = 3600.0  # s
IN_TIME: Final = 900.0  # s from the first alert of an incident


class Board(Struct, frozen=True):
    """Counts over the labelled part of a history; delays in seconds."""

    alerts: int
    interruptions: int
    false_interruptions: int
    incidents: int
    told: int
    in_time: int
    delay_median: float
    delay_p95: float

    @property
    def lost(self) -> int:
        return self.incidents - self.told


def stock(history: Sequence[HistoryAlert], config: Config) -> list[Result]:
    """What Alertmanager alone would have sent, with this configuration's grouping."""
    results = [Result(n) for n in range(len(history))]
    for flush in Groups(list(history), config).flushes():
        for n in flush.firing:
            if results[n].delivered_at is None:
                results[n].delivered_at = flush.at
                results[n].notification = f"{flush.group}@{flush.at}"
    return results


def score(history: Sequence[HistoryAlert], results: Sequence[Result]) -> Board:
    """Count the labelled alerts; those without a label count for nothing."""
    rows = [(alert, result) for alert, result in zip(history, results, strict=True) if alert.truth is not None]
    sent: dict[str, float] = {}
    for _, result in rows:
        if result.notification is not None and result.delivered_at is not None:
            sent[result.notification] = min(result.delivered_at, sent.get(result.notification, result.delivered_at))
    real: dict[str, bool] = {}
    began: dict[str, float] = {}
    told: dict[str, float] = {}
    for alert, result in rows:
        at = _read_at(result, sent)
        if at is not None and result.notification is not None:
            real[result.notification] = real.get(result.notification, False) or alert.truth == "tp"
        if alert.truth == "tp" and alert.incident is not None:
            began[alert.incident] = min(alert.starts_at, began.get(alert.incident, alert.starts_at))
            if at is not None:
                told[alert.incident] = min(at, told.get(alert.incident, at))
    waits = sorted(told[name] - began[name] for name in told)
    return Board(
        alerts=len(rows),
        interruptions=len(real),
        false_interruptions=sum(not is_real for is_real in real.values()),
        incidents=len(began),
        told=len(told),
        in_time=sum(wait <= IN_TIME for wait in waits),
        delay_median=median(waits) if waits else 0.0,
        delay_p95=quantiles(waits, n=20)[-1] if len(waits) > 1 else 0.0,
    )


def _read_at(result: Result, sent: dict[str, float]) -> float | None:
    if result.delivered_at is None or result.notification is None:
        return None
    return result.delivered_at if result.delivered_at - sent[result.notification] <= READ_FOR else None


def table(theirs: Board, ours: Board) -> str:
    """The two side by side, for people."""
    fewer = 1 - ours.false_interruptions / theirs.false_interruptions if theirs.false_interruptions else 0.0
    rows = [
        ("", "stock Alertmanager", "with the sidecar"),
        ("labelled alerts in", f"{theirs.alerts:,}", f"{ours.alerts:,}"),
        ("interruptions", f"{theirs.interruptions:,}", f"{ours.interruptions:,}"),
        ("  of them false", f"{theirs.false_interruptions:,}", f"{ours.false_interruptions:,}  ({fewer:.0%} fewer)"),
        ("real incidents told", f"{theirs.told} of {theirs.incidents}", f"{ours.told} of {ours.incidents}"),
        ("  within 15 minutes", f"{theirs.in_time}", f"{ours.in_time}"),
        ("real incidents lost", f"{theirs.lost}", f"{ours.lost}"),
        ("delay, median / p95", _delays(theirs), _delays(ours)),
    ]
    return "\n".join(f"  {name:<22}{left:>20}{right:>26}" for name, left, right in rows)


def _delays(board: Board) -> str:
    return f"{board.delay_median:.0f} s / {board.delay_p95:.0f} s"
