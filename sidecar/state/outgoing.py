"""Incidents of which no message has left yet: in a storm they go on in its incident before people hear of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from sidecar.events import Decided, Delivered, Swept
from sidecar.state.records import forget

if TYPE_CHECKING:
    from sidecar.state import State


class Outgoing(Struct, frozen=True, gc=False, array_like=True):
    """An incident on its way to people, the alert that opened it, and under what it was counted."""

    at: float
    fingerprint: str
    severity: str
    key: str


def _decide(state: State, event: Decided) -> None:
    if not event.tallies or not event.tell or event.title:
        return
    for tally in event.tallies:
        if not tally.keep:
            fingerprint = event.episode.rpartition("-")[0]
            state.outgoing.put(event.incident, Outgoing(event.at, fingerprint, event.severity, tally.key))


def _deliver(state: State, event: Delivered) -> None:
    if event.incident in state.outgoing:
        state.outgoing.drop(event.incident)


def _sweep(state: State, event: Swept) -> None:
    forget(state.outgoing, lambda one: one.at < event.before)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {Decided: _decide, Delivered: _deliver, Swept: _sweep}
