"""What happened: the entries of a log row, in order.

`state.fold` reads these and nothing else; projections are made of them by SQL, so a field's name is also a key in the
stored JSON. Additions need defaults; nothing is ever renamed. Times are as in `domain`.
"""

from __future__ import annotations

from msgspec import Struct

from sidecar.domain import (
    Alert,
    Decision,
    Delivery,
    Given,
    Pattern,
    Reason,
    Tally,
    Verdict,
    Would,
)


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


class Plan(Struct, frozen=True):
    """Everything one batch leads to; applied in one transaction."""

    events: tuple[Event, ...]
    decisions: tuple[Decision, ...]
    deliveries: tuple[Delivery, ...]
    failed: tuple[str, ...] = ()  # duties that raised, and what
