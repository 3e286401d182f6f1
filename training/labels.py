"""Votes -> one label per episode."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

# kind of vote -> (1 false positive or 0 real, what the vote weighs); other kinds say nothing. An `ack` says only that
# somebody looked, as in sidecar/state.py: it is no label, and training/implicit.py makes a hint of it.
MEANING: Final[dict[str, tuple[float, float]]] = {
    "false_positive": (1.0, 1.0),
    "not_actionable": (1.0, 0.5),  # it may have been true, only of no use
    "useful": (0.0, 1.0),
    "resolved": (0.0, 1.0),
}

Vote = tuple[str, str, str, float, bool]  # (episode, who, kind, at, retracted)


class Label(NamedTuple):
    value: float  # share of false positive among the votes, by weight
    weight: float  # at most 1: many people say it better, not more often
    at: float  # when the newest vote in it was given


def newest_votes(votes: Iterable[Vote]) -> dict[tuple[str, str], tuple[str, float, bool]]:
    """(kind, when, retracted) of the newest vote by (episode, person)."""
    newest: dict[tuple[str, str], tuple[str, float, bool]] = {}
    for episode, who, kind, at, retracted in votes:
        known = newest.get((episode, who))
        if known is None or at >= known[1]:
            newest[episode, who] = (kind, at, retracted)
    return newest


def labels(votes: Iterable[Vote]) -> dict[str, Label]:
    """One vote per person and episode, the newest; a newest that is retracted takes the person's vote away."""
    sums: dict[str, tuple[float, float, float]] = {}
    for (episode, _), (kind, at, retracted) in sorted(newest_votes(votes).items()):
        if retracted or kind not in MEANING:
            continue
        value, weight = MEANING[kind]
        noise, total, last = sums.get(episode, (0.0, 0.0, at))
        sums[episode] = (noise + weight * value, total + weight, max(last, at))
    return {episode: Label(noise / total, min(1.0, total), last) for episode, (noise, total, last) in sums.items()}
