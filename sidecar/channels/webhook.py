"""A generic webhook: Alertmanager's version 4 body, so that what reads Alertmanager's reads ours, and a `sidecar` object."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from sidecar.bulletin import Bulletin, Item
from sidecar.channels import prose
from sidecar.channels.base import EVERY_KIND, Channel, Rate, Step, post_json
from sidecar.channels.settings import ChannelConfig, SecretUrl, digest, reveal
from sidecar.channels.wire import format_time
from sidecar.domain import Line, Message


class WebhookConfig(ChannelConfig):
    """Alertmanager's `webhook_configs`; `receiver` is what the body says under that key."""

    url: SecretUrl | None = None
    url_file: str = ""
    max_alerts: int = Field(default=0, ge=0)  # 0: all
    receiver: str = ""

    @model_validator(mode="after")
    def _check_url(self) -> WebhookConfig:
        if self.url is None:
            raise ValueError("url (or url_file) is missing")
        return self


class Webhook(Channel[Message | Bulletin, WebhookConfig]):
    name = "webhook"
    config_key = "webhook_configs"
    Config = WebhookConfig
    kinds = EVERY_KIND
    rate = Rate(50.0, 100.0)

    def destination(self, config: WebhookConfig) -> str:
        return digest(reveal(config.url))

    def render(self, message: Message | Bulletin, config: WebhookConfig, ref: str) -> list[Step]:  # noqa: ARG002 receivers edit for themselves
        body = bulletin_body(message, config) if isinstance(message, Bulletin) else body_of(message, config)
        return [post_json(reveal(config.url), body, config)]


def body_of(message: Message, config: WebhookConfig) -> dict[str, Any]:
    """https://prometheus.io/docs/alerting/latest/configuration/#webhook_config, and what only we know."""
    lines = message.lines[: config.max_alerts or None]
    alertname = message.common_labels.get("alertname")
    return {
        "version": "4",
        "groupKey": message.incident,
        "truncatedAlerts": message.more + len(message.lines) - len(lines),
        "status": message.status,
        "receiver": config.receiver,
        "groupLabels": {"alertname": alertname} if alertname else {},
        "commonLabels": message.common_labels,
        "commonAnnotations": _shared([line.annotations for line in lines]),
        "externalURL": prose.link_named(message, "alertmanager"),
        "alerts": [_alert(line) for line in lines],
        "sidecar": _ours(message),
    }


def _shared(every: list[dict[str, str]]) -> dict[str, str]:
    first = every[0] if every else {}
    return {name: text for name, text in first.items() if all(each.get(name) == text for each in every)}


def _alert(line: Line) -> dict[str, Any]:
    return {
        "status": "firing" if line.ends_at is None else "resolved",
        "labels": line.labels,
        "annotations": line.annotations,
        "startsAt": format_time(line.starts_at),
        "endsAt": format_time(line.ends_at),
        "generatorURL": line.generator_url,
        "fingerprint": line.episode.rpartition("-")[0],
    }


def _ours(message: Message) -> dict[str, Any]:
    return {
        "incident": message.incident,
        "dedup_key": message.dedup_key,
        "kind": message.kind,
        "title": message.title,
        "severity": message.severity,
        "domain": message.domain,
        "score": message.score,
        "reasons": message.reasons,
        "rules": [{"rule": rule.rule, "sentence": rule.sentence} for rule in message.rules],
        "marks": message.marks,
        "model": message.model,
        "note": message.note,
        "episodes": [_episode(line) for line in message.lines],
    }


def _episode(line: Line) -> dict[str, Any]:
    said = {"episode": line.episode, "verdict": line.verdict, "score": line.score, "reasons": line.reasons}
    return {**said, "context": prose.around(line)} if line.context else said


def bulletin_body(bulletin: Bulletin, config: WebhookConfig) -> dict[str, Any]:
    """No alerts, so that a reader of Alertmanager's body passes over it; everything is in `sidecar`."""
    empty: dict[str, Any] = {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "alerts": []}
    head = {"version": "4", "groupKey": bulletin.incident, "status": "resolved", "receiver": config.receiver}
    return {**head, **empty, "truncatedAlerts": 0, "externalURL": "", "sidecar": spelled_out(bulletin)}


def spelled_out(bulletin: Bulletin) -> dict[str, Any]:
    """The bulletin for programs."""
    return {
        "incident": bulletin.incident,
        "kind": bulletin.kind,
        "what": bulletin.what,
        "title": prose.one_line(bulletin.title, 200),
        "receiver": bulletin.receiver,
        "since": format_time(bulletin.since),
        "until": format_time(bulletin.until),
        "lead": prose.sentences(bulletin.lead),
        "lines": [_line(item) for item in bulletin.items],
        "more": bulletin.more,
        "foot": prose.sentences(bulletin.foot),
    }


def _line(item: Item) -> dict[str, Any]:
    said = {"title": prose.item_title(item), "facts": prose.item_facts(item), "links": dict(prose.item_links(item))}
    data = {name: prose.clean(value, 300) if isinstance(value, str) else value for name, value in item.data.items()}
    return {**data, **said, "episodes": item.episodes}
