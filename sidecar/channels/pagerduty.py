"""PagerDuty, Events API v2: trigger and resolve with the incident's own dedup_key, so a retry never pages twice."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import msgspec
from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from sidecar.channels import prose
from sidecar.channels.base import Channel, Rate, Response, Step, classify_http, post_json
from sidecar.channels.settings import ChannelConfig, Url, digest, reveal
from sidecar.channels.wire import encode_json, format_time
from sidecar.domain import Line, Message, Outcome, Sent

# https://developer.pagerduty.com/docs/send-alert-event
DEDUP_KEY_LIMIT = 255  # characters
SUMMARY_LIMIT = 1024  # characters
BODY_LIMIT = 512_000  # bytes; "512 KB", counted as Alertmanager does
FIELD_LIMIT = 255  # characters of source, component, group and class; ours
DESCRIPTION_LIMIT = 10_000  # characters; ours
SEVERITIES = {"CRITICAL": "critical", "ERROR": "error", "WARNING": "warning", "INFO": "info"}
ENQUEUE = "https://events.pagerduty.com/v2/enqueue"


class PagerDutyConfig(ChannelConfig):
    """Alertmanager's `pagerduty_configs` with `routing_key`."""

    NO_EFFECT: ClassVar[frozenset[str]] = frozenset(
        ["description", "details", "images", "links", "component", "group", "class_", "source"]
    )

    routing_key: SecretStr = SecretStr("")
    routing_key_file: str = ""
    url: Url = Field(default=ENQUEUE, validation_alias=AliasChoices("url", "api_url"))
    client: str = "Alertmanager sidecar"
    client_url: str = ""
    severity: str = ""
    description: str = ""
    details: dict[str, Any] = Field(default_factory=dict)
    images: tuple[Any, ...] = ()
    links: tuple[Any, ...] = ()
    component: str = ""
    group: str = ""
    class_: str = Field(default="", validation_alias="class")
    source: str = ""

    @model_validator(mode="before")
    @classmethod
    def _refuse_service_key(cls, given: Any) -> Any:
        if isinstance(given, dict) and {"service_key", "service_key_file"} & set(given):
            raise ValueError(
                "service_key belongs to Events API v1: use routing_key, the integration key of an "
                "'Events API v2' integration of the service"
            )
        return given

    @field_validator("severity")
    @classmethod
    def _check_severity(cls, severity: str) -> str:
        if severity and severity not in SEVERITIES.values():
            raise ValueError("write one of critical, error, warning, info, or leave it out: the alert's own is used")
        return severity

    @model_validator(mode="after")
    def _check_key(self) -> PagerDutyConfig:
        if not reveal(self.routing_key):
            raise ValueError("routing_key (or routing_key_file) is missing")
        return self


class PagerDuty(Channel[Message, PagerDutyConfig]):
    name = "pagerduty"
    config_key = "pagerduty_configs"
    Config = PagerDutyConfig
    # A trigger with an open incident's key is logged there and pages nobody; when it was resolved meanwhile, it pages
    # again: what folds into an incident is never hidden from PagerDuty.
    kinds = frozenset({"notify", "update", "raise", "reminder", "resolve"})
    # About 120 events a minute and integration key, in a sliding window: the burst and a minute's refill stay below.
    # https://developer.pagerduty.com/docs/rest-api-rate-limits
    rate = Rate(1.5, 20.0)

    def destination(self, config: PagerDutyConfig) -> str:
        return digest(reveal(config.routing_key))

    def render(self, message: Message, config: PagerDutyConfig, ref: str) -> list[Step]:  # noqa: ARG002 dedup_key is the id
        event = event_of(message, config)
        if "payload" in event:
            _fit(event, message)
        return [post_json(config.url, event, config)]

    def interpret(self, response: Response) -> Outcome:
        outcome = classify_http(response.status, response.headers, response.body, response.at)
        return Sent(_dedup_key(response.body)) if isinstance(outcome, Sent) else outcome


def _dedup_key(body: bytes) -> str:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return str(answer.get("dedup_key", "")) if isinstance(answer, dict) else ""


def key_of(message: Message) -> str:
    """The incident's key, hashed if PagerDuty would not take its length."""
    key = message.dedup_key
    return key if len(key) <= DEDUP_KEY_LIMIT else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def event_of(message: Message, config: PagerDutyConfig) -> dict[str, Any]:
    """The event with the specification's fields, its `custom_details` still without the list of alerts."""
    key = {"routing_key": reveal(config.routing_key), "dedup_key": key_of(message)}
    if message.status == "resolved":
        return {**key, "event_action": "resolve"}
    payload = {
        "summary": summary(message),
        "source": (prose.label(message, "cluster", "instance") or "Alertmanager")[:FIELD_LIMIT],
        "severity": config.severity or SEVERITIES.get(message.severity, "critical"),
        "timestamp": format_time(message.started_at),
        "component": prose.label(message, "service")[:FIELD_LIMIT],
        "group": prose.one_line(message.domain, FIELD_LIMIT),
        "class": prose.label(message, "alertname")[:FIELD_LIMIT],
        "custom_details": details(message),
    }
    return {
        **key,
        "event_action": "trigger",
        "client": config.client,
        **({"client_url": url} if (url := prose.safe_url(config.client_url)) else {}),
        "payload": {name: value for name, value in payload.items() if value},
        "links": [{"href": url, "text": text} for text, url in prose.links(message)],
    }


def summary(message: Message) -> str:
    """`HighLatency in payments`, and what it is about: the first line people see on their phone."""
    name, namespace = prose.label(message, "alertname"), prose.label(message, "namespace")
    head = f"{name} in {namespace}" if name and namespace and not message.named else message.title
    about = prose.description(message.lines[0], 300) if message.lines else ""
    parts = [head, message.note, about]
    return prose.one_line(": ".join(part for part in parts if part), SUMMARY_LIMIT) or "an alert without a name"


def details(message: Message) -> dict[str, Any]:
    abouts = dict.fromkeys(prose.description(line) for line in message.lines[:50] if line.ends_at is None)
    return {
        "firing_alerts": str(message.firing),
        "resolved_alerts": str(message.resolved),
        "namespace": prose.label(message, "namespace"),
        "pod": prose.label(message, "pod"),
        "description": prose.clean("\n".join(about for about in abouts if about), DESCRIPTION_LIMIT),
        "runbook_url": prose.link_named(message, "runbook"),
        "dashboard_url": prose.link_named(message, "dashboard"),
        "score": prose.score_line(message) or "no model answered",
        "reasons": prose.reasons(message),
        "why_you_are_told": prose.why_told(message),
        "incident": prose.one_line(message.incident, FIELD_LIMIT),
    }


def _fit(event: dict[str, Any], message: Message) -> None:
    """Add as many alerts as the size allows, all or half of them, or a quarter, ...; an event over it is refused."""
    custom, count = event["payload"]["custom_details"], len(message.lines)
    while count:
        custom["alerts"] = [_alert(line) for line in message.lines[:count]]
        custom["alerts_not_listed"] = message.more + len(message.lines) - count
        if len(encode_json(event)) <= BODY_LIMIT:
            return
        count //= 2
    custom.pop("alerts", None)
    custom["alerts_not_listed"] = message.more + len(message.lines)


def _alert(line: Line) -> dict[str, Any]:
    around = prose.around(line)
    return {
        "alert": prose.alert_name(line),
        "started": format_time(line.starts_at),
        "value": prose.value(line),
        **({"around_the_start": around} if around else {}),
        "labels": dict(prose.shown_labels(line)),
        "source": prose.safe_url(line.generator_url),
    }
