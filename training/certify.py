"""The certified thresholds: how far scores may keep alerts back, proven on past clusters of real alerts.

The scores are those that served when each alert arrived, so no model is judged on what it has learned from; a cluster
that the heuristic or somebody else's model scored proves nothing. Thresholds are walked down from the top, and the walk
stops at the first whose upper bound is above the budget, on the share of clusters that would not have been told in time;
of those that a hold would leave untold for good, half of it is allowed. Testing in this fixed order spends no confidence.
The bound is Clopper-Pearson's as long as nothing was kept back. What began after that is seen, had it been missed, only
if the audit sample drew it: `models.evidence.upper_bound_seen` says what so little proves. Testing anew as clusters come
in does: look k, when there are twice as many as at the last, is made at 1 - alpha * .85 * .15^(k-1), and these add up to
alpha: most of it where there is least to go by. Between looks the certificate stands as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, isnan
from typing import Final, NamedTuple

import numpy as np

from models.certificate import Certificate, Grant, speaks_against
from models.evidence import upper_bound, upper_bound_seen
from training.dataset import DISPUTED, Dataset, Floats

GAP_SECONDS: Final = 1800.0  # between an alert's end and the next one's start: more begins another cluster
IN_TIME: Final = 900.0  # s from a cluster's first alert until people must have been told
ALPHA: Final = 0.1
GROWTH: Final = 2
KEPT: Final = 0.15  # of the confidence not yet spent, what a look leaves to later ones
HOLD_FACTOR: Final = 4.0  # times the miss budget may be told late by a hold: it hides only what has cleared
MOST: Final = 0.5  # that HOLD_FACTOR may make of a budget
TELLS: Final = -1.0  # a cluster with such an alert is told whatever the threshold
STEP: Final = 0.01
LEAST_CHANCE: Final = 0.01


@dataclass(frozen=True)
class Cluster:
    """One instance's real alerts, by their places in the dataset, in the order of their starts."""

    places: tuple[int, ...]
    weight: int = 1  # missed clusters it stands for, if it is one: those that the audit sample drew it from
    chance: float = 1.0  # with which people would have seen it, were it a missed one


class Keeps(NamedTuple):
    """How alerts are kept back while a threshold is tested."""

    holds: Mapping[str, float]  # the longest in seconds, by severity
    limit: float  # what is scored as high is suppressed after its hold, not told
    against: Floats  # where something speaks against keeping it back


def certify(
    data: Dataset, *, now: float, budget: float, floor: float, holds: Mapping[str, float], alpha: float = ALPHA
) -> Certificate:
    """What may be held and suppressed from `now` on; `holds` are the longest holds in seconds by severity.

    `floor` is the operator's confidence_threshold: nothing below it is tested.
    """
    found = sorted(clusters(data, now), key=lambda cluster: data.started[cluster.places[0]])
    found = [cluster for cluster in found if data.trained[list(cluster.places)].all()]
    against = data.observe(_against)

    def granted(waits: Mapping[str, float], allowed: float, allowed_lost: float, limit: float = inf) -> Grant:
        kept = Keeps(waits, limit, against)
        late = [_survives(data, kept, cluster, IN_TIME) for cluster in found]
        lost = [_survives(data, kept, cluster, inf) for cluster in found]
        return walk(late, lost, found, budget=allowed, lost_budget=allowed_lost, floor=floor, alpha=alpha)

    late = min(MOST, HOLD_FACTOR * budget)
    suppress = granted({}, budget, budget)
    limit = inf if suppress.threshold is None else suppress.threshold
    return Certificate(now, granted(holds, late, late / 2, limit), suppress)


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
    seen = data.chance if data.at[places[0]] >= data.kept_since else 1.0
    return Cluster(tuple(places), ceil(1.0 / max(likeliest, LEAST_CHANCE)), max(min(seen, likeliest), LEAST_CHANCE))


def _against(x: Floats) -> Floats:
    return np.array([bool(speaks_against(row)) for row in x], dtype=np.bool_)


