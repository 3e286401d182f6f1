"""When alerts started, the newest times of each: what fires again and again is known by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sidecar.events import EpisodeStarted, Swept
from sidecar.state.records import forget

if TYPE_CHECKING:
    from sidecar.state import State

KEPT_STARTS: Final = 20  # of each alert


def _start(state: State, event: EpisodeStarted) -> None:
    known = state.starts.get(event.fingerprint)
    times = (event.at,) if known is None else (*known[1 - KEPT_STARTS :], event.at)
    state.starts.change(event.fingerprint, known, times)


def _sweep(state: State, event: Swept) -> None:
    forget(state.starts, lambda times: times[-1] < event.before)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {EpisodeStarted: _start, Swept: _sweep}
