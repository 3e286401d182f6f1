"""The suppression budget: whatever the score says, a share of the alerts is told, with the numbers."""

from __future__ import annotations

from collections import Counter

import pytest

from sidecar.domain import Decision, Verdict
from sidecar.pipeline import Inputs, plan
from sidecar.rules.base import Batch, Facts, refined
from sidecar.rules.budget import suppression_budget
from sidecar.rules.guard import guard
from sidecar.state import State
from tests.unit.stories import Fixed, World

APART = {"folding": {"labels": [], "group": False}, "storm": {"enabled": False}}
HOUR = 3600.0


class Noisy(World):
    """A world whose model takes everything for noise, and may suppress it."""

    def __init__(self, mode: str = "auto", **config) -> None:
        super().__init__(0.99, mode=mode, **{**APART, **config})
        self.number = 0

    def some(self, count: int, **labels: str) -> list[Decision]:
        numbers = range(self.number, self.number + count)
        self.number += count
        alerts = tuple(self.alert(instance=f"i{n}", pod=f"p{n}", **labels) for n in numbers)
        return list(self.batch(Inputs(alerts)).decisions)

    def verdicts(self, count: int, **labels: str) -> dict[str, int]:
        return dict(Counter(one.verdict.value for one in self.some(count, **labels)))


def test_four_of_five_may_be_suppressed_and_the_fifth_is_told_with_the_numbers():
    world = Noisy()
    made = world.some(100)
    assert Counter(one.verdict.value for one in made) == {"suppress": 80, "notify": 20}
    told = made[-1].reasons[-2]
    assert told.rule == "suppression_budget"
    assert told.sentence == "80 of 100 alerts within 6 h were suppressed: 80% may be"


def test_one_by_one_it_is_the_same():
    world = Noisy()
    made = Counter(world.some(1)[0].verdict.value for _ in range(200))
    assert made["suppress"] / 200 == pytest.approx(0.8, abs=0.02)


def test_few_alerts_have_no_share():
    assert Noisy().verdicts(19) == {"suppress": 19}


def test_an_alertname_has_a_budget_of_its_own():
    """Other alerts that are told do not pay for it."""
    world = Noisy()
    world.scoring = Fixed(0.1)
    world.some(500, alertname="Quiet")
    world.scoring = Fixed(0.99)
    made = world.some(100, alertname="Loud")
    assert Counter(one.verdict.value for one in made) == {"suppress": 80, "notify": 20}
    assert "80 of 100 alerts of Loud within 6 h" in made[-1].reasons[-2].sentence


def test_many_small_alertnames_share_one_budget():
    world = Noisy()
    made = Counter(world.some(1, alertname=f"A{n}")[0].verdict.value for n in range(200))
    assert made["suppress"] / 200 == pytest.approx(0.8, abs=0.02)


def test_what_is_older_than_the_window_is_forgotten():
    world = Noisy()
    world.some(100)
    world.now += 7 * HOUR
    assert world.verdicts(19) == {"suppress": 19}


def test_an_alert_that_is_suppressed_again_counts_once():
    """What goes on firing gets another look after the repeat interval."""
    world = Noisy(suppression_budget={"min_alerts": 2, "share": 0.5})
    world.scoring = Fixed(0.1)
    world.some(2)
    world.scoring = Fixed(0.99)
    since = world.now
    assert world.fire(instance="again").verdict is Verdict.SUPPRESS
    world.now += 5 * HOUR
    assert world.fire(instance="again", since=since).verdict is Verdict.SUPPRESS
    assert world.state.shares[""][-1].suppressed == world.state.shares[""][0].suppressed == 1


def test_holds_are_not_counted():
    """A hold tells what still fires."""
    window = {"name": "w", "schedule": "0 8-18 * * *", "suppress": ["WARNING"]}
    world = Noisy(time_based_routing={"maintenance_windows": [window]})
    assert world.verdicts(100) == {"hold": 100}
    assert (world.state.shares[""][0].alerts, world.state.shares[""][0].suppressed) == (100, 0)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_of_the_scale(share):
    world = Noisy(suppression_budget={"share": share, "min_alerts": 1})
    assert set(world.verdicts(50)) == ({"suppress"} if share else {"notify"})


def test_shadow_mode_spends_its_budget_in_name():
    """So that its marks say what would have been suppressed, and what the budget would have told."""

    def noise(batch: Batch, _: Facts) -> Batch:
        gone = [refined(one, Verdict.SUPPRESS, "suppression_by_score", "noise") for one in batch.decisions]
        return Batch(tuple(gone))

    words, spent = {}, {}
    for mode in ("auto", "shadow"):
        world = Noisy(mode)
        alerts = tuple(world.alert(instance=f"i{n}") for n in range(100))
        rules = (noise, suppression_budget, guard)
        made = plan(Inputs(alerts), world.state, world.scoring, world.config, world.now, rules).decisions
        words[mode] = [one.verdict if one.would is None else one.would.verdict for one in made]
        spent[mode] = [(one.alerts, one.suppressed) for one in world.state.shares[""]]
    assert words["shadow"] == words["auto"]
    assert spent["shadow"] == spent["auto"] == [(100, 80)]
    assert {one.verdict for one in made} == {Verdict.NOTIFY}


def test_it_can_be_turned_off():
    assert Noisy(suppression_budget={"enabled": False}).verdicts(100) == {"suppress": 100}


def test_its_numbers_survive_a_snapshot_and_idle_ones_leave_the_memory():
    world = Noisy()
    world.some(30)
    assert State.load(world.state.dump()).shares == world.state.shares
    world.batch(Inputs(sweep_before=world.now + HOUR))
    assert len(world.state.shares) == 0


def test_a_year_of_one_alertname_takes_no_more_than_a_day_of_slots():
    world = Noisy()
    for _ in range(400):
        world.some(1)
        world.now += 1800
    assert len(world.state.shares["HighLatency"]) <= 48
