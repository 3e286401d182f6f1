"""Decisions and votes as a service would have stored them, made by the real statistics and features."""

from __future__ import annotations

import random

from models.features import vector
from models.statistics import Keys, Statistics

START = 1_790_000_000.0


def keys(name: str, number: int) -> Keys:
    return Keys(f"{name}-{number}", name, f"host-{number % 7}", "api", "prod", "WARNING")


def taught(count: int, *, seed: int = 1, flipped: float = 0.0, apart: float = 600.0, noise_of: float = 0.5):
    """`count` episodes, each voted on a minute after its end: Flaky clears in a minute and is noise, Broken lasts.

    Returns (rows, votes, statistics, end). `flipped` is the share of votes that say the opposite.
    """
    draw, statistics, rows, votes, at = random.Random(seed), Statistics(), [], [], START
    for number in range(count):
        at += apart
        noise = draw.random() < noise_of
        key = keys("Flaky" if noise else "Broken", number)
        ratio = {"value": str(draw.uniform(1.0, 1.1) if noise else draw.uniform(1.05, 3.0)), "threshold": "1"}
        rows.append(
            (f"e{number}", f"i{number // 4}", at, "WARNING", key.alertname, list(vector(statistics, key, ratio, at)),
             "cold-start", 1.0)
        )  # fmt: skip
        lasted = 60.0 if noise else 450.0
        statistics.started(at, key)
        statistics.ended(at + lasted, key, at, at + lasted)
        said = noise != (draw.random() < flipped)
        votes.append((f"e{number}", "ada", "false_positive" if said else "useful", at + lasted + 60.0, False))
        statistics.voted(at + lasted + 60.0, key, 1.0 if said else 0.0, None)
        statistics.commit()
    return rows, votes, statistics, at
