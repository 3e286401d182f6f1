"""The prior that is bundled with the package, made from labelled histories: the same files and seed give the same text.

Each history is replayed through the pipeline, so that an alert is seen as it would be when it arrives. Every history
weighs the same, however long, and in each what is real as much as what is not. Each is left out once: how the others'
model does on it is what may be hoped for on an installation that nobody has seen, and what the scores are calibrated by.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.features import FEATURES
from models.prior import FORMAT, HASHES, INPUTS, MANIFEST, MODEL, Prior, alerts_hash, hash_lines
from sidecar.config import Config
from sidecar.errors import SidecarError
from sidecar.history import HistoryAlert
from sidecar.replay import Answers, Replay
from training import calibrate, dataset
from training.backtest import Known, Memory
from training.dataset import Dataset, Floats

ROUNDS: Final = 100
LEAVES: Final = 8
LEAST: Final = 200  # alerts in a leaf
EACH: Final = 20_000.0  # what a history weighs, in alerts
GOLDEN_ROWS: Final = 16
PARAMETERS: Final = {
    "objective": "cross_entropy", "num_leaves": LEAVES, "learning_rate": 0.05, "min_data_in_leaf": LEAST,
    "feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 50.0, "deterministic": True,
    "force_row_wise": True, "num_threads": 1, "verbosity": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Lesson:
    """What one history has to say."""

    name: str
    alerts: int
    alerts_of: tuple[str, ...]  # hashes of `identities`
    data: Dataset

    @property
    def weight(self) -> Floats:
        """One entry per episode."""
        noise = self.data.false_positive
        share = np.where(noise, noise.sum(), (~noise).sum())
        weight: Floats = EACH / 2 / share
        return weight


def identities(history: Iterable[HistoryAlert]) -> set[str]:
    """Whose alerts these are: namespace and instance of each."""
    return {f"{one.labels.get('namespace', '')}/{one.labels.get('instance', '')}" for one in history}


def observe(name: str, history: list[HistoryAlert], progress: Callable[[int], object] = lambda _: None) -> Lesson:
    """The labelled alerts of a history, as they would be seen when they arrive. Raises SidecarError without labels."""
    known, config = Known(), Config.model_validate({})
    replay = Replay(history, config, Answers(told_only=False))

    def note(plan: Any) -> None:
        known.note(plan)
        replay.note(plan)

    memory = Memory(config, replay.clock, note)

    async def nothing(_: float) -> None:
        """No model is trained at night: what is observed does not depend on scores."""

    asyncio.run(replay.run(memory, nothing, lambda count: (progress(count), None)[1]))
    data = dataset.build(known.rows(every=False), known.votes)
    if len(set(data.false_positive.tolist())) < 2:
        raise SidecarError(
            f'{name} has no alert with "truth": "fp", or none with "tp": there is nothing to learn from it'
        )
    return Lesson(name, len(history), tuple(sorted(alerts_hash([one]) for one in identities(history))), data)


def fit(lessons: Sequence[Lesson], seed: int) -> str:
    """LightGBM's text, over all of FEATURES, of which it uses INPUTS."""
    import lightgbm  # noqa: PLC0415 -- heavy, and needs libgomp: only where a model is made

    settings = PARAMETERS | {"seed": seed, "feature_contri": [1.0 if name in INPUTS else 0.0 for name in FEATURES]}
    x = np.concatenate([lesson.data.x for lesson in lessons])
    label = np.concatenate([lesson.data.label for lesson in lessons])
    weight = np.concatenate([lesson.weight for lesson in lessons])
    data = lightgbm.Dataset(x, label, weight=weight, feature_name=list(FEATURES))
    text: str = lightgbm.train(settings, data, ROUNDS).model_to_string()
    return text


