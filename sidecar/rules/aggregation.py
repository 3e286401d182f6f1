"""Aggregation (3.3): alerts whose texts match a pattern become one incident, from a threshold within a window on.

Before it they go out as usual. What is one aggregate is what reads the same in `aggregate_as`. The incident that people
have already is retitled where all of them are in it; else the newest alert opens one, and those that still fire move
there, so that their own messages are closed. What matches later joins, and nobody is interrupted by it: but by a raised
severity, as everywhere, and after `folding.for`. People are told that it is over when nothing of it has fired for the
window, and five minutes at least.

A title that names too much (a pod, a number) would make a message of every few alerts: a rule that opens as many
aggregates as a storm has incidents opens no more for a while, and what it would have gathered is left to the storm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from sidecar.config.patterns import Found
from sidecar.domain import Decision, Gather, Move, Reason, Tally, Verdict, severity_rank
from sidecar.rules.base import TELLS, Batch, Facts, gathered, gathering, moment
from sidecar.state import Counted

RULE: Final = "aggregation"
QUIET: Final = 300.0  # s: Alertmanager's usual group_interval, after which an end is heard of


def aggregation(batch: Batch, facts: Facts) -> Batch:
    """Let alerts alike join their aggregate, or open it when there are enough of them."""
    patterns = facts.config.patterns
    if patterns is None:
        return batch
    alike: dict[str, tuple[Found, list[int]]] = {}
    for n, decision in enumerate(batch.decisions):
        alert = decision.scored.alert
        found = patterns.find(alert.labels, alert.annotations) if decision.verdict in TELLS else None
        if found is not None:
            alike.setdefault(f"aggregate={found.name}/{found.title}", (found, []))[1].append(n)
    if not alike:
        return batch
    decisions, moves = list(batch.decisions), list(batch.moves)
    opened: Counter[str] = Counter()  # by rule, in this batch
    for key, (found, places) in alike.items():
        made, moved = _aggregate(key, found, [decisions[n] for n in places], facts, opened)
        for n, decision in zip(places, made, strict=True):
            decisions[n] = decision
        moves += moved
    return replace(batch, decisions=tuple(decisions), moves=tuple(moves))


def _aggregate(
    key: str, found: Found, alike: list[Decision], facts: Facts, opened: Counter[str]
) -> tuple[list[Decision], list[Move]]:
    """The decisions on alerts of one aggregate, and what of earlier batches moves into it."""
    gather = Gather(key, found.title, max(found.rule.window, QUIET))
    name = gathering(key, facts)
    if name is not None:
        reason = Reason(RULE, f"{found.name}: it is one of those that are told as one already")
        return [gathered(decision, name, gather, reason, facts) for decision in alike], []
    here = {decision.scored.episode for decision in alike}
    past = facts.state.tallies.get(key) or ()
    earlier = [one for one in past if facts.now - one.at <= found.rule.window and one.episode not in here]
    tally = Tally(key, found.rule.window, found.rule.threshold)
    counted = [replace(decision, tallies=(*decision.tallies, tally)) for decision in alike]
    total = len(earlier) + len(here)
    if total < found.rule.threshold:
        return counted, []
    reason = Reason(RULE, f"{found.name}: {total} alike within {moment(found.rule.window)}")
    home = _home(earlier, alike, facts)
    if home is not None:
        return [gathered(decision, home, gather, reason, facts) for decision in counted], []
    if _too_many(found.name, facts, opened):
        return counted, []
    opened[found.name] += 1
    return _open(counted, gather, reason, _opening(found.name, facts)), list(
        _moves(earlier, _opener(alike), gather, reason, facts)
    )


def _home(earlier: Iterable[Counted], alike: Iterable[Decision], facts: Facts) -> str | None:
    """The one incident that has them all, and that these join anyhow: opened by one of them, and told lately."""
    if any(decision.verdict is Verdict.NOTIFY for decision in alike):
        return None
    opened = {f"i-{one.episode}" for one in earlier}
    names = {known.incident for one in earlier if (known := facts.state.episodes.get(_fingerprint(one))) is not None}
    names |= {decision.incident for decision in alike}
    name = names.pop() if len(names) == 1 else ""
    incident = facts.state.incidents.get(name)
    if name not in opened or incident is None or incident.first_told is None:
        return None
    return name if facts.now - incident.first_told <= facts.config.folding.for_ else None


def _opening(name: str, facts: Facts) -> Tally:
    return Tally(f"aggregates={name}", facts.config.storm.window)


def _too_many(name: str, facts: Facts, opened: Counter[str]) -> bool:
    """Whether a rule has opened so many aggregates lately that they are a storm of messages themselves."""
    if not facts.config.storm.enabled:
        return False
    tally = _opening(name, facts)
    rate = facts.state.rates.get(tally.key)
    lately = rate.lately(facts.now, tally.window) if rate is not None else 0
    return opened[name] + lately >= facts.config.storm.min_incidents


def _opener(alike: list[Decision]) -> Decision:
    """The most severe: people are told how bad it is."""
    return max(alike, key=lambda decision: severity_rank(decision.scored.pattern.severity))


def _open(alike: list[Decision], gather: Gather, reason: Reason, tally: Tally) -> list[Decision]:
    """A new incident of all of them, which is counted."""
    opener = _opener(alike)
    name = f"i-{opener.scored.episode}"
    return [
        replace(
            decision,
            verdict=Verdict.NOTIFY if decision is opener else Verdict.FOLD,
            incident=name,
            reasons=(*decision.reasons, reason),
            gather=gather,
            tallies=(*decision.tallies, tally) if decision is opener else decision.tallies,
        )
        for decision in alike
    ]


def _moves(
    earlier: Iterable[Counted], opener: Decision, gather: Gather, reason: Reason, facts: Facts
) -> Iterable[Move]:
    """Those of earlier batches that people were told of and that still fire."""
    for one in earlier:
        known = facts.state.episodes.get(_fingerprint(one))
        if known is not None and known.episode == one.episode and known.ended_at is None and known.verdict in TELLS:
            yield Move(known.keys.fingerprint, f"i-{opener.scored.episode}", reason, gather)


def _fingerprint(one: Counted) -> str:
    return one.episode.rpartition("-")[0]
