"""Slack: one message per incident, edited in place; what should interrupt again is a broadcast reply in its thread.

`ref` is "CHANNEL:ts". With only an incoming webhook's URL it posts and never edits: webhooks answer no ts.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr, field_validator, model_validator

from sidecar.bulletin import Bulletin, Item
from sidecar.channels import prose
from sidecar.channels.base import (
    EVERY_KIND,
    Channel,
    Exchange,
    Rate,
    Request,
    Response,
    Step,
    classify_http,
    post_json,
    wanted,
)
from sidecar.channels.mrkdwn import (
    BLOCKS_LIMIT,
    FIELDS_LIMIT,
    HEADER_LIMIT,
    LABEL_CUT,
    TEXT_LIMIT,
    TOTAL_LIMIT,
    bullets,
    context,
    escape,
    fill,
    header,
    joined,
    link,
    mrkdwn,
    section,
    size,
)
from sidecar.channels.settings import ChannelConfig, SecretUrl, digest, reveal
from sidecar.channels.wire import encode_json
from sidecar.domain import Line, Message, Outcome, Rejected, Retry, Sent

# https://docs.slack.dev/reference/methods/chat.postMessage#errors; what passes by itself, all else needs a person.
PASSING = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "internal_error",
        "service_unavailable",
        "fatal_error",
        "request_timeout",
        "team_added_to_org",
    }
)
GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
MISSHAPEN = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"})
HINTS = {
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "name an existing channel; the bot must be a member of a private one",
    "invalid_auth": "check bot_token",
    "not_authed": "check bot_token",
    "token_revoked": "install the app again and replace bot_token",
    "missing_scope": "the app needs chat:write, and reactions:read for votes",
    "is_archived": "the channel is archived",
}
API = "https://slack.com/api"
WEBHOOK_ONLY = (
    "api_url is an incoming webhook: messages cannot be updated or threaded, and reactions are not counted as votes. "
    "Give bot_token and channel instead"
)


class SlackConfig(ChannelConfig):
    """Alertmanager's `slack_configs`, and `bot_token` (or its own `app_token`), which message ids need."""

    NO_EFFECT: ClassVar[frozenset[str]] = frozenset(
        {
            *("username", "color", "title", "title_link", "pretext", "text", "fields", "short_fields", "footer"),
            *("fallback", "callback_id", "icon_emoji", "icon_url", "image_url", "thumb_url", "link_names"),
            *("mrkdwn_in", "actions", "update_message"),
        }
    )

    api_url: SecretUrl = SecretStr(API)
    api_url_file: str = ""
    bot_token: SecretStr = SecretStr("")
    bot_token_file: str = ""
    channel: str = ""
    username: str = ""
    color: str = ""
    title: str = ""
    title_link: str = ""
    pretext: str = ""
    text: str = ""
    fields: tuple[Any, ...] = ()
    short_fields: bool = False
    footer: str = ""
    fallback: str = ""
    callback_id: str = ""
    icon_emoji: str = ""
    icon_url: str = ""
    image_url: str = ""
    thumb_url: str = ""
    link_names: bool = False
    mrkdwn_in: tuple[str, ...] = ()
    actions: tuple[Any, ...] = ()
    update_message: bool = False

    @model_validator(mode="before")
    @classmethod
    def _rename_app_token(cls, given: Any) -> Any:
        names = {"app_token": "bot_token", "app_token_file": "bot_token_file"}
        return {names.get(key, key): item for key, item in given.items()} if isinstance(given, dict) else given

    @field_validator("channel")
    @classmethod
    def _check_channel(cls, channel: str) -> str:
        if "{{" in channel:
            raise ValueError("templates are not filled in: name the channel, and route by domain or severity instead")
        return channel.strip()

    @model_validator(mode="after")
    def _check_way(self) -> SlackConfig:
        if self.has_token and not self.channel:
            raise ValueError("channel is missing: name it, as #alerts or by its id")
        if not self.has_token and reveal(self.api_url) == API:
            raise ValueError("bot_token (or bot_token_file) is missing: without it Slack takes no message")
        return self

    @property
    def has_token(self) -> bool:
        return bool(reveal(self.bot_token))

    @property
    def api(self) -> str:
        """Where the methods are; an incoming webhook's URL that was left beside a token is not used."""
        url = reveal(self.api_url).rstrip("/")
        return API if urlsplit(url).path.startswith("/services/") else url

    def warnings(self) -> tuple[str, ...]:
        found = super().warnings()
        if not self.has_token:
            return (WEBHOOK_ONLY, *found)
        if self.api == API and reveal(self.api_url).rstrip("/") != API:
            return ("api_url is an incoming webhook and is not used: bot_token is", *found)
        return found


