"""Alerts that read alike: what joins what, and what never does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.likeness import enter
from models.table import Table
from sidecar.domain import Verdict
from sidecar.pipeline import Inputs
from sidecar.state import State
from tests.unit.stories import World

ALONE = {"folding": {"labels": [], "group": False}}
OFF = {"enabled": False}
CART = {"alertname": "HighErrorRate", "namespace": "shop", "service": "cart"}


def world(score: float | None = 0.1, **fuzzy) -> World:
    """Nothing folds here but what reads alike."""
    strategies = {"temporal_correlation": OFF, "fuzzy_match": fuzzy}
    return World(score, **ALONE, deduplication={"strategies": strategies})


def test_the_same_alert_of_another_pod_joins_and_says_how_alike_it_is():
    here = world()
    first = here.fire(**CART, pod="cart-7f9c8d5b6-x2x9z")
    here.now += 60
    second = here.fire(**CART, pod="cart-7f9c8d5b6-kqzpw")
    assert (second.verdict, second.incident) == (Verdict.FOLD, first.incident)
    reason = next(one for one in second.reasons if one.rule == "similarity")
    assert reason.sentence == "it reads the same as what was told 1 min ago (100% similar)"
    assert here.kinds() == ["update"]


def test_a_hash_or_a_number_makes_no_difference():
    """The specification's load test has ten such names."""
    here = world()
    first = here.fire(**CART | {"alertname": "LoadTestAlert_1", "service": "cart-84f6d59d67"}, pod="a")
    second = here.fire(**CART | {"alertname": "LoadTestAlert_2", "service": "cart-5b8d7c6f9"}, pod="b")
    assert second.incident == first.incident


def test_another_spelling_of_one_word_joins_and_names_what_it_is_like():
    here = world()
    first = here.fire(**CART)
    second = here.fire(**CART | {"alertname": "HighErrorRates"})
    assert (second.verdict, second.incident) == (Verdict.FOLD, first.incident)
    reason = next(one for one in second.reasons if one.rule == "similarity")
    assert reason.sentence == '98% similar to "high error rate · cart", told a moment ago'


@pytest.mark.parametrize(
    "other",
    [
        {"alertname": "HighErrorRateCritical"}, {"alertname": "LowErrorRate"}, {"namespace": "shop-eu"}, {"namespace": "shops"},
        {"service": "card"}, {"service": "cart-v2"}, {"cluster": "eu"},
    ],
)  # fmt: skip
def test_what_merely_looks_alike_is_told(other):
    """Another word, another namespace or cluster, another name with a number."""
    here = world()
    here.fire(**CART)
    assert here.fire(**CART | other).verdict is Verdict.NOTIFY


def test_twenty_alerts_that_lack_a_field_are_twenty():
    here = world()
    for n in range(20):
        assert here.fire(alertname="NodeDown", instance=f"node-{n}").verdict is Verdict.NOTIFY
    assert len(here.state.likes) == 0


def test_what_the_grouping_keeps_apart_stays_apart():
    """The domain infrastructure is grouped by node, and where there is none the instance stands for it."""
    here = world()
    labels = {"alertname": "DiskFull", "namespace": "monitoring", "service": "node-exporter"}
    assert here.fire(**labels, node="n1", instance="a").verdict is Verdict.NOTIFY
    assert here.fire(**labels, node="n2", instance="a").verdict is Verdict.NOTIFY
    assert here.fire(**labels, instance="b").verdict is Verdict.NOTIFY
    assert here.fire(**labels, instance="c").verdict is Verdict.NOTIFY
    assert here.fire(**labels, node="n1", device="sdb").verdict is Verdict.FOLD


def test_a_group_of_all_labels_compares_nothing():
    here = World(
        0.1, **ALONE, domains={"shop": {"matchers": ['namespace="shop"']}}, grouping={"shop": {"group_by": ["..."]}},
        deduplication={"strategies": {"temporal_correlation": OFF}},
    )  # fmt: skip
    here.fire(**CART, pod="a")
    assert here.fire(**CART, pod="b").verdict is Verdict.NOTIFY


def test_a_raised_severity_is_never_hidden():
    here = world()
    here.fire(**CART, pod="a")
    assert here.fire(**CART, pod="b", severity="critical").verdict is Verdict.NOTIFY
    assert here.fire(**CART, pod="c", severity="info").verdict is Verdict.FOLD


def test_it_joins_within_the_correlation_window_and_an_hour_of_the_first_message():
    here = world()
    first = here.fire(**CART, pod="a")
    for n in range(12):
        here.now += 299
        assert here.fire(**CART, pod=f"b{n}").incident == first.incident
    here.now += 299
    assert here.fire(**CART, pod="late").verdict is Verdict.NOTIFY
    here.now += 301
    assert here.fire(**CART, pod="later").verdict is Verdict.NOTIFY


