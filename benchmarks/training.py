"""What a training run costs by the number of episodes, in time and memory, with each engine.

    python -m benchmarks.training [--episodes 100000 1000000] [--engines local dask] [--memory 14]

Episodes are drawn at random, with votes that a model can learn something from, and written as `export` writes them.
Each run is the command itself, `python -m training run --data DIR --engine ENGINE --dry-run`, in a process of its own;
its memory, and that of every process it starts, is looked at ten times a second. A run whose memory passes `--memory`
is ended, and the table says so. It needs the extra [cluster].
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from tqdm import tqdm

from models.features import FEATURES
from sidecar.store import schema
from sidecar.store.engine import Database, open_engine
from training import partitions

START = 1_760_000_000.0
SPACING = 3.0  # seconds between episodes
SIZE = 5.0  # episodes of an incident, in the mean
FLIPPED = 0.05  # of the votes
GIGABYTE = 1e9
PLACE = {name: place for place, name in enumerate(FEATURES)}


def observations(draw: np.random.Generator, count: int) -> np.ndarray:
    """Shares, last labels, counts and clocks in the ranges of real ones; -1 where nothing is known."""
    x = draw.gamma(1.0, 2.0, (count, len(FEATURES))).astype(np.float32)
    for name, place in PLACE.items():
        if name.endswith("_share"):
            x[:, place] = draw.beta(0.6, 0.6, count)
        elif name.endswith("_last_label"):
            x[:, place] = draw.integers(0, 2, count)
        elif name.endswith(("_sin", "_cos")):
            x[:, place] = draw.uniform(-1, 1, count)
        elif not name.endswith(("_votes", "_1h", "_15m", "_rank")):
            continue
        if name.endswith(("_share", "_last_label")):
            x[draw.random(count) < 0.2, place] = -1.0
    x[:, PLACE["severity_rank"]] = 2.0
    return x


def noise(draw: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Whether each is a false positive: what was voted before says most of it, how long alerts last some, luck the rest."""
    at = {name: x[:, place] for name, place in PLACE.items()}
    pull = 2.0 * at["fingerprint_false_share"] + 1.5 * at["pattern_last_label"] + 1.0 * at["name_false_share"]
    pull += 1.2 * at["fingerprint_quick_share"] - 0.4 * at["instance_names_15m"] * (at["instance_burst"] > 2)
    return draw.random(len(x)) < 1.0 / (1.0 + np.exp(-2.0 * (pull - np.median(pull))))


def pieces(count: int, seed: int) -> Iterator[list[tuple[Any, ...]]]:
    """As `stored.pieces_for_training` gives them."""
    draw = np.random.default_rng(seed)
    for start in range(0, count, partitions.PIECE):
        size = min(partitions.PIECE, count - start)
        first = np.cumsum(draw.random(size) < 1.0 / SIZE)  # which incident, within the piece
        x = observations(draw, size)
        said = noise(draw, x)[np.searchsorted(first, first)]  # an incident's alerts are alike in what they are
        x = np.where((draw.random(size) < 0.7)[:, None], x[np.searchsorted(first, first)], x).astype(np.float32)
        said ^= draw.random(size) < FLIPPED
        yield [row(start + n, f"i-{start}-{first[n]}", x[n], said=bool(said[n])) for n in range(size)]


def row(number: int, incident: str, x: np.ndarray, *, said: bool) -> tuple[Any, ...]:
    at, name, host = START + SPACING * number, f"Alert{number % 300}", f"host-{hash_of(incident) % 5000}:9100"
    episode = f"{number:016x}-{int(at * 1000)}"
    vote = (episode, "ada", "false_positive" if said else "useful", at + 3600.0, False)
    labels = {"alertname": name, "instance": host, "service": f"s{number % 40}", "namespace": "prod"}
    return (
        episode,
        incident,
        at,
        "WARNING",
        name,
        x,
        "fp-20260101-00000000",
        1.0,
        0.5,
        at,
        at + 600.0,
        labels,
        True,
        [vote],
    )


def hash_of(word: str) -> int:
    return sum(ord(letter) * place for place, letter in enumerate(word, 7))


