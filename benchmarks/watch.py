"""Seconds of the processor by what was done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Watch:
    """Of one round: waiting for a core that others use is nobody's work."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        began = time.thread_time()
        done = work()
        self.spent[name] = self.spent.get(name, 0.0) + time.thread_time() - began
        return done
