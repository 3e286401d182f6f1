"""Small words for whole-pipeline tests: a world with a state, a configuration and a score, and what happens in it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from models.certificate import Certificate
from sidecar.config import Config
from sidecar.domain import Alert, Decision, Mute, Pattern, Received
from sidecar.events import Delivered, Hides, Plan, SilenceReplayed, SilenceSettled, Voted
from sidecar.intake.webhook import fingerprint_of
from sidecar.pipeline import Inputs, plan
from sidecar.state import State, keys_of

NOON = 1_795_000_000.0  # a Wednesday in November 2026


class Fixed:
    """A scorer that says what it is told to say, with what has been proven for it."""

    def __init__(self, score: float | None, certificate: Certificate | None = None) -> None:
        self.value = score
        self.certificate = certificate
        self.version = "fp-fixed"

    def score(self, rows):
        return [self.value] * len(rows), self.version


class World:
    """One shard: `fire`, `clear`, `tick`, `vote`, each one batch that commits; `last` is its plan."""

    def __init__(self, score: float | None = 0.1, **config: Any) -> None:
        settings = {"alertmanagers": [{"url": "http://127.0.0.1:9093"}], "audit_sample": {"share": 0, "first_month": 0}}
        self.config = Config.model_validate(settings | config)
        self.state = State()
        self.scoring = Fixed(score)
        self.now = NOON
        self.last: Plan = Plan((), (), ())
        self.log: list[Any] = []

    def batch(self, inputs: Inputs) -> Plan:
        self.last = plan(inputs, self.state, self.scoring, self.config, self.now)
        if self.last.events:
            self.log.append(self.last.events)
            self.state.commit(self.state.seq + 1)
        return self.last

    def alert(
        self, group: str = "", since: float | None = None, ends_at: float | None = None, **labels: str
    ) -> Received:
        named = {"alertname": "HighLatency", "severity": "warning", "instance": "i1"} | labels
        named = {name: value for name, value in named.items() if value}
        starts_at = self.now if since is None else since
        return Received(Alert(fingerprint_of(named), named, {}, starts_at, ends_at), group, "", self.now)

    def fire(self, group: str = "", since: float | None = None, **labels: str) -> Decision:
        """One firing alert; returns its decision."""
        return self.batch(Inputs((self.alert(group, since, None, **labels),))).decisions[0]

    def clear(self, since: float, **labels: str) -> Plan:
        return self.batch(Inputs((self.alert("", since, self.now, **labels),)))

    def tick(self, seconds: float = 0.0) -> Plan:
        self.now += seconds
        return self.batch(Inputs())

    def vote(self, decision: Decision, kind: str = "false_positive", who: str = "ada", **more: Any) -> Plan:
        scored = decision.scored
        keys = tuple(keys_of(scored.alert.fingerprint, scored.alert.labels))
        spelled = scored.alert.labels.get("severity", "")
        vote = Voted(self.now, who, kind, scored.episode, decision.incident, keys, spelled, "api", **more)
        return self.batch(Inputs(votes=(vote,)))

    def ask(self, *events: Any) -> Plan:
        """What the shell hands in ready-made."""
        return self.batch(Inputs(asks=events))

    def replay(self, why: str = "", **hides: Any) -> Plan:
        """Answer what is proposed: the stored history would have had this hidden."""
        found = Hides(self.now - 30 * 86400, **{"episodes": 7, "incidents": 6, "noise": 5, "unanswered": 2, **hides})
        return self.ask(
            *(
                SilenceReplayed(self.now, Pattern(*key.split("\x1f")), one.evidence, found, why, "fp-1")
                for key, one in self.state.silences.items()
                if one.state == "proposed"
            )
        )

    def silence(self, silence_id: str = "s1") -> Plan:
        """Alertmanager took the silence that was asked for."""
        (key,) = [key for key, one in self.state.silences.items() if one.state == "asked"]
        settled = SilenceSettled(self.now, Pattern(*key.split("\x1f")), "active", silence_id)
        return self.batch(Inputs(outcomes=(settled,)))

    def mute(self, *silences: str, by: str = "ada", since: float | None = None, **labels: str) -> Plan:
        """The watcher sees an alert that these silences hide."""
        received = self.alert("", since, None, **labels)
        muted = tuple(Mute(name, by, self.now + 3600) for name in silences)
        return self.batch(Inputs((replace(received, muted=muted),)))

    def dead(self, incident: str, receiver: str = "default") -> Plan:
        return self.batch(Inputs(outcomes=(Delivered(self.now, incident, receiver, "notify", "dead"),)))

    def kinds(self) -> list[str]:
        return [delivery.kind for delivery in self.last.deliveries]
