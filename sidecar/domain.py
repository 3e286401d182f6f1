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


# ----------------------------------------------------------------------------------------------------------------- events
# What happened: the entries of a log row, in order. `state.fold` reads these and nothing else; projections are made of
# them by SQL, so a field's name is also a key in the stored JSON. Additions need defaults; nothing is ever renamed.


class EpisodeStarted(Struct, frozen=True, gc=False, tag="started", tag_field="t", omit_defaults=True):
    at: float
    episode: str
    fingerprint: str
    starts_at: float
    labels: dict[str, str]
    annotations: dict[str, str]
    group_key: str = ""
    generator_url: str = ""
    external_url: str = ""


class EpisodeSeen(Struct, frozen=True, gc=False, tag="seen", tag_field="t", omit_defaults=True):
    """The same episode was sent again, still firing."""

    at: float
    episode: str
    fingerprint: str
    starts_at: float


class EpisodeEnded(Struct, frozen=True, gc=False, tag="ended", tag_field="t", omit_defaults=True):
    at: float
    episode: str
    fingerprint: str
    ends_at: float


class Decided(Struct, frozen=True, gc=False, tag="decided", tag_field="t", omit_defaults=True):
    at: float
    episode: str
    incident: str
    verdict: Verdict
    severity: str
    reasons: tuple[Reason, ...]
    keys: tuple[str, ...] = ()  # the keys under which later alerts fold into this incident
    tell: tuple[str, ...] = ()  # receivers that this decision tells for the first time
    again: tuple[
        str, ...
    ] = ()  # receivers that have the incident and are interrupted again (reminder, raised severity)
    receivers: tuple[str, ...] = ()  # where the alert belongs, told or not
    until: float | None = None
    score: float | None = None
    anomaly: float | None = None
    model: str = ""
    observation: bytes = b""  # as base64 in the log and the tables
    propensity: float = 1.0
    marks: tuple[str, ...] = ()
    alert: Alert | None = None  # of a HOLD: what is decided again when it is due
    group_key: str = ""  # of a HOLD
    given: Given | None = None  # what models of others said; `score`, `anomaly` and `model` have it too
    title: str = ""  # of an incident that gathers: see Gather
    settle: float = 0.0
    came_from: str = ""  # the incident in which people had the episode before
    tallies: tuple[Tally, ...] = ()
    near: tuple[str, ...] = ()  # what of the topology a told alert belongs to: where several come together
    ack_by: float | None = None  # when its incident escalates unless somebody acknowledges it
    domain: str = ""  # of an incident that escalates: whose roles are told
    would: Would | None = None  # in mode shadow, where the verdict would have been another


class Regrouped(Struct, frozen=True, gc=False, tag="regrouped", tag_field="t", omit_defaults=True):
    """A person took alerts out of an incident, or merged it into another."""

    at: float
    who: str
    incident: str  # where they were
    into: str  # where they go on
    together: bool  # merged, else taken out
    episodes: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]  # of kinds (state.regroup.kind_of) that go together, or never again
    source: str = ""


class IncidentClosed(Struct, frozen=True, gc=False, tag="closed", tag_field="t", omit_defaults=True):
    """An incident that gathers was quiet for as long as it has to be: people are told that it is over."""

    at: float
    incident: str


class Voted(Struct, frozen=True, gc=False, tag="voted", tag_field="t", omit_defaults=True):
    """A vote, or with `retracted` the end of one. One vote per person per episode: the newest counts."""

    at: float
    who: str
    kind: str  # FeedbackKind
    episode: str
    incident: str
    keys: tuple[str, ...]  # models.statistics.Keys of the episode: recorded, since its own record may be swept by now
    spelled: str = ""  # the severity label, letter by letter: what an exact matcher must say
    source: str = ""  # slack, api, pagerduty, web
    retracted: bool = False
    comment: str = ""


