"""Random streams of starts, ends and votes for the statistics, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from models.features import vector
from models.statistics import Keys, Statistics

START = 1_790_000_000.0
KEYS = tuple(
    Keys(f"f{name}{place}", f"name{name}", f"host{place}", f"service{name % 2}", "prod", severity)
    for name in range(3)
    for place in range(2)
    for severity in ("CRITICAL", "WARNING")
)
LABEL = st.sampled_from([None, 0.0, 0.5, 1.0])
GAP = st.sampled_from([0.0, 0.0, 1.0, 60.0, 3599.5, 86400.0, 864000.0, -30.0])

Event = tuple  # (kind, seconds since the event before, key, further arguments)
EVENT = st.one_of(
    st.tuples(st.just("started"), GAP, st.sampled_from(KEYS)),
    st.tuples(st.just("ended"), GAP, st.sampled_from(KEYS), st.sampled_from([0.0, 20.0, 200.0, 4000.0])),
    st.tuples(st.just("voted"), GAP, st.sampled_from(KEYS), LABEL, LABEL),
)
EVENTS = st.lists(EVENT, max_size=40)


def apply(statistics: Statistics, event: Event, at: float) -> None:
    kind, _, keys, *rest = event
    if kind == "started":
        statistics.started(at, keys)
    elif kind == "ended":
        statistics.ended(at, keys, at - rest[0], at)
    else:
        statistics.voted(at, keys, *rest)


def play(statistics: Statistics, events: list[Event], at: float = START) -> float:
    """Folds them one after the other; returns the time of the last."""
    for event in events:
        at += event[1]
        apply(statistics, event, at)
    return at


def vectors(statistics: Statistics, now: float) -> list[tuple[float, ...]]:
    return [vector(statistics, keys, {"value": "2", "threshold": "1"}, now) for keys in KEYS]
