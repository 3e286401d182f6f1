"""Every rule keeps the same promises, on batches of random stories under every mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.domain import Decision, Verdict
from sidecar.events import Plan
from sidecar.pipeline import Inputs, plan
from sidecar.rules import RULES, Batch, Facts, Rule
from tests.unit.stories import World

ALWAYS = "0 0-23 * * *"
WINDOW = {"name": "weekly", "schedule": "0 8-18 * * *", "timezone": "UTC", "suppress": ["WARNING", "CRITICAL"]}
MANY: dict[str, Any] = {  # everything that makes one of many, at its most eager
    "aggregation_rules": {
        "a": {"pattern": "A[01]", "threshold": 2, "window": "10m", "aggregate_as": "{count} {alertname}"}
    },
    "flapping": {"times": 2, "window": "1h", "quiet": "1m"},
    "storm": {"min_incidents": 2},
    "suppression_budget": {"share": 0.5, "min_alerts": 1},
}
CONFIGS: tuple[dict[str, Any], ...] = (
    {"mode": "shadow"},
    {"mode": "ladder"},
    {"mode": "auto"},
    {"mode": "auto", "folding": {"labels": [], "group": False}},
    {"mode": "auto", "time_based_routing": {"always": {"schedule": ALWAYS, "routes": {"INFO": []}}}},
    {"mode": "ladder", "time_based_routing": {"maintenance_windows": [WINDOW]}},
    {"mode": "shadow", "time_based_routing": {"maintenance_windows": [WINDOW]}},
    {"mode": "auto", **MANY},
    {"mode": "ladder", "folding": {"labels": [], "group": False}, **MANY},
    {"mode": "auto", "guard": {"never_suppress": {"severities": ["CRITICAL"], "matchers": ['alertname="A1"']}}},
)
ALERT = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.sampled_from(["info", "warning", "critical", "odd"]), st.integers(0, 2)
)
STEP = st.tuples(
    st.sampled_from([1.0, 60.0, 301.0, 3601.0, 15_000.0]),
    st.lists(ALERT, max_size=6),
    st.lists(st.sampled_from([None, 0.1, 0.6, 0.9, 1.0]), min_size=1, max_size=3),
    st.sampled_from(["", "", "false_positive", "useful"]),
)
STORIES = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Scores:
    """Says these in turn."""

    def __init__(self, values: list[float | None]) -> None:
        self.values = values

    certificate = None

    def score(self, rows):
        return [self.values[n % len(self.values)] for n in range(len(rows))], "scores"


@dataclass
class Call:
    """What a rule was given, and what it gave back."""

    before: Batch
    after: Batch
    again: Batch
    left_alone: bool  # the state is as it was


@dataclass
class Watched(World):
    """A world whose rules are watched; `refine` would swallow what a rule raises, so the tests look afterwards."""

    rule: Rule
    config_number: int
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        World.__init__(self, **CONFIGS[self.config_number])

    def batch(self, inputs: Inputs) -> Plan:
        rules = [self._watched if rule is self.rule else rule for rule in RULES]
        self.last = plan(inputs, self.state, self.scoring, self.config, self.now, rules)
        self.state.commit(self.state.seq + 1)
        return self.last

    def _watched(self, batch: Batch, facts: Facts) -> Batch:
        before = [dict(table) for table in self.state._tables[1:]]
        after = self.rule(batch, facts)
        same = before == [dict(table) for table in self.state._tables[1:]]
        self.calls.append(Call(batch, after, self.rule(batch, facts), same))
        return after

    def play(self, steps) -> list[Decision]:
        made: list[Decision] = []
        for seconds, alerts, scores, vote in steps:
            self.now += seconds
            self.scoring = Scores(scores)
            received = [
                self.alert(
                    f"g{group}" if group else "", instance=f"i{instance}", alertname=f"A{name}", severity=severity
                )
                for instance, name, severity, group in alerts
            ]
            made += self.batch(Inputs(tuple(received))).decisions
            if vote and made:
                self.vote(made[-1], vote, who=f"person-{len(made)}")
        return made


every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@every_rule
@STORIES
@given(st.lists(STEP, min_size=1, max_size=8), st.integers(0, len(CONFIGS) - 1))
def test_it_returns_as_many_decisions_in_the_same_order(rule, steps, number):
    """Nothing is ever removed from a batch, added to it or moved in it."""
    world = Watched(rule, number)
    world.play(steps)
    assert world.calls
    for call in world.calls:
        assert [d.scored for d in call.after.decisions] == [d.scored for d in call.before.decisions]


@every_rule
@STORIES
@given(st.lists(STEP, min_size=1, max_size=8), st.integers(0, len(CONFIGS) - 1))
def test_it_returns_the_same_object_when_nothing_changes(rule, steps, number):
    """A rule costs nothing where it has nothing to say, and what it left alone is left alone."""
    world = Watched(rule, number)
    world.play(steps)
    for call in world.calls:
        if call.after.decisions == call.before.decisions and call.after.moves == call.before.moves:
            assert call.after is call.before
        for before, after in zip(call.before.decisions, call.after.decisions, strict=True):
            assert after is before or after != before


@every_rule
@STORIES
@given(st.lists(STEP, min_size=1, max_size=8), st.integers(0, len(CONFIGS) - 1))
def test_every_changed_verdict_has_a_new_reason(rule, steps, number):
    """For people; what earlier rules said stays."""
    world = Watched(rule, number)
    world.play(steps)
    for call in world.calls:
        for before, after in zip(call.before.decisions, call.after.decisions, strict=True):
            assert after.reasons[: len(before.reasons)] == before.reasons
            if (after.verdict, after.incident, after.interrupts) != (
                before.verdict,
                before.incident,
                before.interrupts,
            ):
                assert len(after.reasons) > len(before.reasons)
                assert after.reasons[-1].rule
                assert len(after.reasons[-1].sentence) > 5
            if after.verdict is Verdict.HOLD:
                assert after.until is not None


@every_rule
@STORIES
@given(st.lists(STEP, min_size=1, max_size=8), st.integers(0, len(CONFIGS) - 1))
def test_it_is_pure(rule, steps, number):
    """The same input gives the same output, and the state is read, never changed."""
    world = Watched(rule, number)
    world.play(steps)
    for call in world.calls:
        assert call.again == call.after
        assert call.left_alone


@settings(STORIES, max_examples=50)
@given(st.lists(STEP, min_size=1, max_size=8), st.integers(0, len(CONFIGS) - 1))
def test_nothing_critical_is_ever_suppressed_or_held(steps, number):
    """Whatever the score, the votes, the mode, and the maintenance windows; an unknown severity counts as its own."""
    world = Watched(RULES[0], number)
    for decision in world.play(steps):
        if decision.scored.pattern.severity == "CRITICAL":
            assert decision.verdict in (Verdict.NOTIFY, Verdict.FOLD)
            assert decision.receivers


@settings(STORIES, max_examples=50)
@given(st.lists(STEP, min_size=1, max_size=8), st.sampled_from([0, 6]))
def test_shadow_mode_keeps_nothing_back(steps, number):
    """Everything is told, and no silence asked for."""
    world = Watched(RULES[0], number)
    for decision in world.play(steps):
        assert decision.verdict in (Verdict.NOTIFY, Verdict.FOLD)
    assert len(world.state.silences) == 0


@settings(STORIES, max_examples=50)
@given(st.lists(STEP, min_size=1, max_size=8), st.integers(0, len(CONFIGS) - 1))
def test_nothing_is_folded_into_silence(steps, number):
    """A FOLD tells people only inside an incident that they were told of."""
    world = Watched(RULES[0], number)
    for decision in world.play(steps):
        if decision.verdict is Verdict.FOLD:
            incident = world.state.incidents.get(decision.incident)
            assert incident is not None
            assert incident.first_told is not None


def test_no_rule_is_registered_twice():
    """The tuple is the product: each once, guard and routing last."""
    names = [rule.__name__ for rule in RULES]
    assert len(set(names)) == len(names)
    assert names.index("guard") > max(names.index("suppression_by_score"), names.index("repeated_false_positive"))
    assert names[-1] == "routing"
