"""What two looks at Alertmanager say, one after the other. Pure: answers in, alerts and events out; no network, no clock.

Presence on any peer is presence. Absence counts only on peers that answer and have been up for a while, and only when it
was absent there at the look before too. An unsilenced alert never becomes more than present: its webhook tells of it.
Inhibited alerts are present and nothing else: what inhibits them is told, and when they end, they are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from sidecar.domain import Alert, Mute, Pattern, Received
from sidecar.events import EpisodeUnmuted, Event, SilenceChanged, SilenceEnded
from sidecar.state.silences import mark_of

SAME: Final = 2.0  # s: two ends of a silence this close are one, and an edit expires the old one this close to the new
SLACK: Final = 0.8  # of the interval: looks are never quite as far apart as was asked for
SEEN_AGAIN: Final = 3600.0  # s after which a silenced alert that still fires is recorded as seen again
Rows = frozenset[tuple[str, str, bool, bool]]  # a silence's matchers: name, value, isRegex, isEqual


class Sighting(Struct, frozen=True, gc=False):
    """An alert as a peer lists it."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    ends_at: float  # of a firing one: when the peer will take it for resolved
    generator_url: str = ""
    silenced: tuple[str, ...] = ()  # ids of silences


class Standing(Struct, frozen=True):
    """A silence as a peer lists it."""

    silence_id: str
    state: str  # active | pending | expired
    matchers: Rows
    starts_at: float
    ends_at: float
    updated_at: float
    created_by: str
    comment: str


class Answer(Struct, frozen=True):
    """What one peer said; `why` it did not, if it did not."""

    peer: str
    at: float = 0.0  # by the peer's own clock
    up_since: float = 0.0
    alerts: Mapping[str, Sighting] = {}  # by fingerprint
    silences: Mapping[str, Standing] = {}  # by id
    why: str = ""


class Open(Struct, frozen=True, gc=False):
    """An episode of ours that fires."""

    episode: str
    last_seen: float
    muted: tuple[str, ...] = ()  # by these silences, as far as is recorded
    there: bool = False  # it was seen silenced there, before this look or a restart


class Ours(Struct, frozen=True):
    """A silence of ours that stands, or one that a person took over."""

    pattern: Pattern
    silence_id: str
    state: str  # active | theirs
    matchers: Rows
    asked_at: float
    ends_at: float
    changed: float  # when its state was last recorded: a look that began before says nothing of it
    created_by: str
    mark: str  # of its comment, see `state.silences.mark_of`; empty when it is not known
    hidden: int
    adopted: bool = False  # it stood before we asked for it, and was looked at since


class Known(Struct, frozen=True):
    """What the state holds: by fingerprint what fires, and our silences."""

    firing: Mapping[str, Open] = {}
    ours: Sequence[Ours] = ()


class Terms(Struct, frozen=True):
    interval: float  # s between two looks
    settled_after: float  # s a peer must have been up


class Memory(Struct, frozen=True):
    """What a look remembers for the next one; a restart begins with an empty one."""

    absent: Mapping[str, Mapping[str, float]] = {}  # episode -> peer -> since when it is gone there
    missing: Mapping[str, Mapping[str, float]] = {}  # silence -> the same
    met: frozenset[str] = frozenset()  # episodes that a peer had: theirs, whoever else sends us webhooks
    sent: Mapping[str, float] = {}  # fingerprint of a silenced alert -> when it was last handed in


class Gone(Struct, frozen=True, gc=False):
    """A firing episode that no peer has any more."""

    fingerprint: str
    episode: str
    ends_at: float
    met: bool  # False: perhaps it never came from these Alertmanagers


class Seen(Struct, frozen=True):
    """What a look has found."""

    received: tuple[Received, ...] = ()  # silenced alerts
    gone: tuple[Gone, ...] = ()
    events: tuple[Event, ...] = ()
    new: tuple[str, ...] = field(default=())  # episodes of ours that were met for the first time


