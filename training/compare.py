"""Two configurations on one history: what the new one saves, and which real incidents it loses or delays.

A real incident is a cluster: an instance's real alerts with gaps under 30 minutes, told when the first of them is, in
time within 15 minutes of its start. What nobody labelled proves nothing, and is counted as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from sidecar.domain import severity_of, severity_rank
from sidecar.history import HistoryAlert
from training.certify import GAP_SECONDS, IN_TIME
from training.ledger import Count, Kept, Outcome

SLACK: Final = 60.0  # s: what is told at most this much later is not delayed
LOST, DELAYED = "lost", "delayed"
GROUPING: Final = Kept("unsent", "grouping", "Alertmanager would send it later: group_wait and group_interval differ")
UNSENT: Final = Kept("unsent", "grouping", "it had cleared before Alertmanager's group_wait or group_interval was over")


class Case(Struct, frozen=True):
    """A real incident that the present configuration tells, and the new one tells later or never."""

    what: str  # LOST or DELAYED
    alertname: str
    where: str
    severity: str  # of the alert that the present configuration tells first
    highest: str  # of all of its alerts
    began: float  # seconds since the epoch
    alerts: int
    told_by_present: float
    told_by_new: float | None
    delay: float | None  # s; None: lost
    in_time: bool  # the new one tells it within 15 minutes
    verdict: str
    rule: str
    reason: str


class Told(Struct, frozen=True):
    """Of all real incidents, how many a configuration told."""

    incidents: int
    told: int
    in_time: int

    @property
    def lost(self) -> int:
        return self.incidents - self.told

    @property
    def late(self) -> int:
        return self.told - self.in_time


class Side(Struct, frozen=True):
    """One configuration's numbers."""

    outcome: Outcome
    told: Told


class Comparison(Struct, frozen=True):
    """Both, and the difference."""

    since: float
    until: float
    alerts: int
    labelled: int
    present: Side
    new: Side
    cases: list[Case]
    gained: int  # real incidents that only the new one tells
    sooner: int


def clusters(history: Sequence[HistoryAlert], since: float = 0.0) -> list[list[int]]:
    """The real incidents that begin at `since` or later, as numbers of alerts in the order of time; by their beginning."""
    places: dict[str, list[int]] = {}
    for n, alert in enumerate(history):
        if alert.truth == "tp":
            places.setdefault(alert.labels.get("instance") or f"#{n}", []).append(n)
    found = [cluster for many in places.values() for cluster in _cut(history, many)]
    return sorted((one for one in found if history[one[0]].starts_at >= since), key=lambda one: _began(history, one))


def _cut(history: Sequence[HistoryAlert], places: list[int]) -> Iterable[list[int]]:
    cluster: list[int] = []
    quiet = 0.0
    for n in sorted(places, key=lambda n: (history[n].starts_at, n)):
        if cluster and history[n].starts_at - quiet > GAP_SECONDS:
            yield cluster
            cluster = []
        quiet = max(quiet, history[n].ends_at) if cluster else history[n].ends_at
        cluster.append(n)
    yield cluster


def _began(history: Sequence[HistoryAlert], cluster: Sequence[int]) -> float:
    return history[cluster[0]].starts_at


def compare(history: Sequence[HistoryAlert], present: Outcome, new: Outcome, since: float = 0.0) -> Comparison:
    """`since`: from when on it counts; what is older was only learned from."""
    counted = [alert for alert in history if alert.starts_at >= since]
    found = clusters(history, since)
    cases = [case for cluster in found if (case := _case(history, cluster, present, new)) is not None]
    before = [(_told_at(cluster, present), _told_at(cluster, new)) for cluster in found]
    return Comparison(
        since=max(since, min((alert.starts_at for alert in counted), default=since)),
        until=max((alert.starts_at for alert in counted), default=since),
        alerts=len(counted),
        labelled=sum(alert.truth is not None for alert in counted),
        present=Side(present, told(history, found, present)),
        new=Side(new, told(history, found, new)),
        cases=sorted(cases, key=lambda case: (case.what != LOST, -(case.delay or 0.0), case.began)),
        gained=sum(old is None and now is not None for old, now in before),
        sooner=sum(old is not None and now is not None and old - now > SLACK for old, now in before),
    )


def told(history: Sequence[HistoryAlert], found: Sequence[Sequence[int]], outcome: Outcome) -> Told:
    """How many of these clusters were told, and in time."""
    times = [(_began(history, cluster), _told_at(cluster, outcome)) for cluster in found]
    reached = [at - began for began, at in times if at is not None]
    return Told(len(found), len(reached), sum(wait <= IN_TIME for wait in reached))


def _told_at(cluster: Sequence[int], outcome: Outcome) -> float | None:
    return min((outcome.told_at[n] for n in cluster if n in outcome.told_at), default=None)


