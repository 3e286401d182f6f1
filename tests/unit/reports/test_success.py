"""The success metrics on hand-made periods, each with an answer that can be counted."""

from __future__ import annotations

import json
from math import isnan

import pytest

from models.evidence import least_hidden, most_hidden
from sidecar.reports import text
from sidecar.reports.hourly import show
from sidecar.reports.success import quantile_bounds, resampled, success
from sidecar.store.reports import Period
from sidecar.telemetry import Metrics
from tests.unit.reports.made import NOON, message, story


def metric(period, name):
    found = success(period)
    return next(one for part in ("effect", "success", "feedback") for one in found[part] if one["name"] == name)


def test_responses_count_incidents_that_people_were_told():
    """Two of four told incidents have a vote; a vote taken back and one on what nobody was told are none."""
    kinds = {"e0": ("false_positive", False), "e1": ("ack", False), "e2": ("useful", True), "e4": ("useful", False)}
    votes = [(episode, "ada", kind, NOON, back) for episode, (kind, back) in kinds.items()]
    period = story({}, {}, {}, {}, {"interrupts": False}, votes=votes)

    found = metric(period, "feedback_response_rate")
    assert (found["hits"], found["trials"]) == (2, 4)
    assert found["low"] == pytest.approx(0.0676, abs=1e-4)  # Clopper-Pearson, from a table
    assert found["high"] == pytest.approx(0.9324, abs=1e-4)


def test_useful_counts_incidents_and_marks_count_alerts():
    """One real alert makes its incident useful; each alert called false is a mark."""
    period = story(
        {"said": "fp", "incident": "mixed"}, {"said": "tp", "incident": "mixed"}, {"said": "fp"}, {"said": "fp"},
    )  # fmt: skip

    assert metric(period, "useful_alert_percentage")["value"] == pytest.approx(1 / 3)
    assert metric(period, "false_positive_marked")["value"] == 3


def test_time_to_acknowledge_is_from_the_message_to_the_first_ack():
    """Acks before the message do not count, and neither do later ones; five incidents are needed."""
    messages = [message(f"i{at}", 10.0) for at in range(5)]
    acks = {f"i{at}": [NOON + 5.0, NOON + 10.0 + 60.0 * (at + 1), NOON + 9999.0] for at in range(5)}
    found = metric(story(messages=messages, acknowledged=acks), "mean_time_to_acknowledge")

    assert found["value"] == 180.0
    assert 60.0 <= found["low"] < 180.0 < found["high"] <= 300.0
    few = metric(story(messages=messages[:4], acknowledged=acks), "mean_time_to_acknowledge")
    assert few["value"] is None
    assert "5 are needed" in few["why"]


def test_volume_and_false_reduction_count_what_did_not_interrupt():
    """Six of eight alerts are quiet; of the four called false three, and what nobody could judge is said."""
    period = story(
        {"said": "fp"}, {"said": "tp"},
        *({"said": "fp", "interrupts": False, "folds": True, "incident": "i0"} for _ in range(3)),
        *({"interrupts": False} for _ in range(3)),
    )  # fmt: skip

    assert metric(period, "alert_volume_reduction")["value"] == 0.75
    found = metric(period, "false_positive_reduction")
    assert found["value"] == 0.75
    assert "3 alerts that nobody was told of" in found["note"]
    assert metric(period, "false_positive_rate")["value"] == 0.25
    told = metric(period, "real_incidents_told")
    assert (told["hits"], told["trials"]) == (1, 1)


def test_bounds_count_incidents_not_alerts():
    """A thousand alerts of two incidents prove next to nothing."""
    storm = [{"said": "fp", "incident": "a", "interrupts": False, "folds": True} for _ in range(500)]
    loud = [{"said": "fp", "incident": "b"} for _ in range(500)]

    found = metric(story(*storm, *loud), "false_positive_reduction")
    assert (found["low"], found["high"]) == (0.0, 1.0)
    assert found["met"] is None


def test_delivery_time_is_the_99th_percentile_of_what_was_sent():
    """1,000 messages of 1 to 1,000 ms: the 990th, with bounds from its neighbours; dead and waiting ones have no time."""
    messages = [message(f"i{at}", at / 1000) for at in range(1, 1001)]
    found = metric(
        story(messages=[*messages, message("x", None, "waiting"), message("y", 9e4, "dead")]), "delivery_latency_p99"
    )

    assert found["value"] == pytest.approx(0.990)
    assert found["low"] == pytest.approx(0.983)  # binomial quantiles of 1,000 and 0.99: 983 below, 996 above
    assert found["high"] == pytest.approx(0.997)
    assert found["met"] is True
    few = metric(story(messages=messages[:99]), "delivery_latency_p99")
    assert few["value"] is None
    assert "the slowest took 0.1 s" in few["why"]


def test_few_values_have_no_upper_bound_of_a_high_quantile():
    """Nothing above the largest was ever seen."""
    assert quantile_bounds([float(at) for at in range(150)], 0.99)[1] is None


def test_a_message_counts_as_delivered_when_it_arrived():
    """Dead ones count against it, merged and waiting ones do not count, and 99.9 % takes thousands to prove."""
    sent = [message(f"i{at}", 1.0) for at in range(99)]
    others = [message("d", 2.0, "dead"), message("m", 2.0, "merged"), message("w", None, "waiting")]
    found = metric(story(messages=[*sent, *others]), "notification_success")

    assert found["value"] == 0.99
    assert found["met"] is None
    assert "1 wait" in found["note"]
    assert metric(story(messages=sent), "notification_success")["met"] is None
    assert metric(story(attempts={"sent": 3, "retry": 1}), "attempt_success")["value"] == 0.75


