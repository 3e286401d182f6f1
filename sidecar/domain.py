"""The words of the system, as frozen values. Imports nothing of ours.

All times are seconds since the Unix epoch, UTC, as float; ``None`` is "not yet" or "never". A frozen msgspec Struct
copies ten times faster than a frozen dataclass, and every rule copies what it refines.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Literal, NamedTuple

from msgspec import Struct

# ---------------------------------------------------------------------------------------------------------------- alerts

CRITICAL = 3
SEVERITY_RANK = {"CRITICAL": CRITICAL, "ERROR": 2, "WARNING": 2, "INFO": 1}
SEVERITY_NAMES = {"PAGE": "CRITICAL", "HIGH": "CRITICAL", "WARN": "WARNING", "INFORMATIONAL": "INFO", "NONE": "INFO"}


def severity_of(labels: dict[str, str]) -> str:
    """The `severity` label in capitals, its usual synonyms folded; an absent one is WARNING."""
    return _severity(labels.get("severity", ""))


@lru_cache(maxsize=1024)
def _severity(spelled: str) -> str:
    raw = spelled.strip().upper()
    return SEVERITY_NAMES.get(raw, raw) or "WARNING"


def severity_rank(severity: str) -> int:
    """How urgent, 1 to 3; a severity nobody defined counts as CRITICAL: when in doubt, notify."""
    return SEVERITY_RANK.get(severity, CRITICAL)


class Alert(Struct, frozen=True, gc=False):
    """One label set in one state, as received."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    ends_at: float | None  # None while it fires
    generator_url: str = ""

    @property
    def firing(self) -> bool:
        return self.ends_at is None


class Given(Struct, frozen=True, gc=False, omit_defaults=True):
    """What models of others said of an alert before it was decided: facts from outside. None: such a model said nothing."""

    score: float | None = None  # probability of false positive, 0 to 1
    model: str = ""  # version of what said so
    anomaly: float | None = None  # how unusual, 0 to 1
    anomaly_model: str = ""


class Received(Struct, frozen=True, gc=False):
    """An alert on its way in, with what its webhook said about all of them."""

    alert: Alert
    group_key: str = ""
    external_url: str = ""
    at: float = 0.0  # when its webhook was read
    given: Given | None = None
    muted: tuple[Mute, ...] = ()  # the silences that keep Alertmanager from sending it: the watcher saw it there


class Mute(Struct, frozen=True, gc=False, array_like=True):
    """A silence in Alertmanager that hides an alert."""

    silence_id: str
    created_by: str
    ends_at: float


class Pattern(NamedTuple):
    """What repeats: an absent label matches as empty, severity ignores case (it is kept in capitals)."""

    alertname: str
    namespace: str
    service: str
    severity: str

    @classmethod
    def of(cls, labels: dict[str, str]) -> Pattern:
        get = labels.get
        return cls(get("alertname", ""), get("namespace", ""), get("service", ""), severity_of(labels))


def what_and_where(labels: dict[str, str]) -> str:
    """What and where, in a line."""
    where = next((value for name in ("service", "pod", "instance", "node") if (value := labels.get(name))), "")
    space = labels.get("namespace", "")
    text = labels.get("alertname", "alert") + (f" on {where}" if where else "")
    return f"{text} ({space})" if space else text


def episode_id(fingerprint: str, starts_at: float) -> str:
    """One firing from start to end: (fingerprint, startsAt to the millisecond), readable and the same everywhere."""
    return f"{fingerprint}-{int(starts_at * 1000)}"


# -------------------------------------------------------------------------------------------------------------- decisions


class Verdict(StrEnum):
    """What is done with an alert. Nothing is ever removed from a batch: not notifying is a verdict with a reason."""

    NOTIFY = "notify"
    HOLD = "hold"
    FOLD = "fold"
    DIGEST = "digest"
    SUPPRESS = "suppress"


class Reason(Struct, frozen=True, gc=False, array_like=True):
    """Why, for people: the same value feeds the message, the audit row and the metric label (its rule)."""

    rule: str
    sentence: str


class Scored(Struct, frozen=True, gc=False):
    """An episode with what the scorer saw and said."""

    episode: str
    alert: Alert
    pattern: Pattern
    group_key: str
    observation: bytes  # models.features.pack of what the scorer saw; empty when nothing was scored
    score: float | None  # probability of false positive, 0 to 1; None: no model answered
    anomaly: float | None  # how unusual for its hour and weekday, 0 to 1
    model: str  # version of what scored, "cold-start" before the first promotion
    keys: tuple[str, ...] = ()  # under which later alerts fold into its incident; the last one is the exact key
    given: Given | None = None  # what stands in for the built-in models' answers
    text: str = ""  # the fold key by which alerts that read alike find its incident
    near: tuple[str, ...] = ()  # what of the topology it belongs to, narrowest first


class Gather(Struct, frozen=True, gc=False):
    """What makes of many alerts one incident with a title of its own: an aggregate, a flapping alert, a storm."""

    key: str  # the fold key under which later alerts find it
    title: str  # for people; `{count}` stands for how many alerts it has by then, other braces are doubled
    settle: float  # s without anything of it firing until people are told that it is over
    calm: bool = False  # what joins it is seen where a message can be edited, and interrupts nobody elsewhere


