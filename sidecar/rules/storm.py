"""Storms: when a domain opens far more incidents than usual, they become one for each severity. Nothing is dropped.

Counted are the alerts that would open an incident of their own: what folds into one is no storm. Compared is the domain's
usual number, and `min_incidents` is the least that a storm is. It lasts until there are half as many. Of a batch all
alerts count at once, so that ten thousand in one webhook are one message for each severity, whose first alert is told at
once. Of the incidents that came before it was a storm, those whose message has not left yet go on in the storm's: the
destination takes one a second, and would go on for long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec.structs import replace

from sidecar.domain import SEVERITY_RANK, Decision, Gather, Move, Reason, Tally, Verdict, what_and_where
from sidecar.rules.base import Batch, Facts, gathered, gathering, moment, plain
from sidecar.state import BY_SCORE

RULE: Final = "storm"
ANOTHER: Final = "OTHER"  # every severity that nobody defined: as urgent as CRITICAL, and one incident
CALMED: Final = 0.5  # share of the limit at which a storm is over


class _Weather(NamedTuple):
    """A domain now: how many incidents within the window, how many would be a storm, and whether this is one."""

    incidents: int
    limit: float
    raging: bool


def storm(batch: Batch, facts: Facts) -> Batch:
    """Count what opens an incident, and in a storm let it join the one of its domain and severity."""
    if not facts.config.storm.enabled:
        return batch
    opening = [n for n, one in enumerate(batch.decisions) if one.verdict is Verdict.NOTIFY and one.gather is None]
    if not opening:
        return batch
    decisions = list(batch.decisions)
    domains = {n: facts.config.domain_of(decisions[n].scored.alert.labels) for n in opening}
    new = {n for n in opening if _is_new(decisions[n], facts)}
    counts = Counter(domains[n] for n in new)
    weathers = {domain: _weather(domain, counts[domain], facts) for domain in set(domains.values())}
    opened: dict[str, tuple[str, Gather, Reason]] = {}
    for n in opening:
        domain = domains[n]
        if weathers[domain].raging:
            decisions[n] = _sheltered(decisions[n], domain, weathers[domain], facts, opened)
        if n in new:
            tally = Tally(_key(domain), facts.config.storm.window)
            decisions[n] = replace(decisions[n], tallies=(*decisions[n].tallies, tally))
    if all(a is b for a, b in zip(decisions, batch.decisions, strict=True)):
        return batch
    decisions = _with_company(batch.decisions, decisions, facts)
    if not opened:
        return replace(batch, decisions=tuple(decisions))
    moves = (*batch.moves, *_moves(opened, facts))
    return replace(batch, decisions=tuple(_named(decisions, moves, opened)), moves=moves)


def _is_new(decision: Decision, facts: Facts) -> bool:
    """Whether it opens an incident for the first time: now, or when its window ends; what its score held was counted."""
    known = facts.state.episodes.get(decision.scored.alert.fingerprint)
    if known is None or known.episode != decision.scored.episode or not known.verdict:
        return True
    hold = facts.state.holds.get(decision.scored.alert.fingerprint)
    return hold is not None and hold.by != BY_SCORE


def _weather(domain: str, more: int, facts: Facts) -> _Weather:
    rule, rate, now = facts.config.storm, facts.state.rates.get(_key(domain)), facts.now
    count = more + (rate.lately(now, rule.window) if rate is not None else 0)
    if count <= rule.min_incidents * CALMED:
        return _Weather(count, rule.min_incidents, raging=False)
    usual = rate.usually(now, rule.window) if rate is not None else 0.0
    limit = max(float(rule.min_incidents), rule.factor * usual)
    lasts = count > limit * CALMED and any(
        gathering(_key(domain, severity), facts) for severity in (*SEVERITY_RANK, ANOTHER)
    )
    return _Weather(count, limit, raging=count > limit or lasts)


def _key(domain: str, severity: str = "") -> str:
    return f"storm={domain}/{severity}"


def _group(severity: str) -> str:
    return severity if severity in SEVERITY_RANK else ANOTHER


def _sheltered(
    decision: Decision, domain: str, weather: _Weather, facts: Facts, opened: dict[str, tuple[str, Gather, Reason]]
) -> Decision:
    """The decision as part of the storm's incident, which it opens if it is the first of its severity."""
    group = _group(decision.scored.pattern.severity)
    where = f" in {plain(domain)}" if domain else ""
    key = _key(domain, group)
    gather = Gather(key, f"Alert storm{where}: {{count}} {group} alerts", facts.config.storm.quiet, calm=True)
    window = moment(facts.config.storm.window)
    reason = Reason(
        RULE, f"{weather.incidents} incidents within {window}{where}: from {weather.limit:.0f} on it is a storm"
    )
    name = opened[key][0] if key in opened else gathering(key, facts)
    if name is None:
        opened[key] = (decision.incident, gather, reason)
        return replace(decision, reasons=(*decision.reasons, reason), gather=gather)
    return gathered(decision, name, gather, reason, facts)


def _with_company(before: Iterable[Decision], after: list[Decision], facts: Facts) -> list[Decision]:
    """What folds in this batch into an incident that goes on in the storm's goes there too: nobody would be told of it."""
    went = {
        old.incident: new
        for old, new in zip(before, after, strict=True)
        if old.verdict is Verdict.NOTIFY and new.verdict is Verdict.FOLD and not _is_told(old.incident, facts)
    }
    if not went:
        return after
    return [
        gathered(one, host.incident, host.gather, host.reasons[-1], facts)
        if one.verdict is Verdict.FOLD
        and one.gather is None
        and (host := went.get(one.incident)) is not None
        and host.gather is not None
        else one
        for one in after
    ]


def _is_told(name: str, facts: Facts) -> bool:
    incident = facts.state.incidents.get(name)
    return incident is not None and incident.first_told is not None


def _named(
    decisions: list[Decision], moves: Iterable[Move], opened: dict[str, tuple[str, Gather, Reason]]
) -> Iterable[Decision]:
    """What is alone in its incident is told by its own name, until another joins it."""
    sizes = Counter([*(one.incident for one in decisions), *(one.incident for one in moves)])
    alone = {name for name, _, _ in opened.values() if sizes[name] == 1}
    for one in decisions:
        if one.gather is not None and one.incident in alone:
            title = plain(what_and_where(one.scored.alert.labels))
            yield replace(one, gather=replace(one.gather, title=title))
        else:
            yield one


def _moves(opened: dict[str, tuple[str, Gather, Reason]], facts: Facts) -> Iterable[Move]:
    """Incidents of the same domain and severity whose message has not left."""
    state, since = facts.state, facts.now - facts.config.storm.window
    for name, one in state.outgoing.items():
        known = state.episodes.get(one.fingerprint)
        found = opened.get(f"{one.key}{_group(one.severity)}") if one.at >= since else None
        if found is not None and known is not None and known.incident == name and known.ended_at is None:
            incident, gather, reason = found
            yield Move(one.fingerprint, incident, reason, gather)
