"""The ladder: what a certificate and an alertname's own votes let the score do, and what takes it back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from models.certificate import STALE_SECONDS, Certificate, Grant
from sidecar.domain import Decision, Verdict
from sidecar.pipeline import Inputs
from sidecar.state import State
from tests.unit.stories import NOON, Fixed, World

NO_FOLDING = {"folding": {"labels": [], "group": False}, "audit_sample": {"share": 0, "first_month": 0}}


def ladder(score: float = 0.95, *, hold: float | None = 0.9, suppress: float | None = None, **config) -> World:
    """A world in which a certificate of now allows this."""
    world = World(score, mode="ladder", **{**NO_FOLDING, **config})
    prove(world, score, hold, suppress)
    return world


def prove(world: World, score: float, hold: float | None = 0.9, suppress: float | None = None) -> None:
    world.scoring = Fixed(score, Certificate(world.now, Grant(hold), Grant(suppress)))


def judged(world: World, count: int, kind: str = "false_positive") -> None:
    """So many incidents of HighLatency, each on an instance of its own, told and voted on; the certificate is renewed."""
    certificate = world.scoring.certificate
    for n in range(count):
        world.scoring = Fixed(0.1)
        decision = world.fire(instance=f"{kind}{world.now:.0f}")
        world.vote(decision, kind, who=f"p{n % 3}")
        world.now += 4000
        world.clear(world.now - 4000, instance=decision.scored.alert.labels["instance"])
    world.state.silences.clear()
    prove(world, 0.95, certificate.hold.threshold, certificate.suppress.threshold)


def reason(decision: Decision) -> str:
    return next((one.sentence for one in decision.reasons if one.rule == "suppression_by_score"), "")


def test_without_a_certificate_nothing_is_kept_back():
    world = World(0.99, mode="ladder", **NO_FOLDING)
    world.scoring = Fixed(0.1, Certificate(world.now))
    judged(world, 60)
    world.scoring = Fixed(0.99)
    assert world.fire(instance="next").verdict is Verdict.NOTIFY


@pytest.mark.parametrize("score", [0.84, 0.89])
def test_a_score_under_the_floor_or_the_certificate_is_told(score):
    world = ladder(score)
    judged(world, 5)
    world.scoring = Fixed(score, world.scoring.certificate)
    assert world.fire(instance="next").verdict is Verdict.NOTIFY


def test_the_floor_of_the_operator_stands_above_the_certificate():
    models = [{"name": "m", "type": "binary-classifier", "confidence_threshold": 0.97}]
    world = ladder(hold=0.9, ml_anomaly_detection={"models": models})
    judged(world, 5)
    assert world.fire(instance="next").verdict is Verdict.NOTIFY


def test_an_alertname_with_too_few_votes_is_told():
    world = ladder()
    judged(world, 2)
    assert world.fire(instance="next").verdict is Verdict.NOTIFY
    judged(world, 1)
    assert world.fire(instance="another").verdict is Verdict.HOLD


def test_a_hold_waits_no_longer_than_its_severity_may():
    world = ladder(holding={"max": {"WARNING": "5m"}})
    judged(world, 5)
    held = world.fire(instance="next")
    assert held.verdict is Verdict.HOLD
    assert world.now < held.until <= world.now + 300
    assert "told if it still fires" in reason(held)


def test_a_certificate_that_nobody_renewed_allows_nothing():
    world = ladder()
    judged(world, 5)
    world.now += STALE_SECONDS + 1
    assert world.fire(instance="next").verdict is Verdict.NOTIFY


def after_hold(world: World, score: float | None = None, **labels: str) -> Decision:
    """What becomes of an alert that is held and still fires when its hold is over; `score` is the one it has by then."""
    held = world.fire(**labels)
    assert held.verdict is Verdict.HOLD
    certificate = replace(world.scoring.certificate, at=held.until)
    world.scoring = Fixed(world.scoring.value if score is None else score, certificate)
    return world.tick(held.until - world.now).decisions[0]


def test_suppression_needs_both_the_certificate_and_the_name_to_have_earned_it():
    """Eleven noise incidents in a row suppress what still fires after its hold; a real one takes that away."""
    world = ladder(suppress=None)
    judged(world, 11)
    assert after_hold(world, instance="uncertified").verdict is Verdict.NOTIFY
    prove(world, 0.95, 0.9, 0.92)
    gone = after_hold(world, instance="gone")
    assert gone.verdict is Verdict.SUPPRESS
    assert "after it was held; 11 of 11 judged incidents of HighLatency were noise, the last 11 all" in reason(gone)
    judged(world, 1, "useful")
    assert after_hold(world, instance="after").verdict is Verdict.NOTIFY


def test_ten_noise_incidents_in_a_row_have_not_earned_it():
    """One less than it takes; and after a real one they count from there, however many there were before."""
    world = ladder(suppress=0.92)
    judged(world, 10)
    assert after_hold(world, instance="ten").verdict is Verdict.NOTIFY
    judged(world, 30)
    judged(world, 1, "useful")
    judged(world, 10)
    assert after_hold(world, instance="ten again").verdict is Verdict.NOTIFY
    judged(world, 1)
    assert after_hold(world, instance="eleven").verdict is Verdict.SUPPRESS


@pytest.mark.parametrize(("first", "then"), [(0.98, 0.96), (0.96, 0.98), (0.98, 0.5), (0.96, 0.96)])
def test_both_scores_must_be_certified_to_suppress(first, then):
    """The certificate is about first scores, so a later one alone suppresses nothing; and one that falls has it told."""
    world = ladder(suppress=0.97)
    judged(world, 11)
    prove(world, first, 0.9, 0.97)
    assert after_hold(world, then, instance="next").verdict is Verdict.NOTIFY


def test_a_certificate_that_expires_while_it_is_held_suppresses_nothing():
    world = ladder(suppress=0.9)
    judged(world, 11)
    world.now = world.scoring.certificate.at + STALE_SECONDS - 1
    held = world.fire(instance="next")
    assert held.verdict is Verdict.HOLD
    assert world.tick(held.until - world.now).decisions[0].verdict is Verdict.NOTIFY


def test_what_is_first_heard_of_after_as_long_as_a_hold_is_not_held_again():
    """It fires for longer than a hold: suppressed where that is proven and earned, else told at once."""
    world = ladder(suppress=0.92)
    judged(world, 11)
    gone = world.fire(instance="late", since=world.now - 3600)
    assert gone.verdict is Verdict.SUPPRESS
    assert "fires for longer than a hold" in reason(gone)
    prove(world, 0.95, 0.9, None)
    assert world.fire(instance="other", since=world.now - 3600).verdict is Verdict.NOTIFY


def test_a_severity_that_is_never_held_is_never_suppressed():
    world = ladder(suppress=0.92, holding={"max": {"WARNING": "0s"}})
    judged(world, 11)
    assert world.fire(instance="next").verdict is Verdict.NOTIFY
    assert world.fire(instance="late", since=world.now - 3600).verdict is Verdict.NOTIFY


def test_auto_suppress_false_only_holds():
    off = {"models": [{"name": "m", "type": "binary-classifier", "auto_suppress": False}]}
    world = ladder(suppress=0.9, ml_anomaly_detection=off)
    judged(world, 50)
    assert after_hold(world, instance="next").verdict is Verdict.NOTIFY


def test_a_vote_real_on_exactly_this_alert_has_it_told_next_time():
    world = ladder()
    judged(world, 5)
    world.scoring = Fixed(0.1, world.scoring.certificate)
    first = world.fire(instance="odd")
    world.vote(first, "useful")
    world.now += 4000
    world.clear(world.now - 4000, instance="odd")
    prove(world, 0.95)
    assert world.fire(instance="odd").verdict is Verdict.NOTIFY
    assert world.fire(instance="usual").verdict is Verdict.HOLD


def test_a_burst_of_different_alerts_on_an_instance_is_told():
    world = ladder(deduplication={"strategies": {"temporal_correlation": {"enabled": False}}})
    judged(world, 5)
    world.scoring = Fixed(0.1, world.scoring.certificate)
    for n in range(5):
        world.fire(instance="burning", alertname=f"Rare{n}")
        world.now += 5
    prove(world, 0.95)
    assert world.fire(instance="burning").verdict is Verdict.NOTIFY


def test_one_confirmed_miss_takes_the_rung_away_until_it_is_earned_anew():
    """An alert that was kept back and is then called real; eleven noise incidents give the rung back."""
    world = ladder()
    judged(world, 5)
    held = world.fire(instance="missed")
    world.now += 60
    world.clear(world.now - 60, instance="missed")
    assert world.last.decisions[0].verdict is Verdict.DIGEST
    world.vote(held, "useful")
    world.now += 60
    assert world.fire(instance="after").verdict is Verdict.NOTIFY
    judged(world, 10)
    assert world.fire(instance="ten").verdict is Verdict.NOTIFY
    judged(world, 1)
    assert world.fire(instance="eleven").verdict is Verdict.HOLD


def test_a_miss_is_a_miss_also_when_the_alert_has_fired_again_since():
    """The vote comes days later, on an episode that is not the newest of its alert any more."""
    world = ladder()
    judged(world, 5)
    held = world.fire(instance="missed")
    world.now += 60
    world.clear(world.now - 60, instance="missed")
    world.now += 86_400
    again = world.fire(instance="missed")
    assert again.scored.episode != held.scored.episode
    world.vote(held, "useful")
    world.now += 60
    assert world.fire(instance="after").verdict is Verdict.NOTIFY


def test_a_vote_on_what_was_told_after_all_is_no_miss():
    """It was held, still fired, and people were told: nothing was missed."""
    world = ladder()
    judged(world, 5)
    held = world.fire(instance="told")
    assert world.tick(held.until - world.now).decisions[0].verdict is Verdict.NOTIFY
    world.vote(held, "useful")
    world.now += 60
    assert world.fire(instance="after").verdict is Verdict.HOLD


def test_an_alertname_with_a_drift_alarm_is_told_and_the_others_are_not():
    """Its rung is observe until a later run finds no drift."""
    world = ladder()
    judged(world, 5)
    sound = world.scoring.certificate
    world.scoring = Fixed(0.95, replace(sound, drifted={"HighLatency": "20% false, 90% before"}))
    assert world.fire(instance="drifted").verdict is Verdict.NOTIFY
    world.scoring = Fixed(0.95, replace(sound, drifted={"Other": "20% false, 90% before"}))
    assert world.fire(instance="sound").verdict is Verdict.HOLD


def test_drift_over_all_lets_nothing_be_suppressed():
    """What would be suppressed is held, and told if it still fires."""
    world = ladder(suppress=0.92)
    judged(world, 50)
    assert after_hold(world, instance="settled").verdict is Verdict.SUPPRESS
    world.scoring = Fixed(0.95, replace(world.scoring.certificate, unsettled="log-loss"))
    assert after_hold(world, instance="held").verdict is Verdict.NOTIFY


TUNED = {"feedback_loop": {"automation": {"auto_tune_thresholds": {}}}}


def floored(world: World, score: float, **floors: float) -> Decision:
    """What becomes of an alert of this score where votes have set these floors."""
    certificate = replace(world.scoring.certificate, at=world.now, floors=floors)
    world.scoring = Fixed(score, certificate)
    return world.fire(instance=f"i{world.now}{score}{floors}")


def test_an_alertname_with_a_floor_of_its_own_goes_by_it_where_that_is_certified():
    """Its floor may be below the confidence_threshold of all others, and never below what the certificate has proven."""
    world = ladder(hold=0.7, **TUNED)
    judged(world, 5)
    assert floored(world, 0.75, HighLatency=0.72).verdict is Verdict.HOLD
    assert floored(world, 0.75, Other=0.72).verdict is Verdict.NOTIFY
    assert floored(world, 0.69, HighLatency=0.6).verdict is Verdict.NOTIFY


def test_a_floor_of_its_own_may_be_higher():
    world = ladder(**TUNED)
    judged(world, 5)
    assert floored(world, 0.95, HighLatency=0.97).verdict is Verdict.NOTIFY
    assert floored(world, 0.98, HighLatency=0.97).verdict is Verdict.HOLD
    assert floored(world, 0.99, HighLatency=2.0).verdict is Verdict.NOTIFY, "no score proves it"


@pytest.mark.parametrize("tuned", [{}, {"feedback_loop": {"automation": {"auto_tune_thresholds": {"enabled": False}}}}])
def test_without_auto_tune_no_alertname_has_a_floor_of_its_own(tuned):
    """What a run left behind counts no longer, once it is turned off."""
    world = ladder(hold=0.7, **tuned)
    judged(world, 5)
    assert floored(world, 0.75, HighLatency=0.72).verdict is Verdict.NOTIFY
    assert floored(world, 0.95, HighLatency=0.97).verdict is Verdict.HOLD


def test_in_mode_auto_a_floor_of_its_own_only_raises():
    """Nothing is certified there: what the operator wrote is not undercut."""
    world = World(0.9, mode="auto", **NO_FOLDING, **TUNED)
    prove(world, 0.9)
    assert floored(world, 0.9, HighLatency=0.7).verdict is Verdict.SUPPRESS
    assert floored(world, 0.8, HighLatency=0.7).verdict is not Verdict.SUPPRESS
    assert floored(world, 0.9, HighLatency=0.95).verdict is not Verdict.SUPPRESS


def test_what_clears_while_held_joins_the_incident_that_people_have_by_now():
    world = ladder(folding={"labels": ["instance"], "group": False})
    judged(world, 5)
    since = world.now
    world.fire(instance="i9")
    world.scoring = Fixed(0.1, world.scoring.certificate)
    world.now += 30
    opened = world.fire(instance="i9", alertname="DiskFull")
    world.now += 30
    cleared = world.clear(since, instance="i9").decisions[0]
    assert (cleared.verdict, cleared.incident) == (Verdict.FOLD, opened.incident)
    assert world.kinds() == ["update"]
    assert world.state.next_due() is None


def test_guarded_alerts_flap_within_minutes_without_interrupting_again():
    """A CRITICAL that comes back within ten minutes updates what people have; after them it interrupts."""
    world = World(0.1)
    world.fire(severity="critical")
    for quiet, interrupts in ((120, False), (700, True)):
        world.now += 60
        world.clear(world.now - 60, severity="critical")
        world.now += quiet
        assert world.fire(severity="critical").interrupts is interrupts


def test_the_audit_sample_tells_its_share_and_says_so():
    """Drawn per instance and hour: about the share of them is told, marked, with its propensity on both sides."""
    world = ladder(audit_sample={"share": 0.2, "first_month": 0.2})
    judged(world, 5)
    alerts = tuple(world.alert(instance=f"n{n}") for n in range(500))
    decisions = world.batch(Inputs(alerts)).decisions
    told = [one for one in decisions if one.verdict is Verdict.NOTIFY]
    assert 60 < len(told) < 140
    assert {one.propensity for one in told} == {0.2}
    assert {one.marks for one in told} == {("audit sample: would have been held",)}
    assert {one.propensity for one in decisions if one.verdict is Verdict.HOLD} == {0.8}


def test_the_audit_sample_draws_an_instance_as_a_whole():
    world = ladder(audit_sample={"share": 0.5, "first_month": 0.5})
    judged(world, 5)
    world.now = world.now // 3600 * 3600 + 3600
    for n in range(20):
        one, other = (world.fire(instance=f"n{n}", pod=pod) for pod in ("a", "b"))
        assert one.verdict == other.verdict


def test_the_audit_sample_is_larger_in_the_first_month():
    world = ladder(audit_sample={"share": 0.0, "first_month": 1.0})
    judged(world, 5)
    assert world.fire(instance="young").verdict is Verdict.NOTIFY
    world.now += 31 * 86400
    prove(world, 0.95)
    assert world.fire(instance="old").verdict is Verdict.HOLD


def test_what_a_maintenance_window_keeps_back_is_not_sampled():
    """Nobody estimates how many real incidents a window hides: an operator wanted it to."""
    window = {"name": "weekly", "schedule": "0 8-18 * * *", "timezone": "UTC", "suppress": ["WARNING"]}
    drawing = {"share": 0.9, "first_month": 0.9}
    world = World(time_based_routing={"maintenance_windows": [window]}, audit_sample=drawing)
    for n in range(20):
        held = world.fire(instance=f"n{n}")
        assert (held.verdict, held.propensity, held.marks) == (Verdict.HOLD, 1.0, ())


def test_shadow_mode_keeps_nothing_back_and_is_not_sampled():
    world = ladder(audit_sample={"share": 1.0, "first_month": 1.0})
    judged(world, 5)
    shadow = World(0.95, mode="shadow", **NO_FOLDING)
    shadow.state, shadow.now, shadow.scoring = world.state, world.now, world.scoring
    told = shadow.fire(instance="next")
    assert (told.verdict, told.marks, told.propensity) == (
        Verdict.NOTIFY,
        ("shadow: would have been held for 11 min by suppression_by_score",),
        1.0,
    )


@pytest.mark.parametrize("source", ["cold-start", "http:v1"])
def test_what_no_trained_model_said_is_not_held(source):
    """The certificate is about trained models: a stand-in or somebody else's endpoint has proven nothing."""
    world = ladder()
    judged(world, 5)
    world.scoring.version = source
    assert world.fire(instance="next").verdict is Verdict.NOTIFY


