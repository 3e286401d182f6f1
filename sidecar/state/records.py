"""What the state holds of episodes, incidents and holds, and the keys that name things in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from models.statistics import Keys
from models.table import Table
from sidecar.domain import Alert, Given, Pattern, severity_of

TRAINED: Final = "fp-"  # how the version of a trained model begins
BY_SCORE: Final = "suppression_by_score"  # the rule that holds what may be noise
BY_WINDOW: Final = "window"  # the reason of what waits for a deployment window
EXACT: Final = "exact="  # how an exact deduplication key begins
LIKE: Final = "like="  # how the key of alerts that read alike begins


class Episode(Struct, frozen=True, gc=False):
    """The newest firing of a fingerprint."""

    episode: str
    starts_at: float
    last_seen: float
    keys: Keys
    ended_at: float | None = None
    incident: str = ""
    verdict: str = ""
    decided_at: float = 0.0
    follows: float = 0.0  # when the firing before it ended


class Told(Struct, frozen=True, gc=False, array_like=True):
    receiver: str
    at: float  # when people were last interrupted there
    times: int
    lost: bool = False  # the message ended in the dead letters
    has: bool = False  # a message of it arrived there, whatever became of later ones


class Incident(Struct, frozen=True, gc=False):
    """What a person sees as one thing."""

    opened_at: float
    firing: int = 0  # episodes in it that still fire
    first_told: float | None = None  # folding ends a configured time after this
    told: tuple[Told, ...] = ()
    rank: int = 0  # severity people were told of, the highest
    resolves: int = 0  # how often all of it cleared
    last: float = 0.0  # when anything happened to it
    settle: float = 0.0  # s without anything firing until people are told that it is over; 0: at once
    title: str = ""  # of an incident that gathers
    shadow: bool = False  # people have it in mode shadow alone: all that was told in it would have been kept back

    @property
    def counts(self) -> bool:
        """Whether people were told of it, and would have been in another mode too."""
        return self.first_told is not None and not self.shadow

    @property
    def reached(self) -> tuple[Told, ...]:
        """Who has a message of it."""
        for one in self.told:
            if one.lost:
                return tuple([told for told in self.told if not told.lost])
        return self.told

    @property
    def heard(self) -> tuple[Told, ...]:
        """Who has a message of it, be it an older one: they are told when it is over."""
        return tuple([one for one in self.told if one.has or not one.lost])


class Hold(Struct, frozen=True, gc=False):
    due: float
    alert: Alert
    group_key: str
    since: float
    given: Given | None = None
    score: float | None = None  # for which it was held; None: for a maintenance window, or before scores were kept here
    by: str = ""  # the rule that holds it


def keys_of(fingerprint: str, labels: dict[str, str]) -> Keys:
    """The keys under which statistics of an alert are kept."""
    get = labels.get
    return Keys(
        fingerprint,
        get("alertname", ""),
        get("instance", ""),
        get("service", ""),
        get("namespace", ""),
        severity_of(labels),
    )


def pattern_of(keys: Keys) -> Pattern:
    return Pattern(keys.alertname, keys.namespace, keys.service, keys.severity)


def key_of(pattern: Pattern) -> str:
    """A pattern as one string: the key of ballots and silences."""
    return "\x1f".join(pattern)


def forget(table: Table[str, Any], idle: Callable[[Any], bool]) -> None:
    """Drop what is idle from a table."""
    for key in [key for key, value in table.items() if idle(value)]:
        table.drop(key)
