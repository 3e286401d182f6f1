"""One training run: labels, dataset, split, fit, calibrate, evaluate, gate, artifact, report. Knows no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from models.artifact import Artifact, ArtifactError, Trained, fresh, try_out, version_of, write
from models.certificate import Certificate
from models.features import FEATURES, VERSION
from models.scorers import LightGBMScorer
from training import calibrate, certify, dataset, evaluate, fit, gate, split
from training.dataset import Dataset, Floats, Places
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
    floor: float = CONFIDENT,
    holds: Mapping[str, float] = {},
    guarded: dataset.Guard = dataset.always_told,
    build: Callable[..., Dataset] = dataset.build,
    search: bool = False,
    trial: bool = True,
    progress: Callable[[str], None] = lambda step: None,  # noqa: ARG005 -- called with each of STEPS when it begins
) -> Result:
    """Trains on what is stored and leaves the artifact in `folder` when the gate lets it pass; the same input and seed
    give the same model. Rows are as `dataset.Row`, votes as `labels.Vote`, `now` is seconds since the epoch.

    `miss_budget` is the share of real incidents that may go untold in time, `floor` the least score that may keep an
    alert back, `holds` the longest holds in seconds by severity, and `guarded` says which alerts are told whatever their
    score: the report's `certificate` is made for these. Whether the model serves is for the caller: `promoted` says that
    it may. Without `trial` the artifact is not tried in a process of its own: for what serves here and now only.
    `build` makes the dataset, from rows and votes or from what it has elsewhere.
    """
    progress("dataset")
    data = build(rows, votes, guarded)
    report = _about(data, now, seed)
    report["audit"] = evaluate.audited(data)
    progress("split")
    parts = split.split(data) if len(data) >= max(2, min_votes) else None
    refused = gate.before_fit(data, parts, min_votes)
    if not refused:  # labels that contradict each other prove nothing
        certificate = certify.certify(data, now=now, budget=miss_budget, floor=floor, holds=holds)
        report["certificate"] = msgspec.to_builtins(certificate)
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
    report["metrics"] = _metrics(validation, score)
    newest = _unseen(champion, validation)
    report["newest"] = _metrics(validation.take(newest), score[newest])
    report["champion"] = _of_champion(champion, validation, newest)
    progress("gate")
    refused = gate.after_fit(report["metrics"], report["newest"], report["champion"])
    report["warnings"] = gate.warnings(report["metrics"], miss_budget)
    progress("artifact")
    trained = replace(trained, metrics=report["metrics"])
    result = _result(report, version_of(trained), refused or _written(folder, trained, key, trial=trial))
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
    golden = validation.take(np.linspace(0, len(validation) - 1, min(GOLDEN_ROWS, len(validation))).astype(int)).x
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
    return calibrate.log_odds(part.observe(partial(_scored, artifact)))


def _scored(artifact: Artifact, x: Floats) -> Floats:
    return np.array(LightGBMScorer(artifact).score([tuple(row) for row in x.tolist()]))


def _unseen(champion: Artifact | None, validation: Dataset) -> Places:
    """The validation episodes labelled since the champion was made: only these compare the two fairly.

    All of them when there are too few: then the champion, which knows some, is the harder to beat.
    """
    made = 0.0 if champion is None else champion.manifest.get("created_at", 0.0)
    newest = np.flatnonzero(validation.known_at > made)
    return newest if len(newest) >= gate.ENOUGH_NEW else np.arange(len(validation))


def _metrics(part: Dataset, score: Floats) -> dict[str, Any]:
    return evaluate.evaluate(part, score, threshold=CONFIDENT)


def _of_champion(champion: Artifact | None, validation: Dataset, newest: Places) -> dict[str, Any] | None:
    """The metrics of what serves now, as it serves; where it may have seen the episodes, calibrated anew as we are."""
    if champion is None or champion.manifest.get("features") != list(FEATURES):
        return None
    part = validation.take(newest)
    score = part.observe(partial(_scored, champion))
    if part.known_at.min() <= champion.manifest.get("created_at", 0.0):  # it may have been calibrated on these
        score = calibrate.held_out(calibrate.log_odds(score), part.label, part.weight, part.incident)
    return {"version": champion.version, **_metrics(part, score)}


def certificate_of(report: dict[str, Any]) -> Certificate | None:
    """What a report's run has proven; None when it came to no proof. Raises msgspec.ValidationError."""
    return msgspec.convert(report["certificate"], Certificate) if "certificate" in report else None


def _written(folder: Path, trained: Trained, key: bytes | None, *, trial: bool) -> list[str]:
    """Writes the artifact and, with `trial`, tries it out as the server will; why not, if it fails."""
    write(folder, trained, key)
    if not trial:
        return []
    try:
        try_out(folder, key, TRY_SECONDS)
    except ArtifactError as error:
        return [f"the artifact does not load: {error}"]
    return []


def _result(report: dict[str, Any], version: str | None, refused: list[str]) -> Result:
    report |= {"refused": refused, "version": version}
    return Result(version, version is not None and not refused, refused, report, render(report))
