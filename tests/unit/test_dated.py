"""The heap beside a table against looking through all of it, whatever is committed, undone and rolled back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.domain import Alert
from sidecar.state import BY_SCORE, BY_WINDOW, Hold
from sidecar.state.dated import SLACK, Holds

KEYS = st.sampled_from("abcdef")
TIMES = st.integers(0, 9).map(float)
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, TIMES, st.sampled_from([BY_SCORE, BY_WINDOW, "routing"])),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(st.sampled_from(["commit", "rollback", "undo", "seal", "settle", "look"])),
)


def hold(due: float, by: str, key: str = "a") -> Hold:
    labels = {"alertname": f"Name{key in 'abc'}", "instance": f"i{key in 'ace'}"}
    return Hold(due, Alert(key, labels, {}, 0.0, None), "", 0.0, by=by)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40), TIMES, st.integers(1, 6))
def test_it_finds_what_a_search_through_all_of_it_finds(steps: list[tuple], now: float, most: int) -> None:
    """First, due and indexed, after every kind of end that a batch can have."""
    table = Holds({"a": hold(3.0, BY_SCORE)})
    sealed = False
    for name, *words in steps:
        if name == "put":
            table.put(words[0], hold(words[1], words[2], words[0]))
        elif name == "drop":
            table.drop(words[0])
        elif name == "look":
            table.due(now, most)
        elif name != "settle" or sealed:
            getattr(table, name)()
        sealed = name == "seal" or (sealed and name not in ("settle", "commit", "rollback"))
        agrees(table, now, most)
    agrees(Holds(dict(table)), now, most)


def agrees(table: Holds, now: float, most: int) -> None:
    assert table.first() == min((one.due for one in table.values()), default=None)
    due = sorted((one.due, key) for key, one in table.items() if one.due <= now)
    assert table.due(now, most) == [key for _, key in due[:most]]
    assert table.due(now, most) == [key for _, key in due[:most]]  # they stay
    by = {rule: sorted(key for key, one in table.items() if one.by == rule) for rule in (BY_SCORE, BY_WINDOW)}
    assert table.of_windows() == by[BY_WINDOW]
    for truth in (True, False):
        assert table.of_instance(f"i{truth}") == [key for key in by[BY_SCORE] if (key in "ace") is truth]
        assert table.of_alertname(f"Name{truth}") == [key for key in by[BY_SCORE] if (key in "abc") is truth]


def test_the_heap_stays_as_small_as_the_table() -> None:
    """What is put and dropped again and again leaves no trail."""
    table = Holds()
    for n in range(10_000):
        table.put("a", hold(1e9 + n, BY_SCORE))
        table.commit()
    assert len(table._heap) <= SLACK + 3
    assert len(table._index["instance=iTrue"]) == 1
