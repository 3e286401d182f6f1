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

from models.artifact import Artifact, ArtifactError, Trained, try_out, version_of, write
from models.certificate import Certificate
from models.features import FEATURES, VERSION
from models.prior import Prior
from training import calibrate, certify, dataset, drift, evaluate, fit, floors, gate, implicit, split
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
    floor: float = CONFIDENT,
    holds: Mapping[str, float] = {},
    tune: floors.Tuning | None = None,
    hinted: bool = False,
    guarded: dataset.Guard = dataset.always_told,
    build: Callable[..., Dataset] = dataset.build,
    prior: Prior | None = None,
    search: bool = False,
    trial: bool = True,
    progress: Callable[[str], None] = lambda step: None,  # noqa: ARG005 -- called with each of STEPS when it begins
) -> Result:
    """Trains on what is stored and leaves the artifact in `folder` when the gate lets it pass; the same input and seed
    give the same model. Rows are as `dataset.Row`, votes as `labels.Vote`, `now` is seconds since the epoch.

    The report's certificate is made for `miss_budget`, the share of real incidents that may go untold in time, `floor`,
    the least score that may keep an alert back, `holds`, the longest holds in seconds by severity, `tune`, how
    alertnames get floors of their own, and `guarded`, which alerts are told whatever their score. With `hinted` the fit
    learns from implicit evidence too. Whether the model serves is for the caller: `promoted` says that it may. Without
    `trial` the artifact is not tried in a process of its own: for what serves here and now only. `build` makes the
    dataset, from rows and votes or from what it has elsewhere.
    """
    progress("dataset")
    rows, votes = list(rows), list(votes)
    data = build(rows, votes, guarded)
    report = _about(data, now, seed)
    progress("split")
    parts = split.split(data) if len(data) >= max(2, min_votes) else None
    untrusted = gate.untrusted(data)
    refused = gate.before_fit(data, parts, min_votes) + untrusted
    if not untrusted:  # labels that contradict each other prove nothing
        report |= _proven(data, now, miss_budget, floor, holds, tune)
    if refused or parts is None:
        return _result(report, None, refused)
    report["split"] = _about_split(parts)
    train, validation = data.take(parts.train), data.take(parts.validation)
    progress("fit")
    hints = implicit.beside(implicit.hints(rows, votes, now, guarded), train, validation) if hinted else None
    setup = fit.Setup(seed, prior, hints)
    fitted = fit.fit(train, setup, search=search)
    report["fit"] = {"rounds": fitted.rounds, "parameters": fitted.parameters, "hints": implicit.about(hints)}
    report["fit"]["prior"] = None if prior is None else prior.version
    trained, score = _calibrated(fitted, train, validation, now, progress)
    fitted = fit.again(data, fitted, setup)  # what serves has learned from the newest too
    trained = replace(trained, model=fitted.model, window=_window(data), data_hash=data.content_hash())
    report["importance"] = dict(sorted(fitted.importance.items(), key=lambda item: -item[1]))
    progress("evaluate")
    report["metrics"] = _metrics(validation, score)
    report["champion"] = _of_champion(champion, data, setup, fitted, trained)
    progress("gate")
    refused = gate.after_fit(report["metrics"], report["champion"])
    report["warnings"] += gate.warnings(report["metrics"], miss_budget)
    progress("artifact")
    trained = replace(trained, metrics=report["metrics"])
    result = _result(report, version_of(trained), refused or _written(folder, trained, key, trial=trial))
    return replace(result, proof=dataset.Proof(train, validation, score))


