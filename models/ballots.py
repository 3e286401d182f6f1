"""What people said about the past of a key: last label, recency-weighted share, and how much evidence there is.

A label is 1.0 for a false positive, 0.0 for real, between for soft. The newest labels are kept, with their times, so
that a change or a retraction takes away exactly what the earlier label had added.
"""

from __future__ import annotations

from math import exp
from typing import Final

KEPT: Final = 16  # labels remembered one by one; beyond, a retraction takes the oldest remembered weight
UNKNOWN: Final = -1.0
NO_VOTES: Final = (UNKNOWN, UNKNOWN, 0.0)

Recent = tuple[tuple[float, float], ...]  # (when, label), oldest first, at most KEPT
# (newest event, last label, share of false, evidence decayed to the newest event, labelled episodes, recent ones).
# A plain tuple: every start copies a reference to it, and reading one costs half of what a NamedTuple does.
Ballot = tuple[float, float, float, float, int, Recent]


def cast(ballot: Ballot | None, at: float, label: float | None, was: float | None, *, per_life: float) -> Ballot | None:
    """The ballot after an episode's label went from `was` to `label` (None: it carries none); None when none is left.

    `per_life` is -1 over the mean life in seconds.
    """
    newest, last, share, evidence, labels, recent = ballot or (at, UNKNOWN, 0.0, 0.0, 0, ())
    at = max(at, newest)
    evidence *= exp((at - newest) * per_life)
    false, real = share * evidence, (1.0 - share) * evidence
    if was is not None and labels > 0:
        gone, recent = _take(recent, at, was)
        weight = exp((at - gone) * per_life)
        false, real, labels = max(0.0, false - was * weight), max(0.0, real - (1.0 - was) * weight), labels - 1
    if label is not None:
        recent = (*recent, (at, label))[-KEPT:]
        false, real, labels, last = false + label, real + 1.0 - label, labels + 1, label
    if labels == 0:
        return None
    if labels == len(recent):  # all are remembered: no rounding is carried along
        weights = [(exp((at - when) * per_life), each) for when, each in recent]
        false = sum(weight * each for weight, each in weights)
        real = sum(weight * (1.0 - each) for weight, each in weights)
    evidence = false + real
    return (
        at,
        recent[-1][1] if recent else last,
        false / evidence if evidence > 0.0 else 0.0,
        evidence,
        labels,
        recent,
    )


def _take(recent: Recent, at: float, was: float) -> tuple[float, Recent]:
    """When the newest label equal to `was` was given, and the rest; of a forgotten one: the oldest time remembered."""
    for n in range(len(recent) - 1, -1, -1):
        if recent[n][1] == was:
            return recent[n][0], recent[:n] + recent[n + 1 :]
    return (recent[0][0] if recent else at), recent


def view(ballot: Ballot | None, now: float, per_life: float) -> tuple[float, float, float]:
    """(last label, recency-weighted share of false, weight of evidence), -1 for unknown labels and shares."""
    if ballot is None:
        return NO_VOTES
    past = now - ballot[0]  # by places: unpacking would fetch the recent labels from memory, for nothing
    return (ballot[1], ballot[2], ballot[3] * exp(past * per_life) if past > 0.0 else ballot[3])
