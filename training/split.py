"""Old episodes to learn from, the newest to prove it: never the other way round, and no incident on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from training.dataset import Dataset, Places

NEWEST: Final = 0.2  # share of the episodes that validate
SMALL: Final = 500  # up to so many episodes, a split by time with one class on a side gives way to one by class
KEEP: Final = 0.5  # the label delay takes at most this share of what could be learned from


@dataclass(frozen=True)
class Split:
    train: Places
    validation: Places
    method: str  # "by time", or how it gave way
    late: int  # episodes left out of training, since their labels came when validation had begun


def split(dataset: Dataset) -> Split:
    """The newest fifth of the episodes, whole incidents, validates; the rest trains as far as known by then.

    A quiet week is no reason not to learn: many episodes may validate with one class only, few are split by class.
    """
    everything = np.arange(len(dataset))
    train, validation = _by_incident(dataset, everything, NEWEST)
    if _both_classes(dataset, train) and (_both_classes(dataset, validation) or len(dataset) > SMALL):
        return _without_late(dataset, train, validation)
    if len(dataset) > SMALL:
        return Split(train, validation, "by time", 0)
    for method, cut in (
        ("by time within each class", _by_incident),
        ("by time within each class, incidents cut", _by_row),
    ):
        parts = [cut(dataset, np.flatnonzero(dataset.false_positive == noise), NEWEST) for noise in (False, True)]
        train = np.sort(np.concatenate([part[0] for part in parts]))
        validation = np.sort(np.concatenate([part[1] for part in parts]))
        if _both_classes(dataset, train) and _both_classes(dataset, validation):
            return Split(train, validation, method, 0)
    return Split(train, validation, "by time within each class, incidents cut", 0)


def _both_classes(dataset: Dataset, places: Places) -> bool:
    return len(np.unique(dataset.false_positive[places])) == 2


def _by_incident(dataset: Dataset, places: Places, newest: float) -> tuple[Places, Places]:
    """Whole incidents, by when they began, until the newest hold the wanted share."""
    began: dict[str, float] = {}
    for place in places:
        began.setdefault(dataset.incident[place] or f"alone {place}", dataset.at[place])
    names = np.array([dataset.incident[place] or f"alone {place}" for place in places], dtype=object)
    wanted, chosen, count = newest * len(places), set(), 0
    sizes = dict(zip(*np.unique(names.astype(str), return_counts=True), strict=True))
    for name in sorted(began, key=lambda name: (-began[name], name)):
        if count >= wanted:
            break
        chosen.add(name)
        count += int(sizes[name])
    late = np.array([name in chosen for name in names], dtype=bool)
    return places[~late], places[late]


def _by_row(dataset: Dataset, places: Places, newest: float) -> tuple[Places, Places]:
    order = places[np.argsort(dataset.at[places], kind="stable")]
    cut = len(order) - max(1, round(newest * len(order))) if len(order) else 0
    return order[:cut], order[cut:]


def _without_late(dataset: Dataset, train: Places, validation: Places) -> Split:
    """What nobody had said when validation began cannot have been learned; kept when it is nearly all there is."""
    known = dataset.known_at[train] < dataset.at[validation].min()
    if known.mean() < KEEP or not _both_classes(dataset, train[known]):
        return Split(train, validation, "by time, without label delay", 0)
    return Split(train[known], validation, "by time", int((~known).sum()))
