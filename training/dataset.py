"""Stored decisions joined with labels: what a model learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.features import FEATURES
from training.labels import Vote, labels

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

CLIP: Final = 10.0  # most that an inverse propensity may weigh: one audited alert is no stand-in for twenty
DISPUTED: Final = 0.5  # a label that is neither


class Row(NamedTuple):
    """The first decision on an episode."""

    episode: str
    incident: str
    at: float
    severity: str
    alertname: str
    observation: Sequence[float]
    model: str
    propensity: float


@dataclass(frozen=True)
class Dataset:
    """Labelled episodes in the order of time: every array has one entry (of `x`: one row) per episode."""

    x: Floats
    label: Floats  # 0 real to 1 false positive
    weight: Floats
    at: Floats  # of the decision
    known_at: Floats  # of the newest vote
    incident: npt.NDArray[Any]
    severity: npt.NDArray[Any]
    alertname: npt.NDArray[Any]
    episode: npt.NDArray[Any]
    skipped: int = 0  # labelled, but with the observation of other features

    def __len__(self) -> int:
        return len(self.label)

    def take(self, places: Places) -> Dataset:
        return Dataset(
            self.x[places],
            self.label[places],
            self.weight[places],
            self.at[places],
            self.known_at[places],
            self.incident[places],
            self.severity[places],
            self.alertname[places],
            self.episode[places],
            self.skipped,
        )

    @property
    def false_positive(self) -> npt.NDArray[np.bool_]:
        return self.label > DISPUTED

    @property
    def decided(self) -> Places:
        """Where people agree enough to count it as one or the other."""
        return np.flatnonzero(self.label != DISPUTED)

    def content_hash(self) -> str:
        """Of everything that a model can see."""
        content = hashlib.sha256()
        for array in (self.x, self.label, self.weight, self.at, self.known_at):
            content.update(np.ascontiguousarray(array).tobytes())
        content.update("\n".join(self.incident.tolist()).encode())
        return content.hexdigest()


class Proof(NamedTuple):
    """What a run was judged by: `score` has one entry per episode of `validation`, from a model that did not see it."""

    train: Dataset
    validation: Dataset
    score: Floats


def build(rows: Iterable[Sequence[Any]], votes: Iterable[Vote]) -> Dataset:
    """Rows are as `Row`, votes as `labels.Vote`; only the first row of each episode counts."""
    given = labels(votes)
    first: dict[str, Row] = {}
    for row in map(Row._make, rows):
        known = first.get(row.episode)
        if row.episode in given and row.observation and (known is None or row.at < known.at):
            first[row.episode] = row
    usable = [row for row in first.values() if len(row.observation) == len(FEATURES)]
    usable.sort(key=lambda row: (row.at, row.episode))
    found = [given[row.episode] for row in usable]
    shares = [1.0 / max(row.propensity, 1.0 / CLIP) for row in usable]
    return Dataset(
        x=np.array([row.observation for row in usable], dtype=np.float64).reshape(len(usable), len(FEATURES)),
        label=np.array([label.value for label in found], dtype=np.float64),
        weight=np.array([label.weight * share for label, share in zip(found, shares, strict=True)], dtype=np.float64),
        at=np.array([row.at for row in usable], dtype=np.float64),
        known_at=np.array([label.at for label in found], dtype=np.float64),
        incident=np.array([row.incident for row in usable], dtype=object),
        severity=np.array([row.severity for row in usable], dtype=object),
        alertname=np.array([row.alertname for row in usable], dtype=object),
        episode=np.array([row.episode for row in usable], dtype=object),
        skipped=len(first) - len(usable),
    )