def learn(
    lessons: Sequence[Lesson], seed: int, progress: Callable[[int], object] = lambda _: None
) -> tuple[dict[str, str], dict[str, Any]]:
    """(LightGBM's text by file name, manifest); `progress` is told of each fit. Needs three histories, of different
    names: with each left out once, the calibration comes from what was not learned.
    """
    names = [lesson.name for lesson in lessons]
    if len(lessons) < 3 or len(set(names)) < len(names):
        raise SidecarError("give at least three histories of different names: each is left out once, to test the rest")
    lessons = sorted(lessons, key=lambda lesson: lesson.name)  # their order on the command line says nothing
    left_out = {lesson.name: [one for one in lessons if one is not lesson] for lesson in lessons}
    texts = {MODEL: fit(lessons, seed)}
    progress(1)
    for name, rest in left_out.items():
        texts[_file(name)] = fit(rest, seed)
        progress(1)
    unseen = {one.name: Prior("", texts[_file(one.name)], 1.0, 0.0).log_odds(one.data.x) for one in lessons}
    calibrated = {MODEL: _calibration(lessons, unseen)}
    for name, rest in left_out.items():  # a history that is left out has no say in the calibration either
        calibrated[_file(name)] = _calibration(rest, unseen)
    content = hashlib.sha256(json.dumps([texts, calibrated], sort_keys=True).encode()).hexdigest()
    manifest = {
        "format": FORMAT,
        "version": f"prior-{content[:8]}",
        "seed": seed,
        "features": list(FEATURES),
        "inputs": list(INPUTS),
        "models": {name: _model(text, *calibrated[name], lessons[0].data) for name, text in texts.items()},
        "histories": [_about(lesson, unseen[lesson.name]) for lesson in lessons],
        "libraries": {"lightgbm": installed("lightgbm")},
    }
    return texts, manifest


def _file(name: str) -> str:
    return f"without-{name}.txt"


def _calibration(lessons: Sequence[Lesson], raw: dict[str, Floats]) -> tuple[float, float]:
    """Platt's slope and offset over scores of models that had not seen what they score."""
    scores = np.concatenate([raw[lesson.name] for lesson in lessons])
    label = np.concatenate([lesson.data.label for lesson in lessons])
    even = np.concatenate([np.full(len(lesson.data), EACH / len(lesson.data)) for lesson in lessons])
    return calibrate.platt(scores, label, even)


def _model(text: str, slope: float, offset: float, golden: Dataset) -> dict[str, Any]:
    rows = golden.x[np.linspace(0, len(golden) - 1, min(GOLDEN_ROWS, len(golden))).astype(int)]
    found = Prior("", text, slope, offset).log_odds(rows)
    return {"slope": slope, "offset": offset, "golden": {"rows": rows.tolist(), "log_odds": found.tolist()}}


def _about(lesson: Lesson, raw: Floats) -> dict[str, Any]:
    """A history, and the area under the ROC curve on it of a model of the others."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 -- loads slowly

    noise = lesson.data.false_positive
    return {
        "name": lesson.name,
        "alerts_of": list(lesson.alerts_of),
        "left_out": _file(lesson.name),
        "alerts": lesson.alerts,
        "labelled": len(lesson.data),
        "false_share": round(float(noise.mean()), 4),
        "left_out_roc_auc": round(float(roc_auc_score(noise, raw)), 4),
    }


def name_of(path: Path) -> str:
    """A history's name: its file's up to the first dot. Raises SidecarError where that is no plain name."""
    name = path.name.split(".")[0]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise SidecarError(f"{path.name}: a history's file needs a plain name: letters, digits, - and _, then a dot")
    return name


def write(folder: Path, texts: dict[str, str], manifest: dict[str, Any]) -> None:
    """Each file is replaced whole; other files in the folder stay. Until the last one is there, none is used."""
    about = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n"
    files = {MANIFEST: about.encode(), **{name: text.encode() for name, text in texts.items()}}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (*files.items(), (HASHES, hash_lines(files).encode())):
        made = folder / f".{name}"
        made.write_bytes(content)
        made.replace(folder / name)


def render(manifest: dict[str, Any]) -> str:
    """What was learned, in a few lines."""
    lines = [f"{manifest['version']}, from {len(manifest['histories'])} histories; area under ROC on each, left out:"]
    for one in sorted(manifest["histories"], key=lambda one: str(one["name"])):
        share = f"{one['false_share']:.0%} false"
        lines.append(f"  {one['left_out_roc_auc']:.3f}  {one['name']} ({one['labelled']:,} labelled alerts, {share})")
    return "\n".join(lines) + "\n"