def test_the_threshold_and_the_switch_are_the_configuration_s():
    assert [d.verdict for d in _two(world(similarity_threshold=0.95))] == [Verdict.NOTIFY] * 2
    assert [d.verdict for d in _two(world(enabled=False))] == [Verdict.NOTIFY] * 2
    assert [d.verdict for d in _two(world(fields=["service"]))] == [Verdict.NOTIFY, Verdict.FOLD]
    assert [d.verdict for d in _two(world(fields=["alertname", "job"]))] == [Verdict.NOTIFY] * 2


def _two(here: World):
    return here.fire(**CART), here.fire(**CART | {"alertname": "HighErrorRates"}, pod="b")


def test_alerts_of_one_batch_join_what_it_opens():
    here = world()
    batch = here.batch(
        Inputs(
            (
                here.alert(**CART, pod="a"),
                here.alert(**CART, pod="b"),
                here.alert(**CART | {"alertname": "HighErrorRates"}),
                here.alert(**CART, pod="c", severity="critical"),
                here.alert(**CART | {"service": "checkout"}),
            )
        )
    )
    first = batch.decisions[0].incident
    assert [d.incident == first for d in batch.decisions] == [True, True, True, False, False]


def test_the_place_comes_before_the_words():
    """An alert whose instance has an open incident belongs there."""
    here = World(0.1, deduplication={"strategies": {"temporal_correlation": OFF}})
    here.fire(**CART, instance="a")
    own = here.fire(alertname="DiskFull", instance="b")
    assert here.fire(**CART, instance="b").incident == own.incident


def test_an_alert_of_a_batch_that_goes_elsewhere_takes_with_it_what_joined_it():
    """Its like is not left in an incident that nobody opens."""
    here = World(0.1, folding={"labels": [], "group": False})
    known = here.fire(alertname="A", service="cart", namespace="shop")
    here.fire(alertname="B", service="cart", namespace="shop")
    batch = here.batch(Inputs((here.alert(**CART, pod="a"), here.alert(**CART, pod="b"))))
    assert [d.incident for d in batch.decisions] == [known.incident] * 2
    assert [d.verdict for d in batch.decisions] == [Verdict.FOLD] * 2


def test_the_index_holds_what_fires_and_no_more():
    """One that has cleared is found by an equal text only; the last entry leaves with the last episode."""
    here = world()
    since = here.now
    first = here.fire(**CART)
    assert len(here.state.likes) > 0
    here.now += 10
    here.clear(since, **CART)
    assert len(here.state.likes) == 0
    assert here.fire(**CART | {"alertname": "HighErrorRates"}).verdict is Verdict.NOTIFY
    assert here.fire(**CART, pod="x").incident == first.incident
    for _ in range(2):  # what nobody has sent for so long is ended by the first, and forgotten by the second
        here.now += 90 * 86400
        here.batch(Inputs(sweep_before=here.now - 1))
    assert (len(here.state.likes), len(here.state.texts)) == (0, 0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fire", "fire", "clear", "sweep"]),
        st.sampled_from(["cart", "carts", "checkout", "checkouts"]),
        st.integers(0, 2),
        st.sampled_from([1.0, 100.0, 400.0, 4000.0]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_index_is_always_that_of_the_open_incidents(steps):
    """Whatever fires, clears and is swept: exactly the newest incidents under a text of which something fires."""
    here, since = world(), {}
    for what, service, pod, seconds in steps:
        labels = CART | {"service": service, "pod": f"p{pod}"}
        here.now += seconds
        if what == "fire":
            since.setdefault((service, pod), here.now)
            here.batch(Inputs((here.alert(since=since[service, pod], **labels),)))
        elif what == "clear" and (service, pod) in since:
            here.clear(since.pop((service, pod)), **labels)
        elif what == "sweep":
            here.batch(Inputs(sweep_before=here.now - 5000))
    state, expected = here.state, Table()
    for name, key in state.texts.items():
        if state.folding.get(key) == name and state.incidents[name].firing > 0:
            enter(expected, key)
    assert {slot: set(keys) for slot, keys in state.likes.items()} == {s: set(keys) for s, keys in expected.items()}
    folded = State()
    for events in here.log:
        for event in events:
            folded.fold(event)
        folded.commit(folded.seq + 1)
    assert folded.dump() == state.dump()
    assert State.load(state.dump()).dump() == state.dump()


def test_a_domain_that_nobody_configured_is_compared_as_any_other():
    """Made once, since every new alert asks; what its own grouping keeps apart stays apart all the same."""
    config = World(grouping={"payments_domain": {"group_by": ["alertname", "region"]}}).config
    assert config.compared("elsewhere") is config.compared("")
    assert "region" in config.compared("payments").equal
    assert "region" not in config.compared("elsewhere").equal
