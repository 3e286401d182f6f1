"""Folding: alerts of one instance, or of one Alertmanager group, become one incident for up to an hour.

Folding by instance is the cheapest safe win there is: nothing is hidden, it arrives inside a message that people have
just read. It ends a configured time (60 minutes) after the incident's first message, since people have moved on by
then: the next alert interrupts again. An alert folds only into an incident that people were told of.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from sidecar.domain import Decision, Reason, Verdict
from sidecar.rules.base import Batch, Facts, changed, moment, open_incident, refined

_NOBODY: Final[tuple[str, Reason | None]] = ("", None)


def temporal_correlation(batch: Batch, facts: Facts) -> Batch:
    """Fold each new alert into the open incident of its instance or group, or into one that this batch opens."""
    opened: dict[str, tuple[str, Reason]] = {}  # by this batch: the incident, and why others fold into it
    return changed(batch, [_fold(decision, facts, opened) for decision in batch.decisions])


def _fold(decision: Decision, facts: Facts, opened: dict[str, tuple[str, Reason]]) -> Decision:
    if decision.verdict is not Verdict.NOTIFY:
        return decision
    keys = decision.scored.keys[:-1]
    found = open_incident(keys, facts)
    if found is not None:
        key, name, since = found
        sentence = f"{_of(key)}, told {moment(since)} ago"
        return refined(decision, Verdict.FOLD, "temporal_correlation", sentence, incident=name)
    for key in keys:
        first, reason = opened.get(key, _NOBODY)
        if reason is not None and first != decision.incident:
            return replace(decision, verdict=Verdict.FOLD, incident=first, reasons=(*decision.reasons, reason))
    for key in keys:
        reason = Reason("temporal_correlation", f"{_of(key)}, in the same message")
        opened[key] = (decision.incident, reason)
    return decision


def _of(key: str) -> str:
    name, _, value = key.partition("=")
    return "the same Alertmanager group" if name == "group" else f"the same {name} {value.lstrip('/')}"
