"""What open incidents read like: an index for alerts that are nearly the same.

An incident is in it while something of it fires. One that has cleared is found by an equal text only, as a folding key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from models.likeness import enter, leave
from sidecar.events import Decided, EpisodeEnded, Swept
from sidecar.state.records import LIKE, forget

if TYPE_CHECKING:
    from sidecar.state import State


def _decide(state: State, event: Decided) -> None:
    for like in event.keys:
        if like.startswith(LIKE):
            _replaced(state, state.texts.get(event.incident), like)
            state.texts.put(event.incident, like)
    incident = state.incidents.get(event.incident)
    key = state.texts.get(event.incident)
    if incident is not None and key is not None and incident.firing == 1:  # with more it is in the index already
        enter(state.likes, key)
    if event.came_from:
        _cleared(state, event.came_from)


def _replaced(state: State, before: str | None, key: str) -> None:
    if before is not None and before != key:
        leave(state.likes, before)


def _end(state: State, event: EpisodeEnded) -> None:
    known = state.episodes.get(event.fingerprint)
    if known is not None and known.incident:
        _cleared(state, known.incident)


def _cleared(state: State, name: str) -> None:
    """Take out what nothing fires in any more, unless a newer incident reads the same."""
    key, incident = state.texts.get(name), state.incidents.get(name)
    if key is not None and (incident is None or incident.firing == 0) and state.folding.get(key) == name:
        leave(state.likes, key)


def _sweep(state: State, _: Swept) -> None:
    for name, key in list(state.texts.items()):
        if name not in state.incidents:
            state.texts.drop(name)
            if key not in state.folding:
                leave(state.likes, key)
    forget(state.likes, lambda keys: not any(key in state.folding for key in keys))


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {Decided: _decide, EpisodeEnded: _end, Swept: _sweep}