def _proven(
    data: Dataset, now: float, budget: float, floor: float, holds: Mapping[str, float], tune: floors.Tuning | None
) -> dict[str, Any]:
    """What goes into the report of how far scores may go: the certificate, and what is behind it."""
    tested = floor if tune is None else min(floor, tune.lowest)
    certificate = certify.certify(data, now=now, budget=budget, floor=tested, holds=holds)
    found = drift.watch(data, now)
    report: dict[str, Any] = {"drift": found, "warnings": drift.warnings(found)}
    if tune is not None:
        names = floors.find(data, now, tune)
        report["floors"] = {"usual": floor, "min_samples": tune.min_samples, "names": names}
        certificate = floors.applied(certificate, names, floor)
    return report | {"certificate": msgspec.to_builtins(drift.sent_back(certificate, found))}


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
        "audit": evaluate.audited(data),
        "refused": [],
        "warnings": [],
        "version": None,
    }


def _about_split(parts: split.Split) -> dict[str, Any]:
    return {
        "train": len(parts.train), "validation": len(parts.validation), "method": parts.method, "late": parts.late
    }  # fmt: skip


def _calibrated(
    fitted: fit.Fitted, train: Dataset, validation: Dataset, now: float, progress: Callable[[str], None]
) -> tuple[Trained, Floats]:
    """The model with its calibration, and its scores on the validation part, each calibrated without itself."""
    progress("calibrate")
    golden = validation.take(np.linspace(0, len(validation) - 1, min(GOLDEN_ROWS, len(validation))).astype(int)).x
    trained = Trained(
        model=fitted.model,
        slope=1.0,
        offset=0.0,
        window=_window(train),
        data_hash=train.content_hash(),
        metrics={},
        libraries={name: installed(name) for name in LIBRARIES},
        golden_rows=[tuple(row) for row in golden.tolist()],
        created_at=now,
    )
    raw = _raw(fitted.model, validation)
    even = validation.weight / validation.together
    score = calibrate.held_out(raw, validation.label, even, validation.incident)
    slope, offset = calibrate.careful(raw, validation.label, even, validation.incident)
    return replace(trained, slope=slope, offset=offset), score


def _window(part: Dataset) -> tuple[float, float]:
    return float(part.at.min()), float(part.at.max())


def _raw(model: str, part: Dataset) -> Floats:
    """The model's own log-odds, one entry per episode."""
    return part.observe(partial(_scored, model))


def _scored(model: str, x: Floats) -> Floats:
    import lightgbm  # noqa: PLC0415 -- heavy, and needs libgomp: only where a model is made

    found: Floats = np.asarray(lightgbm.Booster(model_str=model).predict(x, raw_score=True, num_threads=1))
    return found


def _metrics(part: Dataset, score: Floats) -> dict[str, Any]:
    return evaluate.evaluate(part, score, threshold=CONFIDENT)


def _of_champion(
    champion: Artifact | None, data: Dataset, setup: fit.Setup, fitted: fit.Fitted, trained: Trained
) -> dict[str, Any] | None:
    """How what serves now does on what was labelled since it was made, beside what we would have made then.

    Both know the same past, so neither is ahead by what it has seen. None when there is no champion of these features,
    or too little is new to compare them.
    """
    if champion is None or champion.manifest.get("features") != list(FEATURES):
        return None
    made = float(champion.manifest.get("created_at", 0.0))
    old, new = data.take(np.flatnonzero(data.known_at <= made)), data.take(np.flatnonzero(data.known_at > made))
    if len(new) < gate.ENOUGH_NEW or not 0 < int(old.false_positive.sum()) < len(old):
        return None
    then = setup if setup.hints is None else replace(setup, hints=implicit.beside(setup.hints, old, new))
    ours, theirs = _raw(fit.then(old, fitted, then).model, new), _raw(champion.model, new)
    even = [  # calibrated in the same way: how well each is calibrated is another question
        calibrate.held_out(raw, new.label, new.weight / new.together, new.incident) for raw in (ours, theirs)
    ]
    return {
        "version": champion.version,
        "challenger": _metrics(new, calibrate.probability(ours, trained.slope, trained.offset)),
        "behind": evaluate.behind(new, *even),
        **_metrics(new, calibrate.probability(theirs, champion.slope, champion.offset)),
    }


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
