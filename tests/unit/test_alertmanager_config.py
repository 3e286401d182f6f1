"""The generated Alertmanager configuration."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sidecar.alertmanager_config import render
from sidecar.config import loads
from tests.unit.config.samples import EXAMPLE, env_of


def rendered(text: str = "", **more: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(render(loads(text, {}), "http://sidecar:9095", **more))
    return parsed


def down(parsed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in parsed["receivers"] if one["name"] == "sidecar-down")
    return found


def test_everything_goes_to_the_sidecar() -> None:
    """By one webhook without a limit, with resolves, and without following redirects, which lose alerts."""
    parsed = rendered()
    assert parsed["route"]["receiver"] == "sidecar"
    assert parsed["receivers"][0]["webhook_configs"] == [
        {
            "url": "http://sidecar:9095/webhook",
            "send_resolved": True,
            "max_alerts": 0,
            "http_config": {"follow_redirects": False},
        }
    ]


def test_each_domain_has_the_specifications_grouping() -> None:
    """One route per domain, one per alternative, none of them ending before the sidecar."""
    routes = rendered()["route"]["routes"][1:]
    assert [(route["matchers"], route["group_wait"], route["repeat_interval"]) for route in routes] == [
        (['domain="artemis"'], "30s", "4h"),
        (['domain="sophia"'], "45s", "6h"),
        (['alertname=~"KEDA.*"'], "1m", "30m"),
        (['alertname=~"Node.*|Disk.*|Memory.*"'], "10s", "2h"),
        (['domain="infrastructure"'], "10s", "2h"),
    ]
    assert {route["receiver"] for route in routes} == {"sidecar"}
    assert routes[1]["group_by"] == ["alertname", "cluster", "namespace", "ai_model", "severity"]


def test_the_specifications_inhibition_rules_are_written() -> None:
    """The five of 3.1, or those of the file."""
    rules = rendered()["inhibit_rules"]
    assert len(rules) == 5
    assert rules[1] == {
        "source_matchers": ['alertname="NodeDown"'],
        "target_matchers": ['alertname=~"Pod.*|Container.*"'],
        "equal": ["node"],
    }
    own = rendered("inhibit_rules: [{source_matchers: ['{a=b, c!=d}'], target_matchers: [e=~f]}]")["inhibit_rules"]
    assert own == [{"source_matchers": ['a="b"', 'c!="d"'], "target_matchers": ['e=~"f"']}]


def test_the_secret_stays_in_a_file() -> None:
    """Alertmanager sends it as a Bearer token, which old versions can, too."""
    text = render(loads("server: {webhook_secret: planted}"), "http://sidecar:9095")
    assert "planted" not in text
    assert "#   sidecar-webhook.secret: server.webhook_secret" in text
    http = yaml.safe_load(text)["receivers"][0]["webhook_configs"][0]["http_config"]
    assert http["authorization"] == {"type": "Bearer", "credentials_file": "sidecar-webhook.secret"}


def test_the_alert_that_the_sidecar_is_down_goes_past_it() -> None:
    """Its route is the first, and ends there."""
    first = rendered()["route"]["routes"][0]
    assert (first["matchers"], first["receiver"]) == (['alertname="AlertmanagerSidecarDown"'], "sidecar-down")
    assert "continue" not in first


def test_critical_alerts_go_both_ways_on_request() -> None:
    """However their severity is spelled, and still to the sidecar."""
    assert not any(route.get("continue") for route in rendered()["route"]["routes"])
    second = rendered(direct_critical=True)["route"]["routes"][1]
    assert second == {
        "matchers": ['severity=~"(?i)(critical|page|high)"'],
        "receiver": "sidecar-down",
        "continue": True,
    }


@pytest.mark.parametrize(
    ("block", "key", "body"),
    [
        (
            "slack_configs: [{bot_token: planted, channel: '#a'}]",
            "slack_configs",
            {
                "send_resolved": True,
                "channel": "#a",
                "api_url": "https://slack.com/api/chat.postMessage",
                "http_config": {"authorization": {"type": "Bearer", "credentials_file": "sidecar-down-slack-0.secret"}},
            },
        ),
        (
            "slack_configs: [{api_url: 'https://hooks.slack.com/services/planted'}]",
            "slack_configs",
            {"send_resolved": True, "api_url_file": "sidecar-down-slack-0.secret"},
        ),
        (
            "pagerduty_configs: [{routing_key: planted, http_config: {proxy_url: 'http://proxy:1'}}]",
            "pagerduty_configs",
            {
                "routing_key_file": "sidecar-down-pagerduty-0.secret",
                "send_resolved": True,
                "http_config": {"proxy_url": "http://proxy:1"},
            },
        ),
        (
            "email_configs: [{to: a@b.example, from: c@d.example, smarthost: 'm:25', auth_username: u, auth_password: planted, tls_config: {insecure_skip_verify: true}}]",
            "email_configs",
            {
                "to": "a@b.example",
                "from": "c@d.example",
                "smarthost": "m:25",
                "hello": "localhost",
                "require_tls": True,
                "send_resolved": True,
                "auth_username": "u",
                "tls_config": {"insecure_skip_verify": True},
                "auth_password_file": "sidecar-down-email-0.secret",
            },
        ),
        (
            "webhook_configs: [{url: 'http://hook:8080/alerts'}]",
            "webhook_configs",
            {"url": "http://hook:8080/alerts", "send_resolved": True},
        ),
    ],
)
def test_the_default_receiver_in_alertmanagers_words(block: str, key: str, body: dict[str, Any]) -> None:
    """What a stock Alertmanager can do by itself is written, its secret in a file that the comment lists."""
    config = loads(f"receivers: [{{name: a, {block}}}]")
    text = render(config, "http://s")
    assert down(yaml.safe_load(text)) == {"name": "sidecar-down", key: [body]}
    assert "planted" not in text
    assert "NOBODY" not in text
    assert all(f"#   {name}: " in text for name in [word for word in str(body).split("'") if word.endswith(".secret")])


@pytest.mark.parametrize(
    ("block", "comment"),
    [
        ("log_configs: [{}]", "NOBODY IS TOLD"),
        (
            "msteams_configs: [{webhook_url: 'https://a.logic.azure.com/x?sig=planted'}]",
            "msteamsv2_configs: [{webhook_url_file:",
        ),
        ("webhook_configs: [{url: 'https://h/hooks/planted-in-the-path'}]", "webhook_configs: [{url_file:"),
    ],
)
def test_what_alertmanager_cannot_do_is_said_loudly(block: str, comment: str) -> None:
    """The receiver stays empty, and a comment says what to add."""
    text = render(loads(f"receivers: [{{name: a, {block}}}]"), "http://s")
    assert down(yaml.safe_load(text)) == {"name": "sidecar-down"}
    assert "planted" not in text
    assert comment in text
    assert "NOBODY IS TOLD WHEN THE SIDECAR IS DOWN" in text


def test_a_fallback_that_is_given_is_used_as_it_is() -> None:
    """In Alertmanager's own keys."""
    body = {"webhook_configs": [{"url": "http://x"}]}
    assert down(rendered(fallback=body)) == {"name": "sidecar-down", **body}


