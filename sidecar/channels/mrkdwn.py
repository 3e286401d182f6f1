"""Slack's own text and blocks: what its messages are made of, within its limits. Pure."""

from __future__ import annotations

import re
from typing import Any

from sidecar.channels import prose
from sidecar.channels.wire import encode_json

HEADER_LIMIT = 150  # characters, https://docs.slack.dev/reference/block-kit/blocks/header-block
SECTION_LIMIT = 3000  # characters, https://docs.slack.dev/reference/block-kit/blocks/section-block
FIELD_LIMIT = 2000  # characters of one of at most FIELDS_LIMIT fields, as above
FIELDS_LIMIT = 10
CONTEXT_LIMIT = 10  # elements, https://docs.slack.dev/reference/block-kit/blocks/context-block
BLOCKS_LIMIT = 50  # https://docs.slack.dev/reference/block-kit/blocks
TOTAL_LIMIT = 13_000  # undocumented: msg_blocks_too_long at ~13,200, https://github.com/slackapi/bolt-js/issues/2509
TAIL_LIMIT = 1500  # characters of the reasons, and of the links; ours, as the next
LABEL_CUT = 200  # characters of a label's value; ours, so that one alert leaves room for others
TEXT_LIMIT = 4000  # characters recommended for `text`, https://docs.slack.dev/reference/methods/chat.postMessage

WHOLE_TEAM = re.compile(r"@(?=(?:here|channel|everyone)\b)", re.IGNORECASE)


def escape(text: str, limit: int) -> str:
    """For mrkdwn: `& < >` as entities, so that no `<!channel>` or link is made, and @here without effect.

    https://docs.slack.dev/messaging/formatting-message-text#escaping; at most `limit` long, no entity cut in two.
    """
    text = WHOLE_TEAM.sub("@\u200b", prose.clean(text, limit))
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= limit:
        return escaped
    return re.sub(r"&[a-z]*$", "", escaped[: limit - 1]) + "…"


def link(text: str, url: str) -> str:
    return f"<{url.replace('&', '&amp;')}|{escape(text, 80)}>"


def joined(links: list[str]) -> str:
    text = ""
    for each in links:
        if len(text) + len(each) + 3 > TAIL_LIMIT:
            break
        text += (" | " if text else "") + each
    return text


def bullets(head: str, sentences: list[str]) -> str:
    return fill([head, *(f"• {escape(sentence, 250)}" for sentence in sentences)], TAIL_LIMIT)


def fill(rows: list[str], limit: int = SECTION_LIMIT) -> str:
    text = ""
    for row in rows:
        if len(text) + len(row) + 2 > limit:
            return text + "…"
        text += ("\n" if text else "") + row
    return text


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": {"type": "plain_text", "text": escape(text, HEADER_LIMIT), "emoji": True}}


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn(text)}


def context(texts: list[str]) -> dict[str, Any]:
    return {"type": "context", "elements": [mrkdwn(text) for text in texts[:CONTEXT_LIMIT]]}


def size(blocks: list[dict[str, Any]]) -> int:
    return len(encode_json(blocks).decode())
