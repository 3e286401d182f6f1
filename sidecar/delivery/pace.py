"""How fast each destination may be sent to: a token bucket, and a pause when the provider asks for one. Pure."""

from __future__ import annotations


class Pace:
    """A bucket of `burst` tokens that fills at `per_second`. Times are any clock's seconds."""

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second = per_second
        self.burst = max(1.0, burst)
        self._tokens = self.burst
        self._at = float("-inf")
        self._paused_until = float("-inf")

    def free(self, now: float) -> int:
        """How many may be sent at once now."""
        if now < self._paused_until:
            return 0
        if now > self._at:
            gained = (now - self._at) * self.per_second if self._at != float("-inf") else self.burst
            self._tokens = min(self.burst, self._tokens + gained)
            self._at = now
        return int(self._tokens)

    def take(self, now: float, count: int) -> None:
        self.free(now)
        self._tokens -= count

    def give_back(self, count: int) -> None:
        """What was taken and not sent."""
        self._tokens = min(self.burst, self._tokens + count)

    def pause(self, until: float) -> None:
        """Nothing before then: what a Retry-After says holds for the whole destination."""
        self._paused_until = max(self._paused_until, until)
