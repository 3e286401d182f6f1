"""Drift alarms: has an alertname, or everything, lately become something else than what was learned and proven?

Three things of the newest week are compared with the eight weeks before it: the share of false labels, the log-loss of
the scores that served, and where those scores lie (the population stability index). An alertname with an alarm keeps
nothing back by score until a later run finds none; an alarm over all lets nothing be suppressed.

Alerts are not independent. What one instance's alerts of a name were on one day (counted back from the run) is one
observation, real when any of them was. Days differ too, since an outage hits many instances at once: the test compares
the mean of the newest days with that of the days before by how much days differ anyway, and never by less than single
observations do (Student's t, as many degrees of freedom as there are days, less two). For the index it is the
chi-squared that it is, nearly, of observations alone; how much weeks differ anyway is in what else it has to be: above
LIMIT, and twice what it was in any of the earlier weeks. ALPHA is shared by all tests of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from models.certificate import Certificate
from training.dataset import DISPUTED, Dataset, Floats, Places

DAY: Final = 86400.0
NEWEST: Final = 7  # days that may have drifted
BEFORE: Final = 56  # days before them to compare with
ALPHA: Final = 0.01  # of a false alarm in a run, over all alertnames
LEAST_SHARE: Final = 0.1  # by which the share of false labels has to change: less is no reason to begin anew
LEAST_LOSS: Final = 0.1  # nats by which the log-loss has to grow
LIMIT: Final = 0.25  # of the stability index, by custom
UNUSUAL: Final = 2.0  # times the highest index of an earlier week
WEEKS: Final = 4  # earlier weeks with scores, before the index says anything
BINS: Final = 10
ENOUGH: Final = 10  # observations in the newest week
ENOUGH_BEFORE: Final = 20
ENOUGH_DAYS: Final = 10  # with any observation, in all
ENOUGH_TO_BIN: Final = 50  # observations on each side for the index
HALF: Final = 0.5  # observations more in each bin: an empty one is no proof that nothing can be there
_LEAST: Final = 1e-6  # a certain and wrong score costs a finite loss

Whole = npt.NDArray[np.intp]


class Observations(NamedTuple):
    """One entry per instance and day; `day` counts back from the run, 0 is the last 24 hours."""

    value: Floats
    day: Whole


def watch(data: Dataset, now: float) -> dict[str, Any]:
    """What has drifted by `now`, as JSON values: `all` and `names` (only those with enough to compare), each with
    `checks` and the sentences of its `alarms`; `tests` and the alarm level `alpha` of each.
    """
    lately = np.flatnonzero((data.at <= now) & (data.at > now - (NEWEST + BEFORE) * DAY) & (data.label != DISPUTED))
    part = data.take(lately)
    day = np.floor((now - part.at) / DAY).astype(np.intp)
    groups = {"": np.arange(len(part)), **_by_name(part)}
    found = {name: checks for name, places in groups.items() if (checks := _checks(part.take(places), day[places]))}
    tests = sum(map(len, found.values()))
    alpha = ALPHA / max(1, tests)
    said = {name: {"checks": checks, "alarms": list(_alarms(checks, alpha))} for name, checks in found.items()}
    nothing: dict[str, Any] = {"checks": [], "alarms": []}
    return {"at": now, "tests": tests, "alpha": alpha, "all": said.pop("", nothing), "names": said}


def sent_back(certificate: Certificate, found: dict[str, Any]) -> Certificate:
    """The certificate with what `watch` found against it."""
    drifted = {name: "; ".join(one["alarms"]) for name, one in found["names"].items() if one["alarms"]}
    return replace(certificate, drifted=drifted, unsettled="; ".join(found["all"]["alarms"]))


def warnings(found: dict[str, Any]) -> list[str]:
    """What a person must know of an alarm over all."""
    alarms = found["all"]["alarms"]
    return [f"DRIFT over all alertnames: {'; '.join(alarms)}. Nothing is suppressed until this ends"] if alarms else []


def _by_name(part: Dataset) -> dict[str, Places]:
    names: dict[str, list[int]] = {}
    for place, name in enumerate(part.alertname.tolist()):
        if name:
            names.setdefault(name, []).append(place)
    return {name: np.array(places, dtype=np.intp) for name, places in sorted(names.items())}


def _checks(part: Dataset, day: Whole) -> list[dict[str, Any]]:
    """What can be compared of one group; empty when it is too little."""
    found = [_compared("label rate", _observed(part, day, part.false_positive.astype(np.float64), worst=True), 2)]
    scored = np.flatnonzero(part.trained & ~np.isnan(part.served))
    if len(scored):
        served, days = part.take(scored), day[scored]
        found.append(_compared("log-loss", _observed(served, days, _losses(served)), 1))
        found.append(_moved(served, days))
    return [check for check in found if check is not None]


def _losses(part: Dataset) -> Floats:
    p = np.clip(part.served, _LEAST, 1.0 - _LEAST)
    losses: Floats = -(part.label * np.log(p) + (1.0 - part.label) * np.log(1.0 - p))
    return losses


def _units(part: Dataset, day: Whole) -> tuple[Whole, Whole]:
    """(observation of each episode, day of each observation)."""
    numbers: dict[tuple[str, int], int] = {}
    of = [numbers.setdefault(key, len(numbers)) for key in zip(part.instance.tolist(), day.tolist(), strict=True)]
    return np.array(of, dtype=np.intp), np.array([key[1] for key in numbers], dtype=np.intp)


def _observed(part: Dataset, day: Whole, value: Floats, *, worst: bool = False) -> Observations:
    """The mean of each instance and day, or its least."""
    of, days = _units(part, day)
    if worst:
        least = np.full(len(days), np.inf)
        np.minimum.at(least, of, value)
        return Observations(least, days)
    return Observations(np.bincount(of, weights=value, minlength=len(days)) / np.bincount(of), days)


def _compared(kind: str, seen: Observations, sides: int) -> dict[str, Any] | None:
    """The newest week against the time before; None with too little of either."""
    new = seen.day < NEWEST
    if new.sum() < ENOUGH or (~new).sum() < ENOUGH_BEFORE or len(np.unique(seen.day)) < ENOUGH_DAYS:
        return None
    before, newest = float(seen.value[~new].mean()), float(seen.value[new].mean())
    return {
        "kind": kind,
        "before": before,
        "newest": newest,
        "observations": [int((~new).sum()), int(new.sum())],
        "p": _chance(seen, new, newest - before, sides),
    }


def _chance(seen: Observations, new: npt.NDArray[np.bool_], change: float, sides: int) -> float:
    """How probable such a change is where nothing has changed; of a growth alone with one side."""
    from scipy.stats import t  # noqa: PLC0415 -- seconds of import

    expected = np.where(new, seen.value[new].mean(), seen.value[~new].mean())
    _, of = np.unique(seen.day, return_inverse=True)
    count = np.bincount(of)
    between = float((np.bincount(of, weights=seen.value - expected) ** 2 / count).sum()) / (len(count) - 2)
    spread = max(between, float(seen.value.var()))
    if spread == 0.0:
        return 1.0
    size = change / np.sqrt(spread * (1.0 / new.sum() + 1.0 / (~new).sum()))
    return float(sides * t.sf(abs(size) if sides == 2 else size, len(count) - 2))


def _moved(part: Dataset, day: Whole) -> dict[str, Any] | None:
    """The stability index of the scores in the newest week, and the highest of the earlier weeks, each against the rest
    of the time before; None with too few observations or weeks.
    """
    of, days = _units(part, day)
    weight = 1.0 / np.bincount(of)[of]  # an observation weighs 1, however many alerts it had
    newest, earlier = day < NEWEST, [week for week in range(1, 1 + BEFORE // NEWEST) if (days // NEWEST == week).any()]
    if (days < NEWEST).sum() < ENOUGH_TO_BIN or (days >= NEWEST).sum() < ENOUGH_TO_BIN or len(earlier) < WEEKS:
        return None
    usual = [_index(part.served, weight, ~newest & (day // NEWEST != week), day // NEWEST == week) for week in earlier]
    index, bins = _index(part.served, weight, ~newest, newest)
    counts = [int((days >= NEWEST).sum()), int((days < NEWEST).sum())]
    return {
        "kind": "scores",
        "before": max(index for index, _ in usual),
        "newest": index,
        "observations": counts,
        "p": _by_chance(index, bins, counts),
    }


def _by_chance(index: float, bins: int, counts: list[int]) -> float:
    """How probable such an index is of so many independent observations from one distribution."""
    from scipy.stats import chi2  # noqa: PLC0415 -- seconds of import

    return float(chi2.sf(index / sum(1.0 / count for count in counts), bins - 1)) if bins > 1 else 1.0


def _index(
    value: Floats, weight: Floats, before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]
) -> tuple[float, int]:
    """(the population stability index over the weighted deciles of `before`, how many bins that are)."""
    order = np.flatnonzero(before)[np.argsort(value[before], kind="stable")]
    grown = np.cumsum(weight[order]) / weight[order].sum()
    edges = np.unique(value[order][np.searchsorted(grown, np.linspace(0, 1, BINS + 1)[1:-1])])
    shares = []
    for side in (before, after):
        bins = np.searchsorted(edges, value[side], side="left")
        held = np.bincount(bins, weights=weight[side], minlength=len(edges) + 1) + HALF
        shares.append(held / held.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum()), len(edges) + 1


def _alarms(checks: list[dict[str, Any]], alpha: float) -> Iterator[str]:
    for check in checks:
        before, newest = check["before"], check["newest"]
        if check["p"] >= alpha:
            continue
        if check["kind"] == "label rate" and abs(newest - before) >= LEAST_SHARE:
            yield f"{newest:.0%} false in the newest week, {before:.0%} before"
        elif check["kind"] == "log-loss" and newest - before >= LEAST_LOSS:
            yield f"log-loss {newest:.2f} in the newest week, {before:.2f} before"
        elif check["kind"] == "scores" and newest > max(LIMIT, UNUSUAL * before):
            yield f"scores lie elsewhere: stability index {newest:.2f}, at most {before:.2f} in earlier weeks"
