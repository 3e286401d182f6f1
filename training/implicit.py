"""What people do without voting, as weak hints for the fit: of an alert acknowledged, or told and left alone.

A hint ranks, and so may come to hold; it never proves. It is given to `fit` beside the votes and to nothing else: the
split, calibration, metrics, gate, certificate, score floors, drift alarms, the ladder's counts and silences know only
votes. All hints together weigh at most MOST of what the votes weigh.

- Acknowledged (a vote of the kind `ack`, or 👀): somebody took it up, so it is rather real.
- Left alone: it was told, cleared within QUICK by itself, since nobody repairs anything as fast, and nobody has reacted to
  any alert of its incident within REACTION. So it is rather noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from models.records import QUICK
from training.dataset import Dataset, Row, always_told, assemble
from training.labels import Label, Vote, labels, newest_votes

ACK: Final = (0.2, 0.3)  # (share of false, weight)
LEFT_ALONE: Final = (0.7, 0.1)
REACTION: Final = 86400.0  # s from its end in which somebody may still react
MOST: Final = 0.5  # of the weight of the votes


def hints(
    rows: Iterable[Sequence[Any]],
    votes: Iterable[Vote],
    now: float,
    guarded: Callable[[Mapping[str, str], str], bool] = always_told,
) -> Dataset:
    """What is known by `now` of episodes that carry no vote, each with its weak label; rows and votes as for `build`."""
    found, given = [Row(*row) for row in rows], list(votes)
    voted = labels(given).keys()
    weak = _acknowledged(given) | _left_alone(found, given, now)
    return assemble(found, {episode: label for episode, label in weak.items() if episode not in voted}, guarded)


def beside(found: Dataset, train: Dataset, validation: Dataset) -> Dataset:
    """The hints that were known before validation began, of none of its incidents, weighing no more than they may."""
    judged = set(validation.incident.tolist())
    apart = np.array([not name or name not in judged for name in found.incident.tolist()], dtype=np.bool_)
    kept = found.take(np.flatnonzero(apart & (found.known_at < validation.at.min())))
    total = float(kept.weight.sum())
    most = MOST * float(train.weight.sum())
    return replace(kept, weight=kept.weight * (most / total)) if total > most else kept


def about(found: Dataset | None) -> dict[str, Any] | None:
    """For the report: how many of each kind, and what they weigh together; None where hints are turned off."""
    if found is None:
        return None
    acknowledged = int((found.label == ACK[0]).sum())
    return {
        "acknowledged": acknowledged,
        "left_alone": len(found) - acknowledged,
        "weight": float(found.weight.sum()),
    }


def _acknowledged(votes: Iterable[Vote]) -> dict[str, Label]:
    value, weight = ACK
    found: dict[str, Label] = {}
    for (episode, _), (kind, at, retracted) in newest_votes(votes).items():
        if kind == "ack" and not retracted:
            known = found.get(episode)
            found[episode] = Label(value, weight, at if known is None else min(at, known.at))
    return found


def _left_alone(rows: Sequence[Row], votes: Iterable[Vote], now: float) -> dict[str, Label]:
    reacted = {vote[0] for vote in votes}
    touched = {row.incident or row.episode for row in rows if row.episode in reacted}
    value, weight = LEFT_ALONE
    return {
        row.episode: Label(value, weight, row.ended + REACTION)
        for row in rows
        if row.told
        and row.ended is not None
        and row.ended - (row.started or row.at) <= QUICK
        and row.ended + REACTION <= now
        and (row.incident or row.episode) not in touched
    }
