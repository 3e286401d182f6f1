"""The specification's YAML blocks 2.1 to 3.4 and 8.4, pasted unchanged into one configuration, do what they say.

The blocks are in tests/unit/config/specification.yml, letter by letter; receivers that have no channel yet stand for
themselves. What Alertmanager does itself (grouping, inhibition) is asked of a real one, with the configuration rendered
from the same file; hours and days pass on a clock of their own.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import yaml

from sidecar.config import Config, loads
from sidecar.config.durations import parse_duration
from sidecar.domain import Verdict
from sidecar.pipeline import Inputs
from tests.acceptance.world import alert, within
from tests.servers import Alertmanager
from tests.unit.config.samples import SPECIFICATION, env_of
from tests.unit.stories import Fixed
from tests.unit.stories import World as Stage

ROLES = (
    "oncall", "pagerduty", "slack-oncall", "slack-engineering", "slack-monitoring", "email", "phone",
)  # fmt: skip
RECEIVERS = (
    "receivers: ["
    + ", ".join(f"{{name: {role}, log_configs: [{{}}]}}" for role in ROLES)
    + "]\ndefault_receiver: oncall\nalertmanagers: [{url: 'http://127.0.0.1:9093'}]\n"
    + "audit_sample: {share: 0, first_month: 0}\n"
)
LA = ZoneInfo("America/Los_Angeles")
MONDAY_10 = "2026-11-23T10:00"
MONDAY_20 = "2026-11-23T20:00"
SUNDAY_3 = "2026-11-22T03:00"


def specified(more: str = "") -> Config:
    return loads(SPECIFICATION + RECEIVERS + more, env_of(SPECIFICATION))


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=LA).timestamp()


def stage(when: str = MONDAY_10, score: float = 0.1, more: str = "") -> Stage:
    world = Stage(score)
    world.config, world.now = specified(more), at(when)
    return world


# ---------------------------------------------------------------------------------------------------------- 2.1 grouping


@pytest.mark.parametrize(
    ("labels", "hours"),
    [
        ({"domain": "artemis"}, 4),
        ({"domain": "sophia"}, 6),
        ({"alertname": "NodeDown"}, 2),
        ({"alertname": "KEDAScalingFailed"}, 0.5),
    ],
)
def test_what_still_fires_is_told_again_after_its_domains_repeat_interval(labels, hours):
    """repeat_interval: 4h, 6h, 2h and 30m."""
    world = stage()
    since = world.now
    world.vote(world.fire(since=since, **labels), "ack")
    world.now = since + hours * 3600 - 120
    world.batch(Inputs((world.alert(since=since, **labels),)))
    assert "reminder" not in world.kinds()
    world.now = since + hours * 3600
    world.batch(Inputs((world.alert(since=since, **labels),)))
    assert "reminder" in world.kinds()


async def test_alertmanager_groups_each_domain_as_it_says():
    """A stock Alertmanager takes the rendered configuration, and its routes have the four blocks' values."""
    from sidecar.alertmanager_config import render

    rendered = render(specified(), "http://127.0.0.1:9095")
    written = yaml.safe_load(SPECIFICATION)["grouping"]
    found = [route for route in yaml.safe_load(rendered)["route"]["routes"] if "group_wait" in route]
    for name, group in written.items():
        same = [route for route in found if all(_read(route.get(key)) == _read(value) for key, value in group.items())]
        assert same, f"no route has the values of {name}"
    async with Alertmanager(rendered) as alertmanager:
        status = await alertmanager.get("/api/v2/status")
        assert "scaledobject" in status["config"]["original"]


def _read(value):
    """60s and 1m are the same."""
    return parse_duration(value) if isinstance(value, str) else value


# --------------------------------------------------------------------------------------------------------- 2.2 severities


def test_critical_that_nobody_acknowledges_escalates_within_its_sla_at_any_hour():
    """sla: 5m, escalation: immediate."""
    world = stage(SUNDAY_3)
    world.fire(severity="CRITICAL")
    before = {d.receiver for d in world.last.deliveries}
    assert world.tick(4 * 60).deliveries == ()
    escalated = world.tick(2 * 60).deliveries
    assert escalated
    assert {d.receiver for d in escalated} != before or {d.kind for d in escalated} == {"raise"}


def test_an_acknowledgement_stops_the_escalation():
    """From any side: here by the API."""
    world = stage()
    decision = world.fire(severity="CRITICAL")
    world.now += 60
    world.vote(decision, "ack")
    assert world.tick(3600).deliveries == ()


def test_warning_escalates_in_business_hours_only():
    """sla: 30m, escalation: business_hours; told at 16:50, half an hour of business is over on Tuesday at 9:20."""
    world = stage("2026-11-23T16:50")
    world.fire(severity="WARNING")
    world.tick()
    world.now = at("2026-11-23T23:00")
    assert world.tick().deliveries == ()
    world.now = at("2026-11-24T09:15")
    assert world.tick().deliveries == ()
    world.now = at("2026-11-24T09:25")
    assert [d.kind for d in world.tick().deliveries] != []