class Slack(Channel[Message | Bulletin, SlackConfig]):
    name = "slack"
    config_key = "slack_configs"
    Config = SlackConfig
    edits = True
    kinds = EVERY_KIND
    rate = Rate(1.0, 3.0)  # "1 per second" per channel, short bursts, https://docs.slack.dev/apis/web-api/rate-limits

    def destination(self, config: SlackConfig) -> str:
        if config.has_token:
            return config.channel
        return digest(reveal(config.api_url))

    def render(self, message: Message | Bulletin, config: SlackConfig, ref: str) -> list[Step]:
        body = bulletin_body(message) if isinstance(message, Bulletin) else body_of(message)
        if not config.has_token:
            return [] if message.kind == "update" else [post_json(reveal(config.api_url), body, config)]
        if isinstance(message, Bulletin):
            return [_call(config, "chat.postMessage", {"channel": config.channel, **body})]
        channel, _, ts = ref.partition(":")
        if not ts:
            if message.kind in ("update", "resolve"):
                return []
            return [_call(config, "chat.postMessage", {"channel": config.channel, **body})]
        steps: list[Step] = [_call(config, "chat.update", {"channel": channel, "ts": ts, **body})]
        if message.kind != "update":
            loud = message.kind != "resolve"
            reply = {"channel": channel, "thread_ts": ts, "text": reply_text(message), "reply_broadcast": loud}
            steps.append(_call(config, "chat.postMessage", reply))
        return steps

    def interpret(self, response: Response) -> Outcome:
        outcome = classify_http(response.status, response.headers, response.body, response.at)
        if not isinstance(outcome, Sent) or response.body.strip() == b"ok":  # "ok": an incoming webhook
            return outcome
        answer = _answer(response)
        if answer is None:
            return Retry("Slack answered 200 with a body that is not its JSON")
        if answer.get("ok") is True:
            channel, ts = answer.get("channel"), answer.get("ts")
            return Sent(f"{channel}:{ts}" if channel and ts else "")
        error = str(answer.get("error", "no error named"))[:100]
        if error in PASSING:
            return Retry(f"Slack: {error}")
        return Rejected(f"Slack: {error}" + (f" ({HINTS[error]})" if error in HINTS else ""))

    def exchange(self, message: Message | Bulletin, config: SlackConfig, ref: str) -> Exchange:
        """As the base, and two ways out: a message that was deleted is posted anew (a resolve has then nothing left
        to resolve), and one whose blocks Slack refuses goes as plain text: how it looks is worth less than that it comes.
        """
        if not wanted(message, config, self.kinds):
            return Sent(ref)
        found = ""
        for step in self.render(message, config, ref):
            answer = yield step
            if ref and isinstance(message, Message) and error_of(answer) in GONE:
                fresh = msgspec.structs.replace(message, kind="notify")
                return Sent() if message.kind == "resolve" else (yield from self.exchange(fresh, config, ""))
            if error_of(answer) in MISSHAPEN and isinstance(step, Request):
                answer = yield _plain(step)
            outcome = self.interpret(answer)
            if not isinstance(outcome, Sent):
                return outcome
            found = found or outcome.ref
        return Sent(found or ref)


def _call(config: SlackConfig, method: str, body: dict[str, Any]) -> Request:
    return post_json(f"{config.api}/{method}", body, config, {"Authorization": f"Bearer {reveal(config.bot_token)}"})


def _answer(response: Response) -> dict[str, Any] | None:
    try:
        answer = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return answer if isinstance(answer, dict) else None


def error_of(response: Response) -> str:
    """The `error` of an answer that is not ok, else empty; an incoming webhook gives it as plain text with a 400."""
    if response.status == 200:
        return str((_answer(response) or {}).get("error", ""))
    return response.body.decode("utf-8", "replace").strip() if response.status == 400 else ""


def _plain(step: Request) -> Request:
    body = msgspec.json.decode(step.body)
    body.pop("blocks", None)
    return msgspec.structs.replace(step, body=encode_json(body))


# ------------------------------------------------------------------------------------------------------------- its words


def body_of(message: Message) -> dict[str, Any]:
    """`text` for notifications and old clients, `blocks` for everybody else."""
    return {
        "text": fallback_text(message),
        "blocks": blocks_of(message),
        "unfurl_links": False,
        "unfurl_media": False,
    }


def fallback_text(message: Message) -> str:
    parts = [f"{prose.sign(message)} {prose.heading(message, HEADER_LIMIT)}", message.severity, message.note]
    parts += [prose.description(message.lines[0], 500)] if message.lines else []
    parts += [prose.score_line(message), *prose.reasons(message)]
    return escape(" · ".join(prose.one_line(part, 500) for part in parts if part), TEXT_LIMIT)


