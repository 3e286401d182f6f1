"""Exact deduplication: what people have already does not interrupt them again.

Two ways to be the same: the same episode sent again (Alertmanager repeats itself), and another episode whose fields of
`deduplication.strategies.exact_match` are equal, seen within the correlation window. A field that is absent falls back
to the fingerprint: twenty NodeDown alerts without pod or service are twenty. A raised severity is never hidden.
"""

from __future__ import annotations

from sidecar.domain import Decision, Verdict, severity_rank
from sidecar.rules.base import Batch, Facts, changed, moment, refined


def exact_deduplication(batch: Batch, facts: Facts) -> Batch:
    """Fold a new episode into the incident that has its like, if people were told of it lately."""
    if not facts.config.deduplication.strategies.exact_match.enabled:
        return batch
    return changed(batch, (_fold(decision, facts) for decision in batch.decisions))


def _fold(decision: Decision, facts: Facts) -> Decision:
    if decision.verdict is not Verdict.NOTIFY:
        return decision
    state = facts.state
    name = state.folding.get(decision.scored.keys[-1])
    incident = state.incidents.get(name) if name is not None else None
    if name is None or incident is None or incident.first_told is None or name == decision.incident:
        return decision
    window = facts.config.deduplication.correlation_window
    if facts.now - incident.last > window or facts.now - incident.first_told > facts.config.folding.for_:
        return decision
    if severity_rank(decision.scored.pattern.severity) > incident.rank:
        return decision
    sentence = f"the same alert was told {moment(facts.now - incident.first_told)} ago"
    return refined(decision, Verdict.FOLD, "exact_deduplication", sentence, incident=name)
