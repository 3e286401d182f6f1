"""The numbers behind the training report's plots and tables: JSON values, from a run's proof. Pure.

A false positive is "suppressed at" a threshold when its score is at or above it. The unit of a miss is the incident: it
is lost when every one of its real episodes would be suppressed, and a false interruption is gone when all episodes of an
incident that people called false would be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from models.features import FEATURES
from training.dataset import Dataset, Floats, Places, Proof
from training.evaluate import BINS, share

WEEK: Final = 7 * 86400.0
MONDAY: Final = 4 * 86400.0  # the first Monday after the epoch: weeks begin there
STEPS: Final = 100  # of the threshold, from 0 to 1
MOST_POINTS: Final = 400  # of a curve: more than a screen shows
QUANTILES: Final = (0.1, 0.5, 0.9)
PSI_BINS: Final = 10
SAMPLE: Final = 100_000  # episodes that drift is measured on
_FLOOR: Final = 1e-4  # an empty bin costs a finite index


class Detail(NamedTuple):
    """What a person needs to find an episode again; links are (text, URL)."""

    instance: str = ""
    domain: str = ""
    links: tuple[tuple[str, str], ...] = ()


def charts(
    proof: Proof, *, threshold: float, importance: Mapping[str, float], details: Mapping[str, Detail] | None = None
) -> dict[str, Any]:
    """Everything the page draws. `importance` is the share of the gain by feature, `details` is by episode."""
    known = details or {}
    decided = proof.validation.decided
    part, score = proof.validation.take(decided), proof.score[decided]
    return {
        "threshold": threshold,
        "headline": headline(part, score, threshold),
        "precision_recall": precision_recall(part, score),
        "calibration": calibration(part, score),
        "tradeoff": tradeoff(part, score),
        "by_alertname": by_group(part, score, part.alertname.tolist(), threshold),
        "by_severity": by_group(part, score, part.severity.tolist(), threshold),
        "by_domain": by_group(part, score, [known.get(one, Detail()).domain for one in part.episode], threshold),
        "importance": [{"feature": name, "gain": gain} for name, gain in importance.items()],
        "label_weeks": label_weeks(proof),
        "weeks": weeks(part, score),
        "drift": drift(_sample(proof.train).x, _sample(proof.validation).x),
        "misses": misses(part, score, threshold, known),
    }


def incidents_of(part: Dataset) -> list[Places]:
    """The episodes of each incident; one without an incident is alone."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(part.incident.tolist()):
        found.setdefault(name or f"alone {place}", []).append(place)
    return [np.array(places, dtype=np.intp) for places in found.values()]


def hiding_scores(part: Dataset, score: Floats) -> tuple[Floats, Floats]:
    """(of real, of false incidents): the highest threshold at which each still would be hidden whole.

    A real incident counts by its real episodes alone: a false one beside them that is told helps nobody.
    """
    noise = part.false_positive
    real: list[float] = []
    false: list[float] = []
    for places in incidents_of(part):
        here = places[~noise[places]]
        (real if len(here) else false).append(float(score[here if len(here) else places].min()))
    return np.array(real, dtype=np.float64), np.array(false, dtype=np.float64)


def headline(part: Dataset, score: Floats, threshold: float) -> dict[str, Any]:
    """The few numbers that say whether a fixed threshold is safe, each with its 95 % bounds."""
    noise, above = part.false_positive, score >= threshold
    real, false = hiding_scores(part, score)
    return {
        "false_episodes_suppressed": share(int((above & noise).sum()), int(noise.sum())),
        "real_episodes_hidden": share(int((above & ~noise).sum()), int((~noise).sum())),
        "false_interruptions_gone": share(int((false >= threshold).sum()), len(false)),
        "incidents_lost": share(int((real >= threshold).sum()), len(real)),
    }


def precision_recall(part: Dataset, score: Floats) -> list[dict[str, float]]:
    """Points of falling threshold: of what scores at least that, how much is false, and how much of all false it is."""
    noise = part.false_positive
    if not noise.any():
        return []
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(noise[order])
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # the end of each run
    points = [
        {
            "threshold": float(score[order[at]]),
            "precision": float(hits[at] / (at + 1)),
            "recall": float(hits[at] / hits[-1]),
        }
        for at in last.tolist()
    ]
    return _thinned(points)


def _thinned(points: list[dict[str, float]]) -> list[dict[str, float]]:
    if len(points) <= MOST_POINTS:
        return points
    return [points[at] for at in np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).astype(int)).tolist()]


def calibration(part: Dataset, score: Floats) -> list[dict[str, Any]]:
    """Per bin of scores that holds any: what was promised, what came, and from how many."""
    which = np.clip((score * BINS).astype(int), 0, BINS - 1)
    return [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "mean_score": float(score[which == number].mean()),
            "false": share(int(part.false_positive[which == number].sum()), int((which == number).sum())),
        }
        for number in np.unique(which).tolist()
    ]


