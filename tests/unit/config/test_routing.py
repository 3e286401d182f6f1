"""Domains, roles and receivers."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.config import Config, loads
from sidecar.config.routing import Router

NOW = 1_800_000_000.0
WINDOWS = """
time_based_routing:
  always:
    schedule: "* * * * *"
    routes: {CRITICAL: [pager, chat], WARNING: [chat, chat], page: []}
"""
TEXT = """
receivers:
  - {name: default, log_configs: [{}]}
  - {name: chat, log_configs: [{}]}
  - {name: artemis-pager, log_configs: [{}, {path: /tmp/x, send_resolved: false}]}
domains:
  artemis: {roles: {pager: artemis-pager}}
  odd: {matchers: ['team=~"a|b"', 'env!="test"'], any_of: [['x="1"'], ['y="1"', 'z="1"']]}
"""


@pytest.fixture
def config() -> Config:
    return loads(TEXT + WINDOWS.replace(", page: []", ""))


@pytest.mark.parametrize(
    ("labels", "domain"),
    [
        ({"domain": "artemis"}, "artemis"),
        ({"domain": "artemis", "alertname": "KEDAScaling"}, "artemis"),
        ({"alertname": "KEDAScaling"}, "keda"),
        ({"alertname": "NodeDown"}, "infrastructure"),
        ({"domain": "infrastructure"}, "infrastructure"),
        ({"team": "a", "x": "1"}, "odd"),
        ({"team": "b", "y": "1", "z": "1"}, "odd"),
        ({"team": "a", "y": "1"}, ""),
        ({"team": "a", "x": "1", "env": "test"}, ""),
        ({"domain": "elsewhere"}, "elsewhere"),
        ({}, ""),
    ],
)
def test_the_first_domain_that_matches(config: Config, labels: dict[str, str], domain: str) -> None:
    """Given domains come first, the specification's follow; else the label, else nothing. Asking twice changes nothing."""
    assert config.domain_of(labels) == domain
    assert config.domain_of(labels) == domain


def test_roles_by_domain_by_name_and_by_default(config: Config) -> None:
    """A domain's mapping comes before a receiver of that name, which comes before the default receiver."""
    artemis = config.route("CRITICAL", {"domain": "artemis"}, NOW)
    assert (artemis.receivers, artemis.roles, artemis.unmapped) == (("artemis-pager", "chat"), ("pager", "chat"), ())
    sophia = config.route("CRITICAL", {"domain": "sophia"}, NOW)
    assert (sophia.receivers, sophia.unmapped) == (("default", "chat"), ("pager",))
    assert config.route("WARNING", {}, NOW).receivers == ("chat",)


def test_without_time_based_routing_everything_goes_to_the_default() -> None:
    """And the sentence says so."""
    route = loads(TEXT).route("CRITICAL", {}, NOW)
    assert (route.receivers, route.rule) == (("default",), "default")
    assert route.sentence == "there is no time_based_routing: it goes to the default receiver default"
    closed = loads(TEXT + 'time_based_routing: {w: {schedule: "0 3 * * *", routes: {INFO: [chat]}}}')
    assert closed.route("INFO", {}, NOW).sentence.startswith("no window of time_based_routing is open")


def test_the_default_receiver() -> None:
    """The named one, else the one called default, else the first, else one that prints."""
    two = "receivers: [{name: a, log_configs: [{}]}, {name: NAME, log_configs: [{}]}]\n"
    assert loads(two + "default_receiver: NAME").default == "NAME"
    assert loads(two.replace("NAME", "default")).default == "default"
    assert loads(two).default == "a"
    assert loads("").default == "default"
    assert loads("receivers: []").integration("default/log/0") is not None


def test_targets_are_blocks_with_what_is_worth_sending(config: Config) -> None:
    """Each block is a target; one that wants no resolve is sent none."""
    (first, kinds), (second, fewer) = config.targets("artemis-pager")
    assert (first, second) == ("artemis-pager/log/0", "artemis-pager/log/1")
    assert kinds - fewer == {"resolve"}
    found = config.integration(second)
    assert found is not None
    assert (found[0], getattr(found[1], "path", "")) == ("log", "/tmp/x")
    assert config.targets("nobody") == ()
    assert config.integration("nobody/log/0") is None
    assert config.receiver("nobody") is None


def test_maintenance_windows_overlap() -> None:
    """The one that ends last counts, its own time zone too, and an override may tell nobody."""
    text = """
time_based_routing:
  maintenance_windows:
    - {name: short, schedule: "0 2-4 * * *", suppress: [info, warn]}
    - {name: long, schedule: "0 2-6 * * *", timezone: UTC, suppress: [INFO], override_routes: {CRITICAL: []}}
"""
    config, night = loads(text), 1_800_000_000.0 - 1_800_000_000.0 % 86400 + 3 * 3600
    assert config.maintenance("INFO", night) == ("long", night + 3 * 3600)
    assert config.maintenance("WARNING", night) == ("short", night + 3600)
    route = config.route("CRITICAL", {}, night)
    assert (route.receivers, route.sentence) == ((), "CRITICAL is not delivered during long")


def test_a_minute_later_is_asked_again(config: Config) -> None:
    """The cache ends with the minute: a window that closes is closed in the next minute."""
    text = 'time_based_routing: {w: {schedule: "0 9-17 * * *", routes: {INFO: []}}}'
    config = loads(text)
    close = 1_800_000_000.0 - 1_800_000_000.0 % 86400 + 17 * 3600
    assert config.route("INFO", {}, close - 0.5).rule == "time_based_routing.w"
    assert config.route("INFO", {}, close).rule == "default"


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch, config: Config) -> None:
    """Labels that never repeat do not grow the memory."""
    monkeypatch.setattr("sidecar.config.routing._CACHED", 10)
    router: Any = config._router
    assert isinstance(router, Router)
    for number in range(100):
        labels = {"domain": f"d{number}"}
        assert config.domain_of(labels) == f"d{number}"
        assert config.route("INFO", labels, NOW + 60 * number).receivers == ("default",)
        config.maintenance("INFO", NOW + 60 * number)
    assert max(len(router._domain_cache), len(router._route_cache), len(router._rest_cache)) <= 10
