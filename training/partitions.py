"""A folder of Parquet files with what there is to learn from: written out of the store in pieces, read piece by piece.

Each file holds some tens of thousands of episodes, in the order of time, each with its votes: a file says all that its
labels need, so any process that sees the folder can work on any file of it, alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from models.features import FEATURES, VERSION, unpack
from sidecar.errors import SidecarError
from training.dataset import Row
from training.labels import Vote

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUT: Final = "1"
PIECE: Final = 50_000  # episodes in a file
COLUMNS: Final = (*Row._fields, "votes")


class BadFolder(SidecarError):
    """The folder cannot be trained on, or not be written."""


async def write(
    folder: Path, pieces: AsyncIterator[list[tuple[Any, ...]]], progress: Callable[[int], object] = lambda _: None
) -> int:
    """Writes each piece as one file and returns the number of episodes; one of a piece is a `Row` and its votes.

    The folder is there when all of it is, or not at all. Raises BadFolder when it is there already.
    """
    parquet, count = _parquet(), 0
    with _whole(folder) as made:
        parquet.write_table(_table([]), made / "part-00000.parquet")  # where nothing was voted on, there is one still
        async for number, piece in _numbered(pieces):
            parquet.write_table(_table(piece), made / f"part-{number:05}.parquet", compression="zstd")
            count += len(piece)
            progress(len(piece))
    return count


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside this one, which takes its name when all went well."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadFolder(f"{folder} is not empty: name a folder that does not exist yet")
    try:
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=f".{folder.name}-") as place:
            made = Path(place) / "made"
            made.mkdir()
            yield made
            made.rename(folder)
    except OSError as error:
        raise BadFolder(f"{folder} cannot be written: {error.strerror or error}") from None


async def _numbered(pieces: AsyncIterator[list[tuple[Any, ...]]]) -> AsyncIterator[tuple[int, list[tuple[Any, ...]]]]:
    number = 0
    async for piece in pieces:
        yield number, piece
        number += 1


def _table(piece: Sequence[tuple[Any, ...]]) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 -- an extra: only where a folder is used

    rows = [Row(*each[:-1]) for each in piece]
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in Row._fields}
    columns["observation"] = [_packed(row.observation) for row in rows]
    columns["labels"] = [msgspec.json.encode(row.labels).decode() for row in rows]
    columns["votes"] = [
        [{"who": who, "kind": kind, "at": at, "retracted": retracted} for _, who, kind, at, retracted in each[-1]]
        for each in piece
    ]
    return pa.table(columns, schema=_schema())


def _packed(observation: Sequence[float]) -> bytes:
    """As `models.features.pack`, and of other features than today's too: those are counted as left out later."""
    return np.asarray(observation, dtype="<f4").tobytes()


def _schema() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415 -- as above

    vote = pa.struct([("who", pa.string()), ("kind", pa.string()), ("at", pa.float64()), ("retracted", pa.bool_())])
    kinds = {
        **dict.fromkeys(("at", "propensity", "score", "started", "ended"), pa.float64()),
        "observation": pa.binary(),
        "told": pa.bool_(),
        "votes": pa.list_(vote),
    }
    fields = [pa.field(name, kinds.get(name, pa.string())) for name in COLUMNS]
    return pa.schema(fields, {"layout": LAYOUT, "features": VERSION})


def find(folder: Path) -> list[Path]:
    """The files, in the order of their names, each looked at. Raises BadFolder with what to do."""
    if not folder.is_dir():
        raise BadFolder(f"there is no folder {folder}: write one with `python -m training export {folder}`")
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise BadFolder(f"{folder} has no *.parquet file: write them with `python -m training export`")
    for path in paths:
        _check(path)
    return paths


def _check(path: Path) -> None:
    """Raises BadFolder when a file is none of ours."""
    import pyarrow as pa  # noqa: PLC0415 -- as above

    try:
        about = _parquet().read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise BadFolder(f"{path} is no Parquet file that can be read: {_line(error)}. {AGAIN}") from None
    said = about.metadata or {}
    if said.get(b"layout") != LAYOUT.encode() or not set(COLUMNS) <= set(about.schema.to_arrow_schema().names):
        raise BadFolder(f"{path} was not written by `python -m training export` of this version. {AGAIN}")
    if said.get(b"features") != VERSION.encode():
        theirs = said.get(b"features", b"none").decode("utf-8", "replace")
        raise BadFolder(f"{path} has the features {theirs}, and this version knows {VERSION}. {AGAIN}")


AGAIN: Final = "Export the folder again"


def read(path: Path) -> tuple[list[Row], list[Vote]]:
    """All of one file. Raises BadFolder."""
    columns = _columns(path, COLUMNS)
    votes = [
        (episode, vote["who"], vote["kind"], vote["at"], vote["retracted"])
        for episode, given in zip(columns["episode"], columns.pop("votes"), strict=True)
        for vote in given
    ]
    try:
        columns["observation"] = [unpack(packed) for packed in columns["observation"]]
        columns["labels"] = [msgspec.json.decode(text, type=dict[str, str]) for text in columns["labels"]]
    except (ValueError, TypeError, msgspec.DecodeError) as error:
        raise BadFolder(f"{path} is damaged: {_line(error)}. {AGAIN}") from None
    return [Row(*values) for values in zip(*(columns[name] for name in Row._fields), strict=True)], votes


def observations(path: Path, rows: np.ndarray) -> np.ndarray:
    """float32 of shape (rows, features), of the rows of these numbers in a file; each of today's features."""
    import pyarrow as pa  # noqa: PLC0415 -- as above

    try:
        column = _parquet().read_table(path, columns=["observation"])["observation"].take(rows)
        packed = b"".join(column.to_pylist())
        return np.frombuffer(packed, dtype="<f4").reshape(len(rows), len(FEATURES))
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise BadFolder(f"{path} is damaged, or has changed: {_line(error)}. {AGAIN}") from None


def episodes(path: Path, rows: np.ndarray) -> list[str]:
    """Their ids, of the rows of these numbers in a file."""
    found = _columns(path, ("episode",))["episode"]
    return [found[row] for row in rows.tolist()]


def _columns(path: Path, names: Sequence[str]) -> dict[str, list[Any]]:
    import pyarrow as pa  # noqa: PLC0415 -- as above

    try:
        found: dict[str, list[Any]] = _parquet().read_table(path, columns=list(names)).to_pydict()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadFolder(f"{path} is damaged: {_line(error)}. {AGAIN}") from None
    return found


def _parquet() -> Any:
    try:
        import pyarrow.parquet  # noqa: PLC0415 -- as above
    except ImportError as error:
        raise SidecarError(MISSING.format(error.name)) from None
    return pyarrow.parquet


MISSING: Final = "this needs the Python package {}: pip install 'alertmanager-sidecar[train,cluster]'"


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
