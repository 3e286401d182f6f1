"""The certified thresholds: how far scores may keep alerts back, proven on past clusters of real alerts.

The scores are those that served when each alert arrived, so no model is judged on what it has learned from; a cluster
that the heuristic or somebody else's model scored proves nothing. Thresholds
are walked down from the top, and the walk stops at the first whose Clopper-Pearson upper bound on the share of clusters
that would not have been told in time is above the budget, or on those never told above half of it: testing in this fixed order spends no confidence. Testing
anew as clusters come in does: look k, when there are twice as many as at the last, is made at 1 - alpha / (k(k+1)),
and these add up to alpha. Between looks the certificate stands as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, inf, isnan
from typing import Final

import numpy as np

from models.certificate import Certificate, Grant, speaks_against
from models.evidence import upper_bound
from training.dataset import DISPUTED, Dataset, Floats

GAP_SECONDS: Final = 1800.0  # between an alert's end and the next one's start: more begins another cluster
IN_TIME: Final = 900.0  # s from a cluster's first alert until people must have been told
ALPHA: Final = 0.1
GROWTH: Final = 2
HOLD_FACTOR: Final = 4.0  # times the miss budget may be told late by a hold: it hides only what has cleared
MOST: Final = 0.5  # that HOLD_FACTOR may make of a budget
TELLS: Final = -1.0  # a cluster with such an alert is told whatever the threshold
STEP: Final = 0.01


@dataclass(frozen=True)
class Cluster:
    """One instance's real alerts, by their places in the dataset, in the order of their starts."""

    places: tuple[int, ...]
    weight: int  # missed clusters it stands for, if it is one: those that the audit sample drew it from


def certify(
    data: Dataset, *, now: float, budget: float, floor: float, holds: Mapping[str, float], alpha: float = ALPHA
) -> Certificate:
    """What may be held and suppressed from `now` on; `holds` are the longest holds in seconds by severity.

    `floor` is the operator's confidence_threshold: nothing below it is tested.
    """
    found = sorted(clusters(data, now), key=lambda cluster: data.started[cluster.places[0]])
    found = [cluster for cluster in found if data.trained[list(cluster.places)].all()]
    weights = [cluster.weight for cluster in found]
    against = data.observe(_against)

    def granted(waits: Mapping[str, float], allowed: float) -> Grant:
        late = [_survives(data, against, cluster, waits, IN_TIME) for cluster in found]
        lost = [_survives(data, against, cluster, waits, inf) for cluster in found]
        return walk(late, lost, weights, budget=allowed, lost_budget=allowed / 2, floor=floor, alpha=alpha)

    return Certificate(now, granted(holds, min(MOST, HOLD_FACTOR * budget)), granted({}, budget))


def clusters(data: Dataset, now: float) -> Iterable[Cluster]:
    """The real alerts of each instance, cut where it was quiet for GAP_SECONDS; what has not ended fires at `now`."""
    by_instance: dict[str, list[int]] = {}
    for real in np.flatnonzero(data.label < DISPUTED).tolist():
        by_instance.setdefault(str(data.instance[real]), []).append(real)
    for places in by_instance.values():
        places.sort(key=lambda place: (data.started[place], place))
        cluster: list[int] = []
        quiet = 0.0
        for place in places:  # in the order of time
            if cluster and data.started[place] - quiet > GAP_SECONDS:
                yield _cluster(data, cluster)
                cluster = []
            ended = data.ended[place]
            until = now if isnan(ended) else ended
            quiet = max(quiet, until) if cluster else until
            cluster.append(place)
        yield _cluster(data, cluster)


def _cluster(data: Dataset, places: list[int]) -> Cluster:
    likeliest = max(data.drawn[place] for place in places)
    return Cluster(tuple(places), ceil(1.0 / max(likeliest, 0.01)))


def _against(x: Floats) -> Floats:
    return np.array([bool(speaks_against(row)) for row in x], dtype=np.bool_)


def _survives(data: Dataset, against: Floats, cluster: Cluster, holds: Mapping[str, float], within: float) -> float:
    """The highest threshold that still lets people know of it within that many seconds: TELLS when every one does."""
    began = data.started[cluster.places[0]]
    lowest = 1.0 + STEP
    for place in cluster.places:
        late = data.at[place] - began  # when it was decided: Alertmanager may have kept it for its group's interval
        if late > within:
            break
        score, wait = data.served[place], holds.get(str(data.severity[place]), 0.0)
        lasted = data.ended[place] - data.at[place]
        released = 0.0 < wait < lasted and late + wait <= within  # no end: NaN, and not counted on
        if data.guarded[place] or isnan(score) or released or against[place]:
            return TELLS
        lowest = min(lowest, float(score))
    return lowest


def looks(first: int, alpha: float) -> Iterable[tuple[int, int, float]]:
    """(look, clusters, confidence) of each test, without end."""
    number, size = 1, first
    while True:
        yield number, size, 1.0 - alpha / (number * (number + 1))
        number, size = number + 1, size * GROWTH


def first_look(budget: float, alpha: float) -> int:
    """The fewest clusters that can pass the first look, when none of them is missed."""
    size = 1
    while upper_bound(0, size, 1.0 - alpha / 2) > budget:
        size += 1
    return size


def walk(
    late: list[float],
    lost: list[float],
    weights: list[int],
    *,
    budget: float,
    lost_budget: float,
    floor: float,
    alpha: float,
) -> Grant:
    """The lowest threshold that passes, with all above it, of clusters in the order they came.

    `late` and `lost` are the lowest thresholds that still tell each cluster in time, and at all; `weights` say for how
    many each stands when it is missed. `budget` is for those told late, `lost_budget` for those that nobody is told of.
    """
    last: tuple[int, int, float] | None = None
    for look in looks(first_look(lost_budget, alpha), alpha):
        if look[1] > len(late):
            return _tested(late, lost, weights, last, look[1] - len(late), (budget, lost_budget), floor)
        last = look
    raise AssertionError("looks do not end")


def _tested(
    late: list[float],
    lost: list[float],
    weights: list[int],
    look: tuple[int, int, float] | None,
    needed: int,
    budgets: tuple[float, float],
    floor: float,
) -> Grant:
    budget, lost_budget = budgets
    if look is None:
        return Grant(budget=budget, clusters=len(late), needed=needed)
    number, size, confidence = look
    weighed = np.array(weights[:size])
    grant = Grant(None, budget, size, 0, 1.0, confidence, number, needed)
    threshold = 1.0 - STEP
    while threshold >= floor - 1e-9:
        missed, trials = _missed(late[:size], weighed, threshold)
        bound = upper_bound(missed, trials, confidence)
        if bound > budget or upper_bound(*_missed(lost[:size], weighed, threshold), confidence) > lost_budget:
            refused = Grant(None, budget, trials, missed, bound, confidence, number, needed)
            return grant if grant.threshold is not None else refused
        grant = Grant(round(threshold, 6), budget, trials, missed, bound, confidence, number, needed)
        threshold -= STEP
    return grant


def _missed(survives: list[float], weighed: Floats, threshold: float) -> tuple[int, int]:
    """(missed, all) clusters at a threshold; a missed one counts for those it stands for."""
    untold = np.array(survives) >= threshold
    missed = int(weighed[untold].sum())
    return missed, missed + int((~untold).sum())
