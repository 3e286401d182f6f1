"""A trained model as a folder of text files, verified before use.

    model.txt         LightGBM's own text format
    calibration.json  slope and offset of a sigmoid over the raw score
    manifest.json     features, training window, metrics, library versions, golden rows, SHA-256 of the files above
    signature         HMAC-SHA256 of manifest.json

Nothing here is a pickle. A damaged LightGBM text kills the process that loads it, so the signature and the hashes are
checked first, and `try_out` loads the model in a process of its own: `python -m models.artifact FOLDER`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from models.features import FEATURES, VERSION
from models.trees import TreeError, check_trees

FILES: Final = ("model.txt", "calibration.json", "manifest.json", "signature")
HASHED: Final = ("model.txt", "calibration.json")
FORMAT: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024  # of model.txt: a hundred times a usual model
MAX_OTHER_BYTES: Final = 1024 * 1024  # of the other files: parsing them holds the interpreter, and so the webhooks
TOLERANCE: Final = 1e-6  # between a golden row's score then and now
MEMORY_BYTES: Final = 8 * 1024**3  # of addresses that the trial process may take

_UNSIGNED_KEY: Final = hashlib.sha256(b"unsigned").digest()  # keeps damage out, not a forger: the manifest says so
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")


T = TypeVar("T")


class ArtifactError(Exception):
    """The folder must not serve; the message says why."""


@dataclass(frozen=True)
class Artifact:
    """A verified model: its text, Platt's slope and offset over its raw score, and what the manifest says."""

    version: str
    model: str
    slope: float
    offset: float
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """What a training run knows of its model; `metrics` and `libraries` are any JSON."""

    model: str
    slope: float
    offset: float
    window: tuple[float, float]  # of the rows it learned from, seconds since the epoch
    data_hash: str
    metrics: dict[str, Any]
    libraries: dict[str, str]
    golden_rows: Sequence[tuple[float, ...]]
    created_at: float


def version_of(trained: Trained) -> str:
    """Like fp-20261123-1a2b3c4d: the date, and a hash of what the model is. The same data and seed give the same hash."""
    content = hashlib.sha256()
    for part in (trained.model, _calibration(trained), VERSION, trained.data_hash):
        content.update(part.encode() + b"\0")
    return f"fp-{datetime.fromtimestamp(trained.created_at, UTC):%Y%m%d}-{content.hexdigest()[:8]}"


def fresh(trained: Trained) -> Artifact:
    """What was trained in this process just now, and so needs no proof, for scoring."""
    return Artifact(version_of(trained), trained.model, trained.slope, trained.offset, {})


def write(folder: Path, trained: Trained, key: bytes | None) -> str:
    """Writes the folder, replacing it whole, with the golden rows scored by the model as it is; returns the version."""
    from models.scorers import LightGBMScorer  # noqa: PLC0415 -- loads a model only where one was made

    scores = LightGBMScorer(fresh(trained)).score(trained.golden_rows)
    texts = {"model.txt": trained.model, "calibration.json": _calibration(trained)}
    rows = [list(row) for row in trained.golden_rows]
    manifest = {
        "format": FORMAT,
        "version": version_of(trained),
        "created_at": trained.created_at,
        "signed": key is not None,
        "features": list(FEATURES),
        "features_version": VERSION,
        "window": list(trained.window),
        "data_hash": trained.data_hash,
        "metrics": trained.metrics,
        "libraries": trained.libraries,
        "golden": {"rows": rows, "scores": scores},
        "sha256": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()},
    }
    texts["manifest.json"] = _json(manifest)
    texts["signature"] = _sign(texts["manifest.json"].encode(), key)
    unpack(texts, folder)
    return str(manifest["version"])


def read(folder: Path, key: bytes | None) -> Artifact:
    """Verifies signature, hashes, features and shape, in this order. Raises ArtifactError. Loads no model."""
    found = {name: _read_file(folder / name) for name in FILES}
    if not hmac.compare_digest(_sign(found["manifest.json"], key).encode(), found["signature"].strip()):
        raise ArtifactError(f"{folder.name}: the signature of manifest.json does not hold for the configured key")
    manifest = _parse(found["manifest.json"], "manifest.json")
    for name in HASHED:
        if hashlib.sha256(found[name]).hexdigest() != _item(_item(manifest, "sha256", dict), name, str):
            raise ArtifactError(f"{name} is not what manifest.json describes")
    _check_manifest(manifest)
    text = _text(found["model.txt"], "model.txt")
    try:
        check_trees(text, len(FEATURES))
    except TreeError as error:
        raise ArtifactError(f"model.txt: {error}") from error
    calibration = _parse(found["calibration.json"], "calibration.json")
    slope, offset = calibration.get("slope"), calibration.get("offset")
    if (
        not isinstance(slope, float)
        or not isinstance(offset, float)
        or not (0.0 < slope < math.inf and math.isfinite(offset))
    ):
        raise ArtifactError(
            "calibration.json needs a slope above 0 and an offset: else the order of scores turns round"
        )
    return Artifact(manifest["version"], text, slope, offset, manifest)


