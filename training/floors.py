"""Score floors of single alertnames (`feedback_loop.automation.auto_tune_thresholds`): what their own votes prove.

`confidence_threshold` is the score from which anything may be kept back at all. An alertname with enough judged episodes
gets a floor of its own instead: the lowest score at and above which its episodes were false often enough, with the lower
Clopper-Pearson bound at CONFIDENCE. The bound counts incidents, since alerts of one are not independent: an incident is
real when any of its episodes at or above the score is, and a disputed one counts as real. An alertname without such a
score is told whatever it scores, unless its incidents are so few that none of them being real would prove nothing. What the certificate has not proven over all alertnames stays out of reach: it is walked
down to `lowest` for this, and a floor below the certified threshold counts as that threshold.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from msgspec.structs import replace

from models.certificate import Certificate
from models.evidence import upper_bound
from sidecar.config import Config
from training.dataset import DISPUTED, Dataset, Floats

CONFIDENCE: Final = 0.9
SINCE: Final = 60 * 86400.0  # s: how far back votes count, as on the ladder
STEP: Final = 0.01
NEVER: Final = 2.0  # no score is as high


class Tuning(NamedTuple):
    """`required` is the share of false ones that the bound has to reach, `lowest` the least floor."""

    required: float
    min_samples: int
    lowest: float


def tuning(config: Config) -> Tuning | None:
    """As configured; None when thresholds do not follow the votes."""
    found = config.auto_tune
    if found is None:
        return None
    return Tuning(
        found.confidence_required, found.min_samples, min(config.holding.min_score, config.confidence_threshold)
    )


def find(data: Dataset, now: float, wanted: Tuning) -> dict[str, Any]:
    """By alertname with enough judged episodes that a trained model scored, as JSON values: `floor` (None: no score
    proves it), `samples`, and of what is at or above it the `incidents`, the `noise` among them and the `bound`.
    """
    usable = data.trained & ~np.isnan(data.served) & (data.at > now - SINCE) & (data.at <= now)
    places: dict[str, list[int]] = {}
    for place in np.flatnonzero(usable).tolist():
        places.setdefault(str(data.alertname[place]), []).append(place)
    parts = {
        name: data.take(np.array(those, dtype=np.intp))
        for name, those in sorted(places.items())
        if name and len(those) >= wanted.min_samples
    }
    return {name: _floor(part, wanted) for name, part in parts.items() if _enough(part, wanted)}


def applied(certificate: Certificate, found: dict[str, Any], usual: float) -> Certificate:
    """The certificate with these floors; `usual` is the confidence_threshold, under which nothing uncertified goes."""
    certified = certificate.hold.threshold
    hard = usual if certified is None else certified
    own = {name: NEVER if one["floor"] is None else max(hard, one["floor"]) for name, one in found.items()}
    return replace(certificate, floors=own)


def _enough(part: Dataset, wanted: Tuning) -> bool:
    """Could its incidents prove a floor, were all of them noise?"""
    return 1.0 - upper_bound(0, len(_highest(part)[0]), CONFIDENCE) >= wanted.required


def _floor(part: Dataset, wanted: Tuning) -> dict[str, Any]:
    every, real = _highest(part)
    floors = [round(wanted.lowest + step * STEP, 6) for step in range(round((1.0 - wanted.lowest) / STEP))]
    tried = [_above(every, real, least) for least in floors]
    for least, counted in zip(floors, tried, strict=True):
        if counted["bound"] >= wanted.required:
            return {"floor": least, "samples": len(part), **counted}
    return {"floor": None, "samples": len(part), **_above(every, real, wanted.lowest)}


def _above(every: Floats, real: Floats, least: float) -> dict[str, Any]:
    """What the incidents at or above a score say."""
    trials, bad = int((every >= least).sum()), int((real >= least).sum())
    bound = 1.0 - upper_bound(bad, trials, CONFIDENCE)
    return {"incidents": trials, "noise": trials - bad, "bound": bound}


def _highest(part: Dataset) -> tuple[Floats, Floats]:
    """(of each incident, of its real episodes) the highest score: at or above a lower one it counts, and as real."""
    every: dict[str, float] = {}
    real: dict[str, float] = {}
    for place, (incident, score) in enumerate(zip(part.incident.tolist(), part.served.tolist(), strict=True)):
        name = incident or f"alone {place}"
        every[name] = max(score, every.get(name, 0.0))
        if part.label[place] <= DISPUTED:
            real[name] = max(score, real.get(name, 0.0))
    return np.array(list(every.values()), dtype=np.float64), np.array(list(real.values()), dtype=np.float64)
