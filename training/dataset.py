"""Stored decisions joined with labels: what a model learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.features import FEATURES
from sidecar.domain import CRITICAL, severity_rank
from sidecar.state import TRAINED
from training.labels import Label, Vote, labels

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Guard = Callable[[Mapping[str, str], str], bool]

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
    score: float | None = None  # as it served
    started: float = 0.0
    ended: float | None = None
    labels: Mapping[str, str] = {}
    told: bool = True  # by this decision or a later one


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
    instance: npt.NDArray[Any]  # its label, else the episode itself
    served: Floats  # the score that served at the decision, NaN for none
    trained: npt.NDArray[np.bool_]  # whether a trained model of ours said it
    started: Floats
    ended: Floats  # NaN while it fires
    drawn: Floats  # probability with which the audit sample let it be told, and so voted on; 1 for what it did not draw
    guarded: npt.NDArray[np.bool_]  # told whatever its score
    episode: npt.NDArray[Any]
    propensity: Floats  # as stored: below DISPUTED drawn by the audit sample, from there to 1 kept back though it might have been
    told: npt.NDArray[np.bool_]  # by the first decision or a later one
    skipped: int = 0  # labelled, but with the observation of other features
    kept_since: float = inf  # when the audit sample first drew among what was kept back, labelled or not
    chance: float = 1.0  # the least with which it drew

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
            self.instance[places],
            self.served[places],
            self.trained[places],
            self.started[places],
            self.ended[places],
            self.drawn[places],
            self.guarded[places],
            self.episode[places],
            self.propensity[places],
            self.told[places],
            self.skipped,
            self.kept_since,
            self.chance,
        )

    @property
    def false_positive(self) -> npt.NDArray[np.bool_]:
        return self.label > DISPUTED

    @property
    def decided(self) -> Places:
        """Where people agree enough to count it as one or the other."""
        return np.flatnonzero(self.label != DISPUTED)

    def observe(self, function: Callable[[Floats], Any]) -> npt.NDArray[Any]:
        """What `function` makes of `x`, one entry per episode. It must make the same of each row wherever it stands."""
        found: npt.NDArray[Any] = function(self.x)
        return found

    @property
    def together(self) -> Floats:
        """How many of these episodes are of the same incident, itself included: alerts of one say much the same."""
        names, places, sizes = np.unique(self.incident.astype(str), return_inverse=True, return_counts=True)
        found: Floats = np.where((names == "")[places], 1.0, sizes[places])
        return found

    def content_hash(self) -> str:
        """Of everything that a model can see."""
        content = hashlib.sha256()
        for piece in self._observed():
            content.update(piece)
        for array in (self.label, self.weight, self.at, self.known_at):
            content.update(np.ascontiguousarray(array).tobytes())
        content.update("\n".join(self.incident.tolist()).encode())
        return content.hexdigest()

    def _observed(self) -> Iterable[bytes]:
        return (np.ascontiguousarray(self.x).tobytes(),)

    def undrawn(self) -> Dataset:
        """As it is when telling decides nothing about voting."""
        weight = self.weight * np.maximum(self.drawn, 1.0 / CLIP)
        return replace(self, weight=weight, drawn=np.ones(len(self)), kept_since=inf, chance=1.0)


class Proof(NamedTuple):
    """What a run was judged by: `score` has one entry per episode of `validation`, from a model that did not see it."""

    train: Dataset
    validation: Dataset
    score: Floats


def always_told(_: Mapping[str, str], severity: str) -> bool:
    """The guard as it is by default."""
    return severity_rank(severity) >= CRITICAL


def build(
    rows: Iterable[Sequence[Any]],
    votes: Iterable[Vote],
    guarded: Guard = always_told,
    *,
    all_told: bool | None = None,
) -> Dataset:
    """Rows are as `Row`, votes as `labels.Vote`; only the first row of each episode counts.

    `guarded` says of labels and severity whether an alert is told whatever its score. `all_told` is for rows that are a
    part of all there are: whether people were told of each of these.
    """
    return assemble(rows, labels(votes), guarded, all_told=all_told)


def assemble(
    rows: Iterable[Sequence[Any]], given: Mapping[str, Label], guarded: Guard, *, all_told: bool | None = None
) -> Dataset:
    """`build`, of labels by episode."""
    first: dict[str, Row] = {}
    open_to_draw: list[tuple[float, float]] = []
    for row in (Row(*each) for each in rows):
        if row.propensity < 1.0:
            open_to_draw.append((row.at, row.propensity))
        known = first.get(row.episode)
        if row.episode in given and row.observation and (known is None or row.at < known.at):
            first[row.episode] = row
    usable = [row for row in first.values() if len(row.observation) == len(FEATURES)]
    usable.sort(key=lambda row: (row.at, row.episode))
    found = [given[row.episode] for row in usable]
    every = all(row.told for row in usable) if all_told is None else all_told
    drawn, (kept_since, chance) = _drawn(usable, every), kept(open_to_draw, every)
    shares = [1.0 / max(chance, 1.0 / CLIP) for chance in drawn]
    nothing = float("nan")
    return Dataset(
        x=_floats([row.observation for row in usable]).reshape(len(usable), len(FEATURES)),
        label=_floats([label.value for label in found]),
        weight=_floats([label.weight * share for label, share in zip(found, shares, strict=True)]),
        at=_floats([row.at for row in usable]),
        known_at=_floats([label.at for label in found]),
        incident=_words([row.incident for row in usable]),
        severity=_words([row.severity for row in usable]),
        alertname=_words([row.alertname for row in usable]),
        instance=_words([row.labels.get("instance") or row.episode for row in usable]),
        served=_floats([nothing if row.score is None else row.score for row in usable]),
        trained=np.array([row.model.startswith(TRAINED) for row in usable], dtype=np.bool_),
        started=_floats([row.started or row.at for row in usable]),
        ended=_floats([nothing if row.ended is None else row.ended for row in usable]),
        drawn=_floats(drawn),
        guarded=np.array([guarded(row.labels, row.severity) for row in usable], dtype=np.bool_),
        episode=_words([row.episode for row in usable]),
        propensity=_floats([row.propensity for row in usable]),
        told=np.array([row.told for row in usable], dtype=np.bool_),
        skipped=len(first) - len(usable),
        kept_since=kept_since,
        chance=chance,
    )


def _drawn(rows: Sequence[Row], all_told: bool) -> list[float]:
    """The chance of each row to be voted on: below 1 for what only the audit sample told.

    Where what nobody was told of has votes too, telling decides nothing about voting.
    """
    if not all_told:
        return [1.0 for _ in rows]
    return [row.propensity if row.propensity < DISPUTED else 1.0 for row in rows]


def kept(open_to_draw: Sequence[tuple[float, float]], all_told: bool) -> tuple[float, float]:
    """(since when, least chance) that what was kept back is seen only when it is drawn; (inf, 1) when it never was.

    Nothing was hidden before the first alert was kept back. Where only what was drawn is on record, nobody knows when
    that was: then nothing counts as fully seen. `open_to_draw` has (at, propensity) of all that is not told for sure.
    """
    if not open_to_draw or not all_told:
        return inf, 1.0
    hidden = [at for at, propensity in open_to_draw if propensity >= DISPUTED]
    chances = (propensity if propensity < DISPUTED else 1.0 - propensity for _, propensity in open_to_draw)
    return (min(at for at, _ in open_to_draw) if hidden else -inf), min(chances)


def _floats(values: Sequence[Any]) -> Floats:
    return np.array(values, dtype=np.float64)


def _words(values: Sequence[str]) -> npt.NDArray[Any]:
    return np.array(values, dtype=object)