def pack(folder: Path) -> dict[str, str]:
    """The folder as {file name: text}, for the store. Raises ArtifactError when a file is missing."""
    return {name: _text(_read_file(folder / name), name) for name in FILES}


def unpack(files: dict[str, str], folder: Path) -> None:
    """What `pack` gave, as a folder that appears all at once. Raises ArtifactError for other file names."""
    if set(files) != set(FILES):
        raise ArtifactError(f"an artifact has the files {', '.join(FILES)}, not {', '.join(sorted(files)) or 'none'}")
    for name, text in files.items():
        if len(text) > _limit(name):
            raise ArtifactError(f"{name} is larger than {_limit(name)} bytes")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, text in files.items():
            with (made / name).open("w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        if folder.exists():  # a folder cannot replace one that holds files: the old one steps aside first
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.rename(old / "was")
            made.rename(folder)
            shutil.rmtree(old)
        else:
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def try_out(folder: Path, key: bytes | None, timeout: float) -> None:
    """Verifies the folder, then scores its golden rows in a process of its own, within `timeout` seconds.

    Raises ArtifactError with the reason when that process dies, hangs, or scores otherwise.
    """
    read(folder, key)
    command = [sys.executable, "-m", "models.artifact", str(folder.resolve())]
    secret = "" if key is None else key.hex()  # by standard input: arguments and environment can be read by others
    try:
        done = subprocess.run(  # noqa: S603 -- our own interpreter and module
            command,
            input=secret,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            cwd=_ROOT,
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(f"{folder.name}: no answer within {timeout:g} s when tried out") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ArtifactError(f"{folder.name}: the process that tried it ended with {done.returncode}: {said}")


_ROOT = Path(__file__).resolve().parent.parent  # where `models` is importable from


def check_golden(artifact: Artifact) -> None:
    """Loads the model in THIS process and compares the golden rows. Raises ArtifactError when a score differs."""
    from models.scorers import LightGBMScorer  # noqa: PLC0415 -- read() alone must not need LightGBM

    golden = artifact.manifest["golden"]
    scores = LightGBMScorer(artifact).score([tuple(row) for row in golden["rows"]])
    for then, now in zip(golden["scores"], scores, strict=True):
        if not abs(then - now) <= TOLERANCE:
            raise ArtifactError(f"a golden row scored {then:.6f} when it was trained and scores {now:.6f} now")


def _check_manifest(manifest: dict[str, Any]) -> None:
    if manifest.get("format") != FORMAT:
        raise ArtifactError(f"format {manifest.get('format')!r}, this version reads {FORMAT}")
    if manifest.get("features_version") != VERSION or manifest.get("features") != list(FEATURES):
        raise ArtifactError("it was trained on other features than this version computes")
    if not _NAME.fullmatch(_item(manifest, "version", str)):
        raise ArtifactError(f"{manifest['version']!r} is no version")
    if not _is_number(manifest.get("created_at")):
        raise ArtifactError("manifest.json: created_at is missing or of the wrong type")
    _check_golden(manifest)


def _check_golden(manifest: dict[str, Any]) -> None:
    golden = _item(manifest, "golden", dict)
    rows, scores = _item(golden, "rows", list), _item(golden, "scores", list)
    if not rows or len(rows) != len(scores):
        raise ArtifactError("it has no golden rows, or not as many scores")
    for row, score in zip(rows, scores, strict=True):
        if not isinstance(row, list) or len(row) != len(FEATURES) or not all(map(_is_number, (*row, score))):
            raise ArtifactError("a golden row is not a list of numbers, one for each feature")


def _is_number(value: object) -> bool:
    """An integer beyond what a float can hold is none: it would raise wherever it is used."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _limit(name: str) -> int:
    return MAX_BYTES if name == "model.txt" else MAX_OTHER_BYTES


def _read_file(path: Path) -> bytes:
    try:
        limit = _limit(path.name)
        if path.stat().st_size > limit:
            raise ArtifactError(f"{path.name} is larger than {limit} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.strerror}") from error


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{name} is not text") from error


def _parse(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(_text(content, name))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} is not JSON") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{name} is not a JSON object")
    return found


def _item(found: dict[str, Any], name: str, kind: type[T]) -> T:
    value = found.get(name)
    if not isinstance(value, kind):
        raise ArtifactError(f"manifest.json: {name} is missing or of the wrong type")
    return value


def _calibration(trained: Trained) -> str:
    return _json({"slope": trained.slope, "offset": trained.offset})


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _sign(manifest: bytes, key: bytes | None) -> str:
    return hmac.new(_UNSIGNED_KEY if key is None else key, manifest, hashlib.sha256).hexdigest()


def _limit_memory() -> None:
    """A huge count in a damaged model must not take the machine's memory with it."""
    try:
        import resource  # noqa: PLC0415 -- Unix only
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(arguments: Sequence[str]) -> int:
    """The trial process: FOLDER as argument, the key in hex on standard input; 0 when all golden rows agree."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m models.artifact FOLDER < KEY_IN_HEX\n")
        return 2
    _limit_memory()
    secret = sys.stdin.read().strip()
    try:
        check_golden(read(Path(arguments[0]), bytes.fromhex(secret) if secret else None))
    except ArtifactError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
