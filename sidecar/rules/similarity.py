"""Similarity: an alert that reads like one that people were told of minutes ago joins its incident.

Which alerts are alike decides what people see as one thing, so the reading is the safe one (models/likeness.py has it):

- What changes by itself is masked: pod hashes, UUIDs, addresses, numbers that stand alone. `LoadTestAlert_1` is
  `LoadTestAlert_2`, and the five pods of a service are one incident. `m16` is not `m18`, `sda1` not `sdb1`.
- Then the fields are equal but for one word, and the two spellings of this word are at least `similarity_threshold`
  similar. Over the whole text, HighCpuUsage and HighGpuUsage are .92 similar: they are two problems.
- `cluster` and `namespace` have to be equal as they stand (`payments` is not `payments-eu`), and so has every label by
  which the alert's domain is grouped: what the operator's own grouping keeps apart stays apart, by `node`, `ai_model` or
  `scaledobject`. Where `node` is absent, `instance` stands for it.
- An alert that lacks one of the fields is like no other. Twenty NodeDown without a service are twenty.
- The same place comes before the same words: what the next rule folds by instance or group is left to it.
- A raised severity is never hidden: such an alert opens an incident of its own.

The open incidents are found by an index in the folded state, so the cost does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.likeness import BORDER, FIELD, near, slots
from sidecar.domain import Decision, Verdict, severity_rank
from sidecar.rules.base import Batch, Facts, changed, moment, open_incident, refined

RULE: Final = "similarity"


class _Opened:
    """What this batch opens: no fold knows it yet."""

    def __init__(self) -> None:
        self.incidents: dict[str, tuple[str, int]] = {}  # by key: the incident and how severe it is
        self.index: dict[str, tuple[str, ...]] = {}
        self.places: set[str] = set()  # the keys by which others fold into what it opens

    def enter(self, key: str, decision: Decision, rank: int) -> None:
        self.incidents[key] = (decision.incident, rank)
        self.places.update(decision.scored.keys[:-1])
        for slot in slots(key):
            self.index.setdefault(slot, (key,))


def similarity(batch: Batch, facts: Facts) -> Batch:
    """Fold each new alert into an open incident that reads like it, or into one that this batch opens."""
    if not facts.config.deduplication.strategies.fuzzy_match.enabled:
        return batch
    opened = _Opened()
    return changed(batch, [_fold(decision, facts, opened) for decision in batch.decisions])


def _fold(decision: Decision, facts: Facts, opened: _Opened) -> Decision:
    key = decision.scored.text
    if not key or decision.verdict is not Verdict.NOTIFY:
        return decision
    places = decision.scored.keys[:-1]
    if not opened.places.isdisjoint(places) or open_incident(places, facts) is not None:
        return decision
    rank = severity_rank(decision.scored.pattern.severity)
    for name, sentence in (*_told(key, decision, facts), *_opening(key, rank, facts, opened)):
        return refined(decision, Verdict.FOLD, RULE, sentence, incident=name)
    opened.enter(key, decision, rank)
    return decision


def _told(key: str, decision: Decision, facts: Facts) -> Iterator[tuple[str, str]]:
    """(incident, why) of what people were told of, the most similar first."""
    since = _since(key, decision, facts)
    if since is not None:
        yield facts.state.folding[key], f"it reads the same as what was told {moment(since)} ago (100% similar)"
    for like in near(facts.state.likes, key, facts.config.deduplication.strategies.fuzzy_match.similarity_threshold):
        since = _since(like.key, decision, facts)
        if since is not None:
            yield facts.state.folding[like.key], f"{_like(like.similarity, like.key)}, told {moment(since)} ago"


def _since(key: str, decision: Decision, facts: Facts) -> float | None:
    """Seconds since people were told of the incident under a key, if it may be joined."""
    name = facts.state.folding.get(key)
    incident = facts.state.incidents.get(name) if name is not None else None
    if incident is None or incident.first_told is None or name == decision.incident:
        return None
    since = facts.now - incident.first_told
    if since > facts.config.folding.for_ or facts.now - incident.last > facts.config.deduplication.correlation_window:
        return None
    return since if severity_rank(decision.scored.pattern.severity) <= incident.rank else None


def _opening(key: str, rank: int, facts: Facts, opened: _Opened) -> Iterator[tuple[str, str]]:
    same = opened.incidents.get(key)
    if same is not None and rank <= same[1]:
        yield same[0], "it reads the same as another alert in this message (100% similar)"
    for like in near(opened.index, key, facts.config.deduplication.strategies.fuzzy_match.similarity_threshold):
        name, severity = opened.incidents[like.key]
        if rank <= severity:
            yield name, f"{_like(like.similarity, like.key)}, in the same message"


def _like(similarity: float, key: str) -> str:
    words = key[key.rfind(BORDER) + 1 :].replace(FIELD, " · ")
    return f'{similarity:.0%} similar to "{words}"'
