"""A dictionary with a layer on top that a commit keeps and a rollback drops.

The folded state is made of these. Values are immutable (tuples, frozen Structs): a change is a new value in the layer,
so that dropping the layer is all it takes to forget a batch that did not commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Table(Generic[K, V]):
    """`get`, `put` and `drop` see the layer first; `commit` folds it into the base, `rollback` forgets it."""

    __slots__ = ("_base", "_layer")

    def __init__(self, base: dict[K, V] | None = None) -> None:
        self._base: dict[K, V] = {} if base is None else base
        self._layer: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        """The value now, uncommitted changes included."""
        layer = self._layer
        if key in layer:
            return layer[key]
        return self._base.get(key)

    def put(self, key: K, value: V) -> None:
        self._layer[key] = value

    def drop(self, key: K) -> None:
        self._layer[key] = None

    def commit(self) -> None:
        base = self._base
        for key, value in self._layer.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = value
        self._layer.clear()

    def rollback(self) -> None:
        self._layer.clear()

    def items(self) -> Iterator[tuple[K, V]]:
        """Every pair now, uncommitted changes included; in no promised order."""
        layer = self._layer
        for key, value in self._base.items():
            if key not in layer:
                yield key, value
        for key, changed in layer.items():
            if changed is not None:
                yield key, changed

    def committed(self) -> dict[K, V]:
        """The base itself, for snapshots: not to be changed."""
        return self._base

    def __len__(self) -> int:
        return sum(1 for _ in self.items()) if self._layer else len(self._base)
