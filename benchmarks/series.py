"""A synthetic suite in the layout of the Numenta Anomaly Benchmark, for tuning and for trying the command.

    python -m benchmarks.series DIR [--seed 1]
    python -m training nab DIR

It resembles the benchmark's categories (lengths, sampling, seasons, kinds of noise and of anomaly; windows of 10 % of a
file, around each anomaly), and it is not the benchmark: a score on it says nothing about the score on the real files.
Like real labels these are not fair: most files have spikes, shifts and restless hours that nobody labelled, and one
window in six holds nothing that can be seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np

START = datetime(2014, 4, 1, tzinfo=UTC)
Floats = np.ndarray
Made = tuple[Floats, list[int]]  # values, and where the anomalies begin
Make = Callable[[np.random.Generator, int], Made]


def places(draw, length: int, count: int) -> list[int]:
    """Where anomalies begin: after a fifth, and apart."""
    edges = np.linspace(0.22 * length, 0.97 * length, count + 1)
    return [int(draw.uniform(a + 0.12 * (b - a), b - 0.12 * (b - a))) for a, b in pairwise(edges)]


def hours(length: int, minutes: float) -> Floats:
    return np.arange(length) * minutes / 60.0


def red(draw, length: int, memory: float, size: float) -> Floats:
    """Noise that remembers."""
    out, now = np.empty(length), 0.0
    for n, push in enumerate(draw.normal(0.0, size * np.sqrt(1.0 - memory**2), length)):
        now = memory * now + push
        out[n] = now
    return out


# Artificial: a square day of five-minute points


def square(draw, noise: float) -> Floats:
    day = hours(4032, 5) % 24
    return np.where((day >= 9) & (day < 18), 80.0, 20.0) + draw.uniform(-1, 1, 4032) * noise


def art_plain(draw, n: int) -> Made:
    return square(draw, (0.0, 2.0, 8.0)[n % 3]), []


def art_flat(_, __: int) -> Made:
    return np.full(4032, 45.0), []


def art_noise(draw, _: int) -> Made:
    return draw.uniform(15, 22, 4032), []


def art_day(draw, n: int) -> Made:
    """The eleventh day is another one: higher, lower, flat, or missing."""
    values, at = square(draw, 8.0), 10 * 288 + 108
    values[at : at + 108] += (70.0, -30.0, -35.0, -60.0)[n % 4]
    return values, [at]


def art_density(draw, _: int) -> Made:
    """Spikes that come more often."""
    values, at = draw.uniform(0, 1, 4032), 1900
    rate = np.where((np.arange(4032) > at) & (np.arange(4032) < at + 250), 0.08, 0.012)
    return values + 20.0 * (draw.random(4032) < rate), [at]


def art_balancer(draw, _: int) -> Made:
    values, at = np.abs(draw.normal(0.2, 0.05, 4032)), 2900
    spikes = draw.random(4032) < 0.02
    values += spikes * draw.uniform(0.5, 1.5, 4032)
    values[at : at + 40] += (draw.random(40) < 0.3) * draw.uniform(2.0, 3.5, 40)
    values[at + 3] += 2.5
    return values, [at]


# Cloud metrics


def cpu_quiet(draw, _: int) -> Made:
    """Nearly idle, with small spikes at random and large ones as anomalies."""
    values = 0.1 + draw.gamma(2.0, 0.01, 4032)
    values += (draw.random(4032) < 0.004) * draw.uniform(0.1, 1.2, 4032)
    found = places(draw, 4032, 2)
    for at in found:
        values[at : at + draw.integers(1, 4)] += draw.uniform(1.0, 2.5)
    return values, found


def cpu_busy(draw, _: int) -> Made:
    """Noise about a level that shifts."""
    values = 45.0 + red(draw, 4032, 0.6, 4.0)
    values -= (draw.random(4032) < 0.005) * draw.uniform(5, 12, 4032)
    found = places(draw, 4032, 2)
    values[found[0] : found[0] + draw.integers(3, 30)] -= draw.uniform(12, 30)
    values[found[1] :] += draw.uniform(-10, 10) + 4.0
    return values, found


def cpu_steps(draw, _: int) -> Made:
    """Steps up and down, and then one far above all others."""
    steps = np.cumsum((draw.random(4032) < 0.003) * draw.normal(0, 3.0, 4032))
    at = places(draw, 4032, 1)[0]
    values = 35.0 + steps + draw.normal(0, 0.4, 4032)
    values[at:] += draw.choice([-1, 1]) * draw.uniform(15, 40)
    return values, [at]


def cpu_jobs(draw, _: int) -> Made:
    """A job that runs every few hours; then it hangs, or is gone."""
    period = int(draw.integers(30, 100))
    values = 2.0 + draw.normal(0, 0.1, 4032)
    values += np.where(np.arange(4032) % period < 3, draw.uniform(20, 60) + draw.normal(0, 3.0, 4032), 0.0)
    found = places(draw, 4032, 2)
    values[found[0] : found[0] + 40] = 97.0 + draw.normal(0, 1.0, 40)
    values[found[1] : found[1] + 3 * period] = 2.0 + draw.normal(0, 0.1, 3 * period)
    return values, found


def network(draw, _: int) -> Made:
    """Bytes: bursts with a heavy tail, one of them labelled."""
    values = 1e5 * draw.lognormal(0.0, 0.5, 4730) + (draw.random(4730) < 0.01) * 1e6 * draw.pareto(2.5, 4730)
    found = places(draw, 4730, 1)
    values[found[0] : found[0] + 5] += 1e6 * draw.uniform(4, 12)
    return values, found


def requests(draw, _: int) -> Made:
    """Requests of a service: a day, Poisson noise, and a surge."""
    rate = 60.0 * (1.2 + np.sin(hours(4032, 5) * 2 * np.pi / 24))
    values = draw.poisson(rate * draw.lognormal(0, 0.35, 4032)).astype(float)
    found = places(draw, 4032, 2)
    for at in found:
        values[at : at + 4] += draw.uniform(250, 600)
    return values, found


def disk(draw, _: int) -> Made:
    """Writes: mostly zero, bursts of like sizes; the anomaly is a long burst."""
    values = np.where(draw.random(4032) < 0.06, draw.uniform(1e6, 5e6, 4032), 0.0)
    found = places(draw, 4032, 3)
    for at in found:
        values[at : at + 12] = draw.uniform(5e6, 1.5e7)
    return values, found


# Advertisements: hourly costs


def advert(draw, n: int) -> Made:
    day = 0.03 * np.sin(hours(1640, 60) * 2 * np.pi / 24)
    values = 0.1 + day + np.abs(draw.normal(0, 0.02, 1640)) * (1.0 + (n % 2))
    values += (draw.random(1640) < 0.015) * draw.uniform(0.03, 0.2, 1640)
    found = places(draw, 1640, int(draw.integers(1, 5)))
    for at in found:
        values[at : at + draw.integers(1, 3)] += draw.uniform(0.15, 0.8)
    return values, found


# Known causes


def ambient(draw, _: int) -> Made:
    values = 71.0 + red(draw, 7267, 0.97, 3.5) + draw.normal(0, 0.6, 7267)
    found = places(draw, 7267, 2)
    values[found[0] : found[0] + 60] -= np.linspace(2, 11, 60)
    values[found[1] : found[1] + 20] -= draw.uniform(8, 14)
    return values, found


def machine(draw, _: int) -> Made:
    """A temperature that wanders, and drops when the machine stops."""
    values = 85.0 + red(draw, 22695, 0.999, 9.0) + draw.normal(0, 1.2, 22695)
    found = places(draw, 22695, 3)
    for at in found:
        length = int(draw.integers(60, 250))
        values[at : at + length] -= np.linspace(15, draw.uniform(35, 60), length)
    return values, found


def taxi(draw, _: int) -> Made:
    """Half-hours of passengers: days and weeks; holidays are lower for a day, a marathon is higher."""
    clock = hours(10320, 30)
    day = clock % 24
    shape = 15000 - 9000 * np.cos((day - 4.0) * 2 * np.pi / 24) - 2500 * np.cos((day - 1.0) * 4 * np.pi / 24)
    weekend = (clock // 24) % 7 >= 5
    values = shape * np.where(weekend, 0.9, 1.0) + np.where(weekend & (day < 4), 5000, 0) + red(draw, 10320, 0.8, 700)
    found = places(draw, 10320, 5)
    for at, change in zip(found, (1.3, 0.6, 0.5, 0.65, 0.15), strict=True):
        values[at : at + 48] *= change
    return np.maximum(values, 0), found


def latency(draw, _: int) -> Made:
    values = 45.0 + red(draw, 4032, 0.5, 1.0) + (draw.random(4032) < 0.003) * draw.uniform(2, 8, 4032)
    found = places(draw, 4032, 3)
    for at in found:
        values[at : at + 3] += draw.uniform(6, 35)
    return values, found


def misconfigured(draw, _: int) -> Made:
    day = np.maximum(0, np.sin(hours(18050, 5) * 2 * np.pi / 24))
    values = 30.0 + 15.0 * day + red(draw, 18050, 0.7, 5.0) + (draw.random(18050) < 0.01) * draw.uniform(10, 35, 18050)
    at = places(draw, 18050, 1)[0]
    values[at : at + 1500] += 30.0
    return np.clip(values, 0, 100), [at]


def keys(draw, _: int) -> Made:
    """A person's keys: little or nothing, in sessions; somebody else types otherwise."""
    length = 1882
    session = np.repeat(draw.random(100) < 0.3, 20)[:length]
    values = np.where(session, draw.gamma(1.5, 0.05, length), 0.0)
    found = places(draw, length, 2)
    for at in found:
        values[at : at + 12] = draw.uniform(0.4, 1.2, 12)
    return values, found


