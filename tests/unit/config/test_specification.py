"""The specification's own blocks paste in unchanged, and mean what it says."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import yaml

from sidecar.config import AutoSilence, Config, Group, loads, warnings
from tests.unit.config.samples import RECEIVERS, SPECIFICATION, env_of

LA = ZoneInfo("America/Los_Angeles")


@pytest.fixture(scope="module")
def config() -> Config:
    return loads(SPECIFICATION + RECEIVERS, env_of(SPECIFICATION))


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=LA).timestamp()


def test_every_block_is_there() -> None:
    """The fixture holds the sections 2.1 to 2.3, 3.1 to 3.4, 6.1, 6.3, 6.4 and 8.4."""
    assert list(yaml.safe_load(SPECIFICATION)) == [
        *("grouping", "severity_definitions", "deduplication", "inhibit_rules", "time_based_routing"),
        *(
            "aggregation_rules",
            "ml_anomaly_detection",
            "authentication",
            "encryption",
            "audit_logging",
            "feedback_loop",
        ),
    ]


def test_defaults_are_the_specifications(config: Config) -> None:
    """Leaving a section out is the same as pasting it."""
    bare = loads("", {})
    assert bare.grouping == config.grouping
    assert bare.deduplication == config.deduplication
    assert bare.inhibit_rules == config.inhibit_rules
    assert bare.auto_silence == config.auto_silence
    assert bare.confidence_threshold == config.confidence_threshold
    assert bare.auto_suppress is config.auto_suppress
    for name, definition in config.severity_definitions.items():
        same = bare.severity_definitions[name]
        assert (same.description, same.sla, same.escalation) == (
            definition.description,
            definition.sla,
            definition.escalation,
        )


def test_what_is_asked_of_it(config: Config) -> None:
    """The values that rules and training read."""
    assert config.group_for("sophia") == Group(
        group_by=("alertname", "cluster", "namespace", "ai_model", "severity"),
        group_wait=45.0,
        group_interval=600.0,
        repeat_interval=21600.0,
    )
    assert config.group_for("keda").repeat_interval == 1800
    assert config.group_for("infrastructure").group_wait == 10
    assert config.group_for("nobody") == Group()
    assert config.group_for("") == Group()
    assert config.auto_silence == AutoSilence(enabled=True, pattern_threshold=5, duration=86400.0, window=2592000.0)
    assert (config.confidence_threshold, config.auto_suppress) == (0.85, True)
    assert config.training.schedule == "0 0 * * *"
    assert config.deduplication.correlation_window == 300
    assert config.encryption is not None
    assert config.encryption.data_encryption is not None
    assert config.encryption.data_encryption.key_rotation == 30 * 86400


@pytest.mark.parametrize(
    ("when", "severity", "receivers", "rule"),
    [
        ("2026-11-23T10:00", "CRITICAL", ("pagerduty", "slack-oncall"), "time_based_routing.business_hours"),
        ("2026-11-23T10:00", "INFO", ("oncall",), "time_based_routing.business_hours"),
        ("2026-11-23T20:00", "CRITICAL", ("pagerduty", "slack-oncall", "oncall"), "time_based_routing.off_hours"),
        ("2026-11-23T20:00", "WARNING", ("slack-oncall",), "time_based_routing.off_hours"),
        ("2026-11-23T20:00", "INFO", (), "time_based_routing.off_hours"),
        ("2026-11-22T03:00", "CRITICAL", ("slack-oncall",), "time_based_routing.maintenance_windows"),
        ("2026-11-22T03:00", "WARNING", ("slack-oncall",), "time_based_routing.off_hours"),
        ("2026-11-23T10:00", "ERROR", ("oncall",), "default"),
    ],
)
def test_who_is_told_when(config: Config, when: str, severity: str, receivers: tuple[str, ...], rule: str) -> None:
    """Business hours, off hours and maintenance, in the specification's time zone."""
    route = config.route(severity, {"domain": "artemis"}, at(when))
    assert (route.receivers, route.rule) == (receivers, rule)


def test_sentences_are_for_people(config: Config) -> None:
    """What goes into a message's reasons."""
    say = lambda when, severity: config.route(severity, {}, at(when)).sentence  # noqa: E731
    assert say("2026-11-23T20:00", "INFO") == "INFO is not delivered in off_hours"
    assert say("2026-11-23T20:00", "CRITICAL") == (
        "CRITICAL goes to pagerduty, slack-oncall and oncall in off_hours (no receiver for phone: oncall stands in)"
    )
    assert say("2026-11-22T02:00", "CRITICAL") == "CRITICAL goes to slack-oncall during Weekly Maintenance"
    assert say("2026-11-23T10:00", "ERROR") == (
        "business_hours has no route for ERROR: it goes to the default receiver oncall"
    )


def test_maintenance_in_the_zone_of_business_hours(config: Config) -> None:
    """Sunday from 2 to 4 rests INFO and WARNING, and never CRITICAL."""
    inside = at("2026-11-22T02:30")
    assert config.maintenance("WARNING", inside) == ("Weekly Maintenance", at("2026-11-22T04:00"))
    assert config.maintenance("CRITICAL", inside) is None
    assert config.maintenance("WARNING", at("2026-11-22T04:00")) is None


def test_nothing_is_silently_without_effect(config: Config) -> None:
    """check-config names every pasted section that does nothing yet, and the role that nobody has."""
    said = dict(warnings(config))
    for path in (
        *("audit_logging", "authentication", "encryption"),
        *("ml_anomaly_detection.models[0].features", "feedback_loop.processing.pipeline"),
    ):
        assert "no effect yet" in said[path] or "have no effect yet" in said[path]
    assert "feedback_loop.automation.auto_tune_thresholds" not in said
    assert "severity_definitions" not in said
    assert "`provider: http` asks it" in said["ml_anomaly_detection.models[0].endpoint"]
    assert said["time_based_routing.off_hours.routes.CRITICAL"] == (
        "no receiver has the role 'phone': alerts for it go to the default receiver oncall"
    )
    assert not any("no effect" in sentence for _, sentence in warnings(loads("")))
