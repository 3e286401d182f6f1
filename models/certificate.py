"""From which score on alerts may be kept back, and the evidence for it: made by training, read by the rules.

The unit is the cluster: an instance's real alerts with gaps under 30 minutes, told within 15 minutes or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from models.features import FEATURES

STALE_SECONDS: Final = 3 * 86400.0  # a certificate that nobody renewed for so long allows nothing


BURST_NAMES: Final = 4.0  # distinct alertnames on the instance within 15 minutes
BURST: Final = 3.0  # times the week's average
_REAL = FEATURES.index("fingerprint_last_label")
_NAMES, _BURST = FEATURES.index("instance_names_15m"), FEATURES.index("instance_burst")


def speaks_against(observation: Sequence[float]) -> str:
    """Why this alert is told whatever its score, as a sentence; empty when nothing speaks against keeping it back."""
    if observation[_REAL] == 0.0:
        return "the last vote on exactly this said that it was real"
    if observation[_NAMES] >= BURST_NAMES and observation[_BURST] >= BURST:
        return f"{observation[_NAMES]:.0f} different alerts on this instance within 15 minutes"
    return ""


class Grant(Struct, frozen=True):
    """What one way of keeping alerts back has earned."""

    threshold: float | None = None  # from this score on; None: nothing is allowed
    budget: float = 0.0  # the share of real clusters that may go untold in time
    clusters: int = 0  # real clusters it was tested on
    missed: int = 0  # of them, how many would not have been told in time
    bound: float = 1.0  # upper bound on that share, at `confidence`
    confidence: float = 0.0  # of this look alone: earlier and later looks spend the rest
    look: int = 0  # how often it has been tested; 0: too few clusters yet
    needed: int = 0  # clusters until the next look


class Certificate(Struct, frozen=True):
    """Hold: what clears while it waits goes to the digest, the rest is told late. Suppress: nobody is told."""

    at: float
    hold: Grant = Grant()
    suppress: Grant = Grant()
    drifted: dict[str, str] = {}  # alertname -> what has changed about it: nothing of it is kept back
    floors: dict[str, float] = {}  # alertname -> its own score floor, instead of the confidence_threshold
    unsettled: str = ""  # what has changed over all alertnames: nothing is suppressed
