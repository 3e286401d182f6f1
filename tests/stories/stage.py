"""The stage: plays the steps of a story through the pipeline, the clock included, and notes what follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

import yaml
from msgspec.structs import replace

from models.certificate import Certificate, Grant
from sidecar.config import Config, loads
from sidecar.delivery.rehearsal import objections
from sidecar.domain import Alert, Decision, Delivery, Received
from sidecar.events import Delivered, EpisodeStarted, Event, Hides, Plan, SilenceProposed, SilenceReplayed
from sidecar.intake.webhook import fingerprint_of
from sidecar.pipeline import Inputs, plan
from sidecar.rules import RULES, Batch, Facts, Rule
from sidecar.rules.base import changed
from sidecar.rules.digest import next_digest
from sidecar.state import State, label_of
from tests.stories.words import DAYS, Named, Unreadable, clock

FIRST_DAY: Final = "2026-11-25"  # a Wednesday
USUAL: Final = {  # what a story's configuration is put over: no random draws, and an Alertmanager for silences
    "alertmanagers": [{"url": "http://alertmanager:9093"}],
    "audit_sample": {"share": 0, "first_month": 0},
}
SCORE: Final = 0.1  # of an alert of which the story says none: surely no noise


@dataclass(frozen=True)
class Noted:
    """What followed from one plan."""

    at: float
    events: tuple[Event, ...]
    plan: Plan


class Model:
    """Answers at all; what it says of each alert is the story's, see `Stage.rescored`."""

    version: ClassVar = "fp-story"

    def __init__(self) -> None:
        self.certificate: Certificate | None = None

    def score(self, rows: Sequence[tuple[float, ...]]) -> tuple[list[float | None], str]:
        return [SCORE] * len(rows), self.version


