"""What the oracle writes down: episodes, incidents as people know them, and the promise that does not hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from sidecar.domain import severity_of

TELLS = ("notify", "fold")
INTERRUPTS = ("notify", "raise", "reminder")


class Broken(AssertionError):
    """A promise does not hold."""


@dataclass
class Firing:
    """One episode, as recorded."""

    episode: str
    labels: dict[str, str]
    starts_at: float
    open: bool = True
    seen: float = 0.0
    verdict: str = ""
    incident: str = ""
    until: float = 0.0
    held_since: float = 0.0
    receivers: tuple[str, ...] = ()
    rule: str = ""
    muted: set[str] = field(default_factory=set)  # the silences that hide it

    @property
    def severity(self) -> str:
        return severity_of(self.labels)


@dataclass
class Telling:
    """One incident, as people at its receivers know it."""

    first: float | None = None
    at: dict[str, float] = field(default_factory=dict)  # receiver -> when it was last interrupted
    lost: set[str] = field(default_factory=set)  # receivers whose message never arrived
    has: set[str] = field(default_factory=set)  # receivers where some message arrived, whatever became of later ones
    live: dict[str, bool] = field(default_factory=dict)  # target -> whether it shows that something fires
    resolvable: set[str] = field(default_factory=set)
    settle: float = 0.0
    touched: float = 0.0

    def reached(self) -> list[str]:
        return [one for one in self.at if one not in self.lost]
