"""Episodes: what fires, and the statistics of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from models.statistics import Keys, Seen
from sidecar.events import EpisodeEnded, EpisodeSeen, EpisodeStarted, Swept
from sidecar.state.records import Episode, forget, keys_of

if TYPE_CHECKING:
    from sidecar.state import State


def start(state: State, event: EpisodeStarted, keys: Keys, seen: Seen | None = None) -> None:
    """Fold an episode's start, for a caller that has its keys, and what statistics know of them, already."""
    state.statistics.started(event.at, keys, seen)
    known = state.episodes.get(event.fingerprint)
    ended = known.ended_at if known is not None and known.ended_at is not None else 0.0
    follows = min(ended, event.starts_at)  # an end that nobody sent is known by when somebody looked
    begun = Episode(event.episode, event.starts_at, event.at, keys, follows=follows)
    state.episodes.put(event.fingerprint, begun)


def _start(state: State, event: EpisodeStarted) -> None:
    start(state, event, keys_of(event.fingerprint, event.labels))


def _see(state: State, event: EpisodeSeen) -> None:
    known = state.episodes.get(event.fingerprint)
    if known is not None and known.episode == event.episode:
        late = event.starts_at <= known.follows  # of the firing before it, or that goes on with the start it had
        earlier = known.starts_at if late else min(event.starts_at, known.starts_at)
        state.episodes.put(event.fingerprint, replace(known, last_seen=event.at, starts_at=earlier))


def _end(state: State, event: EpisodeEnded) -> None:
    known = state.episodes.get(event.fingerprint)
    if known is None or known.episode != event.episode or known.ended_at is not None:
        return
    state.statistics.ended(event.at, known.keys, known.starts_at, event.ends_at)
    state.episodes.put(event.fingerprint, replace(known, ended_at=event.ends_at, last_seen=event.at))
    if event.fingerprint in state.holds:
        state.holds.drop(event.fingerprint)
    incident = state.incidents.get(known.incident) if known.incident else None
    if incident is None:
        return
    firing = max(0, incident.firing - 1)
    settles = firing == 0 and incident.settle > 0
    if settles:
        state.settling.put(known.incident, event.at + incident.settle)
    resolves = incident.resolves + (firing == 0 and not settles)
    state.incidents.put(known.incident, replace(incident, firing=firing, resolves=resolves, last=event.at))


def _sweep(state: State, event: Swept) -> None:
    state.statistics.sweep(event.before)
    forget(state.episodes, lambda episode: episode.last_seen < event.before)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {
    EpisodeStarted: _start,
    EpisodeSeen: _see,
    EpisodeEnded: _end,
    Swept: _sweep,
}