@dataclass
class Stage:
    """One shard of a sidecar, and everything the world around it does."""

    config: Config
    zone: ZoneInfo
    first_day: str = FIRST_DAY
    usual_score: float | None = SCORE
    rules: tuple[Rule, ...] = RULES
    state: State = field(default_factory=State)
    now: float = 0.0
    known: dict[str, Alert] = field(default_factory=dict)  # what fired last, by fingerprint
    scores: dict[str, float | None] = field(default_factory=dict)
    log: list[tuple[Event, ...]] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    proven: dict[str, float] | None = None
    _sent: list[Delivery] = field(default_factory=list)  # since the clock last moved
    judged: int = 0  # courses of incidents that were voted on

    def __post_init__(self) -> None:
        self.model = Model()
        self.now, _ = clock(f"{self.first_day} 00:00", self.now, self.zone)

    def rescored(self, batch: Batch, facts: Facts) -> Batch:
        """Before all rules: each alert has the score that the story says."""
        return changed(batch, [self._score(decision) for decision in batch.decisions])

    def _score(self, decision: Decision) -> Decision:
        scored = decision.scored
        score = self.scores.get(scored.alert.fingerprint, self.usual_score)
        return replace(decision, scored=replace(scored, score=score))

    # ------------------------------------------------------------------------------------------------------------ clock

    def pass_time(self, until: float) -> None:
        """The ticker: whenever something is due, a plan without inputs."""
        if until < self.now - 1:
            raise Unreadable("time does not run backwards")
        if until > self.now and self._sent:
            self._arrive()
        while (due := self._due()) is not None and due <= until:
            before = self.state.seq
            self.now = max(self.now, due)
            self.batch(Inputs())
            if self.state.seq == before:
                raise AssertionError(f"the clock wakes at {due}, and nothing comes of it")
        self.now = max(self.now, until)

    def _arrive(self) -> None:
        """What was on its way has left: by itself, that is nothing to speak of."""
        told = {(one.incident, one.receiver.split("/")[0], one.kind): None for one in self._sent}
        self._sent = []
        made = self.batch(Inputs(outcomes=tuple(Delivered(self.now, *one, "sent") for one in told)))
        if not made.decisions and not made.deliveries:
            self.noted.pop()

    def _due(self) -> float | None:
        dues = (self.state.next_due(), next_digest(self.state, self.config))
        return min((due for due in dues if due is not None), default=None)

    def batch(self, inputs: Inputs) -> Plan:
        """One plan that is committed."""
        if self.proven is not None:  # renewed every night
            self.model.certificate = Certificate(
                self.now, Grant(self.proven.get("hold")), Grant(self.proven.get("suppress"))
            )
        made = plan(inputs, self.state, self.model, self.config, self.now, (self.rescored, *self.rules))
        if made.events:
            self.log.append(made.events)
            self.state.commit(self.state.seq + 1)
        self.noted.append(Noted(self.now, made.events, made))
        self._sent += [one for one in made.deliveries if one.kind not in ("update", "silence", "digest")]
        for event in made.events:
            if isinstance(event, SilenceProposed):
                self._rehearse(event)
        return made

    def _rehearse(self, proposed: SilenceProposed) -> None:
        """What the sidecar does within seconds: replay a proposed silence over all that has happened."""
        started = [event for events in self.log for event in events if isinstance(event, EpisodeStarted)]
        hit = [one for one in started if all(one.labels.get(name, "") == value for name, value in proposed.matchers)]
        labels = [label_of(self.state.votes.get(one.episode) or ()) for one in hit]
        noise, judged = sum(label == 1 for label in labels), sum(label is not None for label in labels)
        guarded = sum(self.config.guard.covers(one.labels) for one in hit)
        names = tuple(one.episode for one, label in zip(hit, labels, strict=True) if label is not None and label < 1)
        hides = Hides(
            hit[0].at, len(hit), len(hit), noise, judged - noise, len(hit) - judged, guarded=guarded, sample=names
        )
        why = "; ".join(objections(hides))
        replayed = SilenceReplayed(self.now, proposed.pattern, proposed.evidence, hides, why, self.model.version)
        self.batch(Inputs(asks=(replayed,)))

    # ----------------------------------------------------------------------------------------------------------- alerts

    def received(self, named: Named) -> Received:
        if named.verb == "fires":
            alert = self._fired(named)
        else:
            alert = self.find(named) if self.like(named) or not named.since else self._fired(named)
            ends_at = self.now if named.verb == "resolves" else None
            alert = Alert(
                alert.fingerprint, alert.labels, alert.annotations, self._since(named, alert.starts_at), ends_at
            )
        if named.score is not None:
            self.scores[alert.fingerprint] = named.score
        return Received(alert, named.group, "", self.now)

    def _fired(self, named: Named) -> Alert:
        labels = {name: value for name, value in {"alertname": named.alertname, **named.labels}.items() if value}
        alert = Alert(fingerprint_of(labels), labels, named.annotations, self._since(named, self.now), None)
        self.known.pop(alert.fingerprint, None)
        self.known[alert.fingerprint] = alert
        return alert

    def _since(self, named: Named, otherwise: float) -> float:
        if not named.since:
            return otherwise
        if named.since == "never":
            return 0.0
        at, _ = clock(named.since, self.now - 86400 + 1, self.zone)
        return at

    def like(self, named: Named) -> list[Alert]:
        wanted = {"alertname": named.alertname, **named.labels}.items()
        return [one for one in self.known.values() if wanted <= one.labels.items()]

    def find(self, named: Named) -> Alert:
        """The alert that a step speaks of: the newest whose labels are these, or one that has these and more."""
        found = self.like(named)
        exact = [one for one in found if len(one.labels) == len(named.labels) + 1]
        if not (exact or len(found) == 1):
            raise Unreadable(f"{len(found)} alerts are {named.alertname} {named.labels}: name one that has fired")
        return (exact or found)[-1]


def configured(text: str) -> Config:
    """A story's configuration, over what is usual here, through every check that a real file goes through."""
    given = yaml.safe_load(text) or {}
    return loads(yaml.safe_dump(USUAL | given, sort_keys=False), {})


def failing(name: str) -> tuple[Rule, ...]:
    """The rules, with one that raises; all of them for an empty name."""

    def broken(batch: Any, facts: Any) -> Any:
        raise RuntimeError("a defect")

    broken.__name__ = name
    if name and name not in {rule.__name__ for rule in RULES}:
        raise Unreadable(f"{name!r} is no rule")
    return tuple(broken if rule.__name__ == name else rule for rule in RULES)


def folded(log: Iterable[Sequence[Event]]) -> State:
    """What the log alone makes of an empty state."""
    state = State()
    for seq, events in enumerate(log, 1):
        for event in events:
            state.fold(event)
        state.commit(seq)
    return state


def wall(at: float, since: float, zone: ZoneInfo) -> str:
    """A time as a step would write it: the day only where it is another one than before."""
    here, before = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(since, zone)
    text = here.strftime("%H:%M:%S" if at % 60 >= 1 else "%H:%M")
    if here.date() == before.date():
        return text
    return f"{DAYS[here.weekday()]} {text}" if at - since < 6 * 86400 else f"{here:%Y-%m-%d} {text}"


__all__ = ["Noted", "Stage", "configured", "failing", "folded", "wall"]
