"""Aggregation: what matches a pattern is told as one from a threshold on, and nothing critical is hidden by it."""

from __future__ import annotations

import pytest
import yaml
from msgspec.structs import replace

from sidecar.domain import Decision, Received, Verdict
from sidecar.events import Decided
from sidecar.pipeline import Inputs
from tests.unit.config.samples import SPECIFICATION
from tests.unit.stories import Fixed, World

SPECIFIED = yaml.safe_load(SPECIFICATION)["aggregation_rules"]
APART = {"folding": {"labels": [], "group": False}, "storm": {"enabled": False}}


class Pods(World):
    """A world with the specification's rules, in which pods fail."""

    def __init__(self, **config) -> None:
        super().__init__(**{"aggregation_rules": SPECIFIED, **APART, **config})

    def pod(self, name: str, namespace: str = "shop", severity: str = "warning", **labels: str) -> Received:
        where = {"namespace": namespace, "pod": name, "instance": f"node-{name}", "severity": severity} | labels
        one = self.alert(alertname="PodFailing", **where)
        summary = {"summary": f"Pod {name} in namespace {namespace} is failing"}
        return replace(one, alert=replace(one.alert, annotations=summary))

    def fail(self, *names: str, **labels: str) -> list[Decision]:
        """These pods fail in one batch."""
        return list(self.batch(Inputs(tuple(self.pod(name, **labels) for name in names))).decisions)

    def heal(self, *names: str, since: float) -> list[str]:
        healed = [self.pod(name) for name in names]
        ended = [replace(one, alert=replace(one.alert, starts_at=since, ends_at=self.now)) for one in healed]
        self.batch(Inputs(tuple(ended)))
        return self.kinds()

    def titles(self) -> set[str]:
        return {event.title for event in self.last.events if isinstance(event, Decided)}


def told(world: World) -> list[tuple[str, str]]:
    return [(one.incident, one.kind) for one in world.last.deliveries]


def test_below_the_threshold_alerts_go_out_as_usual():
    world = Pods()
    assert [one.verdict for one in (*world.fail("a"), *world.fail("b"))] == [Verdict.NOTIFY] * 2
    assert world.titles() == {""}


def test_at_the_threshold_one_message_takes_over_and_the_earlier_ones_are_closed():
    world = Pods()
    (first,), (second,) = world.fail("a"), world.fail("b")
    world.now += 100
    (third,) = world.fail("c")
    assert third.verdict is Verdict.NOTIFY
    assert third.gather.title == "Multiple pods failing in shop"
    assert told(world) == [(third.incident, "notify"), (first.incident, "resolve"), (second.incident, "resolve")]
    assert world.state.incidents[third.incident].firing == 3
    assert any("3 alike within 5 min" in reason.sentence for reason in third.reasons)


def test_what_matches_later_joins_it_and_updates_the_message():
    world = Pods()
    world.fail("a", "b", "c")
    world.now += 1200
    (later,) = world.fail("d")
    assert (later.verdict, later.interrupts) == (Verdict.FOLD, False)
    assert told(world) == [(later.incident, "update")]


def test_a_batch_that_reaches_the_threshold_is_one_message():
    world = Pods()
    made = world.fail("a", "b", "c", "d")
    assert [one.verdict for one in made] == [Verdict.NOTIFY, *[Verdict.FOLD] * 3]
    assert [(one.kind, one.alerts) for one in world.last.deliveries] == [("notify", 4)]


def test_another_namespace_is_another_aggregate():
    world = Pods()
    world.fail("a", "b")
    assert world.fail("c", namespace="bank")[0].gather is None
    assert world.fail("d", "e", namespace="bank")[0].gather.title == "Multiple pods failing in bank"


def test_what_came_before_the_window_does_not_count():
    world = Pods()
    world.fail("a", "b")
    world.now += 301
    assert world.fail("c")[0].gather is None


def test_repeats_of_one_episode_count_once():
    world = Pods()
    for _ in range(5):
        world.batch(Inputs((replace(world.pod("a"), alert=replace(world.pod("a").alert, starts_at=1000.0)),)))
        world.now += 20
    assert world.fail("b")[0].gather is None


def test_what_has_cleared_counts_and_stays_where_it_was():
    world = Pods()
    since = world.now
    (first,) = world.fail("a")
    world.fail("b")
    world.now += 60
    world.heal("a", since=since)
    (third,) = world.fail("c")
    assert third.gather is not None
    assert (first.incident, "resolve") not in told(world)
    assert world.state.incidents[third.incident].firing == 2


def test_the_incident_that_has_them_all_gets_the_title_and_nobody_is_interrupted():
    """Alertmanager groups the pods of a namespace: people have one message, and it goes on."""
    world = Pods(folding={"group": True})
    group = [replace(world.pod(name), group_key="g") for name in "abc"]
    (first,) = world.batch(Inputs((group[0],))).decisions
    for one in group[1:]:
        world.now += 30
        (joined,) = world.batch(Inputs((one,))).decisions
    assert (joined.verdict, joined.incident) == (Verdict.FOLD, first.incident)
    assert world.titles() == {"Multiple pods failing in shop"}
    assert told(world) == [(first.incident, "update")]