def test_a_proxys_password_is_left_to_the_reader() -> None:
    """It is neither written nor silently dropped."""
    block = "pagerduty_configs: [{routing_key: k, http_config: {proxy_url: 'http://u:planted@proxy:1'}}]"
    text = render(loads(f"receivers: [{{name: a, {block}}}]"), "http://s")
    assert "planted" not in text
    assert "add its proxy_url by hand" in text


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://s:1", "http://s:1/webhook"),
        ("http://s:1/", "http://s:1/webhook"),
        ("http://:9095", "http://127.0.0.1:9095/webhook"),
        ("http://0.0.0.0:9095", "http://127.0.0.1:9095/webhook"),
        ("https://s/api/v1/webhook", "https://s/api/v1/webhook"),
    ],
)
def test_where_the_sidecar_is(given: str, url: str) -> None:
    """A bare host gets the webhook's path, a listen address becomes one that can be reached."""
    parsed = yaml.safe_load(render(loads(""), given))
    assert parsed["receivers"][0]["webhook_configs"][0]["url"] == url


def test_no_secret_of_the_example_is_written() -> None:
    """The rendered file can be committed."""
    assert "planted" not in render(loads(EXAMPLE, env_of(EXAMPLE)), "http://sidecar:9095", direct_critical=True)