def _survives(data: Dataset, kept: Keeps, cluster: Cluster, within: float) -> float:
    """The highest threshold that still lets people know of it within that many seconds: TELLS when every one does."""
    began = data.started[cluster.places[0]]
    lowest = 1.0 + STEP
    for place in cluster.places:
        late = data.at[place] - began  # when it was decided: Alertmanager may have kept it for its group's interval
        if late > within:
            break
        score, wait = data.served[place], kept.holds.get(str(data.severity[place]), 0.0)
        lasted = data.ended[place] - data.at[place]
        told = score < kept.limit and 0.0 < wait < lasted  # after its hold; no end: NaN, and not counted on
        if data.guarded[place] or isnan(score) or (told and late + wait <= within) or kept.against[place]:
            return TELLS
        lowest = min(lowest, float(score))
    return lowest


def looks(first: int, alpha: float) -> Iterable[tuple[int, int, float]]:
    """(look, clusters, confidence) of each test, without end."""
    number, size = 1, first
    while True:
        yield number, size, 1.0 - alpha * (1.0 - KEPT) * KEPT ** (number - 1)
        number, size = number + 1, size * GROWTH


def first_look(budget: float, alpha: float) -> int:
    """The fewest clusters that can pass the first look, when none of them is missed."""
    size = 1
    while upper_bound(0, size, 1.0 - alpha * (1.0 - KEPT)) > budget:
        size += 1
    return size


def walk(
    late: list[float],
    lost: list[float],
    found: Sequence[Cluster],
    *,
    budget: float,
    lost_budget: float,
    floor: float,
    alpha: float,
) -> Grant:
    """The lowest threshold that passes, with all above it, of clusters in the order they came.

    `late` and `lost` are the lowest thresholds that still tell each cluster in time, and at all. `budget` is for those
    told late, `lost_budget` for those that nobody is told of.
    """
    last: tuple[int, int, float] | None = None
    for look in looks(first_look(lost_budget, alpha), alpha):
        if look[1] > len(late):
            return _tested(late, lost, found, last, look[1] - len(late), (budget, lost_budget), floor)
        last = look
    raise AssertionError("looks do not end")


def _tested(
    late: list[float],
    lost: list[float],
    found: Sequence[Cluster],
    look: tuple[int, int, float] | None,
    needed: int,
    budgets: tuple[float, float],
    floor: float,
) -> Grant:
    budget, lost_budget = budgets
    if look is None:
        return Grant(budget=budget, clusters=len(late), needed=needed)
    number, size, confidence = look
    seen = found[:size]
    grant = Grant(None, budget, size, 0, 1.0, confidence, number, needed)
    threshold = 1.0 - STEP
    while threshold >= floor - 1e-9:
        missed, trials = _missed(late[:size], seen, threshold)
        bound = missed_bound(late[:size], seen, threshold, confidence)
        if bound > budget or missed_bound(lost[:size], seen, threshold, confidence) > lost_budget:
            refused = Grant(None, budget, trials, missed, bound, confidence, number, needed)
            return grant if grant.threshold is not None else refused
        grant = Grant(round(threshold, 6), budget, trials, missed, bound, confidence, number, needed)
        threshold -= STEP
    return grant


def missed_bound(survives: list[float], found: Sequence[Cluster], threshold: float, confidence: float) -> float:
    """Upper bound on the share of clusters missed at a threshold.

    The larger of two: what seeing so few of the missed proves when all times are alike; and, should what was hidden be
    worse than what came before, the bound in which each missed one stands for those that it was drawn from.
    """
    missed = sum(each >= threshold for each in survives)
    by_chance = Counter(cluster.chance for cluster in found)
    alike = upper_bound_seen(missed, tuple(sorted(by_chance.items())), confidence)
    return max(alike, upper_bound(*_missed(survives, found, threshold), confidence))


def _missed(survives: list[float], found: Sequence[Cluster], threshold: float) -> tuple[int, int]:
    """(missed, all) clusters at a threshold; a missed one counts for those it stands for."""
    untold = [each >= threshold for each in survives]
    missed = sum(cluster.weight for cluster, gone in zip(found, untold, strict=True) if gone)
    return missed, missed + len(untold) - sum(untold)