# Traffic and tweets


def speed(draw, _: int) -> Made:
    values = 66.0 + red(draw, 2500, 0.3, 4.0)
    jam = np.isin((hours(2500, 5) % 24 * 12).astype(int), range(200, 210))
    values -= jam * draw.uniform(0, 20, 2500)
    found = places(draw, 2500, int(draw.integers(1, 4)))
    for at in found:
        values[at : at + draw.integers(8, 25)] -= draw.uniform(35, 55)
    return np.maximum(np.round(values), 0), found


def travel(draw, _: int) -> Made:
    rush = np.maximum(0, np.sin((hours(2500, 10) % 24 - 10) * 2 * np.pi / 24)) ** 2
    values = 100 + 120 * rush * draw.lognormal(0, 0.6, 2500) + draw.gamma(2, 12, 2500)
    values += (draw.random(2500) < 0.004) * draw.uniform(100, 800, 2500)
    found = places(draw, 2500, int(draw.integers(1, 4)))
    for at in found:
        values[at : at + draw.integers(2, 12)] += draw.uniform(600, 2500)
    return np.round(values), found


def tweets(draw, _: int) -> Made:
    """Counts of a day, heavy-tailed bursts that fade; the largest ones are labelled."""
    level = float(draw.choice([5, 20, 60, 120]))
    clock = hours(15850, 5)
    rate = level * (1.1 + 0.8 * np.sin((clock - 14) * 2 * np.pi / 24)) * np.where((clock // 24) % 7 >= 5, 0.6, 1.0)
    fade = np.exp(-np.arange(24) / 5.0)
    found = places(draw, 15850, int(draw.integers(2, 5)))
    bursts = [(int(at), level * draw.pareto(2.0)) for at in draw.integers(0, 15800, 90)]
    for at, size in [*bursts, *((at, level * draw.uniform(15, 60)) for at in found)]:
        rate[at : at + 24] += (size * fade)[: len(rate) - at]
    return draw.poisson(rate * draw.gamma(6.0, 1 / 6.0, 15850)).astype(float), found


# (category, name, how many, minutes between points, how)
SUITE: list[tuple[str, str, int, int, Make]] = [
    ("artificialNoAnomaly", "plain", 3, 5, art_plain),
    ("artificialNoAnomaly", "flat", 1, 5, art_flat),
    ("artificialNoAnomaly", "noise", 1, 5, art_noise),
    ("artificialWithAnomaly", "day", 4, 5, art_day),
    ("artificialWithAnomaly", "density", 1, 5, art_density),
    ("artificialWithAnomaly", "balancer", 1, 5, art_balancer),
    ("cloud", "quiet", 3, 5, cpu_quiet),
    ("cloud", "busy", 3, 5, cpu_busy),
    ("cloud", "steps", 3, 5, cpu_steps),
    ("cloud", "jobs", 2, 5, cpu_jobs),
    ("cloud", "network", 2, 5, network),
    ("cloud", "requests", 2, 5, requests),
    ("cloud", "disk", 2, 5, disk),
    ("adExchange", "cost", 6, 60, advert),
    ("knownCause", "ambient", 1, 60, ambient),
    ("knownCause", "machine", 1, 5, machine),
    ("knownCause", "taxi", 1, 30, taxi),
    ("knownCause", "latency", 1, 5, latency),
    ("knownCause", "misconfigured", 1, 5, misconfigured),
    ("knownCause", "keys", 2, 5, keys),
    ("traffic", "speed", 4, 5, speed),
    ("traffic", "travel", 3, 10, travel),
    ("tweets", "volume", 10, 5, tweets),
]


def disturb(draw, made: Made) -> Made:
    """Spikes, shifts and restless hours that nobody labelled, and labels where nothing can be seen."""
    values, found = made
    length, size = len(values), float(np.std(values))
    for _ in range(draw.poisson(3.0)):
        at, stretch = int(draw.uniform(0, length)), int(draw.uniform(50, 600))
        kind = draw.integers(3)
        if kind == 0:
            values[at : at + draw.integers(1, 4)] += size * draw.uniform(1.5, 7.0)
        elif kind == 1:
            values[at : at + stretch] += size * draw.uniform(-1.5, 1.5)
        else:
            part = values[at : at + stretch]
            part += draw.uniform(0.5, 1.5) * (part - part.mean())
    return values, [at if draw.random() > 1 / 6 else max(0, at - int(0.1 * length)) for at in found]


def write(folder: Path, seed: int = 1) -> None:
    """The whole suite: data/<category>/*.csv and labels/combined_windows.json. The same seed gives the same files."""
    windows: dict[str, list[list[str]]] = {}
    for category, name, count, minutes, make in SUITE:
        (folder / "data" / category).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            key = f"{category}/{name}_{number}.csv"
            draw = np.random.default_rng([seed, crc32(key.encode())])
            made = make(draw, number)
            values, found = made if category.startswith("artificial") else disturb(draw, made)
            times = [START + n * timedelta(minutes=minutes) for n in range(len(values))]
            half = int(0.05 * len(values) / max(1, len(found)))
            windows[key] = [
                [f"{times[max(0, at - half)]:%F %T.%f}", f"{times[min(len(values) - 1, at + half)]:%F %T.%f}"]
                for at in found
            ]
            rows = [f"{at:%F %T},{value:.10g}" for at, value in zip(times, values, strict=True)]
            (folder / "data" / key).write_text("\n".join(["timestamp,value", *rows, ""]), encoding="utf-8")
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(windows, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.series", description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    options = parser.parse_args()
    write(options.folder, options.seed)
    print(f"{sum(row[2] for row in SUITE)} files in {options.folder}/data")


if __name__ == "__main__":
    main()