class Acknowledged(Struct, frozen=True, gc=False, tag="acknowledged", tag_field="t", omit_defaults=True):
    """Somebody has an incident in hand, for the first time since people were told: by a vote of any kind, from any side."""

    at: float
    incident: str
    who: str
    source: str = ""  # as Voted's
    severity: str = ""
    after: float = 0.0  # s since people were told


class Escalated(Struct, frozen=True, gc=False, tag="escalated", tag_field="t", omit_defaults=True):
    """Nobody acknowledged an incident in time: `tell` are told as well, or `again` those who were told before."""

    at: float
    incident: str
    level: int  # how many times by now, from 1
    tell: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    ack_by: float | None = None  # when the next step is due; None: it was the last
    severity: str = ""
    reason: str = ""  # for people


class WindowOpened(Struct, frozen=True, gc=False, tag="window_opened", tag_field="t", omit_defaults=True):
    """Somebody's deployment window opens, or goes on: its lease is renewed. Nothing happens to another owner's."""

    at: float
    name: str
    owner: str
    matchers: tuple[str, ...]  # as Alertmanager writes them; all have to match
    severities: tuple[str, ...]
    ends_at: float  # unless it is renewed
    comment: str = ""


class WindowClosed(Struct, frozen=True, gc=False, tag="window_closed", tag_field="t", omit_defaults=True):
    """A deployment window is over: its lease ended, or somebody ended it."""

    at: float
    name: str
    reason: str = ""  # for people


class Delivered(Struct, frozen=True, gc=False, tag="delivered", tag_field="t", omit_defaults=True):
    """What became of one outbox row."""

    at: float
    incident: str
    receiver: str
    kind: str  # Delivery.kind
    outcome: str  # sent | dead
    ref: str = ""


class EpisodeMuted(Struct, frozen=True, gc=False, tag="muted", tag_field="t", omit_defaults=True):
    """The watcher saw that a silence in Alertmanager hides it."""

    at: float
    episode: str
    fingerprint: str
    silence_id: str
    created_by: str
    ends_at: float  # of the silence
    alert: Alert | None = None  # what is decided anew when a silence of ours ends early; with its first silence
    group_key: str = ""


class EpisodeUnmuted(Struct, frozen=True, gc=False, tag="unmuted", tag_field="t", omit_defaults=True):
    """That silence hides it no longer."""

    at: float
    episode: str
    fingerprint: str
    silence_id: str


class SenderKnown(Struct, frozen=True, gc=False, tag="sender", tag_field="t", omit_defaults=True):
    """Webhooks with this externalURL come from the Alertmanagers that are watched."""

    at: float
    url: str


class Hides(Struct, frozen=True, gc=False, omit_defaults=True):
    """What exact matchers would have hidden in the stored history, in episodes."""

    since: float
    episodes: int = 0
    incidents: int = 0
    noise: int = 0
    real: int = 0  # a disputed one counts as real
    unanswered: int = 0
    told: int = 0
    guarded: int = 0  # covered by guard.never_suppress
    sample: tuple[str, ...] = ()  # some of the episodes, the real ones first


class SilenceProposed(Struct, frozen=True, gc=False, tag="silence_proposed", tag_field="t", omit_defaults=True):
    """A silence that votes would justify: its matchers are to be replayed over the stored history first."""

    at: float
    pattern: Pattern
    matchers: tuple[tuple[str, str], ...]
    ends_at: float  # if it were asked for now
    evidence: str  # of the votes, see state.silences.evidence_of: other votes are another proposal
    episodes: tuple[str, ...]


class SilenceReplayed(Struct, frozen=True, gc=False, tag="silence_replayed", tag_field="t", omit_defaults=True):
    """What the proposed silence would have hidden; `why` it must not be written, empty if it may be."""

    at: float
    pattern: Pattern
    evidence: str
    hides: Hides
    why: str = ""
    model: str = ""  # version of what scored then