def tradeoff(part: Dataset, score: Floats) -> list[dict[str, Any]]:
    """Per threshold: false interruptions left, of all that there are, and real incidents lost."""
    real, false = hiding_scores(part, score)
    return [
        {
            "threshold": round(step / STEPS, 4),
            "false_left": int((false < step / STEPS).sum()),
            "false": len(false),
            "lost": int((real >= step / STEPS).sum()),
            "real": len(real),
        }
        for step in range(STEPS + 1)
    ]


def by_group(part: Dataset, score: Floats, names: Iterable[str], threshold: float) -> list[dict[str, Any]]:
    """Per name, the most frequent first: episodes, how many are false, the mean score, what the threshold would do."""
    keys = np.array(list(names), dtype=object)
    rows = [
        _group(str(name), part.take(at), score[at], threshold)
        for name, at in ((name, np.flatnonzero(keys == name)) for name in sorted(set(keys.tolist())))
    ]
    return sorted(rows, key=lambda row: (-row["episodes"], row["name"]))


def _group(name: str, part: Dataset, score: Floats, threshold: float) -> dict[str, Any]:
    noise, above = part.false_positive, score >= threshold
    return {
        "name": name,
        "episodes": len(part),
        "false": share(int(noise.sum()), len(part)),
        "mean_score": float(score.mean()),
        "suppressed": share(int((above & noise).sum()), int(noise.sum())),
        "hidden": share(int((above & ~noise).sum()), int((~noise).sum())),
    }


def weeks(part: Dataset, score: Floats) -> list[dict[str, Any]]:
    """Per week that holds any, by its Monday (UTC): the share of false positives and how the scores lie."""
    which = np.floor((part.at - MONDAY) / WEEK).astype(int)
    return [
        {
            "from": float(number * WEEK + MONDAY),
            "episodes": len(at),
            "false": share(int(part.false_positive[at].sum()), len(at)),
            "mean_score": float(score[at].mean()),
            "quantiles": {f"{q:g}": float(value) for q, value in zip(QUANTILES, _quantiles(score[at]), strict=True)},
        }
        for number, at in _places(which)
    ]


def label_weeks(proof: Proof) -> list[dict[str, Any]]:
    """Per week, the share of false positives, of what was learned from and what proves it alike."""
    parts = [part.take(part.decided) for part in (proof.train, proof.validation)]
    at, false = (np.concatenate(found) for found in zip(*((p.at, p.false_positive) for p in parts), strict=True))
    return [
        {"from": float(number * WEEK + MONDAY), "false": share(int(false[places].sum()), len(places))}
        for number, places in _places(np.floor((at - MONDAY) / WEEK).astype(int))
    ]


def _places(which: Any) -> Iterator[tuple[int, Places]]:
    for number in np.unique(which).tolist():
        yield number, np.flatnonzero(which == number)


def _quantiles(score: Floats) -> list[float]:
    found: list[float] = np.quantile(score, QUANTILES).tolist()
    return found


def _sample(part: Dataset) -> Dataset:
    """Evenly over time: of millions, a hundred thousand say as much."""
    return part if len(part) <= SAMPLE else part.take(np.linspace(0, len(part) - 1, SAMPLE).astype(int))


def drift(train: Floats, validation: Floats) -> list[dict[str, Any]]:
    """The population stability index of each feature between the parts, the one that moved most first."""
    rows = [
        {"feature": name, "index": stability_index(train[:, at], validation[:, at])} for at, name in enumerate(FEATURES)
    ]
    return sorted(rows, key=lambda row: (-float(str(row["index"])), str(row["feature"])))


def stability_index(before: Floats, after: Floats) -> float:
    """Sum of (b - a) ln(b / a) over the deciles of `before`; by custom under 0.1 is stable, over 0.25 has moved.

    A value that fills a decile alone is a bin of its own; an empty share counts as 0.0001.
    """
    edges = np.unique(np.quantile(before, np.linspace(0, 1, PSI_BINS + 1)[1:-1], method="lower"))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, part, side="left"), minlength=len(edges) + 1) / len(part), _FLOOR)
        for part in (before, after)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def misses(part: Dataset, score: Floats, threshold: float, details: Mapping[str, Detail]) -> list[dict[str, Any]]:
    """Every real episode that the threshold would hide, the highest score first, with where to find it."""
    noise = part.false_positive
    lost: set[int] = set()
    for places in incidents_of(part):
        real = places[~noise[places]]
        if len(real) and score[real].min() >= threshold:
            lost.update(real.tolist())
    hidden = np.flatnonzero((score >= threshold) & ~noise)
    order = hidden[np.argsort(-score[hidden], kind="stable")]
    return [_miss(part, at, float(score[at]), at in lost, details) for at in order.tolist()]


def _miss(part: Dataset, at: int, score: float, lost: bool, details: Mapping[str, Detail]) -> dict[str, Any]:
    episode = str(part.episode[at])
    detail = details.get(episode, Detail())
    return {
        "episode": episode,
        "incident": part.incident[at],
        "alertname": part.alertname[at],
        "severity": part.severity[at],
        "instance": detail.instance,
        "domain": detail.domain,
        "at": float(part.at[at]),
        "score": score,
        "lost": lost,  # with its whole incident
        "links": [{"text": text, "url": url} for text, url in detail.links],
    }
