"""The audit sample: a few percent of what would be kept back is told all the same, drawn at random, and marked.

It is the only way to know what is missed: nobody votes on what nobody saw. It comes after the guard, so that its
propensities are those of what really happens. One draw holds for an instance and an hour, so that an incident is told
as a whole or not at all; the draw is a hash, so that every replica and every replay draws the same.
"""

from __future__ import annotations

import hashlib
from typing import Final

from msgspec.structs import replace

from sidecar.domain import Decision, Verdict
from sidecar.rules.base import Batch, Facts, changed, refined

RULE: Final = "audit_sample"
SAMPLED: Final = frozenset(
    {"suppression_by_score", "repeated_false_positive", "silenced"}
)  # whose verdicts are audited
HOUR: Final = 3600.0
_DONE: Final = {Verdict.SUPPRESS: "suppressed", Verdict.HOLD: "held"}


def audit_sample(batch: Batch, facts: Facts) -> Batch:
    """Tell a share of what the scores would keep back."""
    began = facts.state.statistics.began()
    share = facts.config.audit_sample.share_after(0.0 if began is None else facts.now - began)
    if share <= 0.0:
        return batch
    return changed(batch, [_draw(decision, share, facts) for decision in batch.decisions])


def _draw(decision: Decision, share: float, facts: Facts) -> Decision:
    if decision.verdict not in _DONE or decision.reasons[-1].rule not in SAMPLED:
        return decision
    if facts.state.silenced_by_people(decision.scored.alert.fingerprint):
        return decision  # only what we hide is ours to tell
    if drawn(decision.scored.alert.labels.get("instance") or decision.scored.alert.fingerprint, facts.now) >= share:
        return replace(decision, propensity=1.0 - share)
    mark = f"audit sample: would have been {_DONE[decision.verdict]}"
    told = refined(
        decision, Verdict.NOTIFY, RULE, f"told to see what is missed, as {share:.0%} of the like are",
        until=None, propensity=share,
    )  # fmt: skip
    return replace(told, marks=(*told.marks, mark))


def drawn(where: str, now: float) -> float:
    """0 to 1, the same for an instance within an hour."""
    digest = hashlib.blake2b(f"{where}/{int(now // HOUR)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
