"""What followed from a step, in lines that people read: each verdict with its reasons, and who is told of what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from sidecar.config import Config
from sidecar.domain import Delivery, SilenceRequest, Verdict
from sidecar.events import (
    Acknowledged,
    Decided,
    DigestDue,
    EpisodeStarted,
    Escalated,
    Event,
    ReviewDue,
    SilenceChanged,
    SilenceEnded,
    SilenceReplayed,
    WindowClosed,
    WindowOpened,
)
from sidecar.rules.base import moment
from tests.stories.stage import Noted, wall

TELLING: Final = ("instance", "pod", "node", "service", "namespace")  # the first of these that an alert has names it
WHO: Final = "\0"  # where a line says which alert or incident it is about
ORDINAL: Final = re.compile(r"\b\d+(?:st|nd|rd|th)\b")
COUNTED: Final = 3  # so many that are told in the same words are one line


class Names:
    """Short names of alerts and of the incidents that they opened."""

    def __init__(self) -> None:
        self._alerts: dict[str, str] = {}  # by fingerprint
        self._labels: dict[str, dict[str, str]] = {}  # by name
        self._incidents: dict[str, str] = {}
        self._members: dict[str, str] = {}  # episode -> incident
        self._titles: dict[str, str] = {}

    def take(self, events: Iterable[Event]) -> None:
        """Learn from what happened."""
        for event in events:
            if isinstance(event, EpisodeStarted):
                self._name(event)
            elif isinstance(event, Decided):
                self._members[event.episode] = event.incident
                if event.title:
                    self._titles[event.incident] = event.title
                if event.incident.startswith(f"i-{event.episode}") and event.incident not in self._incidents:
                    self._open(event)

    def _name(self, event: EpisodeStarted) -> None:
        if event.fingerprint in self._alerts:
            return
        labels = event.labels
        first = [labels[name] for name in TELLING if name in labels][:1]
        name = " ".join([labels.get("alertname", "alert"), *first])
        other = self._labels.get(name)
        if other is not None:  # say what tells them apart
            apart = [
                f"{key}={labels.get(key, '')}" for key in sorted(labels | other) if labels.get(key) != other.get(key)
            ]
            name = f"{name} ({', '.join(apart)})"
        self._alerts[event.fingerprint] = name
        self._labels[name] = labels

    def _open(self, event: Decided) -> None:
        name = self.alert(event.episode)
        before = sum(known.partition(" #")[0] == name for known in self._incidents.values())
        self._incidents[event.incident] = name if not before else f"{name} #{before + 1}"

    def alert(self, episode: str) -> str:
        return self._alerts.get(episode.rpartition("-")[0], episode)

    def titled(self, incident: str) -> bool:
        return incident in self._titles

    def incident(self, incident: str) -> str:
        """The name of the alert that opened it, or its title with its count as it is now."""
        title = self._titles.get(incident)
        if title is None:
            return self._incidents.get(incident, incident)
        return f"“{title.format(count=sum(one == incident for one in self._members.values()))}”"


class Account:
    """Turns what followed into lines."""

    def __init__(self, config: Config, zone: ZoneInfo) -> None:
        self._config = config
        self._zone = zone
        self._names = Names()

    def of(self, noted: Iterable[Noted], brief: bool = False) -> list[str]:
        """The lines of some plans; `brief`: only how many of each, for a course of things that repeats itself."""
        decided: list[tuple[str, str]] = []
        told: list[tuple[str, str]] = []
        beside: list[str] = []
        others: list[str] = []
        for one in noted:
            self._names.take(one.events)
            decided += [(self._names.alert(e.episode), self._verdict(e, one, brief)) for e in _decisions(one)]
            beside += [line for event in one.events if (line := self._beside(event, one))]
            for delivery in one.plan.deliveries:
                if delivery.kind == "silence":
                    others.append(f"-> Alertmanager: {self._silence(delivery, one)}")
                elif delivery.kind == "digest":
                    others.append(f"-> {self._bulletin(delivery, one)}")
                else:
                    told.append(self._told(delivery))
        if brief:
            return [
                *_sums([what for _, what in decided]),
                *_sums([what.replace(f" {WHO}", "") for _, what in told]),
                *_sums(others),
            ]
        return [*_together(decided), *beside, *_together(told), *others]

    def _verdict(self, event: Decided, one: Noted, brief: bool) -> str:
        reasons = [
            reason
            for reason in event.reasons
            if reason.rule != "routing" or not reason.sentence.startswith("there is no")
        ]
        reasons = reasons or list(event.reasons)
        verdict = event.verdict.value.upper()
        if brief:
            return f"{verdict} ({reasons[-1].rule if reasons else ''})"
        parts = [WHO]
        if event.verdict is Verdict.FOLD:
            own = event.incident == f"i-{event.episode}" and not self._names.titled(event.incident)
            parts.append("into its own incident" if own else f"into {self._names.incident(event.incident)}")
        elif event.title:
            parts.append(f"as {self._names.incident(event.incident)}")
        if event.came_from:
            own = event.came_from == f"i-{event.episode}"
            parts.append("from one of its own" if own else f"from {self._names.incident(event.came_from)}")
        if event.until is not None:
            parts.append(f"until {wall(event.until, one.at, self._zone)}")
        marks = [f"[{mark}]" for mark in event.marks]
        why = [f"{reason.rule}: {reason.sentence}" for reason in reasons]
        return " | ".join([" ".join([verdict, *parts, *marks]), *why])

    def _told(self, delivery: Delivery) -> tuple[str, str]:
        receiver, channel, _ = delivery.receiver.split("/")
        several = len(self._config.targets(receiver)) > 1
        where = f"{receiver}/{channel}" if several else receiver
        return self._names.incident(delivery.incident), f"-> {where}: {delivery.kind} {WHO}"

    def _silence(self, delivery: Delivery, one: Noted) -> str:
        request = msgspec.json.decode(delivery.body, type=SilenceRequest)
        named = self._matched(request.matchers)
        if request.end:
            return f"silence {named} is ended: {request.comment}"
        return f"silence {named} until {self._wall(request.ends_at, one)}"

    def _matched(self, matchers: Iterable[tuple[str, str]]) -> str:
        return ", ".join(f'{name}="{value}"' for name, value in matchers if value)

    def _bulletin(self, delivery: Delivery, one: Noted) -> str:
        event = msgspec.json.decode(delivery.body, type=DigestDue | ReviewDue | SilenceEnded)
        where = delivery.receiver.split("/")[0]
        if isinstance(event, DigestDue):
            since = wall(event.since + 0.01, one.at, self._zone)
            return f"{where}: digest of what was kept back since {since}"
        if isinstance(event, ReviewDue):
            return f"{where}: review of our silences since {wall(event.since + 0.01, one.at, self._zone)}"
        return f"{where}: report that the silence of {event.pattern.alertname} is over"

    def _beside(self, event: Event, one: Noted) -> str:
        """What happened beside verdicts."""
        text = ""
        match event:
            case Acknowledged():
                text = f"ACKNOWLEDGED {self._names.incident(event.incident)} | {event.who}, after {moment(event.after)}"
            case Escalated() if event.reason:
                text = f"ESCALATED {self._names.incident(event.incident)} | escalation: {event.reason}"
            case WindowOpened():
                text = f"WINDOW {event.name} of {event.owner} until {self._wall(event.ends_at, one)}"
            case WindowClosed():
                text = f"WINDOW {event.name} closes | {event.reason}"
            case SilenceReplayed():
                said = (
                    event.why or f"{event.hides.episodes} episodes, {event.hides.real} real: nothing speaks against it"
                )
                text = f"REPLAYED over the history | {said}"
            case SilenceChanged():
                text = f"SILENCE of {event.pattern.alertname} is theirs now | {event.why}"
            case SilenceEnded():
                text = (
                    f"SILENCE of {event.pattern.alertname} is over, it hid {event.hidden} | {event.cause}: {event.why}"
                )
        return text

    def _wall(self, at: float, one: Noted) -> str:
        return wall(at, one.at, self._zone)


def _decisions(one: Noted) -> list[Decided]:
    return [event for event in one.events if isinstance(event, Decided)]


def _together(about: Iterable[tuple[str, str]]) -> list[str]:
    """What is said in the same words of many is one line, where the first of them stood."""
    said: dict[str, list[tuple[str, str]]] = {}
    for name, text in about:
        said.setdefault(ORDINAL.sub("nth", text), []).append((name, text))
    lines = []
    for same in said.values():
        (first, text), (last, _) = same[0], same[-1]
        if len(same) >= COUNTED:
            until = "".join(ORDINAL.findall(same[-1][1])[:1])
            text = ORDINAL.sub(lambda found, until=until: f"{found[0]} to {until}", text)
            lines.append(text.replace(WHO, f"{len(same)} x ({first} ... {last})"))
        else:
            lines += [each.replace(WHO, name) for name, each in same]
    return lines


def _sums(texts: Iterable[str]) -> list[str]:
    """How often each comes, in the order of their first."""
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    return [f"{count} x {text}" for text, count in counts.items()]