def look(
    before: Memory, answers: Sequence[Answer], known: Known, began: float, now: float, terms: Terms
) -> tuple[Memory, Seen]:
    """One look: `began` and `now`, seconds since the epoch, are when the peers were asked and when all had answered."""
    heard = [one for one in answers if not one.why]
    if not heard:  # what was gone has to be gone twice in a row
        return Memory(met=before.met, sent=before.sent), Seen()
    proving = [one for one in heard if one.at - one.up_since >= terms.settled_after]
    present = _present(heard)
    absent, gone = _gone(before, proving, present, known, began, terms)
    standing = _newest(heard)
    missing, ends = _silences(before, proving, standing, known, began, now, terms)
    received, sent, unmuted = _silenced(before, present, standing, known, now)
    met = {one.episode for fingerprint, one in known.firing.items() if fingerprint in present}
    kept = before.met & {one.episode for one in known.firing.values()}
    memory = Memory(absent, missing, frozenset(kept | met), sent)
    return memory, Seen(received, gone, (*unmuted, *ends), tuple(sorted(met - before.met)))


def exact(matchers: Iterable[tuple[str, str]]) -> Rows:
    return frozenset((name, value, False, True) for name, value in matchers)


# ----------------------------------------------------------------------------------------------------------------- alerts


def _present(heard: Sequence[Answer]) -> dict[str, Sighting]:
    """By fingerprint what fires on any peer; what is silenced on one of them is silenced."""
    found: dict[str, Sighting] = {}
    for answer in heard:
        for fingerprint, one in answer.alerts.items():
            if one.ends_at <= answer.at:
                continue  # it has ended there
            if fingerprint not in found or (one.silenced and not found[fingerprint].silenced):
                found[fingerprint] = one
    return found


def _gone(
    before: Memory,
    proving: Sequence[Answer],
    present: Mapping[str, Sighting],
    known: Known,
    began: float,
    terms: Terms,
) -> tuple[dict[str, dict[str, float]], tuple[Gone, ...]]:
    absent: dict[str, dict[str, float]] = {}
    gone = []
    for fingerprint, one in known.firing.items():
        if fingerprint in present or not proving or one.last_seen >= began:
            continue
        was = before.absent.get(one.episode, {})
        since = {p.peer: was[p.peer] if was.get(p.peer, -1.0) >= one.last_seen else began for p in proving}
        absent[one.episode] = since
        if all(began - at >= SLACK * terms.interval for at in since.values()):
            met = one.there or one.episode in before.met
            gone.append(Gone(fingerprint, one.episode, min(since.values()), met))
    return absent, tuple(gone)


def _silenced(
    before: Memory,
    present: Mapping[str, Sighting],
    standing: Mapping[str, Standing],
    known: Known,
    now: float,
) -> tuple[tuple[Received, ...], dict[str, float], list[Event]]:
    """Silenced alerts that are news, when each was handed in, and what silences hide no longer."""
    received: list[Received] = []
    sent: dict[str, float] = {}
    for fingerprint, one in present.items():
        if not one.silenced:
            continue
        here, last = known.firing.get(fingerprint), before.sent.get(fingerprint, 0.0)
        again = here is not None and one.starts_at > here.last_seen
        if here is None or again or set(one.silenced) - set(here.muted) or now - last >= SEEN_AGAIN:
            received.append(_received(one, standing, now))
            last = now
        sent[fingerprint] = last
    unmuted: list[Event] = [
        EpisodeUnmuted(now, here.episode, fingerprint, name)
        for fingerprint, here in known.firing.items()
        if here.muted and fingerprint in present
        for name in here.muted
        if name not in present[fingerprint].silenced
    ]
    return tuple(received), sent, unmuted


def _received(one: Sighting, standing: Mapping[str, Standing], now: float) -> Received:
    muted = []
    for name in one.silenced:
        found = standing.get(name)
        muted.append(Mute(name, found.created_by if found else "", found.ends_at if found else 0.0))
    alert = Alert(one.fingerprint, one.labels, one.annotations, one.starts_at, None, one.generator_url)
    return Received(alert, at=now, muted=tuple(muted))