def _case(history: Sequence[HistoryAlert], cluster: Sequence[int], present: Outcome, new: Outcome) -> Case | None:
    old, now = _told_at(cluster, present), _told_at(cluster, new)
    if old is None or (now is not None and now - old <= SLACK):
        return None
    first = min((n for n in cluster if n in present.told_at), key=lambda n: present.told_at[n])
    alert, began, why = history[first], _began(history, cluster), _why(first, cluster, new)
    return Case(
        LOST if now is None else DELAYED, alert.labels.get("alertname", ""), alert.labels.get("instance", ""), severity_of(alert.labels),
        max((severity_of(history[n].labels) for n in cluster), key=severity_rank), began, len(cluster), old, now,
        None if now is None else now - old, now is not None and now - began <= IN_TIME, why.verdict, why.rule, why.sentence,
    )  # fmt: skip


def _why(first: int, cluster: Sequence[int], new: Outcome) -> Kept:
    """Why the alert that the present configuration told first was not told then; else why another of the cluster was not."""
    for n in (first, *cluster):
        if n in new.kept:
            return new.kept[n]
    return GROUPING if first in new.told_at else UNSENT


# ------------------------------------------------------------------------------------------------------------- for people


def less(present: int, new: int) -> float | None:
    """The share of interruptions saved; negative for more of them, None when there were none."""
    return 1 - new / present if present else None


def verdict(found: Comparison) -> str:
    """One sentence: what it saves, and what it costs."""
    before, after = found.present.outcome.total.interruptions, found.new.outcome.total.interruptions
    return f"{_saved(before, after)}; {_cost(found)}"


def _saved(before: int, after: int) -> str:
    if before == after:
        return f"would have interrupted as often ({before} times)"
    share = less(before, after)
    if share is None:
        return f"would have interrupted {after} times instead of never"
    return f"would have interrupted {abs(share):.0%} {'less' if share > 0 else 'more'} ({after} times, not {before})"


def _cost(found: Comparison) -> str:
    if not found.labelled:
        return "no alert is labelled, so nothing is proven about real incidents"
    if not found.present.told.incidents:
        return "no real incident is on record, so nothing is proven about them"
    lost = sum(case.what == LOST for case in found.cases)
    waits = sorted(case.delay for case in found.cases if case.delay is not None)
    text = f"{lost} real incident{'s' * (lost != 1)} lost, {len(waits)} delayed"
    if not waits:
        return text
    minutes = [f"{max(1, round(wait / 60))}" for wait in waits]
    if len(minutes) > 3:
        return f"{text} by {minutes[0]} to {minutes[-1]} min"
    return f"{text} by {' and '.join([', '.join(minutes[:-1]), minutes[-1]] if minutes[1:] else minutes)} min"


# ---------------------------------------------------------------------------------------------------------------- as JSON


def as_json(found: Comparison) -> dict[str, Any]:
    """Everything, as JSON values; times are seconds since the epoch."""
    present, new = found.present, found.new
    return {
        "since": found.since,
        "until": found.until,
        "alerts": found.alerts,
        "labelled": found.labelled,
        "unlabelled": found.alerts - found.labelled,
        "verdict": verdict(found),
        "present": side_as_json(present),
        "new": side_as_json(new),
        "difference": {
            "interruptions": new.outcome.total.interruptions - present.outcome.total.interruptions,
            "interruptions_saved_share": less(present.outcome.total.interruptions, new.outcome.total.interruptions),
            "false_interruptions_saved": present.outcome.total.false - new.outcome.total.false,
            "receivers": _saved_by(present.outcome.receivers, new.outcome.receivers),
            "severities": _saved_by(present.outcome.severities, new.outcome.severities),
            "real_incidents_gained": found.gained,
            "real_incidents_sooner": found.sooner,
        },
        LOST: [msgspec.to_builtins(case) for case in found.cases if case.what == LOST],
        DELAYED: [msgspec.to_builtins(case) for case in found.cases if case.what == DELAYED],
    }


def side_as_json(side: Side) -> dict[str, Any]:
    """One configuration's numbers as JSON values."""
    outcome = side.outcome
    return {
        "name": outcome.name,
        **_count(outcome.total),
        "receivers": {name: _count(count) for name, count in outcome.receivers.items()},
        "severities": {name: _count(count) for name, count in outcome.severities.items()},
        "real_incidents": {
            "all": side.told.incidents,
            "told": side.told.told,
            "in_time": side.told.in_time,
            "lost": side.told.lost,
            "late": side.told.late,
        },
        "escalations": outcome.escalations,
        "nights_promoted": outcome.promoted,
        "shadow": outcome.shadow,
    }


def _count(count: Count) -> dict[str, Any]:
    return {
        "interruptions": count.interruptions,
        "false_interruptions": count.false,
        "real_interruptions": count.real,
        "unlabelled_interruptions": count.unlabelled,
        "alerts_told": count.alerts,
        "alerts_per_notification": count.efficiency,
    }


def _saved_by(before: Mapping[str, Count], after: Mapping[str, Count]) -> dict[str, int]:
    nothing = Count()
    return {
        name: before.get(name, nothing).interruptions - after.get(name, nothing).interruptions
        for name in dict.fromkeys([*before, *after])
    }