def test_scoring_that_is_switched_off_keeps_nothing_back():
    world = ladder(ml_anomaly_detection={"enabled": False})
    judged(world, 5)
    assert world.fire(instance="next").verdict is Verdict.NOTIFY


def test_what_waited_for_a_maintenance_window_is_told_after_it():
    """However noisy it is: it was not held for its score."""
    window = {"name": "weekly", "schedule": "0 8-18 * * *", "timezone": "UTC", "suppress": ["WARNING"]}
    world = ladder(suppress=0.92, time_based_routing={"maintenance_windows": [window]})
    judged(world, 11)
    world.now = NOON + 86400
    prove(world, 0.95, 0.9, 0.92)
    held = world.fire(instance="next")
    assert held.reasons[-1].rule == "maintenance_windows"
    prove(world, 0.95, 0.9, 0.92)
    assert world.tick(held.until - world.now).decisions[0].verdict is Verdict.NOTIFY


def test_what_was_held_before_first_scores_were_kept_is_told():
    """A snapshot of an older version does not say with which score it was held."""
    world = ladder(suppress=0.92)
    judged(world, 11)
    held = world.fire(instance="next")
    known = world.state.holds.get(held.scored.alert.fingerprint)
    assert known.score == 0.95
    world.state.holds.put(held.scored.alert.fingerprint, replace(known, score=None))
    assert world.tick(held.until - world.now).decisions[0].verdict is Verdict.NOTIFY


