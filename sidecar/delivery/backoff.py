"""When to try again: full jitter over a doubling span, never before the provider said. Pure."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 1.0


def next_try(attempts: int, after: float | None, longest: float, draw: float) -> float:
    """Seconds until the next attempt; `attempts` counts those made, `draw` is uniform in [0, 1)."""
    span = min(longest, FIRST_SECONDS * 2.0 ** min(attempts, 30))
    wait = span * (0.1 + 0.9 * draw)  # a floor: a draw near zero would hammer a provider that is down
    return wait if after is None else max(wait, after + span * 0.1 * draw)
