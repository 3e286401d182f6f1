"""The streaming detector on a checkout of the Numenta Anomaly Benchmark: read, run, score, show.

A report's scores are the benchmark's: 0 for silence, 100 for the start of every window and nothing else.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from models.stream import Stream
from training.sweep import PROFILES, Profile, Result, Scored, sweep

LAYOUT: Final = """a checkout of the benchmark has
  data/<category>/<name>.csv      with the columns timestamp,value
  labels/combined_windows.json    {"<category>/<name>.csv": [["<first timestamp>", "<last timestamp>"], ...], ...}
  config/profiles.json            optional: {"<profile>": {"CostMatrix": {"tpWeight": 1.0, "fpWeight": ..., ...}}}"""


class BadCorpus(Exception):
    """What is missing or malformed in the benchmark's files, and where."""


@dataclass(frozen=True, slots=True)
class Series:
    """One file: times in seconds, values (NaN where there is none), windows as (first, last) points."""

    name: str
    times: list[float]
    values: list[float]
    windows: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Report:
    """By profile: the result over all files and, at the same threshold, by category."""

    profiles: dict[str, tuple[Result, dict[str, Result]]]
    files: int
    points: int
    microseconds: float


def seconds(text: str) -> float:
    """A timestamp such as `2014-04-01 00:05:00`, taken as UTC. Raises ValueError."""
    found = datetime.fromisoformat(text.strip())
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()


def read_corpus(folder: Path) -> list[Series]:
    """Every file that has labels, in the order of its name. Raises BadCorpus."""
    labels = _read_json(folder / "labels" / "combined_windows.json")
    found = {path.relative_to(folder / "data").as_posix(): path for path in sorted(folder.glob("data/*/*.csv"))}
    if not found:
        raise BadCorpus(f"{folder}: there is no data/*/*.csv")
    absent, unlabelled = sorted(labels.keys() - found.keys()), sorted(found.keys() - labels.keys())
    if absent:
        raise BadCorpus(f"{folder}: labelled, and not in data/: {', '.join(absent)}")
    if unlabelled:
        raise BadCorpus(
            f"{folder}: labels/combined_windows.json says nothing of {', '.join(unlabelled)}; [] is no window"
        )
    return [read_series(name, path, labels[name]) for name, path in found.items()]


def read_series(name: str, path: Path, windows: Any) -> Series:
    """One file. A value that is empty or no number is NaN, what cannot be read otherwise raises BadCorpus."""
    try:
        times, values = _read_points(path)
    except (OSError, csv.Error, UnicodeError) as error:
        raise BadCorpus(f"{path}: {error}") from error
    if not times:
        raise BadCorpus(f"{path}: there is no point in it")
    return Series(name, times, values, sorted(_place(window, name, times) for window in _list(windows, name)))


def _read_points(path: Path) -> tuple[list[float], list[float]]:
    times: list[float] = []
    values: list[float] = []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"timestamp", "value"} <= set(rows.fieldnames or ()):
            raise BadCorpus(f"{path}: the first line must name the columns timestamp,value")
        for row in rows:
            try:
                times.append(seconds(row["timestamp"]))
                values.append(float(row["value"].strip() or "nan"))
            except (AttributeError, ValueError) as error:
                raise BadCorpus(f"{path}, line {rows.line_num}: no timestamp,value: {error}") from error
    return times, values


def _list(windows: Any, name: str) -> list[Any]:
    if not isinstance(windows, list):
        raise BadCorpus(f"labels/combined_windows.json, {name}: {windows!r} is no list of windows")
    return windows


def _place(window: Any, name: str, times: Sequence[float]) -> tuple[int, int]:
    """The first and the last point of a window."""
    try:
        begin, end = (seconds(text) for text in window)
    except (AttributeError, TypeError, ValueError) as error:
        raise BadCorpus(f"labels/combined_windows.json, {name}: {window!r} is no [first, last]: {error}") from error
    inside = [n for n, at in enumerate(times) if begin <= at <= end]  # a clock may go back within a file
    if not inside:
        raise BadCorpus(f"labels/combined_windows.json, {name}: there is no point in {window!r}")
    return inside[0], inside[-1]


def read_profiles(folder: Path) -> dict[str, Profile]:
    """The checkout's profiles, or the documented ones when it has none. Raises BadCorpus."""
    path = folder / "config" / "profiles.json"
    if not path.exists():
        return dict(PROFILES)
    found = {}
    for name, profile in _read_json(path).items():
        try:
            costs = profile["CostMatrix"]
            found[name] = Profile(*(float(costs[key]) for key in ("tpWeight", "fpWeight", "fnWeight")))
        except (KeyError, TypeError, ValueError) as error:
            raise BadCorpus(
                f"{path}, {name}: the CostMatrix needs tpWeight, fpWeight and fnWeight ({error!r})"
            ) from error
    if not found:
        raise BadCorpus(f"{path}: there is no profile in it")
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadCorpus(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise BadCorpus(f"{path}: has to be a JSON object")
    return found


def detect(series: Series) -> tuple[Scored, float]:
    """The detector over one file, and the seconds it took."""
    stream = Stream()
    begun = time.perf_counter()
    scores = [stream.score(at, value) for at, value in zip(series.times, series.values, strict=True)]
    return Scored(series.name, np.asarray(scores), series.windows), time.perf_counter() - begun


def run(corpus: Sequence[Series], profiles: dict[str, Profile], jobs: int = -1) -> Report:
    """Every file, in `jobs` processes (-1: one per core), and the best threshold of each profile."""
    found = Parallel(n_jobs=jobs, return_as="generator")(delayed(detect)(series) for series in corpus)
    done = list(tqdm(found, total=len(corpus), unit="file", desc="detect", disable=None, leave=False))
    files = [file for file, _ in done]
    points = sum(len(file.scores) for file in files)
    took = sum(spent for _, spent in done)
    results = {name: judge(files, profile) for name, profile in profiles.items()}
    return Report(results, len(files), points, 1e6 * took / max(1, points))


def judge(files: Sequence[Scored], profile: Profile) -> tuple[Result, dict[str, Result]]:
    """The best result over all files, and each category at that threshold."""
    whole = sweep(files, profile)
    categories = sorted({file.category for file in files})
    parts = {name: [file for file in files if file.category == name] for name in categories}
    return whole, {name: sweep(part, profile, whole.threshold) for name, part in parts.items()}


def render(report: Report) -> str:
    """Tables for people, one per profile."""
    lines = [f"{report.files} files, {report.points:,} points, {report.microseconds:.1f} µs per point"]
    for name, (whole, categories) in report.profiles.items():
        lines += ["", f"{name:<28} {'score':>7} {'found':>11} {'false alarms':>13}"]
        lines += [_line(f"  {category}", part) for category, part in categories.items()]
        lines.append(_line(f"  all, threshold {whole.threshold:.4f}", whole))
    return "\n".join(lines) + "\n"


def _line(name: str, result: Result) -> str:
    score = "-" if result.score is None else f"{result.score:.2f}"
    return f"{name:<28} {score:>7} {result.found:>4} of {result.windows:<4} {result.false_alarms:>12}"


def as_json(report: Report) -> dict[str, Any]:
    """The same as values."""
    profiles = {
        name: {**asdict(whole), "categories": {category: asdict(part) for category, part in categories.items()}}
        for name, (whole, categories) in report.profiles.items()
    }
    head = {"files": report.files, "points": report.points, "microseconds_per_point": report.microseconds}
    return {**head, "profiles": profiles}
