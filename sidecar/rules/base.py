"""What a rule is given and gives back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from operator import is_
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.certificate import Certificate
from models.likeness import BORDER, text_of
from sidecar.config import Compared, Config
from sidecar.domain import (
    SEVERITY_RANK,
    Decision,
    Delivery,
    Gather,
    Move,
    Pattern,
    Reason,
    Received,
    SilenceRequest,
    Verdict,
)
from sidecar.events import Event
from sidecar.state import EXACT, LIKE, Episode, State, key_of, pattern_of

TELLS = (Verdict.NOTIFY, Verdict.FOLD)
SLACK = 60.0  # s: Alertmanager's repeat comes when its own clock says so, a little before or after ours


class Facts(Struct, frozen=True):
    """Everything the rules may know. `state` is read, never changed, by a rule."""

    now: float
    config: Config
    state: State
    voted: frozenset[Pattern] = frozenset()  # patterns that votes of this batch touched
    certificate: Certificate | None = None  # from which score on alerts may be kept back
    asked: tuple[Event, ...] = ()  # what the shell handed in ready-made; folded already


class Batch(Struct, frozen=True):
    """The decisions of one batch, in the order of arrival. Nothing is ever removed."""

    decisions: tuple[Decision, ...]
    moves: tuple[Move, ...] = ()  # episodes of earlier batches that go on in another incident


class Rule(Protocol):
    """Takes the batch and returns it refined, touching only what it changes; the same object when nothing changes."""

    __name__: str

    def __call__(self, batch: Batch, facts: Facts) -> Batch: ...


class Due(Struct, frozen=True):
    """What the clock brings: events to record, and what is told."""

    events: tuple[Event, ...] = ()
    deliveries: tuple[Delivery, ...] = ()


class Duty(Protocol):
    """Asked in every plan, after the rules. Once its events are folded, it has nothing more to say."""

    __name__: str

    def __call__(self, facts: Facts) -> Iterable[Due]: ...


def refined(decision: Decision, verdict: Verdict, rule: str, sentence: str, **changes: object) -> Decision:
    """The decision with another verdict and one more reason."""
    return replace(decision, verdict=verdict, reasons=(*decision.reasons, Reason(rule, sentence)), **changes)


def changed(batch: Batch, decisions: Iterable[Decision]) -> Batch:
    """The batch with these decisions; the same object if none of them is new."""
    new = tuple(decisions)
    if all(map(is_, new, batch.decisions)):
        return batch
    return replace(batch, decisions=new)


def open_incident(keys: Iterable[str], facts: Facts) -> tuple[str, str, float] | None:
    """(key, incident, since) of the first fold key whose incident people were told of, lately enough to still read it."""
    state, limit = facts.state, facts.config.folding.for_
    for key in keys:
        name = state.folding.get(key)
        if name is None:
            continue
        incident = state.incidents.get(name)
        if incident is not None and incident.first_told is not None and facts.now - incident.first_told <= limit:
            return key, name, facts.now - incident.first_told
    return None


def gathering(key: str, facts: Facts) -> str | None:
    """The incident that gathers under a key, that people have been told of, and that is not over yet."""
    name = facts.state.folding.get(key)
    incident = facts.state.incidents.get(name) if name is not None else None
    if name is None or incident is None or incident.first_told is None or not incident.settle:
        return None
    return name if incident.firing or name in facts.state.settling else None


def gathered(decision: Decision, name: str, gather: Gather, reason: Reason, facts: Facts) -> Decision:
    """The decision as part of an incident that gathers, and that people have. After `folding.for` it interrupts again."""
    incident = facts.state.incidents.get(name)
    told = max((one.at for one in incident.reached), default=facts.now) if incident is not None else facts.now
    again = facts.now - told > facts.config.folding.for_
    reasons = (*decision.reasons, reason)
    if again:
        reasons = (*reasons, Reason(reason.rule, f"it goes on, {moment(facts.now - told)} after people were told"))
    return replace(
        decision, verdict=Verdict.FOLD, incident=name, reasons=reasons, gather=gather,
        interrupts=decision.interrupts or again,
    )  # fmt: skip


def plain(text: str) -> str:
    """A text as a part of Gather.title, in which braces are doubled."""
    return text.replace("{", "{{").replace("}", "}}")


def guarded(labels: Mapping[str, str], severity: str, config: Config) -> bool:
    """Whether an alert may never be kept back. A severity that nobody defined counts as CRITICAL."""
    never = config.guard.severities
    if severity in never or (severity not in SEVERITY_RANK and "CRITICAL" in never):
        return True
    return config.guard.covers(labels)


def silence_delivery(request: SilenceRequest, now: float) -> Delivery:
    """A silence on its way to Alertmanager, or to its end there; those of one pattern leave in their order."""
    name = hashlib.blake2b(key_of(request.pattern).encode(), digest_size=16).hexdigest()  # of any length
    what = f"end/{request.silence_id or int(request.ends_at)}" if request.end else str(int(request.ends_at))
    body = msgspec.json.encode(request).decode()
    return Delivery(f"silence/{name}/{what}", "silence", f"silence-{name}", "silence", now, body=body)


def moment(seconds: float) -> str:
    """A length of time as people say it."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 else "a moment"


