"""Tables whose values have times: what is due first is found without looking through all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Final, TypeVar

from models.table import Table
from sidecar.state.records import BY_SCORE, BY_WINDOW, Hold

V = TypeVar("V")
SLACK: Final = 1000  # entries of the heap beyond twice the values before it is made anew


class Dated(Table[str, V]):
    """A table with a heap of (time, key) beside it.

    What the table no longer holds is passed over when it comes to the top. A value that is restored is pushed again, so
    nothing is lost when a batch is undone.
    """

    __slots__ = ("_heap",)

    def __init__(self, base: dict[str, V] | None = None) -> None:
        super().__init__(base)
        self._heap: list[tuple[float, str]] = []
        self._rebuild()

    def when(self, value: V) -> float | None:
        """The time of a value, seconds since the epoch; None: it has none."""
        raise NotImplementedError

    def put(self, key: str, value: V) -> None:
        before = self.get(key)
        super().put(key, value)
        self._moved(key, before, value)

    def change(self, key: str, held: V | None, value: V) -> None:
        super().change(key, held, value)
        self._moved(key, held, value)

    def drop(self, key: str) -> None:
        before = self.get(key)
        super().drop(key)
        self._moved(key, before, None)

    def undo(self) -> None:
        self._restored(self._before, super().undo)

    def rollback(self) -> None:
        self._restored({**self._before, **self._sealed}, super().rollback)

    def first(self) -> float | None:
        """When the first of them is due."""
        heap = self._heap
        while heap:
            at, key = heap[0]
            if self._holds(key, at):
                return at
            heappop(heap)
        return None

    def due(self, now: float, most: int) -> list[str]:
        """The keys that are due at `now`, in the order of their times; at most so many. They stay."""
        taken: dict[str, float] = {}
        while (at := self.first()) is not None and at <= now and len(taken) < most:
            taken[heappop(self._heap)[1]] = at
        for key, at in taken.items():
            heappush(self._heap, (at, key))
        return list(taken)

    def _holds(self, key: str, at: float) -> bool:
        value = self.get(key)
        return value is not None and self.when(value) == at

    def _restored(self, keys: Iterable[str], restore: Callable[[], None]) -> None:
        before = {key: self.get(key) for key in keys}
        restore()
        for key, value in before.items():
            self._moved(key, value, self.get(key))

    def _moved(self, key: str, before: V | None, after: V | None) -> None:  # noqa: ARG002 - for those who index
        at = None if after is None else self.when(after)
        if at is None:
            return
        heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self) + SLACK:
            self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [(at, key) for key, value in self.items() if (at := self.when(value)) is not None]
        heapify(self._heap)


class Holds(Dated[Hold]):
    """What is held, by fingerprint; and what new evidence may speak about."""

    __slots__ = ("_index",)

    def __init__(self, base: dict[str, Hold] | None = None) -> None:
        self._index: dict[str, set[str]] = {}
        super().__init__(base)
        for key, hold in self.items():
            self._list(key, hold)

    def when(self, value: Hold) -> float:
        return value.due

    def of_instance(self, instance: str) -> list[str]:
        """What is held by its score of an instance."""
        return sorted(self._index.get(f"instance={instance}", ()))

    def of_alertname(self, name: str) -> list[str]:
        """What is held by its score of an alertname."""
        return sorted(self._index.get(f"alertname={name}", ()))

    def of_windows(self) -> list[str]:
        """What waits for a deployment window."""
        return sorted(self._index.get("window", ()))

    def _moved(self, key: str, before: Hold | None, after: Hold | None) -> None:
        if before is not None:
            self._unlist(key, before)
        if after is not None:
            self._list(key, after)
        super()._moved(key, before, after)

    def _list(self, key: str, hold: Hold) -> None:
        for name in _names(hold):
            self._index.setdefault(name, set()).add(key)

    def _unlist(self, key: str, hold: Hold) -> None:
        for name in _names(hold):
            keys = self._index.get(name, set())
            keys.discard(key)
            if not keys:
                self._index.pop(name, None)


def _names(hold: Hold) -> Iterable[str]:
    if hold.by == BY_WINDOW:
        yield "window"
    elif hold.by == BY_SCORE:
        labels = hold.alert.labels
        yield f"alertname={labels.get('alertname', '')}"
        if labels.get("instance"):
            yield f"instance={labels['instance']}"