async def write(folder: Path, count: int, seed: int) -> None:
    with tqdm(total=count, desc="making episodes", unit=" episodes", disable=None, leave=False) as bar:

        async def given() -> AsyncIterator[list[tuple[Any, ...]]]:
            for piece in pieces(count, seed):
                yield piece

        await partitions.write(folder, given(), bar.update)


async def prepare(place: Path) -> Path:
    """A configuration with an empty store: a run looks there for the champion."""
    url = f"sqlite:///{place / 'sidecar.db'}"
    database = Database(open_engine(url))
    await schema.upgrade(database)
    await database.close()
    config = place / "sidecar.yml"
    config.write_text(json.dumps({"store": {"url": url}}), encoding="utf-8")
    return config


class Cost(NamedTuple):
    seconds: float
    busy: float  # seconds of processors, of all processes together
    client: float  # most bytes of the process that was called
    worker: float  # most bytes of one of the processes it started
    all: float  # most bytes of all of them at once
    code: int | None  # None: it was ended, for its memory


def measure(command: list[str], limit: float) -> Cost:
    """Runs it to its end, or until its memory passes the limit in bytes."""
    began, process = time.monotonic(), psutil.Popen(command, stdout=subprocess.DEVNULL)
    client = worker = total = 0.0
    busy: dict[int, float] = {}
    while process.poll() is None and total <= limit:
        sizes = list(looked_at(process, busy))
        client, worker = max(client, sizes[0]), max(worker, *sizes[1:], 0.0)
        total = max(total, sum(sizes))
        time.sleep(0.1)
    code = process.poll()
    if code is None:
        for each in [*process.children(recursive=True), process]:
            each.kill()
        process.wait()
    return Cost(time.monotonic() - began, sum(busy.values()), client, worker, total, code)


def looked_at(process: psutil.Process, busy: dict[int, float]) -> Iterator[float]:
    """Resident bytes, of the process first, then of what it started; what each has computed so far goes into `busy`."""
    try:
        for each in (process, *process.children(recursive=True)):
            spent = each.cpu_times()
            busy[each.pid] = spent.user + spent.system
            yield float(each.memory_info().rss)
    except psutil.NoSuchProcess:  # ended in between
        yield 0.0


def line(count: int, engine: str, cost: Cost, report: Path) -> str:
    spent = [f"{value / GIGABYTE:.1f}" for value in (cost.client, cost.worker, cost.all)]
    if cost.code is None:
        return f"| {count:,} | {engine} | ended after {cost.seconds:.0f} | {cost.busy:.0f} | {' | '.join(spent)} | | |"
    if cost.code not in {0, 3}:  # promoted, or refused by the gate: both have a report
        raise SystemExit(f"the run with the engine {engine} failed: exit code {cost.code}")
    found = json.loads(report.read_text("utf-8"))["metrics"]
    metrics = f"{found['log_loss']:.4f} | {found['roc_auc']:.4f}"
    return f"| {count:,} | {engine} | {cost.seconds:.0f} | {cost.busy:.0f} | {' | '.join(spent)} | {metrics} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000], metavar="N")
    parser.add_argument("--engines", nargs="+", choices=("local", "dask"), default=["local", "dask"])
    parser.add_argument(
        "--memory", type=float, default=14.0, metavar="GB", help="ends a run that takes more; default: 14"
    )
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    options = parser.parse_args()
    print(
        "| episodes | engine | seconds | CPU seconds | GB, client | GB, a worker | GB, all | log-loss | ROC AUC |\n|"
        + "---|" * 9
    )
    with tempfile.TemporaryDirectory(prefix="sidecar-benchmark-") as name:
        place = Path(name)
        config, report = asyncio.run(prepare(place)), place / "report.json"
        for count in options.episodes:
            asyncio.run(write(place / "data", count, options.seed))
            for engine in options.engines:
                command = [
                    sys.executable,
                    "-m",
                    "training",
                    "run",
                    "--config",
                    str(config),
                    "--data",
                    str(place / "data"),
                ]
                command += ["--engine", engine, "--dry-run", "--json", str(report)]
                report.unlink(missing_ok=True)
                print(line(count, engine, measure(command, options.memory * GIGABYTE), report), flush=True)
            shutil.rmtree(place / "data")


if __name__ == "__main__":
    main()