# --------------------------------------------------------------------------------------------------------------- silences


def _newest(heard: Sequence[Answer]) -> dict[str, Standing]:
    """Peers tell each other of silences, a little late: the newest version counts."""
    found: dict[str, Standing] = {}
    for answer in heard:
        for name, one in answer.silences.items():
            if name not in found or one.updated_at > found[name].updated_at:
                found[name] = one
    return found


def _silences(
    before: Memory,
    proving: Sequence[Answer],
    standing: Mapping[str, Standing],
    known: Known,
    began: float,
    now: float,
    terms: Terms,
) -> tuple[dict[str, dict[str, float]], list[Event]]:
    missing: dict[str, dict[str, float]] = {}
    events: list[Event] = []
    for one in known.ours:
        if one.changed >= began or not one.silence_id:
            continue
        found = standing.get(one.silence_id)
        if found is not None:
            events += _judged(one, found, standing, known, now)
        elif proving:
            was = before.missing.get(one.silence_id, {})
            since = missing[one.silence_id] = {p.peer: was.get(p.peer, began) for p in proving}
            if all(began - at >= SLACK * terms.interval for at in since.values()):
                events.append(_ended(one, now, "lost", "Alertmanager does not know it any more"))
    return missing, events


def _judged(one: Ours, found: Standing, standing: Mapping[str, Standing], known: Known, now: float) -> Iterable[Event]:
    """What became of a silence of ours that Alertmanager has."""
    if found.state == "expired" or found.ends_at <= now:
        if one.ends_at <= now + SAME:
            return  # its time is over: the clock says so too
        heir = _heir(one, found, standing, {each.silence_id for each in known.ours})
        if heir is not None:
            yield _taken(
                one, heir, now, f"{heir.created_by or 'somebody'} edited it: it is silence {heir.silence_id} now"
            )
        else:
            yield _ended(one, now, "revoked", "somebody expired it in Alertmanager")
    elif one.state == "theirs":
        if abs(found.ends_at - one.ends_at) > SAME:
            yield _taken(one, found, now, "its end was changed again")
    else:
        changes = _changes(one, found)
        older = found.starts_at < one.asked_at - SAME and not {"matchers", "author"} & set(changes)
        if older and not one.adopted:
            mark, why = mark_of(found.comment), "an equal one of ours stood already"
            yield SilenceChanged(now, one.pattern, one.silence_id, "active", found.ends_at, why, mark)
        elif changes:
            yield _taken(one, found, now, f"somebody changed its {', '.join(changes)}")


def _changes(one: Ours, found: Standing) -> list[str]:
    differs = {
        "end": abs(found.ends_at - one.ends_at) > SAME,
        "matchers": bool(one.matchers) and found.matchers != one.matchers,  # older logs do not say them
        "author": bool(one.created_by) and found.created_by != one.created_by,
        "comment": bool(one.mark) and mark_of(found.comment) != one.mark,
    }
    return [name for name, changed in differs.items() if changed]


def _heir(one: Ours, old: Standing, standing: Mapping[str, Standing], ours: set[str]) -> Standing | None:
    """The silence that an edit put in place of ours: it began as ours was expired, and is like it."""
    for each in standing.values():
        like = each.created_by == old.created_by or mark_of(each.comment) == one.mark or each.matchers == old.matchers
        at_once = abs(each.updated_at - old.ends_at) <= SAME or abs(each.starts_at - old.ends_at) <= SAME
        if each.state != "expired" and each.silence_id not in ours and at_once and like:
            return each
    return None


def _taken(one: Ours, found: Standing, now: float, why: str) -> SilenceChanged:
    return SilenceChanged(now, one.pattern, found.silence_id, "theirs", found.ends_at, why)


def _ended(one: Ours, now: float, cause: str, why: str) -> SilenceEnded:
    return SilenceEnded(now, one.pattern, one.silence_id, why, one.hidden, cause)
