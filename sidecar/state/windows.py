"""Deployment windows: opened by API for as long as their owner renews them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sidecar.events import WindowClosed, WindowOpened

if TYPE_CHECKING:
    from sidecar.state import State


class Window(Struct, frozen=True, gc=False):
    """One that is open: what matches waits until it ends."""

    owner: str
    matchers: tuple[str, ...]
    severities: tuple[str, ...]
    opened_at: float
    ends_at: float
    comment: str = ""


def _open(state: State, event: WindowOpened) -> None:
    known = state.windows.get(event.name)
    if known is not None and known.ends_at <= event.at:
        known = None
    if known is not None and known.owner != event.owner:
        return  # somebody else's: whoever came second sees it in the state
    since = event.at if known is None else known.opened_at
    window = Window(event.owner, event.matchers, event.severities, since, event.ends_at, event.comment)
    state.windows.put(event.name, window)
    if known is not None and (known.matchers, known.severities) != (window.matchers, window.severities):
        _look_again(state, event.at)


def _close(state: State, event: WindowClosed) -> None:
    known = state.windows.get(event.name)
    if known is None:
        return
    state.windows.drop(event.name)
    if event.at < known.ends_at:
        _look_again(state, event.at)


def _look_again(state: State, at: float) -> None:
    """What waits for a window is decided anew: it waits on where another window, or the changed one, still covers it."""
    for fingerprint in state.holds.of_windows():
        hold = state.holds.get(fingerprint)
        if hold is not None and hold.due > at:
            state.holds.put(fingerprint, replace(hold, due=at))


def due(state: State) -> float | None:
    """When the first lease ends."""
    return min((window.ends_at for window in state.windows.values()), default=None)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {WindowOpened: _open, WindowClosed: _close}
