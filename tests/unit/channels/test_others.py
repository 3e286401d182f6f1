"""PagerDuty, Teams, webhook and log: what each says."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from sidecar.channels.base import Print, Request
from sidecar.channels.log import Log, LogConfig
from sidecar.channels.msteams import MsTeams, MsTeamsConfig
from sidecar.channels.pagerduty import PagerDuty, PagerDutyConfig
from sidecar.channels.webhook import Webhook, WebhookConfig
from tests.messages import T0, make_line, make_message

PAGER = PagerDutyConfig(routing_key="R" * 32)


def body(channel: Any, message: Any, config: Any) -> dict[str, Any]:
    [step] = channel.render(message, config, "")
    assert isinstance(step, Request)
    return json.loads(step.body)


def test_pagerduty_triggers_with_the_specifications_fields() -> None:
    """A trigger carries component, group, class, source, links and the custom details."""
    event = body(PagerDuty(), make_message(), PAGER)
    payload = event["payload"]
    assert (event["event_action"], event["dedup_key"]) == ("trigger", "inc-0a1b2c")
    assert payload["summary"].startswith("HighLatency in payments")
    assert (payload["source"], payload["severity"]) == ("prod-eu", "critical")
    assert (payload["component"], payload["group"], payload["class"]) == ("checkout", "artemis", "HighLatency")
    details = payload["custom_details"]
    assert (details["firing_alerts"], details["namespace"], details["pod"]) == ("1", "payments", "checkout-7d9")
    assert details["runbook_url"] == "https://docs.example.org/runbooks/HighLatency"
    assert details["reasons"][0] == "fired 14 times in 7 days, 13 voted noise"
    assert event["links"][0] == {"href": "https://alertmanager.example.org", "text": "Alertmanager"}


def test_pagerduty_resolves_with_the_same_key() -> None:
    """A resolve has the trigger's dedup_key and routing_key."""
    event = body(PagerDuty(), make_message("resolve"), PAGER)
    assert event == {"routing_key": "R" * 32, "dedup_key": "inc-0a1b2c", "event_action": "resolve"}


@pytest.mark.parametrize(
    ("severity", "theirs"),
    [("CRITICAL", "critical"), ("ERROR", "error"), ("WARNING", "warning"), ("INFO", "info"), ("P0", "critical")],
)
def test_pagerduty_severities(severity: str, theirs: str) -> None:
    """A severity nobody defined counts as critical."""
    assert body(PagerDuty(), make_message(severity=severity), PAGER)["payload"]["severity"] == theirs


def test_pagerduty_hashes_a_key_that_is_too_long() -> None:
    """A dedup_key beyond the limit becomes its hash, the same for trigger and resolve."""
    keys = {
        body(PagerDuty(), make_message(kind, dedup_key="k" * 256), PAGER)["dedup_key"] for kind in ("notify", "resolve")
    }
    assert [len(key) for key in keys] == [64]


def test_pagerduty_drops_alerts_over_the_size() -> None:
    """An event over 512,000 bytes lists fewer alerts and says how many it leaves out."""
    big = {f"label_{number}": "v" * 290 for number in range(28)}
    lines = tuple(make_line(number, labels=big) for number in range(200))
    [step] = PagerDuty().render(make_message(lines=200), PAGER, "")
    assert isinstance(step, Request)
    full = body(PagerDuty(), msgspec.structs.replace(make_message(), lines=lines), PAGER)["payload"]["custom_details"]
    assert 0 < len(full["alerts"]) < 200
    assert full["alerts_not_listed"] == 200 - len(full["alerts"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"service_key": "secret-1"}, "routing_key"),
        ({}, "routing_key .* is missing"),
        ({"routing_key": "secret-1", "severity": "{{ .x }}"}, "critical, error"),
    ],
)
def test_pagerduty_configuration_errors(given: dict[str, Any], words: str) -> None:
    """Events v1's service_key is pointed out with what to use instead; no error shows a secret."""
    with pytest.raises(ValidationError, match=words) as error:
        PagerDutyConfig(**given)
    assert "secret-1" not in str(error.value)


