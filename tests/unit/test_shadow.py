"""Mode shadow: everything is told, and what it says it would have done is what mode ladder or auto does."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.domain import Decision, Verdict, Would
from sidecar.events import Decided, Hides, SilenceReplayed, SilenceWithheld
from sidecar.pipeline import Inputs
from sidecar.state import State
from sidecar.telemetry import Metrics
from tests.unit.stories import World
from tests.unit.test_suppression import NO_FOLDING, judged, ladder

WINDOW = {"name": "night", "schedule": "0 8-18 * * *", "timezone": "UTC", "suppress": ["INFO"]}
NOISY = {"storm": {"enabled": False}, "suppression_budget": {"enabled": False}}


def in_shadow(world: World, **more: Any) -> World:
    """The same world at the same moment, in mode shadow."""
    twin = World(world.scoring.value, mode="shadow", **more)
    twin.state, twin.now, twin.scoring = State.load(world.state.dump()), world.now, world.scoring
    return twin


def said(decision: Decision) -> Verdict:
    """What was done, in mode shadow what would have been."""
    return decision.verdict if decision.would is None else decision.would.verdict


def test_it_records_what_the_ladder_does_and_tells_all_the_same():
    """A hold on the ladder is told in shadow, marked with the time and the rule, and the third within the hour is not."""
    world = ladder(**NO_FOLDING)
    judged(world, 5)
    shadow, words = in_shadow(world, **NO_FOLDING), []
    for n in range(4):
        for one in (world, shadow):
            one.now += 400
        done, told = (one.fire(instance="same", pod=f"p{n}") for one in (world, shadow))
        words.append(said(done))
        assert said(told) == said(done)
        assert told.verdict is Verdict.NOTIFY
        assert shadow.kinds() == ["notify"]
    assert words == [Verdict.HOLD, Verdict.HOLD, Verdict.NOTIFY, Verdict.NOTIFY]
    first = next(event for event in shadow.log[-4] if isinstance(event, Decided))
    assert first.would == Would(Verdict.HOLD, "suppression_by_score")
    assert first.marks == ("shadow: would have been held for 11 min by suppression_by_score",)


def test_an_incident_that_people_have_in_name_alone_does_not_change_what_is_said():
    """The next alert of the instance folds, since people have the incident, and is judged as if they had not."""
    window = {"time_based_routing": {"maintenance_windows": [WINDOW]}}
    ladders, shadow = World(0.1, mode="ladder", **window, **NOISY), World(0.1, mode="shadow", **window, **NOISY)
    done, told = (one.fire(severity="info") for one in (ladders, shadow))
    assert (said(told), shadow.kinds(), ladders.kinds()) == (Verdict.HOLD, ["notify"], [])
    assert shadow.state.incidents[told.incident].shadow
    for name, verdict in (("Next", Verdict.NOTIFY), ("Third", Verdict.FOLD)):
        ladders.now = shadow.now = shadow.now + 60
        done, told = (one.fire(alertname=name) for one in (ladders, shadow))
        assert said(told) == said(done) == verdict
        assert told.verdict is Verdict.FOLD
        assert not shadow.state.incidents[told.incident].shadow
    assert told.would is None


def test_what_a_window_would_hold_joins_the_message_that_people_have():
    """As it would without the window; what comes later of the instance is told in that same message in both modes."""
    window = {"time_based_routing": {"maintenance_windows": [WINDOW]}}
    ladders, shadow = World(0.1, mode="ladder", **window, **NOISY), World(0.1, mode="shadow", **window, **NOISY)
    stories = (("warning", Verdict.NOTIFY), ("info", Verdict.HOLD), ("warning", Verdict.FOLD))
    for n, (severity, verdict) in enumerate(stories):
        done, told = (one.fire(severity=severity, alertname=f"A{n}") for one in (ladders, shadow))
        assert said(told) == said(done) == verdict
        assert told.verdict is (Verdict.FOLD if n else Verdict.NOTIFY)
    assert shadow.kinds() == ["update"]


def test_critical_is_told_in_every_mode_and_has_no_mark():
    """The guard speaks first."""
    window = {"time_based_routing": {"maintenance_windows": [WINDOW | {"suppress": ["CRITICAL"]}]}}
    world = World(0.99, mode="shadow", **window)
    decision = world.fire(severity="critical")
    assert (decision.verdict, decision.would, decision.marks) == (Verdict.NOTIFY, None, ())


def test_metrics_count_what_would_have_been():
    """By verdict and rule; what is told in either mode is not counted."""
    world, metrics = World(0.1, mode="shadow", time_based_routing={"maintenance_windows": [WINDOW]}), Metrics()
    world.fire(severity="info")
    metrics.planned(world.last)
    world.fire(alertname="Other", instance="i2")
    metrics.planned(world.last)
    samples = [s for family in metrics.shadowed.collect() for s in family.samples if s.name.endswith("_total")]
    assert [(s.labels, s.value) for s in samples] == [({"verdict": "hold", "rule": "maintenance_windows"}, 1.0)]


def voted_five_times(world: World) -> SilenceReplayed:
    """Five incidents called noise, and the history that says nothing against a silence."""
    for _ in range(5):
        world.now += 7200
        since = world.now
        decision = world.fire()
        world.now += 60
        world.clear(since)
        world.vote(decision)
    (proposed,) = [event for event in world.last.events if type(event).__name__ == "SilenceProposed"]
    return SilenceReplayed(world.now, proposed.pattern, proposed.evidence, Hides(world.now - 86400, 5, 5, 5))


def test_a_silence_is_withheld_and_what_it_would_hide_is_marked():
    """It is proposed and replayed as ever, then recorded once instead of asked for; metrics and marks follow."""
    world, metrics = World(0.1, mode="shadow"), Metrics()
    world.batch(Inputs(asks=(voted_five_times(world),)))
    metrics.planned(world.last)
    (withheld,) = [event for event in world.last.events if isinstance(event, SilenceWithheld)]
    assert "5 incidents of this pattern were called a false positive" in withheld.comment
    assert world.last.deliveries == ()
    assert (
        metrics.registry.get_sample_value(
            "sidecar_shadow_decisions_total", {"verdict": "silence", "rule": "repeated_false_positive"}
        )
        == 1
    )
    world.now += 7200
    told = world.fire(instance="i9")
    assert told.verdict is Verdict.NOTIFY
    assert told.would == Would(Verdict.SUPPRESS, "repeated_false_positive")
    assert told.marks == ("shadow: would have been silenced as a repeated false positive",)
    world.vote(told)
    assert not [event for event in world.last.events if type(event).__name__.startswith("Silence")]
    world.now = withheld.ends_at + 1
    assert world.fire(instance="i10").would is None


def test_a_ladder_does_not_mind_what_a_shadow_withheld():
    """After the mode was changed the silence is asked for."""
    world = World(0.1, mode="shadow")
    replayed = voted_five_times(world)
    world.batch(Inputs(asks=(replayed,)))
    world.config = World(0.1, mode="ladder").config
    since = world.now = world.now + 7200
    decision = world.fire()
    assert decision.would is None
    world.now += 60
    world.clear(since)
    world.vote(decision)
    assert [type(event).__name__ for event in world.last.events if type(event).__name__.startswith("Silence")] == [
        "SilenceProposed"
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["info", "warning", "critical"]), st.integers(1, 900)),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_whatever_comes_is_told_and_the_first_word_on_it_is_the_ladders(story):
    """Alerts of several instances, some under a window: what shadow would have done is what ladder did, until the first
    hold is over; and no alert is left untold.
    """
    window = {"time_based_routing": {"maintenance_windows": [WINDOW]}, **NOISY}
    ladders, shadow = World(0.1, mode="ladder", **window), World(0.1, mode="shadow", **window)
    shadow.now = ladders.now = ladders.now - ladders.now % 3600 + 1  # the window opens at the full hour
    began = ladders.now
    for n, (instance, severity, after) in enumerate(story):
        ladders.now = shadow.now = ladders.now + after
        if ladders.now - began >= 3500:
            break
        labels = {"alertname": f"A{n}", "severity": severity, "instance": f"i{instance}"}
        done, told = (one.fire(**labels) for one in (ladders, shadow))
        assert said(told) == said(done)
        assert told.verdict in (Verdict.NOTIFY, Verdict.FOLD)
        assert shadow.state.incidents[told.incident].first_told is not None
