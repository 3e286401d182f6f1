"""Raw scores -> probabilities: Platt's sigmoid, two numbers that a text file can hold."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.dataset import DISPUTED, Floats

STEPS: Final = 100
ENOUGH_REAL: Final = 20  # real incidents, with fewer of which a calibration makes no score higher
LEAST_SLOPE: Final = 0.05  # a falling sigmoid would turn the order of scores round
FOLDS: Final = 2
CAUTION: Final = 1.0  # weight of the belief that raw scores are log-odds already: what few labels fall back to
CAREFUL: Final = 30.0  # the same over the scores of a model that knows what a probability is; in incidents


def platt(raw: Floats, label: Floats, weight: Floats, caution: float = CAUTION) -> tuple[float, float]:
    """(slope, offset) with the least log-loss, near (1, 0) when there is little to learn from; Newton's method.

    Labels are pulled in as Platt has it, (n + 1) / (n + 2) of their class, so that certainty needs numbers.
    """
    noise = float((weight * label).sum())
    real = float((weight * (1.0 - label)).sum())
    target = label * (noise + 1.0) / (noise + 2.0) + (1.0 - label) / (real + 2.0)
    x = np.column_stack([raw, np.ones_like(raw)])
    start = np.array([1.0, 0.0])
    found = start.copy()
    penalty = caution * np.eye(2)
    for _ in range(STEPS):
        p = probability(raw, float(found[0]), float(found[1]))
        gradient = x.T @ (weight * (p - target)) + penalty @ (found - start)
        curvature = (x * (weight * p * (1.0 - p))[:, None]).T @ x + penalty
        step = np.linalg.solve(curvature, gradient)
        found = found - step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < 1e-10:
            break
    if found[0] >= LEAST_SLOPE:
        return float(found[0]), float(found[1])
    share = float(np.average(target, weights=weight))  # the offset of a slope that falls is of no use to another one
    return LEAST_SLOPE, float(np.log(share / (1.0 - share)) - LEAST_SLOPE * np.average(raw, weights=weight))


def careful(raw: Floats, label: Floats, weight: Floats, incident: np.ndarray) -> tuple[float, float]:
    """Platt's sigmoid over the scores of a model that is near probabilities already.

    With few real incidents it may only take back certainty: a quiet week must not make everything noise.
    """
    slope, offset = platt(raw, label, weight, CAREFUL)
    real = len(set(incident[label < DISPUTED].tolist()))
    return (slope, offset) if real >= ENOUGH_REAL else (min(1.0, slope), min(0.0, offset))


def probability(raw: Floats, slope: float, offset: float) -> Floats:
    """The sigmoid of `models.scorers`, on arrays."""
    p: Floats = 1.0 / (1.0 + np.exp(-np.clip(slope * raw + offset, -60.0, 60.0)))
    return p


def log_odds(p: Floats) -> Floats:
    """The raw scores that probabilities stand for."""
    clipped = np.clip(p, 1e-12, 1.0 - 1e-12)
    raw: Floats = np.log(clipped / (1.0 - clipped))
    return raw


def held_out(raw: Floats, label: Floats, weight: Floats, groups: np.ndarray) -> Floats:
    """Probabilities of a calibration that has not seen the row: fitted on the other half of the `groups` (incidents)."""
    names = {name: n % FOLDS for n, name in enumerate(dict.fromkeys(groups.tolist()))}
    fold = np.array([names[name] for name in groups.tolist()])
    out = np.empty_like(raw)
    for each in range(FOLDS):
        rest = fold != each
        slope, offset = careful(raw[rest], label[rest], weight[rest], groups[rest]) if rest.any() else (1.0, 0.0)
        out[~rest] = probability(raw[~rest], slope, offset)
    return out
