"""Arrivals: the newest alerts that people were told of in a part of the topology, such as a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from sidecar.events import Decided, Swept
from sidecar.state.records import forget

if TYPE_CHECKING:
    from sidecar.state import State

KEPT: Final = 64  # arrivals kept per part; more than deduplication.strategies.temporal_correlation.min_alerts may be


class Arrival(Struct, frozen=True, gc=False, array_like=True):
    at: float
    incident: str


def _decide(state: State, event: Decided) -> None:
    if event.near:
        one = (Arrival(event.at, event.incident),)
        for key in event.near:
            known = state.arrivals.get(key)
            state.arrivals.put(key, one if known is None else known[1 - KEPT :] + one)


def _sweep(state: State, event: Swept) -> None:
    forget(state.arrivals, lambda known: known[-1].at < event.before)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {Decided: _decide, Swept: _sweep}