def test_people_are_told_that_it_is_over_after_the_window():
    world = Pods()
    since = world.now
    (first, *_) = world.fail("a", "b", "c")
    world.now += 900
    assert world.heal("a", "b", "c", since=since) == ["update"]
    assert world.tick(299).deliveries == ()
    world.tick(2)
    assert told(world) == [(first.incident, "resolve")]
    assert world.tick(7200).deliveries == ()


def test_after_it_is_over_they_are_counted_anew():
    world = Pods()
    since = world.now
    (old, *_) = world.fail("a", "b", "c")
    world.now += 60
    world.heal("a", "b", "c", since=since)
    world.tick(400)
    assert world.fail("d")[0].gather is None
    world.now += 10
    made = world.fail("e", "f")
    assert made[0].verdict is Verdict.NOTIFY
    assert made[0].incident != old.incident


def test_after_an_hour_what_joins_interrupts_again():
    world = Pods()
    world.fail("a", "b", "c")
    world.now += 3700
    (later,) = world.fail("d")
    assert later.interrupts
    assert [kind for _, kind in told(world)] == ["raise"]
    assert any("it goes on" in reason.sentence for reason in later.reasons)
    world.now += 60
    assert not world.fail("e")[0].interrupts


def test_a_critical_that_joins_interrupts_as_everywhere():
    world = Pods()
    world.fail("a", "b", "c")
    world.now += 60
    (raised,) = world.fail("d", severity="critical")
    assert (raised.verdict, raised.interrupts) == (Verdict.FOLD, True)
    assert world.state.incidents[raised.incident].rank == 3


def test_the_most_severe_of_a_batch_opens_it():
    world = Pods()
    alerts = [world.pod("a"), world.pod("b", severity="critical"), world.pod("c", severity="info")]
    made = world.batch(Inputs(tuple(alerts))).decisions
    assert [one.verdict for one in made] == [Verdict.FOLD, Verdict.NOTIFY, Verdict.FOLD]
    assert world.state.incidents[made[0].incident].rank == 3


def test_an_opener_that_the_score_suppresses_takes_nobodys_message_away():
    """What was told stays told where it was, and the next that passes opens the aggregate."""
    world = Pods(mode="auto")
    (first,) = world.fail("a")
    world.fail("b")
    world.scoring = Fixed(0.99)
    assert world.fail("c")[0].verdict is Verdict.SUPPRESS
    assert world.state.incidents[first.incident].firing == 1
    assert world.last.deliveries == ()
    world.scoring = Fixed(0.1)
    (opened,) = world.fail("d")
    assert opened.verdict is Verdict.NOTIFY
    assert world.state.incidents[opened.incident].firing == 3, "not the one that was suppressed"


def test_a_maintenance_window_comes_first():
    window = {"name": "w", "schedule": "0 0-23 * * *", "suppress": ["WARNING"]}
    with pytest.raises(ValueError, match="never closes"):
        Pods(time_based_routing={"maintenance_windows": [window]})
    window["schedule"] = "0 8-18 * * *"
    world = Pods(time_based_routing={"maintenance_windows": [window]})
    assert {one.verdict for one in world.fail("a", "b", "c", "d")} == {Verdict.HOLD}


def test_the_number_of_an_api_aggregate_is_filled_in_when_it_is_sent():
    world = Pods()
    alerts = []
    for n in range(10):
        one = world.alert(alertname="ApiErrors", instance=f"i{n}")
        text = {"description": "API endpoint /cart returning 5xx"}
        alerts.append(replace(one, alert=replace(one.alert, annotations=text)))
    made = world.batch(Inputs(tuple(alerts))).decisions
    assert made[0].gather.title == "API /cart experiencing errors ({count} in 1m)"


def test_an_alert_that_no_rule_concerns_is_left_alone():
    world = Pods()
    decision = world.fire()
    assert decision.tallies == ()
    assert decision.gather is None


@pytest.mark.parametrize("together", [False, True])
def test_a_title_that_names_too_much_is_no_flood(together):
    """Two hundred aggregates of one rule within minutes are a storm: the first fifty are told, and then the storm is."""
    world = Pods(storm={"enabled": True}, deduplication={"strategies": {"fuzzy_match": {"enabled": False}}})
    names = [f"ns{n}" for n in range(200)]
    batches = [names] if together else [[name] for name in names]
    decisions = []
    for batch in batches:
        pods = tuple(world.pod(f"{name}-{n}", name) for name in batch for n in range(5))
        decisions += world.batch(Inputs(pods)).decisions
        world.now += 0.5
    assert {one.verdict for one in decisions} == {Verdict.NOTIFY, Verdict.FOLD}
    assert 50 < sum(one.verdict is Verdict.NOTIFY for one in decisions) <= 110
    told = {one.incident for one in decisions if one.verdict is Verdict.NOTIFY}
    assert {one.incident for one in decisions} == told  # what folds has people who were told