def test_info_never_escalates():
    """escalation: none."""
    world = stage()
    world.fire(severity="INFO")
    assert world.tick(2 * 86_400).deliveries == ()


# ------------------------------------------------------------------------------------------------------- 2.3 deduplication


SAME = {"alertname": "PodCrash", "namespace": "shop", "service": "cart", "pod": "cart-1"}


def test_equal_fields_are_one_alert_within_the_correlation_window():
    """exact_match on [alertname, namespace, service, pod], correlation_window: 5m."""
    world = stage()
    first = world.fire(**SAME, instance="a")
    world.now += 290
    again = world.fire(**SAME, instance="b")
    assert (again.verdict, again.incident) == (Verdict.FOLD, first.incident)
    assert again.reasons[0].rule == "exact_deduplication"


def test_alerts_that_read_alike_are_one():
    """fuzzy_match at 0.85 on [alertname, namespace, service]: the hash of a replica set is no difference."""
    world = stage()
    names = ("checkout-7d4b9c6f5-x2x9q", "checkout-6c8d5b7f9-k4j7m")
    first = world.fire(alertname="HighLatency", namespace="shop", service=names[0], instance="a")
    world.now += 60
    second = world.fire(alertname="HighLatency", namespace="shop", service=names[1], instance="b")
    assert (second.verdict, second.incident) == (Verdict.FOLD, first.incident)
    other = world.fire(alertname="DiskFull", namespace="mail", service="imap", instance="c")
    assert other.verdict is Verdict.NOTIFY


def test_three_alerts_of_a_service_within_two_minutes_are_one_incident():
    """temporal_correlation: window 2m, min_alerts 3."""
    world = stage()
    made = []
    for n, name in enumerate(("HighLatency", "ErrorRate", "QueueFull")):
        made.append(world.fire(alertname=name, namespace="shop", service="cart", instance=f"i{n}"))
        world.now += 30
    assert [d.verdict for d in made] == [Verdict.NOTIFY, Verdict.NOTIFY, Verdict.FOLD]
    assert made[2].incident in {made[0].incident, made[1].incident}


# ---------------------------------------------------------------------------------------------------------- 3.1 inhibition


INHIBITED = [
    (
        {"alertname": "CircuitBreakerOpen", "cluster": "eu", "namespace": "p", "service": "s"},
        {"alertname": "ApiHighLatency"},
    ),
    ({"alertname": "NodeDown", "node": "n1"}, {"alertname": "PodCrashLooping"}),
    ({"alertname": "MaintenanceWindow", "namespace": "p"}, {"alertname": "KEDAScalingFailed"}),
    ({"alertname": "AIModelLoading", "namespace": "p", "model_name": "m"}, {"alertname": "AIInferenceLatencyHigh"}),
    ({"alertname": "DatabaseMigrationInProgress", "database": "d", "namespace": "p"}, {"alertname": "SlowQueryRate"}),
]


async def test_alertmanager_inhibits_by_all_five_rules():
    """Each source mutes its target where the labels are equal, and not elsewhere."""
    from sidecar.alertmanager_config import render

    async with Alertmanager(render(specified(), "http://127.0.0.1:1")) as alertmanager:
        sent = []
        for source, target in INHIBITED:
            where = {name: value for name, value in source.items() if name != "alertname"}
            elsewhere = dict.fromkeys(where, "elsewhere")
            sent += [alert(**_named(source)), alert(**_named(where | target)), alert(**_named(elsewhere | target))]
        await alertmanager.post(sent)

        async def muted() -> set[tuple[str, bool]] | None:
            found = await alertmanager.get("/api/v2/alerts")
            by = {
                (one["labels"]["alertname"], "elsewhere" in one["labels"].values()): bool(one["status"]["inhibitedBy"])
                for one in found
            }
            return {key for key, inhibited in by.items() if inhibited} if len(by) == len(sent) else None

        expected = {(target["alertname"], False) for _, target in INHIBITED}
        await within(20, lambda: _equal(muted, expected))


def _named(labels: dict[str, str]) -> dict[str, str]:
    return {("name" if key == "alertname" else key): value for key, value in labels.items()} | {"severity": "WARNING"}


async def _equal(ask, expected) -> bool:
    found = await ask()
    await asyncio.sleep(0.1)
    return found == expected


# ------------------------------------------------------------------------------------------------------ 3.2 time of day


