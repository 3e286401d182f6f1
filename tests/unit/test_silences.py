"""Silences of ours: proposed by votes, replayed, asked for, and ended early; and what silences hide."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.domain import Pattern, Verdict
from sidecar.events import (
    Decided,
    EpisodeEnded,
    EpisodeMuted,
    EpisodeUnmuted,
    Hides,
    SenderKnown,
    SilenceAsked,
    SilenceChanged,
    SilenceEnded,
    SilenceProposed,
    SilenceReplayed,
    SilenceSettled,
)
from sidecar.pipeline import Inputs
from sidecar.state import STANDING, State, key_of
from sidecar.state.silences import fresh
from tests.unit.stories import World

NO_FOLDING = {
    "folding": {"labels": [], "group": False},
    "deduplication": {"strategies": {"exact_match": {"enabled": False}}},
}
PATTERN = Pattern("HighLatency", "", "", "WARNING")
DAY = 86400.0


def events(world: World, kind: type) -> list:
    return [event for row in world.log for event in row if type(event) is kind]


def state_of(world: World) -> str:
    return world.state.silences[key_of(PATTERN)].state


def five_false(world: World, first: int = 0, **labels: str) -> list:
    made = []
    for n in range(first, first + 5):
        made.append(world.fire(instance=f"i{n}", **labels))
        world.vote(made[-1], who=f"person-{n % 2}")
        world.now += 60
    return made


def silenced(**config) -> World:
    """A world in which five votes have led to the silence s1."""
    world = World(**{**NO_FOLDING, **config})
    five_false(world)
    world.replay()
    world.silence()
    return world


# --------------------------------------------------------------------------------------------------- before it is written


def test_five_false_votes_propose_and_the_replay_asks_once():
    """Nothing is sent before the history was asked; then one silence, with what it would have hidden in its comment."""
    world = World(**NO_FOLDING)
    five_false(world)
    assert (len(events(world, SilenceProposed)), world.last.deliveries) == (1, ())
    (delivery,) = world.replay().deliveries
    (asked,) = events(world, SilenceAsked)
    body = json.loads(delivery.body)
    assert (delivery.kind, asked.ends_at - asked.at) == ("silence", DAY)
    assert body["matchers"] == [
        ["alertname", "HighLatency"],
        ["namespace", ""],
        ["service", ""],
        ["severity", "warning"],
    ]
    assert "5 incidents" in body["comment"]
    assert "7 episodes in 6 incidents, of them 5 voted noise, 0 real, 2 unanswered" in body["comment"]
    assert "fp-1" in body["comment"]
    assert "sidecar silences end HighLatency" in body["comment"]
    world.vote(world.fire(instance="i9"))
    world.replay()
    assert len(events(world, SilenceAsked)) == 1


def test_a_second_answer_to_the_same_proposal_is_no_news():
    """Two replicas replay, one silence is asked for."""
    world = World(**NO_FOLDING)
    five_false(world)
    (proposed,) = events(world, SilenceProposed)
    world.replay()
    again = SilenceReplayed(world.now, proposed.pattern, proposed.evidence, events(world, SilenceReplayed)[0].hides)
    plan = world.ask(again)
    assert (plan.events, plan.deliveries) == ((), ())


def test_what_speaks_against_it_stops_it_until_the_votes_change():
    """A refusal is recorded with its reason; the same votes do not ask again, a vote on another incident does."""
    world = World(**NO_FOLDING)
    made = five_false(world)
    assert world.replay("it would have hidden 1 episode that people called real", real=1).deliveries == ()
    assert state_of(world) == "refused"
    assert "called real" in world.state.silences[key_of(PATTERN)].why
    world.vote(made[0], who="somebody else")
    assert len(events(world, SilenceProposed)) == 1
    world.vote(world.fire(instance="i6"))
    assert len(events(world, SilenceProposed)) == 2


def test_votes_that_change_during_the_replay_are_replayed_anew():
    """An answer to votes that are no longer those that count asks for nothing."""
    world = World(**NO_FOLDING)
    five_false(world)
    (old,) = events(world, SilenceProposed)
    world.vote(world.fire(instance="i6"))
    assert world.ask(SilenceReplayed(world.now, PATTERN, old.evidence, world_hides(world))).events == ()
    assert len(world.replay().deliveries) == 1


def world_hides(world: World):
    return Hides(world.now - DAY)


def test_a_real_vote_during_the_replay_asks_for_nothing():
    """The rule looks at the votes again when the answer comes."""
    world = World(**NO_FOLDING)
    made = five_false(world)
    world.vote(made[0], "useful", who="grace")
    assert world.replay().deliveries == ()


def test_the_budget_counts_what_alertmanager_still_holds():
    """One that has ended counts for five days, as Alertmanager counts it."""
    world = silenced(silences={"budget": 1})
    world.tick(DAY)
    assert state_of(world) == "ended"
    five_false(world, alertname="Other")
    assert len(events(world, SilenceProposed)) == 1
    world.tick(5 * DAY)
    world.vote(world.fire(alertname="Other", instance="i9"))
    assert len(events(world, SilenceProposed)) == 2


@pytest.mark.parametrize("config", [{"alertmanagers": []}, {"silences": {"budget": 0}}])
def test_nothing_is_proposed_where_nothing_can_be_written(config):
    """Without an Alertmanager, and without a budget."""
    world = World(**{**NO_FOLDING, **config})
    five_false(world)
    assert len(world.state.silences) == 0


# ------------------------------------------------------------------------------------------------------------ early ends


def ended(world: World) -> SilenceEnded:
    (event,) = events(world, SilenceEnded)
    return event


def test_a_vote_real_ends_it_and_tells_what_still_fires():
    """The DELETE goes out at once, and what it hid is decided anew with the reason."""
    world = silenced()
    hidden = world.mute("s1", instance="i7").decisions[0]
    assert hidden.verdict is Verdict.SUPPRESS
    assert "silence of ours" in hidden.reasons[-1].sentence
    world.now += 60
    plan = world.vote(hidden, "useful", who="grace")
    (end,) = [one for one in plan.deliveries if one.kind == "silence"]
    body = json.loads(end.body)
    assert (body["end"], body["silence_id"]) == (True, "s1")
    assert (ended(world).cause, ended(world).hidden, state_of(world)) == ("votes", 1, "ended")
    assert world.state.next_due() == 0.0
    (told,) = world.tick(1).decisions
    assert (told.verdict, told.scored.alert.labels["instance"]) == (Verdict.NOTIFY, "i7")
    assert "ended early: somebody called an incident of it real" in told.reasons[0].sentence
    assert world.kinds() == ["notify"]
    assert world.tick(1).decisions == ()


def test_votes_taken_back_end_it():
    """Nothing of ours outlives its evidence."""
    world = World(**NO_FOLDING)
    made = five_false(world)
    world.replay()
    world.silence()
    world.vote(made[0], who="person-0", retracted=True)
    assert (ended(world).cause, state_of(world)) == ("votes", "ended")
    assert "4 are left" in ended(world).why


def test_votes_that_grow_old_do_not_end_it():
    """The window of votes moves on; what justified the silence when it was written still does."""
    world = World(**NO_FOLDING)
    five_false(world)
    world.now += 30 * DAY - 400
    world.vote(world.fire(instance="i8"))
    world.replay()
    world.silence()
    world.now += 1000
    world.vote(world.fire(instance="i9"))
    assert events(world, SilenceEnded) == []


def test_a_higher_severity_ends_it():
    """CRITICAL under the same name, namespace and service: the warning is no noise now."""
    world = silenced()
    hidden = world.mute("s1", instance="i7").decisions[0]
    assert hidden.verdict is Verdict.SUPPRESS
    world.fire(severity="critical", instance="i7")
    assert ended(world).cause == "severity"
    (told,) = world.tick(1).decisions
    assert told.scored.alert.labels["severity"] == "warning"
    assert told.verdict is Verdict.NOTIFY


def test_a_lower_severity_or_another_service_does_not():
    """Only what is the same and worse."""
    world = silenced()
    world.fire(severity="info", instance="i7")
    world.fire(severity="critical", service="other", instance="i7")
    assert events(world, SilenceEnded) == []


@pytest.fixture
def no_anomaly(monkeypatch):
    """So many alerts are very unusual, too: here the burst is meant."""
    monkeypatch.setattr("sidecar.state.silences.ANOMALY", 2.0)


def test_a_burst_ends_it(no_anomaly):
    """Ten starts within an hour, where seven in a month are usual."""
    world = World(**NO_FOLDING)
    world.fire(alertname="Older")
    world.now += 20 * DAY
    five_false(world)
    world.replay()
    world.silence()
    world.now += 4 * 3600
    for n in range(12):
        world.now += 20
        world.mute("s1", instance=f"b{n}")
        if events(world, SilenceEnded):
            break
    assert n >= 9
    assert ended(world).cause == "burst"
    assert ended(world).hidden == n + 1
    assert len(world.tick(1).decisions) == n + 1


def test_what_is_usual_is_no_burst(no_anomaly):
    """A pattern that brings fifty an hour may bring twelve."""
    world = World(**NO_FOLDING)
    five_false(world)
    world.replay(episodes=36000)
    world.silence()
    for n in range(12):
        world.now += 20
        world.mute("s1", instance=f"b{n}")
    assert events(world, SilenceEnded) == []


def test_an_anomaly_ends_it_but_not_the_first_ones():
    """To a rare alert its first firing is always unusual: five starts are needed."""
    world = silenced()
    for n in range(5):
        world.mute("s1", instance=f"b{n}")
        decided = [event for event in world.log[-1] if isinstance(event, Decided)][-1]
        world.state.fold(replace(decided, anomaly=0.99995))
        world.tick(1)
        assert bool(events(world, SilenceEnded)) == (n == 4)
    assert ended(world).cause == "anomaly"


def test_the_guard_ends_it():
    """A severity that may never be kept back any more."""
    world = silenced()
    world.config = world.config.model_validate(
        {
            **world.config.model_dump(by_alias=True, exclude_unset=True),
            "guard": {"never_suppress": {"severities": ["WARNING"]}},
        }
    )
    world.tick(1)
    assert ended(world).cause == "guard"


def test_its_time_ends_it_and_tells_nobody():
    """At its end Alertmanager sends what fires by itself."""
    world = silenced()
    world.mute("s1", instance="i7")
    assert world.state.next_due() == world.state.silences[key_of(PATTERN)].ends_at
    plan = world.tick(DAY)
    assert (ended(world).cause, ended(world).hidden) == ("expired", 1)
    assert [one for one in plan.deliveries if one.kind in ("silence", "notify")] == []
    assert world.tick(1).decisions == ()
    sent = world.fire(since=world.now - DAY - 60, instance="i7")
    assert sent.verdict is Verdict.NOTIFY


def test_after_an_early_end_only_new_votes_count():
    """The five old incidents do not silence it again at the next vote."""
    world = silenced()
    world.fire(severity="critical", instance="i7")
    world.now += 60
    world.vote(world.fire(instance="i8"))
    assert len(events(world, SilenceProposed)) == 1
    for n in range(20, 24):
        world.vote(world.fire(instance=f"i{n}"))
    assert len(events(world, SilenceProposed)) == 2


def test_an_end_before_alertmanager_has_it_stays_an_end():
    """The creation that was still on its way makes nothing active again; the DELETE follows it."""
    world = World(**NO_FOLDING)
    made = five_false(world)
    world.replay()
    plan = world.vote(made[0], "useful", who="grace")
    assert json.loads(plan.deliveries[0].body)["silence_id"] == ""
    world.batch(Inputs(outcomes=(SilenceSettled(world.now, PATTERN, "active", "s1"),)))
    assert state_of(world) == "ended"
    assert len(world.state.hushed) == len(world.state.ours) == 0


# --------------------------------------------------------------------------------------------------------------- people


def test_a_person_who_deletes_it_is_remembered():
    """The next five votes do not bring it back for 30 days; then five new ones may."""
    world = silenced()
    world.ask(SilenceEnded(world.now, PATTERN, "s1", "somebody expired it", 0, "revoked"))
    assert state_of(world) == "revoked"
    five_false(world, 20)
    assert len(events(world, SilenceProposed)) == 1
    assert State.load(world.state.dump()).silences[key_of(PATTERN)].state == "revoked"
    world.now += 30 * DAY
    five_false(world, 40)
    assert len(events(world, SilenceProposed)) == 2


def test_an_edited_one_is_theirs():
    """It is neither ended by votes nor asked for again while it stands; its own end ends it."""
    world = silenced()
    world.ask(SilenceChanged(world.now, PATTERN, "s2", "theirs", world.now + 2 * DAY, "somebody changed its end"))
    hidden = world.mute("s2", instance="i7").decisions[0]
    assert "silence of ada" in hidden.reasons[-1].sentence
    world.vote(hidden, "useful", who="grace")
    assert (state_of(world), events(world, SilenceEnded)) == ("theirs", [])
    world.tick(2 * DAY)
    assert (ended(world).cause, ended(world).silence_id) == ("expired", "s2")


def test_a_persons_silence_hides_critical_alerts_too():
    """Neither the guard nor the audit sample nor shadow mode overrules a person."""
    for mode in ("shadow", "ladder", "auto"):
        world = World(mode=mode, audit_sample={"share": 1, "first_month": 1})
        made = world.mute("theirs", severity="critical").decisions[0]
        assert made.verdict is Verdict.SUPPRESS
        assert (made.propensity, world.last.deliveries) == (1.0, ())
        assert "by the silence of ada (theirs)" in made.reasons[-1].sentence


def test_the_audit_sample_tells_what_ours_hides():
    """At random, marked, with its propensity."""
    world = silenced(audit_sample={"share": 1, "first_month": 1})
    made = world.mute("s1", instance="i7").decisions[0]
    assert (made.verdict, made.propensity) == (Verdict.NOTIFY, 1.0)
    assert made.marks == ("audit sample: would have been suppressed",)


# --------------------------------------------------------------------------------------------------- what silences hide


def test_a_silenced_alert_is_seen_scored_and_ended():
    """It is an episode like any other."""
    world = World(0.4)
    made = world.mute("x").decisions[0]
    assert (made.verdict, made.scored.score) == (Verdict.SUPPRESS, 0.4)
    assert world.mute("x").events[0].__class__.__name__ == "EpisodeSeen"
    assert len(events(world, EpisodeMuted)) == 1
    plan = world.ask(EpisodeEnded(world.now, made.scored.episode, made.scored.alert.fingerprint, world.now))
    assert [type(event) for event in plan.events] == [EpisodeEnded]
    assert (len(world.state.muted), world.last.deliveries) == (0, ())


def test_a_webhook_says_that_no_silence_hides_it():
    """It is decided anew at once, not after the repeat interval."""
    world = World()
    since = world.now
    world.mute("x")
    world.now += 60
    made = world.fire(since=since)
    assert made.verdict is Verdict.NOTIFY
    assert len(events(world, EpisodeUnmuted)) == 1
    assert len(world.state.muted) == 0


def test_an_alert_that_people_have_is_not_reminded_of_while_it_is_silenced():
    """A person silenced it: nothing more is said, whatever the time."""
    world = World()
    since = world.now
    world.fire()
    for _ in range(3):
        world.now += 5 * 3600
        assert world.mute("x", since=since).decisions == ()
        assert world.last.deliveries == ()


def test_a_hold_that_is_due_under_a_silence_is_not_told():
    """What was held when somebody silenced it is suppressed."""
    window = {"name": "weekly", "schedule": "0 8-18 * * *", "timezone": "UTC", "suppress": ["WARNING"]}
    world = World(time_based_routing={"maintenance_windows": [window]})
    held = world.fire()
    assert held.verdict is Verdict.HOLD
    world.mute("x", since=world.now)
    (made,) = world.tick(held.until - world.now).decisions
    assert made.verdict is Verdict.SUPPRESS


def test_an_end_that_was_never_sent_resolves():
    """The watcher hands it in; people hear that it is over."""
    world = World()
    made = world.fire()
    world.now += 60
    gone = EpisodeEnded(world.now, made.scored.episode, made.scored.alert.fingerprint, world.now - 30)
    world.ask(gone)
    assert world.kinds() == ["resolve"]
    assert world.ask(gone).events == ()


def test_an_end_is_not_believed_of_what_was_seen_since():
    """A webhook came between the look and its commit."""
    world = World()
    made = world.fire()
    plan = world.ask(EpisodeEnded(world.now + 1, made.scored.episode, made.scored.alert.fingerprint, world.now - 1))
    assert plan.events == ()


def test_two_silences_on_one_alert():
    """Ours ends early, a person's still hides it: nobody is told."""
    world = silenced()
    world.mute("s1", "theirs", instance="i7")
    world.fire(severity="critical", instance="i8")
    assert ended(world).cause == "severity"
    assert world.tick(1).decisions == ()


