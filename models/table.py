"""A dictionary that can forget what was done to it since the last commit.

The folded state is made of these. Values are immutable (tuples, frozen Structs): a change is a new value, and the one it
replaces is kept until the commit, so that a batch that did not commit leaves no trace. Two batches can be under way: one
that is `seal`ed, on its way to the disk, and one that is planned on top of it meanwhile. Reading is a dictionary's own
`get`: the state is read thirty times an alert.
"""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Table(dict[K, V]):
    """Change it by `put`, `change` and `drop` only; `commit` keeps the changes, `rollback` undoes them."""

    __slots__ = ("_before", "_sealed")

    def __init__(self, base: dict[K, V] | None = None) -> None:
        super().__init__(base or ())
        self._before: dict[K, V | None] = {}  # what each changed key held before this batch
        self._sealed: dict[K, V | None] = {}  # the same of the batch that is on its way to the disk

    def put(self, key: K, value: V) -> None:
        before = self._before
        if key not in before:
            before[key] = self.get(key)
        self[key] = value

    def change(self, key: K, held: V | None, value: V) -> None:
        """`put` by a caller that has just read what is held, None for nothing."""
        before = self._before
        if key not in before:
            before[key] = held
        self[key] = value

    def drop(self, key: K) -> None:
        if key not in self._before:
            self._before[key] = self.get(key)
        self.pop(key, None)

    def seal(self) -> None:
        """Set this batch's changes apart; those of the next one come on top. One batch at most is sealed."""
        self._sealed, self._before = self._before, {}

    def settle(self) -> None:
        """Keep what was sealed."""
        self._sealed = {}

    def commit(self) -> None:
        """Keep everything."""
        self._before, self._sealed = {}, {}

    def undo(self) -> None:
        """Undo this batch, not the sealed one."""
        _restore(self, self._before)
        self._before = {}

    def rollback(self) -> None:
        """Undo everything that is not committed."""
        _restore(self, self._before)
        _restore(self, self._sealed)
        self.commit()

    def committed(self) -> dict[K, V]:
        """What was there at the last commit, for snapshots; itself when nothing has changed since."""
        if not self._before and not self._sealed:
            return self
        found = dict(self)
        _restore(found, self._before)
        _restore(found, self._sealed)
        return found


def _restore(found: dict[K, V], before: dict[K, V | None]) -> None:
    for key, value in before.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value
