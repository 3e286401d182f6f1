"""Decision -> Decision: one file each, registered here in their order.

The order is the product: read this tuple first. A rule takes the batch and returns the same batch refined. A rule that
raises is skipped for that batch, and what it would have touched is told: see `pipeline.refine`.
"""

from __future__ import annotations

from typing import Final

from sidecar.rules.aggregation import aggregation
from sidecar.rules.audit_sample import audit_sample
from sidecar.rules.base import Batch, Due, Duty, Facts, Rule
from sidecar.rules.budget import suppression_budget
from sidecar.rules.correlation import temporal_correlation
from sidecar.rules.deduplication import exact_deduplication
from sidecar.rules.digest import report_endings, review_silences, sum_up
from sidecar.rules.escalation import escalate
from sidecar.rules.flapping import flapping
from sidecar.rules.guard import guard
from sidecar.rules.maintenance import end_leases, maintenance_windows
from sidecar.rules.regrouping import regrouping
from sidecar.rules.repeated_false_positive import ask_silences, repeated_false_positive
from sidecar.rules.routing import routing
from sidecar.rules.silenced import end_silences, silenced
from sidecar.rules.similarity import similarity
from sidecar.rules.storm import storm
from sidecar.rules.suppression import suppression_by_score

RULES: Final[tuple[Rule, ...]] = (
    maintenance_windows,
    silenced,
    exact_deduplication,
    similarity,
    temporal_correlation,
    aggregation,
    flapping,
    storm,
    regrouping,
    suppression_by_score,
    repeated_false_positive,
    suppression_budget,
    guard,
    audit_sample,
    routing,
)

# What the clock brings beside the rules, asked in every plan after them.
DUTIES: Final[tuple[Duty, ...]] = (
    end_leases,
    escalate,
    end_silences,
    ask_silences,
    sum_up,
    report_endings,
    review_silences,
)

__all__ = ["DUTIES", "RULES", "Batch", "Due", "Duty", "Facts", "Rule"]