def test_a_snapshot_from_before_misses_were_kept_loads():
    import msgspec

    held = msgspec.msgpack.decode(ladder().state.dump())
    del held["missed"]
    assert dict(State.load(msgspec.msgpack.encode(held)).missed) == {}


def kept_back(world: World, *waits: float, kind: str = "HighLatency") -> list[Verdict]:
    """Alerts of one instance, each of a pod of its own, so many seconds after the last; each clears in two minutes."""
    verdicts = []
    for n, wait in enumerate(waits):
        world.now += wait - 120.0
        prove(world, 0.95)
        decision = world.fire(instance="db-1", pod=f"pod-{n}", alertname=kind)
        verdicts.append(decision.verdict)
        world.now += 120.0
        world.clear(world.now, instance="db-1", pod=f"pod-{n}", alertname=kind)
    return verdicts


def test_the_third_alert_that_an_instance_keeps_back_within_an_hour_is_told():
    """Two that come at once count as one; after an hour of quiet it begins anew."""
    world = ladder()
    judged(world, 5)
    assert kept_back(world, 600, 130, 900) == [Verdict.HOLD] * 3
    assert kept_back(world, 900) == [Verdict.NOTIFY]
    assert "2 alerts of this instance were held within the hour" in reason(world.fire(instance="db-1", pod="another"))
    world.now += 7200
    assert kept_back(world, 600) == [Verdict.HOLD]


