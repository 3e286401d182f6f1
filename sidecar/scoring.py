"""Alert + state -> observation -> score, in one batch; falls back to the cold-start heuristic, and says so. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from models.certificate import Certificate
from models.features import FEATURES
from models.prior import Prior, PriorError, bundled
from models.scorers import ColdStart, Scorer
from sidecar.domain import Decision, Given

ANOMALY = FEATURES.index("anomaly_score")
UNUSUAL: Final = 0.99  # an anomaly score from which it is worth a line in the message


def bundled_prior(refused: Callable[[str], object]) -> Prior | None:
    """The prior of this package; None, and `refused` is told why, when it is missing or damaged."""
    try:
        return bundled()
    except PriorError as error:
        refused(str(error))
        return None


class Scoring(Protocol):
    """What the pipeline asks for scores, and how far they may keep alerts back."""

    @property
    def certificate(self) -> Certificate | None: ...

    def score(self, rows: Sequence[tuple[float, ...]]) -> tuple[list[float | None], str]: ...


class Scorers:
    """The champion with the cold-start heuristic behind it. Swapped atomically: `use` replaces one reference."""

    def __init__(self, on_failure: Callable[[], None] = lambda: None, prior: Prior | None = None) -> None:
        self._cold = ColdStart(prior)
        self._champion: Scorer | None = None
        self.certificate: Certificate | None = None  # None: nothing has been proven yet
        self._on_failure = on_failure  # called for each batch that the champion could not score

    @property
    def version(self) -> str:
        return self._cold.version if self._champion is None else self._champion.version

    def use(self, champion: Scorer | None) -> None:
        """Score with this from the next batch on; None: back to the heuristic."""
        self._champion = champion

    def score(self, rows: Sequence[tuple[float, ...]]) -> tuple[list[float | None], str]:
        """Probability of false positive per row, and the version of what said so; None where nothing could."""
        if not rows:
            return [], self.version
        if self._champion is not None:
            try:
                return list(self._champion.score(rows)), self._champion.version
            except Exception:  # noqa: BLE001 - the edge of a model: whatever it raises, alerts go on
                self._on_failure()  # the ladder's first rung: rules and the heuristic go on, the metric tells
        return list(self._cold.score(rows)), self._cold.version


def standing_in(decision: Decision, given: Given) -> Decision:
    """The decision with what models of others said in place of the built-in ones' answers; what they left out stays."""
    scored, marks = replace(decision.scored, given=given), decision.marks
    if given.score is not None:
        scored = replace(scored, score=given.score, model=given.model)
    if given.anomaly is not None:
        scored = replace(scored, anomaly=given.anomaly)
        if given.anomaly >= UNUSUAL:
            marks = (*marks, f"unusual: anomaly {given.anomaly:.3f}, says {given.anomaly_model}")
    return replace(decision, scored=scored, marks=marks)
