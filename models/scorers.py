"""Observation -> probability of false positive. One protocol, two scorers: the cold-start heuristic and LightGBM."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from models.features import FEATURES

if TYPE_CHECKING:
    from models.artifact import Artifact

Row = tuple[float, ...]

_AT: Final = {name: place for place, name in enumerate(FEATURES)}
_VOTED: Final = tuple(  # from the nearest to the widest: share of false votes, their number
    (_AT[f"{name}_false_share"], _AT[f"{name}_votes"]) for name in ("fingerprint", "pattern", "name")
)
_QUICK: Final = (_AT["fingerprint_quick_share"], _AT["name_quick_share"])
_FLAPS: Final = _AT["fingerprint_starts_1h"]
UNPROVEN_LIMIT: Final = 0.8  # without a vote, or with one that said real, the heuristic only ranks
PRIOR_VOTES: Final = 1.2  # votes that what is known without votes counts for: five false ones pass 0.85, four do not
PRIOR_GUESS: Final = 0.35
UNDISPUTED: Final = 0.999


class Scorer(Protocol):
    """What the pipeline scores with."""

    @property
    def version(self) -> str: ...

    def score(self, rows: Sequence[Row]) -> list[float]:
        """Probability of false positive, 0 to 1, of each row of `models.features.vector`."""
        ...


class ColdStart:
    """Smoothed share of false votes over what clears by itself and flaps; serves before the first promotion."""

    version = "cold-start"

    def score(self, rows: Sequence[Row]) -> list[float]:
        return [_cold(row) for row in rows]


def _cold(row: Row) -> float:
    quick = next((row[place] for place in _QUICK if row[place] >= 0.0), 0.4)
    guess = max(0.0, min(UNPROVEN_LIMIT, 0.15 + 0.45 * quick + 0.05 * min(4.0, row[_FLAPS])))
    votes, false, disputed = 0.0, 0.0, False
    for share, number in _VOTED:
        if row[number] > 0.0:
            disputed = disputed or row[share] < UNDISPUTED
        if row[number] > votes:
            votes, false = row[number], row[share] * row[number]
    if votes <= 0.0:
        return guess
    score = (false + PRIOR_VOTES * min(guess, PRIOR_GUESS)) / (votes + PRIOR_VOTES)
    return max(0.0, min(UNPROVEN_LIMIT if disputed else 0.99, score))


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
