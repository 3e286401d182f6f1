"""Microsoft Teams through a Workflow: an Adaptive Card. It answers no message id, so nothing can be edited.

All text of alerts goes into TextRuns, the only element that reads no Markdown: a label cannot make a link.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import model_validator

from sidecar.bulletin import Bulletin, Item
from sidecar.channels import prose
from sidecar.channels.base import Channel, Rate, Step, post_json
from sidecar.channels.settings import ChannelConfig, SecretUrl, digest, reveal
from sidecar.channels.wire import encode_json
from sidecar.domain import Line, Message

# https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
BODY_LIMIT = 28_000  # bytes; "28 KB"
CARD_VERSION = "1.4"
LINES_SHOWN = 20  # a card is read on a phone
ACTIONS_LIMIT = 6  # https://learn.microsoft.com/en-us/adaptive-cards/authoring-cards/card-schema: more are cut off
RETIRED = (".webhook.office.com", "outlook.office.com", "outlook.office365.com")
WHY_LIMIT = 1500  # characters; ours, as the next
ACTION_URL_LIMIT = 500  # characters; ours: six of them must leave room for the rest
COLOURS = {"CRITICAL": "Attention", "ERROR": "Attention", "WARNING": "Warning", "INFO": "Accent"}


class MsTeamsConfig(ChannelConfig):
    """Alertmanager's `msteams_configs` with the URL of a Workflow ("When a Teams webhook request is received")."""

    NO_EFFECT: ClassVar[frozenset[str]] = frozenset({"title", "summary", "text"})

    webhook_url: SecretUrl | None = None
    webhook_url_file: str = ""
    title: str = ""
    summary: str = ""
    text: str = ""

    @model_validator(mode="after")
    def _check_host(self) -> MsTeamsConfig:
        if self.webhook_url is None:
            raise ValueError("webhook_url (or webhook_url_file) is missing")
        host = urlsplit(reveal(self.webhook_url)).hostname or ""
        if host.endswith(RETIRED):
            raise ValueError(
                "webhook_url is an Office 365 connector, which Microsoft has retired: create a Workflow in Teams "
                "('When a Teams webhook request is received') and use its URL"
            )
        return self


class MsTeams(Channel[Message | Bulletin, MsTeamsConfig]):
    name = "msteams"
    config_key = "msteams_configs"
    Config = MsTeamsConfig
    kinds = frozenset({"notify", "raise", "reminder", "resolve", "digest"})
    taps = True
    rate = Rate(1.0, 4.0)  # connectors took 4 requests a second (page above); a Workflow's own limit is not published

    def destination(self, config: MsTeamsConfig) -> str:
        return digest(reveal(config.webhook_url))

    def render(self, message: Message | Bulletin, config: MsTeamsConfig, ref: str) -> list[Step]:  # noqa: ARG002 a Workflow answers no id
        count = min(len(message.items if isinstance(message, Bulletin) else message.lines), LINES_SHOWN)
        envelope = envelope_of(message, count)
        while count and len(encode_json(envelope)) > BODY_LIMIT:
            count -= 1
            envelope = envelope_of(message, count)
        return [post_json(reveal(config.webhook_url), envelope, config)]


def envelope_of(message: Message | Bulletin, count: int) -> dict[str, Any]:
    """What a Workflow takes, with the first `count` alerts, or lines."""
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": CARD_VERSION,
        "body": bulletin_rows(message, count) if isinstance(message, Bulletin) else body_of(message, count),
        "actions": [] if isinstance(message, Bulletin) else actions_of(message),
        "msteams": {"width": "full"},
        "fallbackText": prose.one_line(message.title, 200)
        if isinstance(message, Bulletin)
        else prose.heading(message, 200),
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def body_of(message: Message, count: int) -> list[dict[str, Any]]:
    colour = "Good" if message.status == "resolved" else COLOURS.get(message.severity, "Attention")
    title = _run(f"{prose.sign(message)} {prose.heading(message, 200)}", size="Large", weight="Bolder", color=colour)
    rows = [_text(title)]
    if message.note:
        rows.append(_text(_run(prose.one_line(message.note, 400), weight="Bolder")))
    rows += [_pair(name, text) for name, text in prose.facts(message)]
    rows += [_alert(line, message) for line in message.lines[:count]]
    if more := prose.more_line(message, count):
        rows.append(_text(_run(more, isSubtle=True)))
    if message.score is not None or message.reasons:
        rows.append(_pair("Score", prose.score_line(message) or "no model answered"))
    rows += [_text(_run(f"• {reason}")) for reason in prose.reasons(message)]
    if why := prose.why_told(message):
        rows.append(_pair("Why you are told", prose.one_line(" · ".join(why), WHY_LIMIT)))
    return rows


def _alert(line: Line, message: Message) -> dict[str, Any]:
    shared = () if line is message.lines[0] else message.common_labels.items()
    labels = " · ".join(f"{name}: {text}" for name, text in prose.shown_labels(line, shared))
    items = [_text(_run(prose.alert_name(line), weight="Bolder"))]
    items += [_text(_run(prose.one_line(about, 600)))] if (about := prose.description(line)) else []
    items += [_pair(name, text) for name, text in prose.when(line)]
    items += [_pair("Value", measured)] if (measured := prose.value(line)) else []
    items += [_text(_run(f"• {sentence}")) for sentence in prose.around(line)]
    items += [_pair("Labels", prose.one_line(labels, 1500))] if labels else []
    source = prose.safe_url(line.generator_url, 1000)
    box: dict[str, Any] = {"type": "Container", "separator": True, "items": items}
    return {**box, "selectAction": _open("View in Prometheus", source)} if source else box


def actions_of(message: Message) -> list[dict[str, Any]]:
    return [_open(text, url) for text, url in prose.links(message)[:ACTIONS_LIMIT] if len(url) <= ACTION_URL_LIMIT]


def _open(text: str, url: str) -> dict[str, Any]:
    return {"type": "Action.OpenUrl", "title": text, "url": url}


def _run(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **style}


def _text(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _pair(name: str, text: str) -> dict[str, Any]:
    return _text(_run(f"{name}: ", weight="Bolder"), _run(text))


# ----------------------------------------------------------------------------------------------------------- of a bulletin


def bulletin_rows(bulletin: Bulletin, count: int) -> list[dict[str, Any]]:
    title = _run(
        f"{prose.BULLETIN} {prose.one_line(bulletin.title, 200)}", size="Large", weight="Bolder", color="Accent"
    )
    rows = [_text(title), *(_text(_run(said)) for said in prose.sentences(bulletin.lead))]
    rows += [_item(item) for item in bulletin.items[:count]]
    if more := prose.more_items(bulletin, count):
        rows.append(_text(_run(more, isSubtle=True)))
    return rows + [_text(_run(said, isSubtle=True)) for said in prose.sentences(bulletin.foot)]


def _item(item: Item) -> dict[str, Any]:
    items = [_text(_run(prose.item_title(item), weight="Bolder"))]
    items += [_text(_run(f"• {said}")) for said in prose.item_facts(item)]
    if answers := prose.item_links(item):
        items.append({"type": "ActionSet", "actions": [_open(text, url) for text, url in answers]})
    return {"type": "Container", "separator": True, "items": items}
