"""What people said about which alerts are one thing: taken apart, or put together.

It is remembered by pairs of kinds, alertname with namespace and service, for `REMEMBERED`; the newest word on a pair
counts. Only while there are pairs is it kept which kinds an incident has, so that it costs nothing where nobody ever
regrouped anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from models.statistics import Keys
from sidecar.domain import Verdict
from sidecar.events import Decided, Regrouped, Swept
from sidecar.state.records import forget

if TYPE_CHECKING:
    from sidecar.state import State

REMEMBERED: Final = 60 * 86400.0  # s
MOST_KINDS: Final = 64  # of one incident that are looked at
TOLD: Final = frozenset({Verdict.NOTIFY.value, Verdict.FOLD.value})


class Pair(Struct, frozen=True, gc=False, array_like=True):
    """Of a kind with another."""

    other: str
    together: bool  # else apart
    at: float
    who: str


def kind_of(alertname: str, namespace: str, service: str) -> str:
    """What people mean by "this alert", whichever pod or instance it is about."""
    return f"{alertname}\x1f{namespace}\x1f{service}"


def kind_of_keys(keys: Keys) -> str:
    return kind_of(keys.alertname, keys.namespace, keys.service)


def _regroup(state: State, event: Regrouped) -> None:
    if not state.pairs:
        _survey(state)
    taken = {one for one, _ in event.pairs} - {other for _, other in event.pairs}
    for one, other in event.pairs:
        for kind, mate in ((one, other), (other, one)):
            others = tuple(pair for pair in state.pairs.get(kind) or () if pair.other != mate)
            state.pairs.put(kind, (*others, Pair(mate, event.together, event.at, event.who)))
    left = tuple(kind for kind in state.kinds.get(event.incident) or () if kind not in taken)
    state.kinds.put(event.incident, left)


def _survey(state: State) -> None:
    """The kinds of all incidents as they are now, in the order of their decisions: a table has none that a restart keeps."""
    for known in sorted(state.episodes.values(), key=lambda one: (one.decided_at, one.episode)):
        if known.incident and known.verdict in TOLD:
            _note(state, kind_of_keys(known.keys), known.incident)


def _note(state: State, kind: str, incident: str) -> None:
    kinds = state.kinds.get(incident) or ()
    if kind not in kinds:
        state.kinds.put(incident, (*kinds, kind)[-MOST_KINDS:])
    if state.homes.get(kind) != incident:
        state.homes.put(kind, incident)


def _decide(state: State, event: Decided) -> None:
    if not state.pairs or event.verdict not in TOLD:
        return
    known = state.episodes.get(event.episode.rpartition("-")[0])
    if known is not None and known.episode == event.episode:
        _note(state, kind_of_keys(known.keys), event.incident)


def _sweep(state: State, event: Swept) -> None:
    for kind, pairs in list(state.pairs.items()):
        kept = tuple(pair for pair in pairs if event.at - pair.at <= REMEMBERED)
        if not kept:
            state.pairs.drop(kind)
        elif kept != pairs:
            state.pairs.put(kind, kept)
    forget(state.kinds, lambda _: not state.pairs)
    forget(state.homes, lambda name: not state.pairs or name not in state.incidents)
    for name in [name for name in state.kinds if name not in state.incidents]:
        state.kinds.drop(name)


def pairs_of(state: State, kind: str, now: float) -> Iterable[Pair]:
    """What people said of a kind with others, as far as it is still remembered."""
    return (pair for pair in state.pairs.get(kind) or () if now - pair.at <= REMEMBERED)


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {Regrouped: _regroup, Decided: _decide, Swept: _sweep}
