"""A circuit breaker: what keeps failing is left alone for a while, then tried once. Pure; the clock is an argument.

closed      every call goes through; FAILURES in a row open it
open        no call goes through, for PAUSE seconds
half open   one call goes through: its success closes the breaker, its failure opens it again
"""

from __future__ import annotations

from typing import Final, Literal

FAILURES: Final = 5
PAUSE: Final = 30.0  # s

State = Literal["closed", "open", "half_open"]


class Breaker:
    """Ask `enter` before a call and tell `leave` how it went. `now` is in seconds, of a clock that never goes back."""

    def __init__(self, failures: int = FAILURES, pause: float = PAUSE) -> None:
        self.state: State = "closed"
        self._most, self._pause = failures, pause
        self._failures = 0  # in a row
        self._again = 0.0  # when an open one lets a call through
        self._era = 0  # grows with each change of state

    def enter(self, now: float) -> int | None:
        """A ticket for one call; None when it should not be made."""
        if self.state == "open" and now >= self._again:
            self._become("half_open")
            return self._era
        return self._era if self.state == "closed" else None

    def leave(self, ticket: int, now: float, *, well: bool) -> None:
        """How the call with this ticket went. One that began before the state changed says nothing about the new one."""
        if ticket != self._era:
            return
        if well:
            self._failures = 0
            if self.state == "half_open":
                self._become("closed")
            return
        self._failures += 1
        if self.state == "half_open" or self._failures >= self._most:
            self._again = now + self._pause
            self._become("open")

    def _become(self, state: State) -> None:
        self.state, self._failures = state, 0
        self._era += 1
