"""Several alerts within minutes in one part of the topology: one incident, unless that is what the hour is like."""

from __future__ import annotations

import pytest

from sidecar.domain import Verdict
from sidecar.pipeline import Inputs
from sidecar.state.arrivals import KEPT
from tests.unit.stories import World

ALONE = {"folding": {"labels": [], "group": False}}


def world(**correlation) -> World:
    """Nothing folds here but what comes together in one part of the topology."""
    strategies = {"fuzzy_match": {"enabled": False}, "temporal_correlation": correlation}
    return World(0.1, **ALONE, deduplication={"strategies": strategies})


def names(here: World, count: int, seconds: float = 20.0, **labels: str):
    """So many alerts of different names, and on instances of their own."""
    made = []
    for n in range(count):
        here.now += seconds
        made.append(here.fire(**{"alertname": f"Name{n}", "instance": f"i{n}"} | labels))
    return made


def test_the_third_alert_of_a_service_within_two_minutes_joins_what_was_told_first():
    here = world()
    made = names(here, 5, service="cart")
    assert [d.verdict for d in made] == [Verdict.NOTIFY] * 2 + [Verdict.FOLD] * 3
    assert {d.incident for d in made[2:]} == {made[0].incident}
    reason = next(one for one in made[2].reasons if one.rule == "temporal_correlation")
    assert reason.sentence == "3rd alert of the same service cart within 2 min"
    assert here.kinds() == ["update"]


@pytest.mark.parametrize("label", ["node", "instance", "service", "namespace"])
def test_each_part_of_the_topology_does(label):
    here = world()
    made = names(here, 3, **{label: "x"})
    assert made[2].verdict is Verdict.FOLD
    assert any(f"{label} x" in one.sentence for one in made[2].reasons)


def test_the_narrowest_part_comes_first():
    here = world()
    names(here, 2, namespace="shop", service="search")
    made = names(here, 3, namespace="shop", service="cart")
    assert [d.verdict for d in made] == [Verdict.FOLD] * 3  # the namespace had two
    assert "service shop/cart" in made[2].reasons[0].sentence


def test_a_service_is_one_of_its_namespace():
    """Every team has an api: three of them that ail at once are three."""
    here = world()
    made = [here.fire(alertname=f"N{n}", instance=f"i{n}", service="api", namespace=f"team-{n}") for n in range(5)]
    assert [d.verdict for d in made] == [Verdict.NOTIFY] * 5


def test_slower_ones_other_clusters_and_other_values_stay_apart():
    assert [d.verdict for d in names(world(), 5, 61.0, service="cart")] == [Verdict.NOTIFY] * 5
    here = world()
    apart = [here.fire(alertname=f"N{n}", instance=f"i{n}", service="cart", cluster=f"c{n}") for n in range(3)]
    apart += [here.fire(alertname=f"M{n}", instance=f"j{n}", service=f"s{n}") for n in range(3)]
    assert [d.verdict for d in apart] == [Verdict.NOTIFY] * 6


def test_number_window_labels_and_switch_are_the_configuration_s():
    assert [d.verdict for d in names(world(min_alerts=2), 2, service="cart")] == [Verdict.NOTIFY, Verdict.FOLD]
    assert names(world(window="10m"), 3, 120.0, service="cart")[2].verdict is Verdict.FOLD
    assert names(world(labels=["team"]), 3, service="cart")[2].verdict is Verdict.NOTIFY
    assert names(world(labels=["team"]), 3, team="sre")[2].verdict is Verdict.FOLD
    here = world(enabled=False)
    assert names(here, 3, service="cart")[2].verdict is Verdict.NOTIFY
    assert len(here.state.arrivals) == 0


def test_a_raised_severity_is_never_hidden():
    here = world()
    names(here, 3, service="cart")
    assert here.fire(alertname="Down", instance="z", service="cart", severity="critical").verdict is Verdict.NOTIFY


def test_where_alerts_come_by_all_the_time_three_are_no_sign():
    """With one every 50 s in the namespace, three within two minutes are usual; ten within seconds are not."""
    here = world(labels=["namespace"])
    made = names(here, 70, 50.0, namespace="shop")
    assert made[2].verdict is Verdict.FOLD  # nothing is known of the namespace yet
    assert sum(d.verdict is Verdict.FOLD for d in made[20:]) == 0
    burst = names(here, 10, 1.0, namespace="shop")
    assert [d.verdict for d in burst][-1] is Verdict.FOLD


def test_so_are_three_that_come_in_one_batch():
    """How alerts are put into batches makes no difference to what is usual."""
    here = world(labels=["namespace"])
    for n in range(12):
        here.batch(Inputs(tuple(_of_shop(here, f"{n}-{m}") for m in range(3))))
        here.now += 300
    made = here.batch(Inputs(tuple(_of_shop(here, f"last-{m}") for m in range(3))))
    assert [d.verdict for d in made.decisions] == [Verdict.NOTIFY] * 3


def _of_shop(here: World, name: str):
    return here.alert(alertname=name, instance=name, namespace="shop")


def test_alerts_of_one_batch_count_in_their_order():
    here = world()
    batch = here.batch(Inputs(tuple(here.alert(alertname=f"N{n}", instance=f"i{n}", service="cart") for n in range(4))))
    assert [d.verdict for d in batch.decisions] == [Verdict.NOTIFY] * 2 + [Verdict.FOLD] * 2
    assert [d.incident for d in batch.decisions[2:]] == [batch.decisions[0].incident] * 2
    assert [(d.kind, d.alerts) for d in batch.deliveries] == [("notify", 3), ("notify", 1)]


def test_only_what_was_told_counts():
    """Two that were suppressed and one that is told are no three."""
    here = World(
        0.95, **ALONE, mode="auto", deduplication={"strategies": {"fuzzy_match": {"enabled": False}}},
        ml_anomaly_detection={"models": [{"name": "false-positive-classifier", "type": "binary-classifier", "auto_suppress": True}]},
    )  # fmt: skip
    made = names(here, 4, service="cart")
    assert {d.verdict for d in made} <= {Verdict.SUPPRESS, Verdict.HOLD}
    assert len(here.state.arrivals) == 0


def test_an_hour_after_its_first_message_an_incident_takes_no_more():
    here = world(window="3h")
    names(here, 2, service="cart")
    here.now += 3601
    made = names(here, 2, service="cart", severity="warning")
    assert made[0].verdict is Verdict.NOTIFY
    assert made[1].incident == made[0].incident


def test_what_is_kept_of_a_part_is_bounded_and_leaves_when_it_is_idle():
    here = world()
    names(here, KEPT + 20, 1.0, service="cart")
    assert len(here.state.arrivals["service=//cart"]) == KEPT
    here.now += 90 * 86400
    here.batch(Inputs(sweep_before=here.now - 86400))
    assert len(here.state.arrivals) == 0
