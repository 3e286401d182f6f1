"""What really fires, and what Alertmanager says of it: in order, twice, late, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.domain import Alert, Given, Mute, Received
from sidecar.intake.webhook import fingerprint_of

LATE = 7200.0  # s: nobody tries an old webhook again after that
KINDS: tuple[dict[str, str], ...] = (
    {"alertname": "HighLatency", "severity": "warning", "instance": "i0"},
    {"alertname": "HighLatency", "severity": "warning", "instance": "i1"},
    {"alertname": "QueueFull", "severity": "info", "instance": "i0"},
    {"alertname": "QueueFull", "severity": "info", "instance": "i2"},
    {"alertname": "Down", "severity": "critical", "instance": "i1"},
    {"alertname": "HighLatency", "severity": "critical", "instance": "i0"},
    {"alertname": "Odd", "severity": "fatal", "instance": "i2"},
    {"alertname": "Slow", "severity": "warning", "namespace": "shop", "service": "db", "pod": "p1", "instance": "i3"},
    {"alertname": "Slow", "severity": "warning", "namespace": "shop", "service": "db", "pod": "p1", "instance": "i4"},
    {"alertname": "Stuck", "severity": "error"},
)


@dataclass
class Thing:
    """One label set that fires or does not."""

    labels: dict[str, str]
    fingerprint: str
    version: int = 0  # of the truth about it: counts its starts and ends
    firing: bool = False
    start: float = 0.0
    end: float = 0.0
    said: float = 0.0  # when a webhook said last, and truly, that it fires
    claimed: float = 0.0  # when old news said last that it fires
    muted: Mute | None = None  # the silence that keeps Alertmanager from sending it


class Said(NamedTuple):
    """What one webhook says of one thing."""

    thing: Thing
    version: int
    alert: Alert
    group: str
    sent: float

    @property
    def true(self) -> bool:
        """Whether nothing newer has happened to it."""
        return self.version == self.thing.version

    def received(self, now: float, given: Given | None = None) -> Received:
        return Received(self.alert, self.group, "", now, given)

    def watched(self, now: float) -> Received:
        """As the watcher sees it in Alertmanager."""
        muted = () if self.thing.muted is None else (self.thing.muted,)
        return Received(self.alert, self.group, "", now, muted=muted)


@dataclass
class Reality:
    """All things, and all webhooks that were sent."""

    things: list[Thing] = field(default_factory=lambda: [Thing(labels, fingerprint_of(labels)) for labels in KINDS])
    sent: list[tuple[Said, ...]] = field(default_factory=list)

    def start(self, thing: Thing, now: float, ago: float) -> None:
        """It fires, since `ago` seconds or since it may: one firing never overlaps the one before it."""
        if not thing.firing:
            thing.start = max(now - ago, thing.end + 1.0, thing.start + 1.0, thing.claimed + 1.0)
            thing.firing, thing.version = True, thing.version + 1

    def resume(self, thing: Thing) -> None:
        """It goes on with the start it had: Alertmanager had resolved it because Prometheus was out of reach."""
        if not thing.firing:
            thing.firing, thing.version = True, thing.version + 1

    def stop(self, thing: Thing, now: float, ago: float) -> None:
        if thing.firing:
            thing.end = max(now - ago, thing.start + 1.0, thing.end + 1.0, thing.said)
            thing.firing, thing.version = False, thing.version + 1

    def say(self, things: list[Thing], now: float) -> tuple[Said, ...]:
        """A webhook about these things as they are; it says nothing of what is silenced."""
        said = tuple(self._say(thing, now) for thing in things if thing.version and thing.muted is None)
        if said:
            self.sent.append(said)
        return said

    def show(self, things: list[Thing], now: float) -> tuple[Said, ...]:
        """What Alertmanager's API says of what is silenced and fires."""
        return tuple(self._say(thing, now) for thing in things if thing.firing and thing.muted is not None)

    def _say(self, thing: Thing, now: float) -> Said:
        ends_at = None if thing.firing else thing.end
        thing.said = now if thing.firing else thing.said
        alert = Alert(thing.fingerprint, thing.labels, {}, thing.start, ends_at)
        return Said(thing, thing.version, alert, f"g-{thing.labels['alertname']}", now)

    def again(self, back: int, now: float) -> tuple[Said, ...]:
        """An old webhook, as many sendings back; nothing when it is too old."""
        found = self.sent[-1 - back] if back < len(self.sent) else ()
        return tuple(said for said in found if now - said.sent <= LATE)
