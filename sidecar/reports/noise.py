"""Which alerting rules cost most attention for least use, and what a change of the rule would have done. Pure.

Everything is counted on stored episodes and what people said of them. The unit of a miss is the incident: a change loses
one when every real episode of it would never have fired, and delays it when the first that remains fires later.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from sidecar.config.durations import format_duration
from sidecar.store.reports import Episode, Period
from training.evaluate import share
from training.labels import labels

MINUTES: Final = (1, 2, 5, 10, 15)  # tried as a longer `for:`
FACTORS: Final = (1.05, 1.1, 1.25, 1.5, 2.0)  # tried on the threshold, away from normal
NEAR_SECONDS: Final = 300.0  # two alerts of one instance that began within this belong together
LEAST_JUDGED: Final = 5  # incidents under which nothing is suggested
WORTH_IT: Final = 0.2  # share of the false interruptions that a change must avoid to be suggested
MOSTLY: Final = 0.5  # share of false cases beside another alert from which an inhibition is suggested
USEFUL: Final = 0.5  # share of real ones from which a rule is left alone

Keeps = Callable[[Episode], bool]


class Judged:
    """A period's episodes with what people said: +1 false, -1 real, 0 nothing or disputed."""

    def __init__(self, period: Period) -> None:
        said = labels(period.votes)
        self.verdict = {
            name: (1 if label.value > 0.5 else -1) for name, label in said.items() if label.value != 0.5
        }  # fmt: skip
        self.by_name: dict[str, list[Episode]] = defaultdict(list)
        self.by_incident: dict[str, list[Episode]] = defaultdict(list)
        for episode in period.episodes:
            self.by_name[episode.alertname].append(episode)
            self.by_incident[episode.incident].append(episode)

    def false(self, episode: Episode) -> bool:
        return self.verdict.get(episode.episode, 0) > 0

    def real(self, episode: Episode) -> bool:
        return self.verdict.get(episode.episode, 0) < 0

    @cached_property
    def real_incidents(self) -> set[str]:
        return {name for name, mine in self.by_incident.items() if any(map(self.real, mine))}

    @cached_property
    def false_incidents(self) -> set[str]:
        """Told, judged, and nobody called anything in it real."""
        return {
            name
            for name, mine in self.by_incident.items()
            if name not in self.real_incidents and any(map(self.false, mine)) and any(one.told for one in mine)
        }


def noisy_rules(period: Period) -> list[dict[str, Any]]:
    """One row per alertname, the one that wasted most first: false interruptions, as sure as the votes make them."""
    judged = Judged(period)
    starts = _starts(period.episodes)
    rows = [_rule(name, episodes, judged, starts) for name, episodes in judged.by_name.items()]
    return sorted(rows, key=lambda row: (-row["wasted"], -row["interruptions"], row["alertname"]))


def _rule(name: str, episodes: list[Episode], judged: Judged, starts: Starts) -> dict[str, Any]:
    false = [one for one in episodes if judged.false(one)]
    real = [one for one in episodes if judged.real(one)]
    interruptions = sum(one.interrupts for one in episodes)
    was_real = {one.incident for one in real}
    was_false = {one.incident for one in false} - was_real
    false_share = share(len(was_false), len(was_false) + len(was_real))  # an incident is one case, however many alerts
    row = {
        "alertname": name,
        "episodes": len(episodes),
        "told": sum(one.told for one in episodes),
        "interruptions": interruptions,
        "false": false_share,
        "judged_episodes": len(false) + len(real),
        "real_incidents": len(was_real),
        "false_interruptions": len(judged.false_incidents.intersection(one.incident for one in episodes)),
        "wasted": interruptions * false_share["low"],
        "longer_for": [_after(episodes, judged, **_for(minutes)) for minutes in MINUTES],
        "threshold": _thresholds(episodes, judged),
        "inhibition": _inhibition(name, false, real, judged, starts),
    }
    return row | {"suggestion": _suggestion(row)}


# ------------------------------------------------------------------------------------------------- what a change would do


def _for(minutes: int) -> dict[str, Any]:
    return {"change": f"for +{minutes}m", "keeps": lambda one: one.lasted >= 60.0 * minutes, "later": 60.0 * minutes}


def _after(episodes: list[Episode], judged: Judged, *, change: str, keeps: Keeps, later: float = 0.0) -> dict[str, Any]:
    """What would have been, had only those of `episodes` fired that `keeps` keeps, each `later` seconds later."""
    gone = {one.episode for one in episodes if not keeps(one)}
    mine = {one.episode for one in episodes}
    false = judged.false_incidents.intersection(one.incident for one in episodes)
    real = {one.incident for one in episodes if judged.real(one)}
    avoided = sum(all(one.episode in gone for one in judged.by_incident[name]) for name in false)
    lost = delayed = 0
    for name in real:
        told = [one for one in judged.by_incident[name] if judged.real(one)]
        left = [one.starts_at + (later if one.episode in mine else 0.0) for one in told if one.episode not in gone]
        lost += not left
        delayed += bool(left) and min(left) > min(one.starts_at for one in told)
    return {
        "change": change,
        "false_interruptions_avoided": share(avoided, len(false)),
        "false_episodes_avoided": sum(judged.false(one) for one in episodes if one.episode in gone),
        "real_incidents_lost": share(lost, len(real)),
        "real_incidents_delayed": delayed,
    }