def shared(key: str) -> str:
    """What alerts under a fold key, or of a part of the topology, have in common, in words."""
    name, _, value = key.partition("=")
    return "the same Alertmanager group" if name == "group" else f"the same {name} {value.lstrip('/')}"


def fold_keys(received: Received, config: Config) -> tuple[str, ...]:
    """The keys under which later alerts fold into an incident that this alert opens."""
    labels, keys = received.alert.labels, []
    cluster = labels.get("cluster", "")
    for name in config.folding.labels:
        value = labels.get(name)
        if value:
            keys.append(f"{name}={cluster}/{value}")
    if config.folding.group and received.group_key:
        keys.append(f"group={received.group_key}")
    return tuple(keys)


def exact_key(labels: dict[str, str], fingerprint: str, config: Config) -> str:
    """The key under which two alerts are the same."""
    values = list(map(labels.get, config.deduplication.strategies.exact_match.fields))
    return EXACT + ("\x1f".join(values) if all(values) else fingerprint)  # type: ignore[arg-type]


def text_key(labels: dict[str, str], config: Config) -> str:
    """The key of alerts that read alike: what has to be equal, and the words of the rest; "" when a field is absent."""
    layout = config.compared(config.domain_of(labels))
    return _text_key(layout, tuple(map(labels.get, layout.names))) if layout.words else ""


@lru_cache(maxsize=65_536)
def _text_key(layout: Compared, values: tuple[str | None, ...]) -> str:
    given = dict(zip(layout.names, values, strict=True))
    if not all(given[name] for name in layout.fields):
        return ""
    places = {"node": given.get("node") or given.get("instance")}
    border = "\x1f".join([(given | places)[name] or "" for name in layout.equal])
    return f"{LIKE}{border}{BORDER}{text_of(tuple(given[name] or '' for name in layout.words))}"


def near_keys(labels: dict[str, str], config: Config) -> tuple[str, ...]:
    """What of the topology an alert belongs to, where folding does not see to it already. A service is one of its
    namespace: every team has an `api`.
    """
    get, cluster = labels.get, labels.get("cluster", "")
    there = f"{cluster}/{get('namespace', '')}"
    return tuple(
        [
            f"{name}={there if name == 'service' else cluster}/{value}"
            for name in config.near_labels
            if (value := get(name))
        ]
    )


def repeat(known: Episode, facts: Facts, every: float) -> str | None:
    """What an episode that is sent again needs: "remind" its people, "decide" it anew, or nothing.

    `every`: the domain's repeat_interval in seconds. An episode that nobody was told of is decided anew as often: a
    suppressed alert that goes on firing gets another look, and one at once when its like was called real since, or the
    silence of its pattern is over.
    """
    incident = facts.state.incidents.get(known.incident)
    told = max((one.at for one in incident.reached), default=None) if incident is not None else None
    if not known.verdict:
        return None  # sent twice in one batch: its decision is being made
    if told is None:
        if known.verdict == Verdict.HOLD:
            return None
        waited = facts.now - known.decided_at
        lost = known.verdict in (Verdict.NOTIFY, Verdict.FOLD)  # its message ended in the dead letters
        missed = facts.state.missed.get(known.keys.alertname, 0.0) > known.decided_at
        return "decide" if lost or missed or waited >= every - SLACK or _unsilenced(known, facts) else None
    return "remind" if facts.now - told >= every - SLACK else None


def _unsilenced(known: Episode, facts: Facts) -> bool:
    """Whether the silence that its pattern was waiting for when it was suppressed is over, or never came to be."""
    if known.verdict != Verdict.SUPPRESS or not facts.state.silences:
        return False
    silence = facts.state.silences.get(key_of(pattern_of(known.keys)))
    return silence is not None and silence.state in ("failed", "ended", "revoked") and silence.at > known.decided_at
