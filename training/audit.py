"""What the audit sample proves: the share of real incidents that was missed, and of false ones that interrupted nobody.

The unit is the cluster: what one draw decides, an instance in a clock hour. Of the clusters of a kind (real, or false)
`told` were told whatever the draw; the others were open to it: `drawn` were told because of it, `released` were told
later, when a hold ended or a less probable alert followed, and the rest nobody was told of. How many were open is not
known, since nobody judges what nobody saw; but each was drawn with a known chance, so `drawn` of N at chance p is a
binomial count, and its exact bounds on N are valid however few were drawn (`models.evidence.most_hidden`). Those known
are taken off: missed = N - drawn - released. What was told is counted and not estimated, so the bounds are on what
happened in this period, and not on what will.

All of this speaks of clusters that people judge when they are told: that they answer the audit sample's messages as they
answer others is assumed. Where the chance changed, the bounds take its least and its greatest value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from models.evidence import least_hidden, most_hidden

TAIL: Final = 0.025  # on each side: 95 %
HOUR: Final = 3600.0  # as `sidecar.rules.audit_sample` draws


class Case(NamedTuple):
    """An incident, by the first decision on it; `at` in seconds since the epoch."""

    where: str  # its instance, else what stands for it in the draw
    at: float
    chance: float  # with which the audit sample drew it; 1 when it was not open to it
    drawn: bool
    told: bool  # by that decision or a later one


class Tally(NamedTuple):
    """Clusters of one kind, by how they came to be told."""

    told: int = 0
    drawn: int = 0
    released: int = 0
    untold: int = 0  # open to the draw, told to nobody, and known all the same
    outside: int = 0  # told to nobody, and not open to the draw
    expected: float = 0.0  # 1 / chance, summed over the drawn
    least: float = 1.0  # chance, of all that were open to the draw
    most: float = 1.0


def tally(cases: Iterable[Case], chances: Iterable[float] = ()) -> Tally:
    """Clusters of what is known of one kind; `chances` are those of everything that was open to the draw, of any kind."""
    clusters: dict[tuple[str, int], list[Case]] = defaultdict(list)
    for case in cases:
        clusters[case.where, int(case.at // HOUR)].append(case)
    states = [_state(mine) for mine in clusters.values()]
    count = {
        name: sum(state == name for state, _ in states) for name in ("told", "drawn", "released", "untold", "outside")
    }
    opened = [*chances, *(chance for _, chance in states if chance < 1.0)]
    expected = sum(1.0 / chance for state, chance in states if state == "drawn")
    return Tally(**count, expected=expected, least=min(opened, default=1.0), most=max(opened, default=1.0))


def _state(cluster: list[Case]) -> tuple[str, float]:
    """How people came to know of it, and the chance of its draw: a cluster is told as soon as one of its incidents is."""
    chance = min(case.chance for case in cluster)
    if any(case.told and case.chance >= 1.0 for case in cluster):
        return "told", 1.0
    if any(case.drawn for case in cluster):
        return "drawn", chance
    if any(case.told for case in cluster):
        return "released", chance
    return ("untold", chance) if chance < 1.0 else ("outside", 1.0)


def untold_share(found: Tally) -> dict[str, Any]:
    """{"share", "low", "high", and the tally}: of the clusters, those that nobody was told of, with 95 % bounds.

    Of real ones it is the miss rate, of false ones the reduction. Without a known cluster `share` is None.
    """
    known = found.drawn + found.released
    counts = {name: getattr(found, name) for name in ("told", "drawn", "released", "untold", "outside")}
    if not found.told + known + found.untold + found.outside:
        return {"share": None, "low": 0.0, "high": 1.0, **counts, "chance": found.least}
    low, high = known + found.untold, known + found.untold
    if found.least < 1.0:
        low = least_hidden(found.drawn, found.most, 1.0 - TAIL)
        high = most_hidden(found.drawn, found.least, 1.0 - TAIL)
    return {
        "share": _of(found, found.expected - known),
        "low": _of(found, low - known),
        "high": _of(found, high - known),
        **counts,
        "chance": found.least,
    }


def _of(found: Tally, missed: float) -> float:
    """The share when so many that were open to the draw were told to nobody; at least as many as are known."""
    untold = max(float(found.untold), missed) + found.outside
    return untold / (found.told + found.drawn + found.released + untold)
