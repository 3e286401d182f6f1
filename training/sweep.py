"""The scoring of the Numenta Anomaly Benchmark: weights for early and late alarms, and the best threshold over all files.

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms" (2015), and the benchmark's published protocol:

- The first 15 % of a file (of a longer one than 5,000 points: 750 points) are probation and count for nothing.
- In a window only the first alarm counts, the earlier the more: a sigmoid of its place, 1 at the start, 0 at the end.
  A window without alarm costs `fn`.
- An alarm outside costs up to `fp`, less shortly after a window: there the sigmoid goes on below 0.
- One threshold for all files, the best there is; a profile's score is 0 for a detector that never says anything and
  100 for one that hits the start of every window and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROBATION_SHARE: Final = 0.15
PROBATION_LENGTH: Final = 5000  # a longer file has the probation of one of this length
STEEP: Final = 5.0
FAR: Final = 3.0  # window widths after which an alarm costs all of it
NEVER: Final = 1.1  # a threshold that no score reaches


@dataclass(frozen=True, slots=True)
class Profile:
    """What an alarm is worth: `tp` in a window, `fp` outside, `fn` for a window without."""

    tp: float
    fp: float
    fn: float


# The benchmark's documented profiles, for a checkout without config/profiles.json.
PROFILES: Final = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Profile(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True, slots=True)
class Scored:
    """One file: the detector's score of each point, and its windows as (first, last) points, both inside."""

    name: str
    scores: Floats
    windows: Sequence[tuple[int, int]]

    @property
    def counted(self) -> list[int]:
        """The numbers of the windows that probation leaves something of."""
        start = probation(len(self.scores))
        return [number for number, (_, last) in enumerate(self.windows) if last >= start]

    @property
    def category(self) -> str:
        return self.name.split("/", maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class Result:
    """How one set of files did at one threshold; `score` is None where there is no window to find."""

    score: float | None
    raw: float
    threshold: float
    windows: int
    found: int
    false_alarms: int


def probation(length: int) -> int:
    """The number of points at the start of a file that count for nothing."""
    return int(PROBATION_SHARE * min(length, PROBATION_LENGTH))


def sigmoid(place: float) -> float:
    """1 .. -1: worth of an alarm at a place in window widths, -1 at the window's start, 0 at its end, more after it."""
    return -1.0 if place >= FAR else 2.0 / (1.0 + exp(STEEP * place)) - 1.0


def worths(length: int, windows: Sequence[tuple[int, int]], profile: Profile) -> tuple[Floats, NDArray[np.int64]]:
    """For each point what an alarm there is worth, and the number of its window, or -1."""
    worth = np.full(length, -profile.fp)
    window = np.full(length, -1)
    full = sigmoid(-1.0)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        for at in range(first, last + 1):
            worth[at] = profile.tp * sigmoid(-(last - at + 1) / width) / full
        window[first : last + 1] = number
        until = windows[number + 1][0] if number + 1 < len(windows) else length
        for at in range(last + 1, until):
            worth[at] = profile.fp * sigmoid((at - last) / max(1, width - 1))
    return worth, window


def _changes(file: Scored, profile: Profile) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Points by falling score: (score, how the file's sum changes when it becomes an alarm, 1 outside, 2 a find)."""
    start = probation(len(file.scores))
    worth, window = worths(len(file.scores), file.windows, profile)
    order = np.argsort(-file.scores[start:], kind="stable") + start
    change, kind = worth[order], (window[order] < 0).astype(np.int64)
    for number in file.counted:
        inside = np.flatnonzero(window[order] == number)
        best = np.maximum.accumulate(worth[order[inside]])
        change[inside] = np.diff(best, prepend=-profile.fn)
        kind[inside[0]] = 2
    return file.scores[order], change, kind


def sweep(files: Iterable[Scored], profile: Profile, threshold: float | None = None) -> Result:
    """The score at `threshold`, or at the best one over all these files together."""
    files = list(files)
    total = sum(len(file.counted) for file in files)
    parts = [_changes(file, profile) for file in files]
    scores = np.concatenate([[NEVER], *(part[0] for part in parts)])
    change = np.concatenate([[-profile.fn * total], *(part[1] for part in parts)])
    kind = np.concatenate([[0], *(part[2] for part in parts)])
    order = np.argsort(-scores, kind="stable")
    scores, sums = scores[order], np.cumsum(change[order])
    if threshold is None:
        last_of_ties = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
        at = int(last_of_ties[np.argmax(sums[last_of_ties])])
    else:
        at = int(np.searchsorted(-scores, -threshold, side="right")) - 1
    taken = kind[order][: at + 1]
    raw = float(sums[at])
    return Result(
        score=normalise(raw, total, profile),
        raw=raw,
        threshold=float(scores[at]) if threshold is None else threshold,
        windows=total,
        found=int(np.count_nonzero(taken == 2)),
        false_alarms=int(np.count_nonzero(taken == 1)),
    )


def normalise(raw: float, windows: int, profile: Profile) -> float | None:
    """0 for a detector that never raises an alarm, 100 for a perfect one; below 0 for one worse than silence."""
    if not windows:
        return None
    null = -profile.fn * windows
    return 100.0 * (raw - null) / (profile.tp * windows - null)