class SilenceAsked(Struct, frozen=True, gc=False, tag="silence_asked", tag_field="t", omit_defaults=True):
    at: float
    pattern: Pattern
    ends_at: float
    reason: str
    comment: str
    episodes: tuple[str, ...]  # the evidence
    matchers: tuple[tuple[str, str], ...] = ()
    created_by: str = ""


class SilenceWithheld(Struct, frozen=True, gc=False, tag="silence_withheld", tag_field="t", omit_defaults=True):
    """A silence that mode shadow did not ask for; the fields are those of SilenceAsked."""

    at: float
    pattern: Pattern
    ends_at: float
    reason: str
    comment: str
    episodes: tuple[str, ...]


class SilenceSettled(Struct, frozen=True, gc=False, tag="silence_settled", tag_field="t", omit_defaults=True):
    at: float
    pattern: Pattern
    outcome: str  # active | failed | ended
    silence_id: str = ""


class SilenceChanged(Struct, frozen=True, gc=False, tag="silence_changed", tag_field="t", omit_defaults=True):
    """What the watcher found of a silence of ours: "active", an older one of ours that was taken up; "theirs", edited."""

    at: float
    pattern: Pattern
    silence_id: str
    state: str  # active | theirs
    ends_at: float
    why: str = ""
    mark: str = ""  # of the comment that it has there


class SilenceEnded(Struct, frozen=True, gc=False, tag="silence_ended", tag_field="t", omit_defaults=True):
    """A silence of ours is over: it expired, we ended it early, or a person did."""

    at: float
    pattern: Pattern
    silence_id: str
    why: str  # a sentence
    hidden: int  # episodes that it hid while it stood, as far as the watcher saw them
    cause: str = "expired"  # expired | revoked (by a person) | lost | votes | severity | burst | anomaly | guard


class SilenceReported(Struct, frozen=True, gc=False, tag="silence_reported", tag_field="t", omit_defaults=True):
    """People are told of the end of a silence."""

    at: float
    pattern: Pattern


class DigestDue(Struct, frozen=True, gc=False, tag="digest_due", tag_field="t", omit_defaults=True):
    """What was kept back in (since, until] is summed up for one receiver."""

    at: float
    receiver: str  # who gets it
    since: float
    until: float
    of: tuple[str, ...] = ()  # the receivers it was kept back from; "" stands for decisions that named none
    after: int = 0  # log rows up to this one have nothing of it: where reading begins
    upto: int = 0  # log rows up to this one will have nothing of the next one


class ReviewDue(Struct, frozen=True, gc=False, tag="review_due", tag_field="t", omit_defaults=True):
    """Our silences of (since, until] are reviewed for one receiver."""

    at: float
    receiver: str
    since: float
    until: float


class Swept(Struct, frozen=True, gc=False, tag="swept", tag_field="t", omit_defaults=True):
    """Keys idle since before `before` leave the memory; recorded, so that every replica forgets the same."""

    at: float
    before: float


Event = (
    EpisodeStarted
    | EpisodeSeen
    | EpisodeEnded
    | Decided
    | IncidentClosed
    | Regrouped
    | Voted
    | Acknowledged
    | Escalated
    | WindowOpened
    | WindowClosed
    | Delivered
    | SilenceAsked
    | SilenceWithheld
    | SilenceSettled
    | EpisodeMuted
    | EpisodeUnmuted
    | SenderKnown
    | SilenceProposed
    | SilenceReplayed
    | SilenceChanged
    | SilenceEnded
    | Swept
    | SilenceReported
    | DigestDue
    | ReviewDue
)


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


class Plan(Struct, frozen=True):
    """Everything one batch leads to; applied in one transaction."""

    events: tuple[Event, ...]
    decisions: tuple[Decision, ...]
    deliveries: tuple[Delivery, ...]
    failed: tuple[str, ...] = ()  # duties that raised, and what