def test_alerts_per_notification_counts_interruptions_once():
    """Two receivers told at once are one interruption; a reminder is one more."""
    rows = [{"incident": f"i{at}", "interrupts": n == 0, "folds": n > 0} for at in range(5) for n in range(8)]
    messages = [message(f"i{at}", 1.0, seq=at) for at in range(5) for _ in range(2)]
    messages += [message(f"i{at}", 1.0, seq=100 + at, kind="reminder") for at in range(5)]
    found = metric(story(*rows, messages=messages), "grouping_efficiency")

    assert (found["value"], found["low"], found["high"]) == (4.0, 4.0, 4.0)
    assert found["met"] is True


def test_resampling_is_the_same_every_time_and_holds_the_value():
    """A fixed seed: two reports of the same data do not differ."""
    values = [float(at % 7) for at in range(50)]
    low, high = resampled(values, [1.0] * 50)

    assert (low, high) == resampled(values, [1.0] * 50)
    assert low < sum(values) / 50 < high


def test_nothing_stored_is_not_measured_and_says_why():
    """No number is invented: not one metric but the counts has a value, and each says what is missing."""
    found = success(Period(0.0, 1.0))

    for part in ("effect", "success", "feedback"):
        for one in found[part]:
            assert one["value"] is None or one["unit"] == "count", one
            assert one["why"] or one["unit"] == "count", one
    assert "not measured" in text.report(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_shadow_mode_is_counted_apart():
    """What was only marked interrupted people, and is no reduction."""
    period = story({"marked": True}, {})

    assert metric(period, "shadow_reduction")["value"] == 0.5
    assert metric(period, "alert_volume_reduction")["value"] == 0.0


def test_gauges_show_the_report():
    """Each gauge has the report's value, and NaN where nothing was measured."""
    metrics = Metrics()
    show(success(story({"said": "fp"}, {}, {"interrupts": False}, {})), metrics)

    value = metrics.registry.get_sample_value
    assert value("sidecar_feedback_response_ratio") == pytest.approx(1 / 3)
    assert value("sidecar_alert_volume_reduction_ratio") == 0.25
    assert value("sidecar_false_positives_marked") == 1
    unknown = value("sidecar_delivery_latency_p99_seconds")
    assert unknown is not None
    assert isnan(unknown)


def test_text_has_bounds_and_targets():
    """A person reads the value, its bounds and whether the target is met."""
    said = text.report(success(story(*({"said": "fp", "at": at} for at in range(10)))))

    assert "False positive rate" in said
    assert "100.0 %  [69.2 %, 100.0 %]  (target < 30 %) missed" in said


# -------------------------------------------------------------------------------------------- what the audit sample shows


def kept(n: int, said: str = "", *, drawn: bool = False, **more):
    """An alert that a score would have kept back, on an instance of its own."""
    return {
        "where": f"k{n}",
        "decided_at": NOON,
        "chance": 0.1,
        "drawn": drawn,
        "said": said,
        "interrupts": drawn,
    } | more


def test_the_miss_rate_comes_from_what_was_drawn():
    """Of 30 real ones told and two drawn at a tenth: some 18 missed. What nobody was told of needs no vote for it."""
    shown = [{"said": "tp", "where": f"t{n}", "decided_at": NOON} for n in range(30)]
    drawn = [kept(n, "tp", drawn=True) for n in range(2)]
    found = story(*shown, *drawn, *(kept(n) for n in range(10, 40)), kept(50, "fp", drawn=True))
    missed, spared = metric(found, "audited_miss_rate"), metric(found, "audited_reduction")
    assert missed["value"] == pytest.approx(18 / 50)
    assert (missed["hits"], missed["trials"]) == (2, 32)
    most = most_hidden(2, 0.1, 0.975)
    least = least_hidden(2, 0.1, 0.975)
    assert missed["low"] == pytest.approx((least - 2) / (30 + least))
    assert missed["high"] == pytest.approx((most - 2) / (30 + most))
    assert spared["value"] == pytest.approx(9 / 10)
    assert "2 only because they were drawn, at 10%" in missed["note"]


def test_what_a_hold_told_late_was_not_missed():
    """Ten kept back at first and told when the hold ended, one drawn: all ten that it stands for are accounted for."""
    late = [kept(n, "tp", interrupts=True) for n in range(1, 10)]
    found = metric((story(kept(0, "tp", drawn=True), *late)), "audited_miss_rate")
    assert found["value"] == 0.0
    assert "9 after a hold" in found["note"]


def test_what_was_kept_back_without_an_audit_sample_is_not_measured():
    """And with nothing kept back, all is known."""
    hidden = metric((story({"said": "tp"}, {"interrupts": False})), "audited_miss_rate")
    assert (hidden["value"], hidden["why"]) == (None, "nothing that was kept back was open to the audit sample")
    open_ = metric((story({"said": "tp"})), "audited_miss_rate")
    assert (open_["value"], open_["low"], open_["high"]) == (0.0, 0.0, 0.0)
    none = metric((story({"said": "fp"})), "audited_miss_rate")
    assert (none["value"], none["why"]) == (None, "no alert was called real")


def test_a_drawn_alert_that_nobody_judged_is_named():
    """What is not judged is not counted, and the note says how many."""
    found = metric((story({"said": "tp"}, kept(1, drawn=True))), "audited_miss_rate")
    assert "1 drawn alerts were not judged" in found["note"]
    assert found["high"] > 0.9