class Tally(Struct, frozen=True, gc=False, array_like=True):
    """Under what an alert is counted, for rules that wait for many alike."""

    key: str
    window: float  # s: what is older is forgotten
    keep: int = 0  # newest episodes that are remembered; 0: they are only counted


class Would(Struct, frozen=True, gc=False, array_like=True):
    """In mode shadow: what would have been done instead, and the rule that says so."""

    verdict: Verdict
    rule: str


class Decision(Struct, frozen=True, gc=False):
    """A verdict on one episode, with its reasons in the order the rules gave them."""

    scored: Scored
    verdict: Verdict
    incident: str
    reasons: tuple[Reason, ...] = ()
    receivers: tuple[str, ...] = ()
    until: float | None = None  # when a HOLD is looked at again
    interrupts: bool = False  # a reminder or a raised severity: told to people who have the incident already
    propensity: float = 1.0  # probability with which this verdict was drawn; below 1 only under the audit sample
    marks: tuple[str, ...] = ()  # what the message says beside the reasons: "shadow: would have been suppressed"
    gather: Gather | None = None  # of the incident it opens or joins
    tallies: tuple[Tally, ...] = ()
    would: Would | None = None  # in mode shadow, where the verdict would have been another


class Move(Struct, frozen=True, gc=False):
    """An episode of an earlier batch that goes on in another incident."""

    fingerprint: str
    incident: str  # where to
    reason: Reason
    gather: Gather | None = None
    opens: bool = False  # the incident is a new one: who had the episode before is told of it


# -------------------------------------------------------------------------------------------------------------- feedback


class FeedbackKind(StrEnum):
    FALSE_POSITIVE = "false_positive"
    USEFUL = "useful"
    NOT_ACTIONABLE = "not_actionable"
    ACK = "ack"
    RESOLVED = "resolved"


class Feedback(Struct, frozen=True):
    """What a person said, about which episodes, when; `retracted` takes it back."""

    who: str
    kind: FeedbackKind
    episodes: tuple[str, ...]
    source: str
    retracted: bool = False
    comment: str = ""
    event_id: str = ""  # counted once


# ------------------------------------------------------------------------------------------------------- towards people

DeliveryKind = Literal["notify", "update", "raise", "reminder", "resolve", "silence", "digest"]


class Delivery(Struct, frozen=True, gc=False):
    """One outbox row: tell `receiver` about `incident`. What is said is rendered when it is sent, from the latest state."""

    dedup_key: str
    receiver: str
    incident: str
    kind: DeliveryKind
    received_at: float  # when the oldest alert in it was received, or its hold released: latency is measured from here
    alerts: int = 1
    body: str = ""  # JSON of a SilenceRequest for kind "silence", of an event for "digest"; of "raise", the note if not a decision's


class SilenceRequest(Struct, frozen=True):
    """A silence to create in Alertmanager, or to `end` there; matchers are exact and sorted by name."""

    pattern: Pattern
    matchers: tuple[tuple[str, str], ...]
    ends_at: float
    created_by: str
    comment: str
    reason: str = "false_positive"
    episodes: tuple[str, ...] = ()
    end: bool = False
    silence_id: str = ""  # of the one to end; empty: the one of ours with these matchers


class Line(Struct, frozen=True):
    """One alert in a message."""

    episode: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    ends_at: float | None
    generator_url: str = ""
    score: float | None = None
    reasons: tuple[str, ...] = ()  # up to three, in words, made from the stored observation
    verdict: str = "notify"
    rules: tuple[Reason, ...] = ()
    context: tuple[str, ...] = ()  # what its metrics did around its start, one sentence per query

    @property
    def alertname(self) -> str:
        return self.labels.get("alertname", "")


class Message(Struct, frozen=True):
    """What a channel renders: one incident as it is now. Pure data; nothing here is escaped or cut to a vendor's limit."""

    incident: str
    kind: DeliveryKind
    dedup_key: str  # the incident's key at the provider: the same for its trigger, updates and resolve
    status: Literal["firing", "resolved"]
    severity: str  # the highest among its alerts
    domain: str
    title: str  # e.g. "HighLatency on checkout (payments)"
    common_labels: dict[str, str]
    lines: tuple[Line, ...]  # firing first, newest first; at most what configuration allows
    more: int  # how many alerts beyond `lines`
    firing: int
    resolved: int
    started_at: float
    score: float | None  # of the alert that opened it
    reasons: tuple[str, ...]  # up to three, in words
    rules: tuple[Reason, ...]  # why people are told: each rule's refinement
    marks: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # (text, url): Alertmanager, runbook, dashboard, Prometheus
    model: str = ""
    named: bool = False  # the title is a name for many alerts alike
    note: str = ""  # what just changed: "severity raised to CRITICAL", "still firing after 4 h"


class Sent(Struct, frozen=True):
    """The provider took it; `ref` finds the message again (Slack channel and ts, a silence's id)."""

    ref: str = ""


class Retry(Struct, frozen=True):
    """Not now: try again, not before `after` seconds if the provider said so."""

    why: str
    after: float | None = None


class Rejected(Struct, frozen=True):
    """Never: to the dead letters, where people see it and can replay it."""

    why: str


Outcome = Sent | Retry | Rejected
