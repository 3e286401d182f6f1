"""Observation -> probability of false positive. One protocol, two scorers: the cold-start heuristic and LightGBM."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import exp, log, tanh
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from models.features import FEATURES

if TYPE_CHECKING:
    from models.artifact import Artifact
    from models.prior import Prior

Row = tuple[float, ...]

_AT: Final = {name: place for place, name in enumerate(FEATURES)}
_VOTED: Final = tuple(  # from the nearest to the widest: share of false votes, their number
    (_AT[f"{name}_false_share"], _AT[f"{name}_votes"]) for name in ("fingerprint", "pattern", "name")
)
_QUICK: Final = (_AT["fingerprint_quick_share"], _AT["name_quick_share"])
_FLAPS: Final = _AT["fingerprint_starts_1h"]
UNPROVEN_LIMIT: Final = 0.8  # without a vote, or with one that said real, the heuristic only ranks
UNDISPUTED: Final = 0.999
CERTAIN: Final = 0.99  # never more than that

# Votes are counted on top of a few imagined ones, and the score is the log-odds of the two counts, moved by what the
# behaviour says. Undisputed votes shrink that by the square of their share, so that five false ones pass 0.85, and four
# do not, whatever the behaviour; with REACH up to 1.42 one more vote always moves the score its own way.
IMAGINED: Final = 1.2
IMAGINED_FALSE: Final = 0.3 * IMAGINED
REACH: Final = 1.4  # log-odds that the behaviour may move a score by


class Scorer(Protocol):
    """What the pipeline scores with."""

    @property
    def version(self) -> str: ...

    def score(self, rows: Sequence[Row]) -> list[float]:
        """Probability of false positive, 0 to 1, of each row of `models.features.vector`."""
        ...


class ColdStart:
    """What votes say, moved by how the alert behaves: as the prior knows it, else by a rule of thumb. Serves before the
    first promotion.
    """

    version = "cold-start"

    def __init__(self, prior: Prior | None = None) -> None:
        self._prior = prior

    def score(self, rows: Sequence[Row]) -> list[float]:
        behaviour = [_thumb(row) for row in rows] if self._prior is None else self._prior.log_odds(rows).tolist()
        return [_cold(row, odds) for row, odds in zip(rows, behaviour, strict=True)]


def _cold(row: Row, behaviour: float) -> float:
    votes, false, disputed = 0.0, 0.0, False
    for share, number in _VOTED:
        if row[number] > 0.0:
            disputed = disputed or row[share] < UNDISPUTED
        if row[number] > votes:
            votes, false = row[number], row[share] * row[number]
    said = log((false + IMAGINED_FALSE) / (votes - false + IMAGINED - IMAGINED_FALSE))
    moved = REACH * tanh(behaviour / REACH)
    if disputed:  # scaled, not cut: what is disputed still has an order
        return UNPROVEN_LIMIT * _probability(said + moved)
    return min(CERTAIN, _probability(said + moved * (IMAGINED / (IMAGINED + votes)) ** 2))


def _thumb(row: Row) -> float:
    """Log-odds of false positive of what clears by itself and flaps."""
    quick = next((row[place] for place in _QUICK if row[place] >= 0.0), 0.4)
    return log_odds(max(0.0, min(UNPROVEN_LIMIT, 0.15 + 0.45 * quick + 0.05 * min(4.0, row[_FLAPS]))))


def _probability(raw: float) -> float:
    return 1.0 / (1.0 + exp(-raw))


class LightGBMScorer:
    """A promoted artifact. One thread, numpy only: pandas costs milliseconds a call."""

    def __init__(self, artifact: Artifact) -> None:
        import lightgbm  # noqa: PLC0415 - heavy, and needs libgomp: only where a model serves

        self.version = artifact.version
        self._booster: Any = lightgbm.Booster(model_str=artifact.model)
        self._slope, self._offset = artifact.slope, artifact.offset

    def score(self, rows: Sequence[Row]) -> list[float]:
        return calibrated(self.raw(_matrix(rows)), self._slope, self._offset)

    def raw(self, matrix: Any) -> Any:
        """Log-odds before the calibration, one for each row of an array of doubles."""
        return self._booster.predict(matrix, raw_score=True, num_threads=1)

    @property
    def trees(self) -> int:
        return int(self._booster.num_trees())

    def contributions(self, rows: Sequence[Row]) -> list[Row]:
        """SHAP values per feature (2 ms a row: never before the ack), in the order of FEATURES."""
        values = self._booster.predict(_matrix(rows), pred_contrib=True, num_threads=1)
        return [tuple(row[:-1]) for row in values.tolist()]


_PACK: Final = struct.Struct(f"={len(FEATURES)}d").pack


def _matrix(rows: Sequence[Row]) -> Any:
    """The rows as an array of doubles: packed and read back in a third of the time that numpy takes for tuples."""
    return np.frombuffer(b"".join([_PACK(*row) for row in rows])).reshape(len(rows), len(FEATURES))


def calibrated(raw: Any, slope: float, offset: float) -> list[float]:
    """Platt's sigmoid over raw scores."""
    return (1.0 / (1.0 + np.exp(-np.clip(slope * raw + offset, -60.0, 60.0)))).tolist()  # type: ignore[no-any-return]


def log_odds(probability: float) -> float:
    """The raw score that an uncalibrated probability stands for."""
    clipped = min(1 - 1e-9, max(1e-9, probability))
    return log(clipped / (1 - clipped))


__all__ = ["ColdStart", "LightGBMScorer", "Scorer", "calibrated", "log_odds"]