def test_what_is_known_is_no_news():
    """Asks that change nothing are not recorded."""
    world = silenced()
    end = SilenceEnded(world.now, PATTERN, "s1", "", 0, "revoked")
    assert fresh(world.state, end)
    world.ask(end)
    assert not fresh(world.state, end)
    assert not fresh(world.state, SilenceChanged(world.now, PATTERN, "s1", "theirs", 0.0))
    assert not fresh(world.state, EpisodeUnmuted(world.now, "e", "f", "s1"))
    world.ask(SenderKnown(world.now, "http://am"))
    assert not fresh(world.state, SenderKnown(world.now, "http://am"))


steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "fire",
                "raise",
                "mute",
                "ours",
                "vote",
                "real",
                "unvote",
                "replay",
                "settle",
                "tick",
                "expire",
                "edit",
                "clear",
            ]
        ),
        st.integers(0, 5),
        st.integers(1, 20_000),
    ),
    max_size=50,
)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_the_state_of_silences_rebuilt_from_the_log_is_the_same(steps):
    """Whatever happens in whatever order; and what is due comes to an end."""
    rule = {"automation": {"auto_silence_patterns": {"enabled": True, "pattern_threshold": 2}}}
    world, made = World(**NO_FOLDING, feedback_loop=rule), {}
    for what, which, seconds in steps:
        world.now += seconds
        name = f"i{which}"
        key, known = key_of(PATTERN), world.state.silences.get(key_of(PATTERN))
        if what in ("fire", "raise"):
            made[name] = world.fire(instance=name, severity="critical" if what == "raise" else "warning")
        elif what in ("mute", "ours"):
            found = world.mute("s1" if what == "ours" else "theirs", instance=name).decisions
            made |= {name: found[0]} if found else {}
        elif what in ("vote", "real", "unvote") and name in made:
            world.vote(made[name], "useful" if what == "real" else "false_positive", retracted=what == "unvote")
        elif what == "replay":
            world.replay()
        elif what == "settle" and known is not None and known.state == "asked":
            world.silence()
        elif what == "expire":
            world.ask(SilenceEnded(world.now, PATTERN, "s1", "somebody", 0, "revoked"))
        elif what == "edit" and key in world.state.silences:
            world.ask(SilenceChanged(world.now, PATTERN, "s1", "theirs", world.now + 3600, "somebody"))
        elif what == "clear" and name in made:
            alert = made[name].scored.alert
            world.ask(EpisodeEnded(world.now, made[name].scored.episode, alert.fingerprint, world.now))
        world.tick()
    rebuilt = State()
    for row in world.log:
        for event in row:
            rebuilt.fold(event)
        rebuilt.commit(rebuilt.seq + 1)
    assert rebuilt.dump() == world.state.dump()
    for _ in range(3):
        world.tick()
    due = world.state.next_due()
    assert due is None or due > world.now, "a duty that is never done keeps the ticker busy"
    standing = {key for key, one in world.state.silences.items() if one.state in STANDING}
    assert {key for keys in world.state.hushed.values() for key in keys} == standing
    assert set(world.state.freed) <= set(world.state.muted)