def reply_text(message: Message) -> str:
    what = message.note or ("resolved" if message.status == "resolved" else message.kind)
    return escape(f"{prose.sign(message)} {prose.one_line(what, 500)}: {prose.heading(message, 200)}", TEXT_LIMIT)


def blocks_of(message: Message) -> list[dict[str, Any]]:
    """The message in Block Kit: what it is, its alerts as far as the limits allow, why people are told, links."""
    top, tail = _top(message), _tail(message)
    room = TOTAL_LIMIT - size(top) - size(tail) - 200  # 200: the "and N more" line
    shown: list[dict[str, Any]] = []
    for line in message.lines[: BLOCKS_LIMIT - len(top) - len(tail) - 1]:
        block = section(alert_text(line, message))
        room -= size([block])
        if room < 0:
            break
        shown.append(block)
    more = prose.more_line(message, len(shown))
    return [*top, *shown, *([context([more])] if more else []), *tail]


def _top(message: Message) -> list[dict[str, Any]]:
    title = f"{prose.sign(message)} {prose.heading(message, HEADER_LIMIT)}"
    fields = [mrkdwn(f"*{name}:* {escape(text, 200)}") for name, text in prose.facts(message)[:FIELDS_LIMIT]]
    blocks: list[dict[str, Any]] = [
        header(title),
        {"type": "section", "fields": fields},
    ]
    if message.note:
        blocks.append(section(f"*{escape(prose.one_line(message.note, 500), 800)}*"))
    return blocks


def _tail(message: Message) -> list[dict[str, Any]]:
    score, why = prose.score_line(message), prose.why_told(message)
    blocks = []
    if score or message.reasons:
        text = f"*Score:* {escape(score or 'no model answered', 200)}"
        blocks.append(section(bullets(text, prose.reasons(message))))
    if why:
        blocks.append(section(bullets("*Why you are told:*", why)))
    links = [link(text, url) for text, url in prose.links(message) if len(url) <= 400]
    if links:
        blocks.append(section(joined(links)))
    if message.status == "firing":
        blocks.append(context(["React 👍 useful or 👎 noise"]))
    return blocks


def alert_text(line: Line, message: Message) -> str:
    """One alert as the specification lists it; labels that all alerts share are shown on the first one only."""
    first = line is message.lines[0]
    labels = prose.shown_labels(line, () if first else message.common_labels.items())
    rows = [f"*Alert:* {escape(prose.alert_name(line), 320)}" + ("" if line.ends_at is None else " ✅")]
    if about := prose.description(line):
        rows.append(f"*Description:* {escape(about, 1200)}")
    rows += [f"*{name}:* {text}" for name, text in prose.when(line)]
    if measured := prose.value(line):
        rows.append(f"*Value:* {escape(measured, 200)}")
    rows += [f"  • {escape(sentence, 250)}" for sentence in prose.around(line)]
    if source := prose.safe_url(line.generator_url, 500):
        rows.append(f"*Source:* {link('View in Prometheus', source)}")
    tags = [f"  • {escape(name, 80)}: {escape(text, LABEL_CUT)}" for name, text in labels]
    return fill([*rows, *(["*Labels:*", *tags] if tags else [])])


# ----------------------------------------------------------------------------------------------------------- of a bulletin


def bulletin_body(bulletin: Bulletin) -> dict[str, Any]:
    """As `body_of`: a line is a section, as many as the limits allow."""
    title = f"{prose.BULLETIN} {prose.one_line(bulletin.title, HEADER_LIMIT)}"
    lead, foot = prose.sentences(bulletin.lead), prose.sentences(bulletin.foot)
    top = [header(title), *([section(fill([escape(said, 400) for said in lead]))] if lead else [])]
    tail = [context([escape(said, 400) for said in foot])] if foot else []
    room = TOTAL_LIMIT - size(top) - size(tail) - 200  # 200: the "and N more" line
    shown: list[dict[str, Any]] = []
    for item in bulletin.items[: BLOCKS_LIMIT - len(top) - len(tail) - 1]:
        block = section(item_text(item))
        room -= size([block])
        if room < 0:
            break
        shown.append(block)
    more = prose.more_items(bulletin, len(shown))
    blocks = [*top, *shown, *([context([more])] if more else []), *tail]
    text = escape(" · ".join([title, *lead]), TEXT_LIMIT)
    return {"text": text, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def item_text(item: Item) -> str:
    """One line of a bulletin; its links come last, and are never cut."""
    answers = joined([link(text, url) for text, url in prose.item_links(item)])
    rows = [f"*{escape(prose.item_title(item), 250)}*", *(f"• {escape(said, 300)}" for said in prose.item_facts(item))]
    return fill(rows) + (f"\n{answers}" if answers else "")
