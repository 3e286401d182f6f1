"""What was missed and what was spared, as the audit sample shows it: without the flattery of who gets to vote. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.reports.noise import Judged
from sidecar.store.reports import Episode, Period
from training.audit import Case, tally, untold_share


def audited(period: Period, judged: Judged) -> list[dict[str, Any]]:
    """Two metrics as `sidecar.reports.success` has them, with the estimator of `training.audit`."""
    chances = [one.chance for one in period.episodes if one.chance < 1.0]
    unheard = sum(one.drawn and one.episode not in judged.verdict for one in period.episodes)
    untold = sum(not one.told for one in period.episodes)
    made = []
    for name, title, kind, names in (
        ("audited_miss_rate", "Real incidents that nobody was told of", "real", judged.real_incidents),
        ("audited_reduction", "False incidents that interrupted nobody", "false", _false(judged)),
    ):
        metric = {"name": name, "title": f"{title}, by the audit sample", "unit": "share", "target": None, "met": None}
        if untold and not chances:
            made.append(_unknown(metric, "nothing that was kept back was open to the audit sample"))
            continue
        found = untold_share(tally((_case(judged.by_incident[each]) for each in sorted(names)), chances))
        if found["share"] is None:
            made.append(_unknown(metric, f"no alert was called {kind}"))
            continue
        made.append(metric | _measured(found, unheard, chances))
    return made


def _false(judged: Judged) -> set[str]:
    """Somebody called one of its alerts false, and nobody any of them real; told or not."""
    return {
        name
        for name, mine in judged.by_incident.items()
        if name not in judged.real_incidents and any(map(judged.false, mine))
    }


def _case(episodes: Iterable[Episode]) -> Case:
    mine = sorted(episodes, key=lambda one: (one.decided_at, one.episode))
    first = mine[0]
    return Case(first.where, first.decided_at, first.chance, first.drawn, any(one.told for one in mine))


def _measured(found: dict[str, Any], unheard: int, chances: list[float]) -> dict[str, Any]:
    trials = found["told"] + found["drawn"] + found["released"] + found["untold"] + found["outside"]
    note = (
        f"instances and hours: {found['told']} were told anyway, {found['released']} after a hold,"
        f" {found['drawn']} only because they were drawn, at {found['chance']:.0%}; {unheard} drawn alerts were not judged"
        if chances
        else "nothing was kept back, so all of them are known"
    )
    return {
        "value": found["share"], "low": found["low"], "high": found["high"], "trials": trials, "hits": found["drawn"],
        "why": None, "note": note,
    }  # fmt: skip


def _unknown(metric: dict[str, Any], why: str) -> dict[str, Any]:
    return metric | {"value": None, "low": None, "high": None, "trials": 0, "why": why, "note": None}