def test_pagerduty_takes_either_url_key() -> None:
    """Alertmanager's `url` and our `api_url` are the same."""
    urls = {PagerDutyConfig(routing_key="R" * 32, **{key: "http://h/x"}).url for key in ("url", "api_url")}
    assert urls == {"http://h/x"}


def test_teams_sends_one_adaptive_card() -> None:
    """A card of version 1.4 with the facts, and buttons for the links."""
    config = MsTeamsConfig(webhook_url="https://prod-1.westeurope.logic.azure.com/workflows/x?sig=y")
    card = body(MsTeams(), make_message(), config)["attachments"][0]["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    shown = json.dumps(card, ensure_ascii=False)
    for words in ("[FIRING:1] HighLatency", "artemis", "p95 is 2.4 s", "13% likely", "13 voted noise"):
        assert words in shown
    assert [action["title"] for action in card["actions"]] == ["Alertmanager", "Runbook", "Dashboard"]
    assert "TextBlock" not in shown.replace("RichTextBlock", "")


@pytest.mark.parametrize("host", ["contoso.webhook.office.com", "outlook.office.com"])
def test_teams_refuses_retired_connectors(host: str) -> None:
    """An Office 365 connector's URL is refused with what to create instead, and without being shown."""
    with pytest.raises(ValidationError, match="Workflow") as error:
        MsTeamsConfig(webhook_url=f"https://{host}/webhookb2/secret-2")
    assert "secret-2" not in str(error.value)


def test_webhook_body_is_alertmanagers_with_ours_beside() -> None:
    """The version 4 body, and what only the sidecar knows under one key."""
    config = WebhookConfig(url="https://example.org/x", max_alerts=2, receiver="team")
    said = body(Webhook(), make_message(lines=3, more=4), config)
    assert (said["version"], said["status"], said["receiver"]) == ("4", "firing", "team")
    assert (len(said["alerts"]), said["truncatedAlerts"]) == (2, 5)
    alert = said["alerts"][0]
    assert (alert["startsAt"], alert["endsAt"]) == ("2026-11-22T03:00:00Z", "0001-01-01T00:00:00Z")
    assert alert["fingerprint"] == "0000000000000000"
    assert said["commonAnnotations"]["value"] == "2.4"
    assert said["externalURL"] == "https://alertmanager.example.org"
    assert said["sidecar"]["incident"] == said["groupKey"] == "inc-0a1b2c"
    assert said["sidecar"]["rules"] == [{"rule": "routing", "sentence": "CRITICAL in artemis goes to artemis-oncall"}]


def test_webhook_sends_its_credentials() -> None:
    """http_config's authorization is the request's."""
    auth = {"authorization": {"credentials": "tok"}, "tls_config": {"insecure_skip_verify": True}}
    [step] = Webhook().render(make_message(), WebhookConfig(url="https://e.org/x", http_config=auth), "")
    assert isinstance(step, Request)
    assert (step.headers["Authorization"], step.verify) == ("Bearer tok", False)


def test_log_prints_a_box() -> None:
    """Heading, alerts, score with reasons, why, links: one row each."""
    [step] = Log().render(make_message(), LogConfig(path="/tmp/x.log"), "")
    assert isinstance(step, Print)
    rows = step.text.splitlines()
    assert rows[0] == "┌─ 🔴 CRITICAL notify: [FIRING:1] HighLatency on checkout (payments)"
    assert rows[2] == "│ • HighLatency (CRITICAL) · 10.0.0.0:8080 · 2.4 · p95 is 2.4 s, above 1 s for 10 min"
    assert rows[3].startswith("│ score: 13% likely a false alarm, model cold-start · fired 14 times")
    assert "│ why: CRITICAL in artemis goes to artemis-oncall" in rows
    assert rows[-1] == "└─ incident inc-0a1b2c"
    assert step.path == "/tmp/x.log"


def test_log_says_how_long_a_resolved_alert_lasted() -> None:
    """A resolved alert has its tick and its duration."""
    line = make_line(ends_at=T0 + 3725)
    [step] = Log().render(make_message("resolve", lines=1), LogConfig(), "")
    [longer] = Log().render(msgspec.structs.replace(make_message("resolve"), lines=(line,)), LogConfig(), "")
    assert "✅ after 5 min" in step.text
    assert "✅ after 1 h 2 min" in longer.text
