"""Silences of ours, by the pattern they hide, and what silences in Alertmanager hide, ours and people's.

A silence of ours is proposed by votes, replayed over the history, and then refused or asked for; once Alertmanager has it,
it is active, until it is ended: by its time, by us, or by a person (revoked). An edited one is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from math import exp
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain import Alert, Mute, Verdict, severity_of, severity_rank
from sidecar.events import (
    Decided,
    EpisodeEnded,
    EpisodeMuted,
    EpisodeStarted,
    EpisodeUnmuted,
    Event,
    Hides,
    SenderKnown,
    SilenceAsked,
    SilenceChanged,
    SilenceEnded,
    SilenceProposed,
    SilenceReplayed,
    SilenceSettled,
    Swept,
)
from sidecar.state.records import key_of
from sidecar.state.votes import Ballot

if TYPE_CHECKING:
    from sidecar.state import State

STANDING: Final = frozenset({"asked", "active"})
BY_OURS: Final = "silence of ours"  # how the reason names one that the sidecar wrote; all others are people's
LASTING: Final = STANDING | {"theirs"}
TELLS: Final = frozenset({Verdict.NOTIFY.value, Verdict.FOLD.value})
EARLY: Final = frozenset({"votes", "severity", "burst", "anomaly", "guard"})  # causes for which we end a silence early
KEPT_SECONDS: Final = 5 * 86400.0  # Alertmanager keeps expired silences so long (--data.retention), and counts them
HEAT_SECONDS: Final = 3600.0  # in which starts under a silence count
ANOMALY: Final = 0.9999  # so unusual an alert under a silence of ours ends it,
ANOMALIES: Final = 5  # from so many starts in an hour on: to a rare alert the first one is always unusual


class Silence(Struct, frozen=True, gc=False, omit_defaults=True):
    ends_at: float
    state: str  # proposed | replayed | refused | asked | active | failed | ended | revoked | theirs
    silence_id: str = ""
    at: float = 0.0  # when it came to this state
    asked_at: float = 0.0
    matchers: tuple[tuple[str, str], ...] = ()
    created_by: str = ""
    mark: str = ""  # of its comment: what Alertmanager should have
    adopted: bool = False  # it stood there before we asked
    evidence: str = ""  # of the votes it is for
    hides: Hides | None = None
    model: str = ""
    hidden: int = 0  # episodes that it hid
    heat: float = 0.0  # of them, those that started in the last hour, older ones counting less and less
    heat_at: float = 0.0
    cause: str = ""  # why it has to end early: severity | anomaly
    why: str = ""  # the same in words


class Muted(Struct, frozen=True, gc=False):
    """A firing episode that silences hide. Without any left it is decided anew when Alertmanager sends it."""

    episode: str
    at: float
    by: tuple[Mute, ...]
    alert: Alert | None
    group_key: str = ""


def evidence_of(ballots: tuple[Ballot, ...]) -> str:
    """What people said of a pattern, short: the same only while nobody says anything else."""
    said = "\n".join(sorted(f"{one.episode} {one.label > 0.5}" for one in ballots))
    return blake2b(said.encode(), digest_size=8).hexdigest()


def heat_now(silence: Silence, now: float) -> float:
    """How many episodes started under it in about the last hour."""
    return silence.heat * exp(min(0.0, silence.heat_at - now) / HEAT_SECONDS)


def mark_of(comment: str) -> str:
    """A comment, short."""
    return blake2b(comment.encode("utf-8", "replace"), digest_size=8).hexdigest()


def counted(silences: Iterable[Silence], now: float) -> int:
    """How many silences of ours Alertmanager holds, or is about to: it counts those that have ended, too, for a while."""
    return sum(
        (one.state in LASTING and one.ends_at > now)
        or (bool(one.silence_id) and min(one.ends_at, max(one.at, one.asked_at)) > now - KEPT_SECONDS)
        for one in silences
    )


def fresh(state: State, event: Event) -> bool:
    """Whether what the shell hands in is news: another replica may have said it already."""
    if isinstance(event, SilenceReplayed | SilenceChanged | SilenceEnded):
        known = state.silences.get(key_of(event.pattern))
        return known is not None and _changes(known, event)
    if isinstance(event, EpisodeUnmuted):
        muted = state.muted.get(event.fingerprint)
        return muted is not None and any(one.silence_id == event.silence_id for one in muted.by)
    return not isinstance(event, SenderKnown) or event.url not in state.senders


def _changes(known: Silence, event: SilenceReplayed | SilenceChanged | SilenceEnded) -> bool:
    if isinstance(event, SilenceReplayed):
        return known.state == "proposed" and known.evidence == event.evidence
    if isinstance(event, SilenceEnded) or known.state not in LASTING:
        return known.state in LASTING
    if event.state == "active":
        return known.state == "active" and not known.adopted
    return (known.state, known.silence_id, known.ends_at) != (event.state, event.silence_id, event.ends_at)


# ----------------------------------------------------------------------------------------------------------- the silences


def _propose(state: State, event: SilenceProposed) -> None:
    made = Silence(event.ends_at, "proposed", at=event.at, matchers=event.matchers, evidence=event.evidence)
    _put(state, key_of(event.pattern), made)


def _replay(state: State, event: SilenceReplayed) -> None:
    key = key_of(event.pattern)
    known = state.silences.get(key)
    if known is not None and known.state == "proposed" and known.evidence == event.evidence:
        became = "refused" if event.why else "replayed"
        _put(state, key, replace(known, state=became, at=event.at, hides=event.hides, model=event.model, why=event.why))


def _ask(state: State, event: SilenceAsked) -> None:
    key = key_of(event.pattern)
    known = state.silences.get(key)
    mark = mark_of(event.comment)
    made = Silence(event.ends_at, "asked", "", event.at, event.at, event.matchers, event.created_by, mark)
    if known is not None:
        made = replace(made, evidence=known.evidence, hides=known.hides, model=known.model)
    _put(state, key, made)


def _settle(state: State, event: SilenceSettled) -> None:
    """What has been ended stays so, though Alertmanager took it only now: it is expired there next."""
    key = key_of(event.pattern)
    known = state.silences.get(key)
    if known is None:
        return
    if known.state == "asked":
        known = replace(known, state=event.outcome, at=event.at)
    _put(state, key, replace(known, silence_id=event.silence_id))


def _change(state: State, event: SilenceChanged) -> None:
    key = key_of(event.pattern)
    known = state.silences.get(key)
    if known is None:
        return
    changed = replace(known, state=event.state, silence_id=event.silence_id, ends_at=event.ends_at, at=event.at)
    if event.state == "active":
        changed = replace(changed, mark=event.mark, adopted=True)
    else:
        changed = replace(changed, cause="", why=event.why)
    _put(state, key, changed)


def _finish(state: State, event: SilenceEnded) -> None:
    key = key_of(event.pattern)
    known = state.silences.get(key)
    if known is None:
        return
    became = "revoked" if event.cause == "revoked" else "ended"
    _put(state, key, replace(known, state=became, at=event.at, cause=event.cause, why=event.why))
    for fingerprint, muted in list(state.muted.items()):
        if any(one.silence_id == event.silence_id for one in muted.by):
            _leave(state, fingerprint, muted, event.silence_id, event.why if event.cause in EARLY else "")


def _put(state: State, key: str, silence: Silence) -> None:
    """Keep a silence, and the names that find it."""
    before = state.silences.get(key)
    state.silences.put(key, silence)
    if before is not None and before.silence_id and before.silence_id != silence.silence_id:
        state.ours.drop(before.silence_id)
    if silence.silence_id:
        if silence.state == "active":
            state.ours.put(silence.silence_id, key)
        elif silence.silence_id in state.ours:
            state.ours.drop(silence.silence_id)
    name = key.partition("\x1f")[0]
    keys = state.hushed.get(name) or ()
    if (key in keys) != (silence.state in STANDING):
        left = tuple(one for one in keys if one != key)
        keys = (*left, key) if silence.state in STANDING else left
        if keys:
            state.hushed.put(name, keys)
        else:
            state.hushed.drop(name)


# ---------------------------------------------------------------------------------------------------------- what they hide


def _start(state: State, event: EpisodeStarted) -> None:
    """A new firing is muted by nothing yet; at a higher severity than a silence of ours hides, it ends that silence."""
    if state.muted and event.fingerprint in state.muted:
        _forget(state, event.fingerprint)
    if not state.hushed:
        return
    for key in state.hushed.get(event.labels.get("alertname", "")) or ():
        _, namespace, service, severity = key.split("\x1f")
        labels, raised = event.labels, severity_of(event.labels)
        alike = labels.get("namespace", "") == namespace and labels.get("service", "") == service
        if alike and severity_rank(raised) > severity_rank(severity):
            _alarm(state, key, "severity", f"it fires as {raised} too")


def _alarm(state: State, key: str, cause: str, why: str) -> None:
    silence = state.silences[key]
    if not silence.cause:
        state.silences.put(key, replace(silence, cause=cause, why=why))


def _mute(state: State, event: EpisodeMuted) -> None:
    known, muted = state.episodes.get(event.fingerprint), state.muted.get(event.fingerprint)
    if known is None or known.episode != event.episode or known.ended_at is not None:
        return
    by = muted.by if muted is not None and muted.episode == event.episode else ()
    alert, group = (muted.alert, muted.group_key) if muted is not None and by else (event.alert, event.group_key)
    others = tuple(one for one in by if one.silence_id != event.silence_id)
    mute = Mute(event.silence_id, event.created_by, event.ends_at)
    state.muted.put(event.fingerprint, Muted(event.episode, event.at, (*others, mute), alert or event.alert, group))
    if event.fingerprint in state.freed:
        state.freed.drop(event.fingerprint)
    key = state.ours.get(event.silence_id)
    if key is not None and len(others) == len(by):
        _count(state, key, event.at, starts=not known.verdict)


def _count(state: State, key: str, at: float, *, starts: bool) -> None:
    silence = state.silences[key]
    hotter = {"heat": heat_now(silence, at) + 1.0, "heat_at": at} if starts else {}
    state.silences.put(key, replace(silence, hidden=silence.hidden + 1, **hotter))


def _unmute(state: State, event: EpisodeUnmuted) -> None:
    muted = state.muted.get(event.fingerprint)
    if muted is not None and muted.episode == event.episode:
        _leave(state, event.fingerprint, muted, event.silence_id, "")


def _leave(state: State, fingerprint: str, muted: Muted, silence_id: str, why: str) -> None:
    """One silence less hides it; with the last of them, ended early by us, it is to be decided anew at once."""
    by = tuple(one for one in muted.by if one.silence_id != silence_id)
    state.muted.put(fingerprint, replace(muted, by=by))
    known = state.episodes.get(fingerprint)
    if not by and why and muted.alert is not None and known is not None and known.verdict not in TELLS:
        state.freed.put(fingerprint, why)


def _end(state: State, event: EpisodeEnded) -> None:
    muted = state.muted.get(event.fingerprint) if state.muted else None
    if muted is not None and muted.episode == event.episode:
        _forget(state, event.fingerprint)


def _forget(state: State, fingerprint: str) -> None:
    state.muted.drop(fingerprint)
    if fingerprint in state.freed:
        state.freed.drop(fingerprint)


def _decide(state: State, event: Decided) -> None:
    if not state.muted:
        return
    fingerprint = event.episode.rpartition("-")[0]
    muted = state.muted.get(fingerprint)
    if muted is None or muted.episode != event.episode:
        return
    if not muted.by:
        _forget(state, fingerprint)
    elif event.anomaly is not None and event.anomaly >= ANOMALY:
        for key in {state.ours[one.silence_id] for one in muted.by if one.silence_id in state.ours}:
            if round(heat_now(state.silences[key], event.at)) >= ANOMALIES:
                _alarm(state, key, "anomaly", f"so many of it are very unusual now (anomaly {event.anomaly:.4f})")


def _sender(state: State, event: SenderKnown) -> None:
    state.senders.put(event.url, event.at)


def _sweep(state: State, event: Swept) -> None:
    before = event.before
    for key in [key for key, one in state.silences.items() if max(one.ends_at, one.at) < before]:
        _put(state, key, replace(state.silences[key], state="ended"))  # out of the names that find it
        state.silences.drop(key)
    for fingerprint in [name for name in state.muted if name not in state.episodes]:
        _forget(state, fingerprint)


def due(state: State) -> float | None:
    """At once when something is to be decided anew or ended; else when the first silence of ours is over."""
    if state.freed:
        return 0.0
    ends = [
        0.0 if one.cause and one.state in STANDING else one.ends_at
        for one in state.silences.values()
        if one.state in LASTING
    ]
    return min(ends, default=None)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {
    EpisodeStarted: _start,
    EpisodeEnded: _end,
    EpisodeMuted: _mute,
    EpisodeUnmuted: _unmute,
    Decided: _decide,
    SenderKnown: _sender,
    SilenceProposed: _propose,
    SilenceReplayed: _replay,
    SilenceAsked: _ask,
    SilenceSettled: _settle,
    SilenceChanged: _change,
    SilenceEnded: _finish,
    Swept: _sweep,
}
