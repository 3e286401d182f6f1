"""Nothing critical is ever kept back: 10,000 hostile alerts, features and scores, with everything else allowed."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from models.certificate import Certificate, Grant
from models.features import FEATURES
from models.prior import bundled
from sidecar import arrival, release
from sidecar.domain import Decision, Given, Verdict, severity_rank
from sidecar.events import Plan
from sidecar.pipeline import Inputs
from sidecar.rules.base import guarded
from sidecar.scoring import Scorers
from tests.unit.stories import World

ROWS = 10_000
HOSTILE = (0.0, 1.0, -1.0, 0.5, 1e308, -1e308, 1e-320, math.nan, math.inf, -math.inf)
FLOATS = tuple(value for value in HOSTILE if abs(value) < 3e38 or not math.isfinite(value))  # what a stored one can be
SPELLED = (
    "critical",
    "CRITICAL",
    " Critical ",
    "cRiTiCaL\n",
    "page",
    "HIGH",
    "fatal",
    "P1",
    "критично",
    "warning",
    "info",
)
ALWAYS = "0 0-23 * * *"
EVERYTHING_OFF = {
    "time_based_routing": {
        "always": {"schedule": ALWAYS, "routes": {"CRITICAL": [], "WARNING": [], "INFO": []}},
        "maintenance_windows": [
            {"name": "long", "schedule": "0 8-18 * * *", "suppress": ["CRITICAL", "WARNING", "INFO", "FATAL"]}
        ],
    },
    "holding": {"max": {"CRITICAL": "11m", "WARNING": "11m", "INFO": "11m", "FATAL": "11m"}, "min_score": 0},
    "aggregation_rules": {
        "pods": {"pattern": "Pod .* failing", "threshold": 2, "window": "10m", "aggregate_as": "{count} pods in {ns}"}
    },
    "flapping": {"times": 2, "window": "1h", "quiet": "10m"},
    "storm": {"min_incidents": 3, "window": "10m"},
    "suppression_budget": {"share": 1},
    "silences": {"budget": 10_000},
}


QUIET = ("time_based_routing",)  # without it more is told, and what is critical joins that


class Hostile:
    """Says anything, of any features, and has proven that everything may be kept back."""

    def __init__(self, draw: random.Random, now: float) -> None:
        names = {f"A{n}": 0.0 for n in range(6)}
        self.certificate = Certificate(now, Grant(0.0), Grant(0.0), floors=names)
        self._draw, self._real = draw, Scorers(prior=bundled())

    def score(self, rows: Any) -> tuple[list[float | None], str]:
        if self._draw.random() < 0.2:
            return self._real.score(rows)[0], "fp-real"
        return [self._draw.choice((*HOSTILE, None, 0.99, 0.999)) for _ in rows], "fp-hostile"


class Siege(World):
    """Random batches against one configuration; whatever is guarded is checked after each."""

    def __init__(self, mode: str, seed: int) -> None:
        config = EVERYTHING_OFF if seed else {key: one for key, one in EVERYTHING_OFF.items() if key not in QUIET}
        super().__init__(mode=mode, **config)
        self.draw = random.Random(f"{mode}{seed}")
        self.firing: list[tuple[float, dict[str, str]]] = []
        self.seen: Counter[str] = Counter()
        self.rows = 0

    def labels(self) -> dict[str, str]:
        draw = self.draw
        labels = {
            "alertname": f"A{draw.randrange(6)}",
            "instance": draw.choice(["", "i1", "i2", f"i{draw.randrange(500)}"]),
            "severity": draw.choice(SPELLED) if draw.random() < 0.9 else "",
            "namespace": draw.choice(["", "shop"]),
            "domain": draw.choice(["", "artemis", "sophia"]),
        }
        return labels | ({"pod": f"p{draw.randrange(9)}", "service": "s"} if draw.random() < 0.3 else {})

    def volley(self) -> Plan:
        """One batch of new and repeated alerts, ends and votes; time goes on."""
        draw, received = self.draw, []
        self.now += draw.choice([0.5, 20.0, 61.0, 301.0, 700.0, 4000.0])
        self.scoring = Hostile(draw, self.now)
        for _ in range(draw.randrange(1, 40)):
            since, labels = self.now, self.labels()
            if self.firing and draw.random() < 0.4:
                since, labels = draw.choice(self.firing)
            ends_at = self.now if draw.random() < 0.25 else None
            one = self.alert(draw.choice(["", "g1", "g2"]), since, ends_at, **labels)
            text = draw.choice(["", f"Pod p{draw.randrange(9)} failing"])
            given = Given(draw.choice(HOSTILE), "theirs", draw.choice(HOSTILE)) if draw.random() < 0.2 else None
            received.append(replace(one, alert=replace(one.alert, annotations={"summary": text}), given=given))
            self.firing = [*self.firing[-200:], (since, labels)]
        self.rows += len(received)
        plan = self.batch(Inputs(tuple(received)))
        self.check(plan)
        return plan

    def answer(self, plan: Plan) -> None:
        """People call noise what they were told of, now and then; silences are asked for."""
        for decision in self.draw.sample(plan.decisions, min(3, len(plan.decisions))):
            self.vote(decision, who=f"person-{self.draw.randrange(9)}")
            self.check(self.last)
            assert not [one for one in self.last.deliveries if one.kind == "silence" and '"CRITICAL"' in one.body]

    def check(self, plan: Plan) -> None:
        assert all(decision.reasons for decision in plan.decisions)
        for decision in plan.decisions:
            labels, severity = decision.scored.alert.labels, decision.scored.pattern.severity
            if guarded(labels, severity, self.config):
                self.seen[decision.verdict.value] += 1
                self.told(decision, severity_rank(severity))

    def told(self, decision: Decision, rank: int) -> None:
        incident = self.state.incidents.get(decision.incident)
        assert decision.verdict in (Verdict.NOTIFY, Verdict.FOLD), decision.reasons
        assert decision.receivers
        assert incident is not None
        assert incident.reached
        assert incident.rank >= rank, decision.reasons


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("mode", ["ladder", "auto", "shadow"])
def test_nothing_critical_is_suppressed_held_or_left_to_the_digest(mode, seed, monkeypatch):
    """However it is scored, spelled, voted on, silenced, routed, aggregated: it is told, as urgent as it is."""
    siege = Siege(mode, seed)
    for module in (arrival, release):
        monkeypatch.setattr(module, "vector", lambda *_: tuple(siege.draw.choice(FLOATS) for _ in FEATURES))
    while siege.rows < ROWS:
        plan = siege.volley()
        siege.answer(plan)
        siege.check(siege.tick(siege.draw.choice([1.0, 660.0])))
    assert siege.seen["notify"] > 100
    assert siege.seen["fold"] > 100
    others = Counter(one.verdict.value for events in siege.log for one in events if hasattr(one, "verdict"))
    assert mode == "shadow" or others["suppress"] + others["hold"] > 10
