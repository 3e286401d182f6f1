"""What is bundled for the time before anybody has voted: a small model of public, labelled alert histories.

It looks at how an alert behaves, never at names, votes, the clock or the size of the installation. Until the first
training it ranks, together with the votes; afterwards it is what every trained model starts from (training/fit.py). It
decides about no alert. A folder of text files:

    model.txt         LightGBM's own text format, over all of FEATURES
    without-NAME.txt  the same, learned from all histories but NAME: what a replay of NAME must use
    manifest.json     calibration, golden rows, and of each history whose alerts it has and how well the others rank it
    sha256.txt        of the files above, as `sha256sum -c` reads it

A damaged LightGBM text kills the process that loads it, so the hashes are checked before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.features import FEATURES

BUNDLED: Final = Path(__file__).parent / "bundled_prior"
MODEL: Final = "model.txt"
HASHES: Final = "sha256.txt"
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
MAX_BYTES: Final = 4 * 1024 * 1024  # of one file: ten times what it has
TOLERANCE: Final = 1e-6  # between a golden row's log-odds then and now
FEEDBACK: Final = ("_last_label", "_false_share", "_votes")
ELSEWHERE: Final = ("hour_", "weekday_", "all_", "anomaly_of_all")  # a clock and a size that are not the user's
INPUTS: Final = tuple(name for name in FEATURES if not name.endswith(FEEDBACK) and not name.startswith(ELSEWHERE))

Row = tuple[float, ...]
Floats = npt.NDArray[np.float64]


class PriorError(Exception):
    """The folder must not be used; the message says why."""


class Prior:
    """A verified prior. Rows are as `models.features.vector` gives them. Raises PriorError where LightGBM refuses the text."""

    def __init__(self, version: str, model: str, slope: float, offset: float) -> None:
        import lightgbm  # noqa: PLC0415 - heavy, and needs libgomp: only where a model is used

        self.version = version
        self.model = model
        try:
            self._booster: Any = lightgbm.Booster(model_str=model)
        except lightgbm.basic.LightGBMError as error:
            raise PriorError(f"LightGBM does not take the model: {error}") from error
        self._slope, self._offset = slope, offset

    def log_odds(self, rows: Sequence[Row] | Floats) -> Floats:
        """Of false positive, of each row, by its behaviour alone; one predict for all, on one thread."""
        x = np.array(rows, dtype=np.float64)
        raw: Floats = self._booster.predict(x, raw_score=True, num_threads=1)
        return self._slope * raw + self._offset

    def booster(self, slope: float, offset: float) -> Any:
        """A LightGBM model of its own with `slope` times its log-odds plus `offset`: what training goes on from."""
        import lightgbm  # noqa: PLC0415 - as above

        made = lightgbm.Booster(model_str=self.model)
        scale, shift = slope * self._slope, slope * self._offset + offset
        leaves = [int(line.split("=")[1]) for line in self.model.splitlines() if line.startswith("num_leaves=")]
        for tree, count in enumerate(leaves):
            for leaf in range(count):
                moved = scale * made.get_leaf_output(tree, leaf) + (shift if tree == 0 else 0.0)
                made.set_leaf_output(tree, leaf, moved)
        return made


def alerts_hash(identities: Iterable[str]) -> str:
    """Of whose alerts a history has, in whatever order: a replay must not be scored by what learned from it."""
    return hashlib.sha256("\n".join(sorted(set(identities))).encode()).hexdigest()[:16]


@cache
def bundled() -> Prior:
    """The prior of this package. Raises PriorError."""
    return load()


def load(folder: Path = BUNDLED, identities: Iterable[str] = ()) -> Prior:
    """The prior that knows none of `identities` (see training.prior), as verified.

    Raises PriorError that says what is wrong, or that it learned from more than one history with these.
    """
    manifest = verified(folder)
    try:
        name = _unseen(manifest, identities)
        about, version = manifest["models"][name], str(manifest["version"])
        prior = Prior(version, (folder / name).read_text("utf-8"), about["slope"], about["offset"])
        moved = _moved(prior, about["golden"])
    except (KeyError, TypeError, ValueError) as error:
        raise PriorError(f"{folder.name}: manifest.json is not as this version reads it: {error!r}") from error
    except (ImportError, OSError) as error:
        raise PriorError(f"LightGBM cannot be loaded: {error}") from error
    if moved is not None:
        raise PriorError(
            f"{folder.name}: a golden row of {name} had log-odds {moved[0]:.6f} once and has {moved[1]:.6f} now"
        )
    return prior


def _moved(prior: Prior, golden: Mapping[str, Any]) -> tuple[float, float] | None:
    """The log-odds, then and now, of the first golden row that has others than when it was made."""
    found = prior.log_odds([tuple(row) for row in golden["rows"]]).tolist()
    pairs = zip(golden["log_odds"], found, strict=True)
    return next(((then, now) for then, now in pairs if not abs(then - now) <= TOLERANCE), None)


def _unseen(manifest: Mapping[str, Any], identities: Iterable[str]) -> str:
    hashes = {alerts_hash([one]) for one in identities}
    known = [one for one in manifest["histories"] if hashes & set(one["alerts_of"])]
    if len(known) > 1:
        names = " and ".join(one["name"] for one in known)
        raise PriorError(f"it learned from {names}, and has no model that left out both")
    return str(known[0]["left_out"]) if known else MODEL


def verified(folder: Path) -> dict[str, Any]:
    """The manifest of a folder whose files are what `sha256.txt` says, for the features of this version."""
    manifest_bytes = _read(folder / MANIFEST)
    try:
        manifest: dict[str, Any] = json.loads(manifest_bytes)
        _check(manifest)
        files = {name: _read(folder / name) for name in manifest["models"]}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PriorError(f"{folder.name}: manifest.json is not as this version reads it: {error!r}") from error
    if _read(folder / HASHES).decode("utf-8", "replace") != hash_lines({MANIFEST: manifest_bytes, **files}):
        raise PriorError(f"{folder.name}: its files are not what {HASHES} says")
    return manifest


def _check(manifest: dict[str, Any]) -> None:
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']!r}, this version reads {FORMAT}")
    if manifest["features"] != list(FEATURES):
        raise ValueError("it was trained on other features than this version computes")
    for name, about in manifest["models"].items():
        if Path(name).name != name or not name.endswith(".txt"):
            raise ValueError(f"{name!r} is no name of a model")
        if not (0.0 < about["slope"] < math.inf and math.isfinite(about["offset"])):
            raise ValueError(f"the calibration of {name} would turn the order of scores round")
        if any(len(row) != len(FEATURES) for row in about["golden"]["rows"]):
            raise ValueError(f"a golden row of {name} has another number of features")


def hash_lines(files: Mapping[str, bytes]) -> str:
    """What `sha256.txt` says of these files."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PriorError(f"{path.name} is larger than {MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise PriorError(f"{path.name} cannot be read: {error.strerror}") from error


__all__ = ["BUNDLED", "INPUTS", "Prior", "PriorError", "bundled", "load"]
