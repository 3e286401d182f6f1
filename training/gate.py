"""Which models may not serve, and why. The champion stays when there is a reason."""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

import numpy as np

from training.dataset import Dataset
from training.split import Split

LEAST_AUC: Final = 0.6  # under it, labels and observations have next to nothing to do with each other
CALIBRATION_ERROR: Final = 0.12
CONTRADICTION: Final = 0.2  # share of labels against the rest of the same alert in the same incident
ENOUGH_NEIGHBOURS: Final = 30
WORSE: Final = 1.1  # times the champion's log-loss: less is noise
ENOUGH_INCIDENTS: Final = 5  # among what is new, to say that one model is worse than another
BEHIND: Final = 0.02  # nats per episode: less changes no decision
SURE: Final = 2.0  # standard errors: a loss that few incidents account for may be chance
ENOUGH_NEW: Final = 30  # episodes labelled since the champion was made, to compare the two on these alone


def before_fit(dataset: Dataset, parts: Split | None, min_votes: int) -> list[str]:
    """Reasons not even to train."""
    if not len(dataset):
        return ["empty: no voted episode has a stored observation"]
    if len(dataset) < min_votes:
        return [f"too few: {len(dataset)} voted episodes, {min_votes} are needed"]
    if parts is None:
        return []
    if not len(parts.train) or not len(parts.validation):
        return [f"empty: the {'validation' if len(parts.train) else 'training'} part"]
    noise = int(dataset.false_positive[parts.train].sum())
    if noise in {0, len(parts.train)}:
        return [f"one class: the training part holds {'false positives' if noise else 'real alerts'} only"]
    return []


def untrusted(dataset: Dataset) -> list[str]:
    """Reasons not to believe the labels: then nothing is learned or proven from them."""
    contradicted, neighbours = contradiction(dataset)
    if neighbours < ENOUGH_NEIGHBOURS or contradicted <= CONTRADICTION:
        return []
    return [
        f"poisoned: {contradicted:.0%} of {neighbours} labels contradict the others of the same alert in the same incident"
    ]


def after_fit(metrics: dict[str, Any], champion: dict[str, Any] | None) -> list[str]:
    """Reasons not to promote: `metrics` of `evaluate` on the validation part; `champion` is the same of what serves now
    on what is newer than all that it has learned from, with our `challenger` there, and how far it is `behind`.
    """
    reasons = []
    auc, error = metrics.get("roc_auc"), metrics["calibration_error"]
    chance = 0.5 / sqrt(max(1, metrics["incidents_real"]))  # few incidents are ranked well or badly by luck
    if auc is not None and auc + chance < LEAST_AUC:
        reasons.append(f"poisoned or hopeless: a false positive outscores a real alert in {auc:.0%} of pairs only")
    allowed = CALIBRATION_ERROR + 1.0 / sqrt(max(1, metrics["incidents"]))
    better = champion is not None and champion["challenger"]["calibration_error"] < champion["calibration_error"]
    if error > allowed and not better:
        reasons.append(
            f"calibration is off by {error:.2f}, at most {allowed:.2f} with {metrics['incidents']} incidents"
        )
    if champion is not None and _worse(champion):
        loss, old = champion["challenger"]["log_loss"], champion["log_loss"]
        reasons.append(f"worse than the champion on the newest episodes: log-loss {loss:.4f} against {old:.4f}")
    return reasons


def _worse(champion: dict[str, Any]) -> bool:
    behind, loss = champion["behind"], champion["challenger"]["log_loss"]
    if behind["incidents"] < ENOUGH_INCIDENTS:
        return False
    return bool(loss > WORSE * champion["log_loss"] and behind["log_loss"] > max(BEHIND, SURE * behind["error"]))


def warnings(metrics: dict[str, Any], miss_budget: float) -> list[str]:
    """What a person should know of a model that may serve: a fixed threshold is not made safe by a good ranking."""
    at = metrics.get("at_threshold")
    if at is None or at["real_hidden"]["low"] <= miss_budget:
        return []
    hidden = at["real_hidden"]
    said = (
        f"{hidden['hits']} of {hidden['trials']} real alerts score {at['threshold']:.2f} or more, at least"
        f" {hidden['low']:.0%} of all: more than the miss budget of {miss_budget:.0%}."
        " `mode: ladder` suppresses only what earned it; `mode: auto` would hide these"
    )
    return [said]


def contradiction(dataset: Dataset) -> tuple[float, int]:
    """(share, number) of labels that differ from the majority of the others of their incident and alertname.

    What is true of an alert is mostly true of it an hour later: labels flipped at random show up here first.
    """
    groups: dict[tuple[str, str], list[float]] = {}
    false = dataset.false_positive  # made once: it is another array each time it is asked for
    for place in dataset.decided:
        if dataset.incident[place]:
            key = (dataset.incident[place], dataset.alertname[place])
            groups.setdefault(key, []).append(float(false[place]))
    against = total = 0
    for found in groups.values():
        if len(found) < 3:
            continue
        noise = np.array(found)
        others = (noise.sum() - noise) / (len(noise) - 1)
        clear = others != 0.5
        against += int(((others > 0.5) != (noise > 0.5))[clear].sum())
        total += int(clear.sum())
    return (against / total if total else 0.0), total