@pytest.mark.parametrize(
    ("when", "severity", "receivers"),
    [
        (MONDAY_10, "CRITICAL", ("pagerduty", "slack-oncall")),
        (MONDAY_10, "WARNING", ("slack-engineering", "email")),
        (MONDAY_10, "INFO", ("slack-monitoring",)),
        (MONDAY_20, "CRITICAL", ("pagerduty", "slack-oncall", "phone")),
        (MONDAY_20, "WARNING", ("slack-oncall",)),
        ("2026-11-22T12:00", "CRITICAL", ("pagerduty", "slack-oncall", "phone")),
        (SUNDAY_3, "CRITICAL", ("slack-oncall",)),
    ],
)
def test_who_is_told_depends_on_severity_and_hour(when, severity, receivers):
    """business_hours, off_hours and the override of the weekly maintenance."""
    world = stage(when)
    world.fire(severity=severity)
    assert {d.receiver.split("/")[0] for d in world.last.deliveries} == set(receivers)


def test_info_waits_through_the_night_and_is_told_in_the_morning_if_it_still_fires():
    """INFO: [] in off hours."""
    world = stage(MONDAY_20)
    held = world.fire(severity="INFO")
    assert held.verdict is Verdict.HOLD
    assert world.last.deliveries == ()
    world.now = at("2026-11-24T08:59")
    assert world.tick().deliveries == ()
    world.now = at("2026-11-24T09:00")
    assert [d.receiver.split("/")[0] for d in world.tick().deliveries] == ["slack-monitoring"]


def test_maintenance_rests_info_and_warning_until_it_ends():
    """Sunday 2 to 4: suppress: [INFO, WARNING]; what still fires at 4 is told."""
    world = stage(SUNDAY_3)
    assert world.fire(severity="WARNING").verdict is Verdict.HOLD
    assert world.last.deliveries == ()
    world.now = at("2026-11-22T04:00")
    assert [d.receiver.split("/")[0] for d in world.tick().deliveries] == ["slack-oncall"]


# ------------------------------------------------------------------------------------------------------- 3.3 aggregation


@pytest.mark.parametrize(
    ("summary", "labels", "threshold", "apart", "title"),
    [
        ("Pod cart-{n} in namespace shop is failing", {"namespace": "shop"}, 3, 60, "Multiple pods failing in shop"),
        (
            "KEDA scaled cart from {n} to 9 replicas",
            {"namespace": "shop", "scaledobject": "cart"},
            5,
            60,
            "Frequent scaling in shop/cart",
        ),
        (
            "API endpoint /pay returning 5xx",
            {"endpoint": "/pay"},
            10,
            4,
            "API /pay experiencing errors ({count} in 1m)",
        ),
    ],
)
def test_many_alike_become_one_message(summary, labels, threshold, apart, title):
    """Threshold alerts within the window: one aggregate takes over, and those that follow are in it."""
    world = stage()
    made = []
    for n in range(threshold + 2):
        received = world.alert(alertname=f"Alert{n}", severity="WARNING", instance=f"i{n}", service=f"s{n}", **labels)
        notes = {"summary": summary.replace("{n}", str(n))}
        object_with_notes = type(received.alert)(
            received.alert.fingerprint, received.alert.labels, notes, received.alert.starts_at, None
        )
        batch = world.batch(Inputs((type(received)(object_with_notes, "", "", world.now),)))
        made.append(batch.decisions[0])
        world.now += apart
    incident = world.state.incidents[made[-1].incident]
    assert incident.title == title
    assert made[threshold - 1].incident == made[threshold].incident == made[threshold + 1].incident
    assert all(d.incident != incident for d in made[: threshold - 1])


# ---------------------------------------------------------------------------------------------------------------- 3.4 models


def test_a_confident_classifier_suppresses():
    """confidence_threshold: 0.85 and auto_suppress: true, read literally in mode auto."""
    world = stage(more="mode: auto\n")
    world.scoring = Fixed(0.86)
    assert world.fire(severity="WARNING").verdict is Verdict.SUPPRESS
    world.scoring = Fixed(0.84)
    assert world.fire(severity="WARNING", instance="other").verdict is not Verdict.SUPPRESS


def test_in_the_usual_mode_it_has_to_be_earned():
    """Without labelled evidence the same score keeps nothing back."""
    world = stage()
    world.scoring = Fixed(0.99)
    assert world.fire(severity="WARNING").verdict is Verdict.NOTIFY


# -------------------------------------------------------------------------------------------------------- 8.4 feedback loop


def test_the_nightly_job_and_the_thresholds_are_the_specifications():
    """schedule, auto_tune_thresholds and auto_silence_patterns."""
    config = specified()
    assert config.training.schedule == "0 0 * * *"
    assert config.auto_tune is not None
    assert (config.auto_tune.confidence_required, config.auto_tune.min_samples) == (0.85, 100)
    assert (config.auto_silence.pattern_threshold, config.auto_silence.duration) == (5, 86_400)
