"""The suppression budget: at most a share of the alerts of a while may be suppressed, of all and of each alertname.

It is a bound on what a wrong model, wrong votes or a wrong threshold can do. Only suppression counts, as the score or a
repeated false positive brings it: a hold tells what still fires, a maintenance window and a person's silence are a
person's will, and our own silences have a budget of their own (`silences.budget`) and end early by what happens.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from sidecar.domain import Decision, Verdict
from sidecar.rules.base import Batch, Facts, changed, moment, refined
from sidecar.state import ALL, BUDGETED, within

RULE: Final = "suppression_budget"


def suppression_budget(batch: Batch, facts: Facts) -> Batch:
    """Tell what would be more than may be suppressed."""
    rule = facts.config.suppression_budget
    if not rule.enabled or not any(map(_spends, batch.decisions)):
        return batch
    alerts, gone = _counted(batch, facts)
    return changed(batch, [_spend(one, alerts, gone, facts) if _spends(one) else one for one in batch.decisions])


def _spends(decision: Decision) -> bool:
    return decision.verdict is Verdict.SUPPRESS and decision.reasons[-1].rule in BUDGETED


def _name(decision: Decision) -> str:
    return decision.scored.pattern.alertname


def _counted(batch: Batch, facts: Facts) -> tuple[Counter[str], Counter[str]]:
    """Alerts and suppressed ones within the window, over all and by alertname: all of this batch's alerts, none of its
    verdicts.
    """
    known, window = facts.state.episodes, facts.config.suppression_budget.window
    alerts: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    for decision in batch.decisions:
        held = known.get(decision.scored.alert.fingerprint)
        if held is None or held.episode != decision.scored.episode or not held.verdict:
            alerts.update((ALL, _name(decision)))
    for key in {ALL, *map(_name, batch.decisions)}:
        before = within(facts.state.shares.get(key) or (), facts.now, window)
        alerts[key] += before[0]
        gone[key] += before[1]
    return alerts, gone


def _spend(decision: Decision, alerts: Counter[str], gone: Counter[str], facts: Facts) -> Decision:
    rule = facts.config.suppression_budget
    known = facts.state.episodes.get(decision.scored.alert.fingerprint)
    if known is not None and known.episode == decision.scored.episode and known.verdict == Verdict.SUPPRESS:
        return decision  # counted already
    for key in (ALL, _name(decision)):
        if alerts[key] >= rule.min_alerts and gone[key] + 1 > rule.share * alerts[key]:
            what = f"{alerts[key]} alerts" + (f" of {key}" if key else "")
            said = f"{gone[key]} of {what} within {moment(rule.window)} were suppressed: {rule.share:.0%} may be"
            return refined(decision, Verdict.NOTIFY, RULE, said, until=None)
    gone.update((ALL, _name(decision)))
    return decision
