"""One training run: labels, dataset, split, fit, calibrate, evaluate, gate, artifact, report. Knows no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.artifact import Artifact, ArtifactError, Trained, fresh, try_out, version_of, write
from models.features import FEATURES, VERSION
from models.scorers import LightGBMScorer
from training import calibrate, dataset, evaluate, fit, gate, split
from training.dataset import Dataset, Floats
from training.labels import Vote
from training.report import render

STEPS: Final = ("dataset", "split", "fit", "calibrate", "evaluate", "gate", "artifact")
GOLDEN_ROWS: Final = 16
TRY_SECONDS: Final = 60.0
CONFIDENT: Final = 0.85  # the specification's confidence_threshold: where the report counts what would be suppressed
LIBRARIES: Final = ("lightgbm", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Result:
    """`version` names what was trained, refused or not; None when nothing was. `report` is JSON, `text` the same to read."""

    version: str | None
    promoted: bool
    refused: list[str]
    report: dict[str, Any]
    text: str
    proof: dataset.Proof | None = None  # None when nothing was trained


def run(
    rows: Iterable[Sequence[Any]],
    votes: Iterable[Vote],
    *,
    now: float,
    folder: Path,
    min_votes: int,
    key: bytes | None = None,
    champion: Artifact | None = None,
    seed: int = 1,
    miss_budget: float = 0.05,
    search: bool = False,
    progress: Callable[[str], None] = lambda step: None,  # noqa: ARG005 -- called with each of STEPS when it begins
) -> Result:
    """Trains on what is stored and leaves the artifact in `folder` when the gate lets it pass; the same input and seed
    give the same model. Rows are as `dataset.Row`, votes as `labels.Vote`, `now` is seconds since the epoch.

    `miss_budget`, the share of real alerts that may be hidden, only warns: the ladder holds every pattern to it. Whether
    the model serves is for the caller: `promoted` says that it may.
    """
    progress("dataset")
    data = dataset.build(rows, votes)
    report = _about(data, now, seed)
    progress("split")
    parts = split.split(data) if len(data) >= max(2, min_votes) else None
    refused = gate.before_fit(data, parts, min_votes)
    if refused or parts is None:
        return _result(report, None, refused)
    report["split"] = {
        "train": len(parts.train), "validation": len(parts.validation), "method": parts.method, "late": parts.late
    }  # fmt: skip
    train, validation = data.take(parts.train), data.take(parts.validation)
    progress("fit")
    fitted = fit.fit(train, seed=seed, search=search)
    report["fit"] = {"rounds": fitted.rounds, "parameters": fitted.parameters}
    report["importance"] = dict(sorted(fitted.importance.items(), key=lambda item: -item[1]))
    trained, score = _calibrated(fitted, train, validation, data.content_hash(), now, progress)
    progress("evaluate")
    report["metrics"] = evaluate.evaluate(validation, score, threshold=CONFIDENT)
    report["champion"] = _of_champion(champion, validation)
    progress("gate")
    refused = gate.after_fit(report["metrics"], report["champion"])
    report["warnings"] = gate.warnings(report["metrics"], miss_budget)
    progress("artifact")
    trained = replace(trained, metrics=report["metrics"])
    result = _result(report, version_of(trained), refused or _written(folder, trained, key))
    return replace(result, proof=dataset.Proof(train, validation, score))


def _about(data: Dataset, now: float, seed: int) -> dict[str, Any]:
    noise = int(data.false_positive.sum())
    return {
        "at": now,
        "seed": seed,
        "features": VERSION,
        "data": {
            "episodes": len(data),
            "false_positives": noise,
            "real": len(data) - noise,
            "incidents": len(set(data.incident.tolist())),
            "skipped": data.skipped,
            "hash": data.content_hash(),
        },
        "refused": [],
        "warnings": [],
        "version": None,
    }


def _calibrated(
    fitted: fit.Fitted, train: Dataset, validation: Dataset, data_hash: str, now: float, progress: Callable[[str], None]
) -> tuple[Trained, Floats]:
    """The model with its calibration, and its scores on the validation part, each calibrated without itself."""
    progress("calibrate")
    golden = validation.x[np.linspace(0, len(validation) - 1, min(GOLDEN_ROWS, len(validation))).astype(int)]
    trained = Trained(
        model=fitted.model,
        slope=1.0,
        offset=0.0,
        window=(float(train.at.min()), float(train.at.max())),
        data_hash=data_hash,
        metrics={},
        libraries={name: installed(name) for name in LIBRARIES},
        golden_rows=[tuple(row) for row in golden.tolist()],
        created_at=now,
    )
    raw = _log_odds(fresh(trained), validation)  # with slope 1 and offset 0: the model's own
    score = calibrate.held_out(raw, validation.label, validation.weight, validation.incident)
    slope, offset = calibrate.platt(raw, validation.label, validation.weight)
    return replace(trained, slope=slope, offset=offset), score


def _log_odds(artifact: Artifact, part: Dataset) -> Floats:
    p = np.array(LightGBMScorer(artifact).score([tuple(row) for row in part.x.tolist()]))
    return calibrate.log_odds(p)


def _of_champion(champion: Artifact | None, validation: Dataset) -> dict[str, Any] | None:
    """The same metrics for what serves now, calibrated anew in the same way: it may have been calibrated on these rows."""
    if champion is None or champion.manifest.get("features") != list(FEATURES):
        return None
    raw = _log_odds(champion, validation)
    score = calibrate.held_out(raw, validation.label, validation.weight, validation.incident)
    return {"version": champion.version, **evaluate.evaluate(validation, score, threshold=CONFIDENT)}


def _written(folder: Path, trained: Trained, key: bytes | None) -> list[str]:
    """Writes the artifact and tries it out as the server will; why not, if it fails."""
    write(folder, trained, key)
    try:
        try_out(folder, key, TRY_SECONDS)
    except ArtifactError as error:
        return [f"the artifact does not load: {error}"]
    return []


def _result(report: dict[str, Any], version: str | None, refused: list[str]) -> Result:
    report |= {"refused": refused, "version": version}
    return Result(version, version is not None and not refused, refused, report, render(report))
