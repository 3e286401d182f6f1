"""The plan while it is made: what the steps of `pipeline.plan` pass on to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from models.features import pack
from models.statistics import Keys
from sidecar.config import Config
from sidecar.domain import Decision, Reason, Received, Scored
from sidecar.events import Delivered, Event, SilenceSettled, Voted
from sidecar.rules.base import exact_key, fold_keys, near_keys, text_key
from sidecar.scoring import ANOMALY
from sidecar.state import Episode, State, pattern_of


class Inputs(Struct, frozen=True):
    """What a batch is made of. A tick is a batch without inputs."""

    received: Sequence[Received] = ()
    votes: Sequence[Voted] = ()
    outcomes: Sequence[Delivered | SilenceSettled] = ()
    sweep_before: float | None = None
    asks: Sequence[Event] = ()  # what the shell hands in ready-made


@dataclass(slots=True)
class Draft:
    """The plan while it is made."""

    now: float
    state: State
    config: Config
    since: float  # when the oldest alert of the batch was received
    events: list[Event] = field(default_factory=list)
    candidates: list[tuple[Received, Keys, str]] = field(default_factory=list)  # to be decided: alert, keys, episode
    waited: dict[str, tuple[Reason, ...]] = field(default_factory=dict)  # episode -> that its hold is over
    observations: list[tuple[float, ...]] = field(default_factory=list)  # of each candidate
    ready: list[Decision] = field(default_factory=list)  # decided without the rules
    ended: list[Episode] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # duties that raised
    closed: dict[str, None] = field(default_factory=dict)  # incidents that have settled

    def record(self, event: Event) -> None:
        self.state.fold(event)
        self.events.append(event)


def scored_as(
    config: Config,
    received: Received,
    keys: Keys,
    episode: str,
    observation: tuple[float, ...] = (),
    score: float | None = None,
    model: str = "",
) -> Scored:
    anomaly = observation[ANOMALY] if observation else None
    packed = pack(observation) if observation else b""
    known_as = (*fold_keys(received, config), exact_key(received.alert.labels, keys.fingerprint, config))
    labels, pattern = received.alert.labels, pattern_of(keys)
    return Scored(
        episode, received.alert, pattern, received.group_key, packed, score, anomaly, model, known_as,
        text=text_key(labels, config), near=near_keys(labels, config),
    )  # fmt: skip