def _thresholds(episodes: list[Episode], judged: Judged) -> list[dict[str, Any]]:
    """A threshold further from normal, where annotations say value and threshold.

    The value is that of the first notice: one that would have passed later counts as lost, so losses are at most these.
    """
    ratios = {
        one.episode: one.value / one.threshold
        for one in episodes
        if one.value is not None and one.threshold not in (None, 0.0) and one.value / one.threshold > 0
    }
    if len(ratios) < LEAST_JUDGED:
        return []
    above = 2 * sum(ratio >= 1.0 for ratio in ratios.values()) >= len(ratios)
    found = []
    for factor in FACTORS:
        spelled = f"threshold x {factor if above else 1 / factor:.3g}"
        found.append(_after(episodes, judged, change=spelled, keeps=_passing(ratios, factor, above=above)))
    return found


def _passing(ratios: Mapping[str, float], factor: float, *, above: bool) -> Keeps:
    """Whether an episode passes the changed threshold; one that does not say its value does."""

    def keeps(one: Episode) -> bool:
        ratio = ratios.get(one.episode)
        return ratio is None or (ratio >= factor if above else ratio <= 1 / factor)

    return keeps


Starts = Mapping[str, Mapping[str, Sequence[float]]]  # instance -> alertname -> when they began, in order


def _starts(episodes: Iterable[Episode]) -> Starts:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in episodes:
        if one.instance:
            found[one.instance][one.alertname].append(one.starts_at)
    for names in found.values():
        for times in names.values():
            times.sort()
    return found


def _beside(one: Episode, starts: Starts) -> set[str]:
    """Other alertnames that began within NEAR_SECONDS of this on its instance."""
    found = set()
    for name, times in starts.get(one.instance, {}).items():
        at = bisect_left(times, one.starts_at - NEAR_SECONDS)
        if name != one.alertname and at < len(times) and times[at] <= one.starts_at + NEAR_SECONDS:
            found.add(name)
    return found


def _inhibition(
    name: str, false: list[Episode], real: list[Episode], judged: Judged, starts: Starts
) -> dict[str, Any] | None:
    """The alert that most false cases of this one come beside: what it would do as the source of an inhibition."""
    beside = {one.episode: _beside(one, starts) for one in (*false, *real)}
    counts: dict[str, int] = defaultdict(int)
    for one in false:
        for other in beside[one.episode]:
            counts[other] += 1
    if not counts:
        return None
    source = max(sorted(counts), key=lambda other: counts[other])
    quiet = [one for one in real if source in beside[one.episode]]
    gone = {one.episode for one in quiet}
    lost = {
        one.incident
        for one in quiet
        if all(other.episode in gone for other in judged.by_incident[one.incident] if judged.real(other))
    }
    return {
        "source": source,
        "target": name,
        "false_beside": share(counts[source], len(false)),
        "real_beside": len(quiet),
        "real_alone": sum(not beside[one.episode] for one in real),
        "real_incidents_lost": share(len(lost), len({one.incident for one in real})),
    }


# ---------------------------------------------------------------------------------------------------------- the sentence


def _suggestion(row: dict[str, Any]) -> str:
    """One sentence: the mildest change that avoids enough and has lost nothing, else what is known."""
    false, judged = row["false"], row["false"]["trials"]
    if judged < LEAST_JUDGED:
        return f"Too few votes to say: {judged} incidents of its {row['episodes']} episodes were judged."
    if 1.0 - false["share"] >= USEFUL:
        return f"Leave it: {judged - false['hits']} of {judged} judged incidents were real."
    changes = [*row["longer_for"], *row["threshold"]]
    worth = [one for one in changes if _avoids(one) and not one["real_incidents_lost"]["hits"]]
    if not row["real_incidents"]:
        return f"Nobody called it real in {judged} judged incidents (at most {1 - false['low']:.0%} are): drop it, or page nobody for it."
    if worth:
        best = max(worth, key=lambda one: one["false_interruptions_avoided"]["hits"] - one["real_incidents_delayed"])
        return _spelled(best)
    beside = row["inhibition"]
    if beside is not None and (beside["false_beside"]["share"] or 0.0) >= MOSTLY and not _lost(beside):
        said = beside["false_beside"]
        return f"Let {beside['source']} inhibit it on the same instance: {said['hits']} of {said['trials']} false cases came within {format_duration(NEAR_SECONDS)} of it, and no real incident depended on this alone."
    return f"No change tried here avoids {WORTH_IT:.0%} of its false interruptions without losing a real incident: leave it to the score."


def _avoids(change: dict[str, Any]) -> bool:
    found = change["false_interruptions_avoided"]
    return found["share"] is not None and found["share"] >= WORTH_IT


def _lost(change: dict[str, Any]) -> int:
    return int(change["real_incidents_lost"]["hits"])


def _spelled(change: dict[str, Any]) -> str:
    avoided, lost, delayed = (
        change["false_interruptions_avoided"], change["real_incidents_lost"], change["real_incidents_delayed"]
    )  # fmt: skip
    kind, _, amount = change["change"].partition(" ")
    what = (
        f"Add {amount.lstrip('+')} to its `for:`"
        if kind == "for"
        else f"Multiply its threshold by {amount.removeprefix('x ')}"
    )
    return (
        f"{what}: {avoided['hits']} of {avoided['trials']} false interruptions would not have been, no real incident of"
        f" {lost['trials']} lost (at most {lost['high']:.0%}), {delayed} told later."
    )
