"""What mode shadow did not do: the silences that it withheld, by the pattern they would have hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sidecar.events import SilenceWithheld, Swept
from sidecar.state.records import forget, key_of

if TYPE_CHECKING:
    from sidecar.state import State


def _withhold(state: State, event: SilenceWithheld) -> None:
    state.unasked.put(key_of(event.pattern), event.ends_at)


def _sweep(state: State, event: Swept) -> None:
    forget(state.unasked, lambda ends_at: ends_at < event.before)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {SilenceWithheld: _withhold, Swept: _sweep}