def test_other_instances_do_not_count():
    """What is kept back on one instance says nothing of another."""
    world = ladder()
    judged(world, 5)
    assert kept_back(world, 600, 900) == [Verdict.HOLD] * 2
    prove(world, 0.95)
    assert world.fire(instance="db-2").verdict is Verdict.HOLD


def test_what_was_kept_back_survives_a_snapshot():
    """A replica that starts from a snapshot tells the third alert too."""
    world = ladder()
    judged(world, 5)
    kept_back(world, 600, 900)
    world.state = State.load(world.state.dump())
    assert kept_back(world, 900) == [Verdict.NOTIFY]


def test_what_was_told_at_first_is_not_suppressed_on_a_later_score():
    """An alert that scored low, whose message nobody got: the next repeat tells it, however it is scored by then."""
    world = ladder(suppress=0.9)
    judged(world, 12)
    since = world.now
    world.scoring = Fixed(0.3, world.scoring.certificate)
    first = world.fire(instance="db-1", since=since)
    assert first.verdict is Verdict.NOTIFY
    world.dead(first.incident)
    world.now += 3600
    prove(world, 0.95, suppress=0.9)
    assert world.fire(instance="db-1", since=since).verdict is Verdict.NOTIFY


def test_alerts_without_an_instance_count_by_their_name():
    """The third within an hour is told, too."""
    world = ladder()
    judged(world, 5)
    seen = []
    for n in range(3):
        world.now += 600
        prove(world, 0.95)
        seen.append(world.fire(instance="", pod=f"p{n}").verdict)
        world.now += 60
        world.clear(world.now, instance="", pod=f"p{n}")
    assert seen == [Verdict.HOLD, Verdict.HOLD, Verdict.NOTIFY]
