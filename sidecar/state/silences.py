"""Silences of ours, by the pattern they hide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain import SilenceAsked, SilenceSettled, Swept
from sidecar.state.records import forget, key_of

if TYPE_CHECKING:
    from sidecar.state import State

STANDING: Final = frozenset({"asked", "active"})


class Silence(Struct, frozen=True, gc=False):
    ends_at: float
    state: str  # asked | active | failed | ended
    silence_id: str = ""


def _ask(state: State, event: SilenceAsked) -> None:
    state.silences.put(key_of(event.pattern), Silence(event.ends_at, "asked"))


def _settle(state: State, event: SilenceSettled) -> None:
    key = key_of(event.pattern)
    silence = state.silences.get(key)
    if silence is not None:
        state.silences.put(key, replace(silence, state=event.outcome, silence_id=event.silence_id))


def _sweep(state: State, event: Swept) -> None:
    forget(state.silences, lambda silence: silence.ends_at < event.before)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {
    SilenceAsked: _ask,
    SilenceSettled: _settle,
    Swept: _sweep,
}
