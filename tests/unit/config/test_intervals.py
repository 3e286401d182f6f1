"""Alertmanager's time intervals in the file: what windows make of them, and mistakes in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.calendar import Schedule
from sidecar.config.intervals import zone_of
from sidecar.config.load import loads
from sidecar.config.notices import warnings
from sidecar.config.root import Config
from sidecar.errors import ConfigError
from sidecar.timetable import Part, Timetable

FILE = """
time_intervals:
- name: office
  time_intervals:
  - times: [{start_time: 09:00, end_time: 17:00}]
    weekdays: [monday:friday]
- name: lunch
  time_intervals:
  - times: [{start_time: 12:00, end_time: 13:00}]
    location: Asia/Tokyo
time_based_routing:
  day:
    time_interval: office
    routes: {INFO: [default]}
  rest:
    schedule: "0 0-23 * * *"
    routes: {INFO: []}
  maintenance_windows:
  - name: noon
    time_interval: [lunch]
    suppress: [WARNING]
"""


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_a_window_is_open_while_its_interval_contains_the_moment():
    """In UTC where the interval names no location, and in its own where it does."""
    config = loads(
        FILE.replace("time_interval: office\n", "time_interval: office\n    timezone: America/New_York\n", 1)
    )
    assert config.route("INFO", {}, at("2026-11-25T16:30", "America/New_York")).receivers == ("default",)
    assert config.route("INFO", {}, at("2026-11-25T08:30", "America/New_York")).receivers == ()


def test_a_list_of_intervals_is_open_while_one_of_them_is():
    config = loads(FILE.replace("time_interval: office", "time_interval: [office, lunch]"))
    assert config.route("INFO", {}, at("2026-11-25T12:30", "Asia/Tokyo")).receivers == ("default",)
    assert config.route("INFO", {}, at("2026-11-25T10:00")).receivers == ("default",)


@pytest.mark.parametrize(
    ("before", "after", "path", "words"),
    [
        ("time_interval: office", "time_interval: offcie", "time_based_routing.day.time_interval", "did you mean 'office'?"),
        ("[lunch]", "[lunch, x]", "time_based_routing.maintenance_windows[0].time_interval", "there is no time interval 'x'"),
        ("time_interval: office\n", "time_interval: office\n    schedule: '* * * * *'\n", "time_based_routing.day", "has both"),
        ("    time_interval: office\n", "", "time_based_routing.day", "has no schedule"),
        ("name: lunch", "name: office", "time_intervals[1].name", "'office' is there twice"),
        (
            "times: [{start_time: 12:00, end_time: 13:00}]", "months: ['1:12']",
            "time_based_routing.maintenance_windows[0].time_interval", "never closes",
        ),
        (
            "times: [{start_time: 12:00, end_time: 13:00}]", "years: ['2027:2028']",
            "time_based_routing.maintenance_windows[0].time_interval", "never closes",
        ),
        ("location: Asia/Tokyo", "location: Asia/Tokio", "time_intervals[1].time_intervals[0].location", "Asia/Tokyo"),
        ("start_time: 12:00", "start_time: 12", "time_intervals[1].time_intervals[0].times[0]", "'12' is not a time"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(before: str, after: str, path: str, words: str):
    assert before in FILE
    with pytest.raises(ConfigError) as refused:
        loads(FILE.replace(before, after, 1))
    where, wrong, hint = refused.value.problems[0]
    assert (where, words in wrong + hint) == (path, True)


def test_clock_times_are_text_as_they_are_to_alertmanager():
    """YAML 1.1 reads 17:00 as 1020; numbers stay numbers."""
    config = loads(FILE)
    assert config.time_intervals[0].time_intervals[0].times[0].end_time == "17:00"  # type: ignore[index]
    assert loads("silences: {budget: 0x10}\nholding: {min_score: 0.25}").silences.budget == 16
    assert loads("holding: {min_score: 2.5e-1}").holding.min_score == 0.25
    assert loads("server: {body_limit: 1_000}").server.body_limit == 1000


def test_the_section_is_printed_as_it_was_read():
    """`check-config` and the API show what is in force."""
    shown: Any = yaml.safe_load(loads(FILE).redacted())
    assert (
        loads(yaml.safe_dump({"time_intervals": shown["time_intervals"]})).time_intervals == loads(FILE).time_intervals
    )


@pytest.mark.parametrize(("location", "key"), [("", "UTC"), ("UTC", "UTC"), ("Europe/Berlin", "Europe/Berlin")])
def test_locations_are_read_as_go_reads_them(location: str, key: str):
    assert zone_of(location).key == key


def test_local_is_this_hosts_zone(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert zone_of("Local").key == "Europe/Berlin"
    monkeypatch.setenv("TZ", "")
    assert zone_of("Local").key == "UTC"
    monkeypatch.setenv("TZ", "Nowhere/City")
    assert zone_of("Local").key == "UTC"
    monkeypatch.delenv("TZ")
    assert zone_of("Local").utcoffset(datetime(2026, 1, 1)) is not None  # noqa: DTZ001


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"sla": "5m", "escalation": "imediate"}, "immediate"),
        ({"sla": "0s", "escalation": "immediate"}, "sla is 0"),
        ({"sla": "soon"}, "not a duration"),
    ],
)
def test_what_escalates_is_checked(definition: dict[str, str], words: str):
    with pytest.raises(ConfigError, match=words):
        loads(yaml.safe_dump({"severity_definitions": {"CRITICAL": definition}}))


def test_check_config_warns_of_what_nobody_can_acknowledge_and_of_roles_that_nobody_has():
    text = """
severity_definitions:
  CRITICAL: {sla: 5m, escalation: immediate, escalate_to: [lead]}
  WARNING: {escalation: business_hours}
  INFO: {sla: 4h, escalation: none, escalate_to: [lead]}
"""
    said = dict(warnings(loads(text)))
    assert said["slack.signing_secret"].endswith(
        "CRITICAL will escalate unless somebody votes by POST /api/v2/feedback"
    )
    assert said["severity_definitions.CRITICAL.escalate_to"].startswith("no receiver has the role 'lead'")
    assert said["severity_definitions.WARNING.escalation"] == "has no effect without sla"
    assert said["severity_definitions.INFO.escalate_to"] == "has no effect while escalation is none"
    assert "severity_definitions" not in " ".join(path for path, _ in warnings(loads("")))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 14 * 24 * 60), min_size=1, max_size=8))
def test_what_is_remembered_of_business_hours_is_what_they_are(minutes: list[int]):
    """Whatever was asked before, the answer is the timetable's own."""
    written = {"WARNING": {"sla": "90m", "escalation": "business_hours"}}
    hours = {"schedule": "0 9-17 * * 1-5", "timezone": "America/New_York", "routes": {"WARNING": ["default"]}}
    config = Config.model_validate({"severity_definitions": written, "time_based_routing": {"business_hours": hours}})
    table = Timetable((Part(Schedule.parse("0 9-17 * * 1-5"), ZoneInfo("America/New_York")),))
    for minute in minutes:
        now = at("2026-10-26T00:00") + 60 * minute
        assert config.acknowledged_by("WARNING", now) == table.open_for(now, 5400)


def test_business_hours_count_always_where_there_is_no_such_window():
    config = Config.model_validate(
        {"severity_definitions": {"WARNING": {"sla": "30m", "escalation": "business_hours"}}}
    )
    assert config.acknowledged_by("WARNING", 1000.0) == 2800.0
    assert config.acknowledged_by("INFO", 1000.0) is None
