"""How good the scores are, on episodes that the model has not seen."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from training.audit import Case, tally, untold_share
from training.dataset import DISPUTED, Dataset, Floats, Places

RECALLS: Final = (0.99, 0.98, 0.95)
BINS: Final = 10
CONFIDENCE: Final = 0.95
DRAWN: Final = 0.5  # a verdict with a lower propensity was drawn by the audit sample
_LEAST = 1e-6  # a certain and wrong score costs a finite loss


def evaluate(
    dataset: Dataset, score: Floats, *, threshold: float, recalls: tuple[float, ...] = RECALLS
) -> dict[str, Any]:
    """Metrics of `score` (probability of false positive) against the labels, in all and by severity; JSON values.

    Disputed labels count in the losses only. Suppressed means: the score lies above the threshold that keeps the recall
    of real alerts, chosen in hindsight, so it ranks models and promises nothing.
    """
    decided = dataset.decided
    part, scores = dataset.take(decided), score[decided]
    severities = sorted(set(part.severity.tolist()))
    return {
        "log_loss": log_loss(dataset, score),
        "calibration_error": calibration_error(dataset, score),
        **_ranking(part, scores, threshold, recalls),
        "by_severity": {
            name: _ranking(part.take(at), scores[at], threshold, recalls)
            for name, at in ((name, np.flatnonzero(part.severity == name)) for name in severities)
        },
    }


def audited(dataset: Dataset) -> dict[str, Any]:
    """What the audit sample says of what the scores kept back.

    `alerts` and `incidents`: of those drawn, the share that was real. `missed`: of all real clusters, the share that
    nobody was told of. `reduction`: of all false ones, the share that interrupted nobody. See `training.audit`.
    """
    drawn = np.flatnonzero(dataset.drawn < DRAWN)
    real = dataset.label[drawn] < DISPUTED
    names: dict[str, bool] = {}
    for name, is_real in zip(dataset.incident[drawn].tolist(), real.tolist(), strict=True):
        names[name] = names.get(name, False) or is_real
    real_ones, false_ones = _cases(dataset)
    chances = [] if dataset.chance >= 1.0 else [dataset.chance]
    return {
        "alerts": share(int(real.sum()), len(drawn)),
        "incidents": share(sum(names.values()), len(names)),
        "missed": untold_share(tally(real_ones, chances)),
        "reduction": untold_share(tally(false_ones, chances)),
    }


def _cases(dataset: Dataset) -> tuple[list[Case], list[Case]]:
    """(real, false) incidents; a real alert makes its incident real. Rows are in the order of time."""
    mine: dict[str, list[int]] = {}
    for place in np.flatnonzero(dataset.label != DISPUTED).tolist():
        mine.setdefault(str(dataset.incident[place]), []).append(place)
    found: tuple[list[Case], list[Case]] = ([], [])
    for places in mine.values():
        first, propensity = places[0], float(dataset.propensity[places[0]])
        drawn = propensity < DRAWN
        open_to_draw = propensity < 1.0 and dataset.chance < 1.0  # where all has votes, nothing needs to be estimated
        chance = (propensity if drawn else 1.0 - propensity) if open_to_draw else 1.0
        told = bool(dataset.told[places].any())
        is_false = bool((dataset.label[places] > DISPUTED).all())
        found[is_false].append(Case(str(dataset.instance[first]), float(dataset.at[first]), chance, drawn, told))
    return found


def log_loss(dataset: Dataset, score: Floats) -> float | None:
    """Weighted cross-entropy per episode, in nats."""
    return float(np.average(_losses(dataset, score), weights=dataset.weight)) if len(dataset) else None


def behind(dataset: Dataset, score: Floats, other: Floats) -> dict[str, float]:
    """How much more `score` loses than `other`, in nats per episode, and the standard error: of incidents, since the
    alerts of one are right or wrong together.
    """
    more = (_losses(dataset, score) - _losses(dataset, other)) * dataset.weight / dataset.weight.sum()
    names = np.where(dataset.incident == "", dataset.episode, dataset.incident).astype(str)
    _, places = np.unique(names, return_inverse=True)
    sums = np.bincount(places, weights=more)
    error = float(np.sqrt(len(sums) * sums.var(ddof=1))) if len(sums) > 1 else 0.0
    return {"log_loss": float(sums.sum()), "error": error, "incidents": float(len(sums))}


def _losses(dataset: Dataset, score: Floats) -> Floats:
    p = np.clip(score, _LEAST, 1.0 - _LEAST)
    losses: Floats = -(dataset.label * np.log(p) + (1.0 - dataset.label) * np.log(1.0 - p))
    return losses


def calibration_error(dataset: Dataset, score: Floats) -> float | None:
    """Expected |share of false positives - score|, over ten bins of equal width."""
    if not len(dataset):
        return None
    which = np.clip((score * BINS).astype(int), 0, BINS - 1)
    gaps = (
        abs(float(dataset.label[which == each].mean() - score[which == each].mean())) * float((which == each).mean())
        for each in np.unique(which)
    )
    return float(sum(gaps))


def _ranking(part: Dataset, score: Floats, threshold: float, recalls: tuple[float, ...]) -> dict[str, Any]:
    noise = part.false_positive
    real, false = np.flatnonzero(~noise), np.flatnonzero(noise)
    found: dict[str, Any] = {
        "episodes": len(part),
        "false_positives": len(false),
        "real": len(real),
        "incidents": len(set(part.incident.tolist())),
        "incidents_real": len({name for name in part.incident[real].tolist() if name}),
    }
    if not len(real) or not len(false):
        return found
    from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: PLC0415 -- seconds of import

    above = score >= threshold
    hits = int((above & noise).sum())
    found["roc_auc"] = float(roc_auc_score(noise, score))
    found["pr_auc"] = float(average_precision_score(noise, score))
    found["pr_auc_real"] = float(average_precision_score(~noise, 1.0 - score))
    found["at_threshold"] = {
        "threshold": threshold,
        "precision": share(hits, int(above.sum())),
        "recall": share(hits, len(false)),
        "real_hidden": share(int((above & ~noise).sum()), len(real)),
    }
    found["suppressed"] = {f"{recall:g}": _suppressed(score, real, false, recall) for recall in recalls}
    return found


def _suppressed(score: Floats, real: Places, false: Places, recall: float) -> dict[str, Any]:
    """False positives strictly above the threshold that keeps `recall` of the real alerts."""
    highest = np.sort(score[real])[::-1]
    may_lose = int(np.floor((1.0 - recall) * len(highest) + 1e-9))
    threshold = float(highest[may_lose]) if may_lose < len(highest) else -np.inf
    return {
        "threshold": threshold,
        "false_positives": share(int((score[false] > threshold).sum()), len(false)),
        "real_hidden": share(int((score[real] > threshold).sum()), len(real)),
    }


def share(hits: int, trials: int) -> dict[str, Any]:
    """A share with its two-sided Clopper-Pearson bounds at 95 %; nothing is known from no trials."""
    if trials == 0:
        return {"share": None, "low": 0.0, "high": 1.0, "hits": 0, "trials": 0}
    from scipy.stats import beta  # noqa: PLC0415 -- seconds of import

    tail = (1.0 - CONFIDENCE) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(1.0 - tail, hits + 1, trials - hits))
    return {"share": hits / trials, "low": low, "high": high, "hits": hits, "trials": trials}
