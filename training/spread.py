"""A dataset whose observations stay in a folder of files, worked on by the processes of a Dask cluster.

What the split, the gate and the certificate look at (labels, times, names of incidents: some 150 bytes an episode) is
here; `x` and the ids of the episodes are read where they are asked for, and what can be made of `x` file by file is made
in the workers. All else is done by the same code as on one machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.features import FEATURES
from training import dataset, partitions
from training.dataset import Dataset, Floats, Guard, Places

Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]  # (function, arguments) -> in that order
_NAMES: Final = ("incident", "severity", "alertname", "instance")


class Source(NamedTuple):
    """The files, and who works on them."""

    paths: tuple[Path, ...]
    run: Run
    client: Any = None  # Dask's, for what LightGBM does with it


class Spread(Dataset):
    """Labelled episodes in the order of time, each by its file and its row in it."""

    def __init__(self, light: Dataset, source: Source, part: Places, row: Places) -> None:
        """`light` has all but `x` and `episode`."""
        known = {name: value for name, value in vars(light).items() if name not in {"x", "episode"}}
        self.__dict__ |= known | {"light": light, "source": source, "part": part, "row": row}

    light: Dataset
    source: Source
    part: Places
    row: Places

    def take(self, places: Places) -> Spread:
        return Spread(self.light.take(places), self.source, self.part[places], self.row[places])

    def pieces(self) -> Iterator[tuple[Path, Places, Places]]:
        """(file, rows of it, their places here), file by file."""
        order = np.argsort(self.part, kind="stable")
        cuts = np.flatnonzero(np.diff(self.part[order])) + 1
        for places in np.split(order, cuts) if len(order) else ():
            yield self.source.paths[int(self.part[places[0]])], self.row[places], places

    @cached_property
    def x(self) -> Floats:  # a field there; here it is read when it is asked for
        found = np.empty((len(self), len(FEATURES)))
        for path, rows, places in self.pieces():
            found[places] = partitions.observations(path, rows)
        return found

    @cached_property
    def episode(self) -> npt.NDArray[Any]:  # as x
        found = np.empty(len(self), dtype=object)
        for path, rows, places in self.pieces():
            found[places] = partitions.episodes(path, rows)
        return found

    def observe(self, function: Callable[[Floats], Any]) -> npt.NDArray[Any]:
        pieces = list(self.pieces())
        made = self.source.run(partial(_apply, function), [(path, rows) for path, rows, _ in pieces])
        found = [np.asarray(each) for each in made]
        out = np.empty(len(self), dtype=found[0].dtype if found else np.float64)
        for (_, _, places), values in zip(pieces, found, strict=True):
            out[places] = values
        return out

    def _observed(self) -> Iterable[bytes]:
        return self._digests

    @cached_property
    def _digests(self) -> list[bytes]:
        """One hash for each file instead of the numbers: another way to cut the same rows has another name."""
        pieces = [(path, rows) for path, rows, _ in self.pieces()]
        return list(self.source.run(partial(_apply, _digest), pieces))


def _apply(function: Callable[[Floats], Any], path: Path, rows: Places) -> Any:
    return function(partitions.observations(path, rows).astype(np.float64))


def _digest(x: Floats) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).digest()


class Piece(NamedTuple):
    """What a worker has made of one file."""

    light: Dataset  # without x, and without the ids of the episodes
    row: Places
    key: npt.NDArray[np.uint64]  # of each episode: two equal ones are the same episode
    all_told: bool
    open_to_draw: list[tuple[float, float]]  # as `dataset.kept` takes it: the few that decide


def label(guarded: Guard, path: Path) -> Piece:
    """The labelled episodes of a file. Runs in a worker. Raises BadFolder."""
    rows, votes = partitions.read(path)
    made = dataset.build(rows, votes, guarded, all_told=True)
    place = {row.episode: number for number, row in enumerate(rows)}
    if len(place) < len(rows):
        raise partitions.BadFolder(f"{path} has an episode twice. {partitions.AGAIN}")
    found = np.array([place[episode] for episode in made.episode.tolist()], dtype=np.intp)
    keys = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in made.episode.tolist()]
    nothing = np.empty(len(made), dtype=object)
    light = Dataset(**{**vars(made), "x": np.empty((len(made), 0)), "episode": nothing})
    key = np.frombuffer(b"".join(keys), dtype=np.uint64)
    return Piece(light, found, key, bool(made.told.all()), _decisive(rows))


def _decisive(rows: Sequence[dataset.Row]) -> list[tuple[float, float]]:
    """Of all that is not told for sure: the first, the first that was kept back, and the rarest to be seen."""
    found = sorted((row.at, row.propensity) for row in rows if row.propensity < 1.0)
    hidden = [each for each in found if each[1] >= dataset.DISPUTED]
    rarest = min(found, key=lambda each: each[1] if each[1] < dataset.DISPUTED else 1.0 - each[1], default=None)
    return [*found[:1], *hidden[:1], *([] if rarest is None else [rarest])]


def gather(source: Source, guarded: Guard) -> Dataset:
    """The dataset of all files. Raises BadFolder."""
    words: dict[str, str] = {}
    pieces = [
        _shared(piece, words) for piece in source.run(partial(label, guarded), [(path,) for path in source.paths])
    ]
    keys = np.concatenate([piece.key for piece in pieces])
    if len(np.unique(keys)) < len(keys):
        twice = len(keys) - len(np.unique(keys))
        raise partitions.BadFolder(f"{twice} episodes are in the folder more than once. {partitions.AGAIN}")
    light = _joined([piece.light for piece in pieces])
    light = _seen(light, pieces)
    part = np.repeat(np.arange(len(pieces)), [len(piece.row) for piece in pieces])
    order = np.argsort(light.at, kind="stable")  # files come in the order of time, as `export` writes them, or not
    return Spread(light, source, part, np.concatenate([piece.row for piece in pieces])).take(order)


def _seen(light: Dataset, pieces: Sequence[Piece]) -> Dataset:
    """With what only all files together say of the audit sample."""
    if not all(piece.all_told for piece in pieces):
        return light.undrawn()
    kept_since, chance = dataset.kept([each for piece in pieces for each in piece.open_to_draw], all_told=True)
    return replace(light, kept_since=kept_since, chance=chance)


def _shared(piece: Piece, words: dict[str, str]) -> Piece:
    """With each word once in memory: a million alerts have a thousand names."""
    for name in _NAMES:
        column = getattr(piece.light, name)
        column[:] = [words.setdefault(word, word) for word in column.tolist()]
    return piece


def _joined(parts: Sequence[Dataset]) -> Dataset:
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name, value in vars(parts[0]).items()
        if isinstance(value, np.ndarray)
    }
    return Dataset(**columns, skipped=sum(part.skipped for part in parts))
