"""The `log` channel: each message as plain text in a box, to the standard output or a file."""

from __future__ import annotations

from sidecar.bulletin import Bulletin
from sidecar.channels import prose
from sidecar.channels.base import EVERY_KIND, Channel, Print, Rate, Step
from sidecar.channels.settings import ChannelConfig
from sidecar.domain import Line, Message

LINES_SHOWN = 10
WIDTH = 160  # characters of one row
ITEMS_SHOWN = 50
LONGEST = 600  # characters of a row of a bulletin: a link that is cut leads nowhere


class LogConfig(ChannelConfig):
    """`log_configs`: `path` is a file to append to; the standard output without it."""

    path: str = ""


class Log(Channel[Message | Bulletin, LogConfig]):
    name = "log"
    config_key = "log_configs"
    Config = LogConfig
    kinds = EVERY_KIND
    rate = Rate(1000.0, 1000.0)

    def destination(self, config: LogConfig) -> str:
        return config.path or "stdout"

    def render(self, message: Message | Bulletin, config: LogConfig, ref: str) -> list[Step]:  # noqa: ARG002 nothing printed is edited
        text = bulletin_text(message) if isinstance(message, Bulletin) else text_of(message)
        return [Print(text, config.path)]


def text_of(message: Message) -> str:
    """The box, with its line break."""
    head = f"{prose.sign(message)} {message.severity} {message.kind}: {prose.heading(message, WIDTH)}"
    foot = f"incident {message.incident}" + (f" · {message.note}" if message.note else "")
    rows = [_where(message), *_alerts(message), *_score(message), *_why(message), *_links(message)]
    body = "".join(f"│ {prose.one_line(row, WIDTH)}\n" for row in rows if row)
    return f"┌─ {prose.one_line(head, WIDTH)}\n{body}└─ {prose.one_line(foot, WIDTH)}\n"


def _where(message: Message) -> str:
    return " · ".join(f"{name.lower()} {text}" for name, text in prose.facts(message) if name != "Severity")


def _alerts(message: Message) -> list[str]:
    shown = message.lines[:LINES_SHOWN]
    rows = [row for line in shown for row in (_alert(line), *prose.around(line))]
    return [*rows, prose.more_line(message, len(shown))]


def _alert(line: Line) -> str:
    over = "" if line.ends_at is None else f" ✅ after {prose.format_span(line.ends_at - line.starts_at)}"
    where = line.labels.get("instance") or line.labels.get("pod") or line.labels.get("service") or ""
    parts = [
        prose.alert_name(line) + over,
        prose.one_line(where, 60),
        prose.value(line),
        prose.description(line, WIDTH),
    ]
    return "• " + " · ".join(part for part in parts if part)


def _score(message: Message) -> list[str]:
    said = [part for part in (prose.score_line(message), *prose.reasons(message)) if part]
    while len(said) > 1 and len("score: " + " · ".join(said)) > WIDTH:
        said.pop()  # a reason less reads better than one that is cut
    return ["score: " + " · ".join(said)] if said else []


def _why(message: Message) -> list[str]:
    return [f"why: {sentence}" for sentence in prose.why_told(message)]


def _links(message: Message) -> list[str]:
    return [f"↗ {text}: {url}" for text, url in prose.links(message)]


def bulletin_text(bulletin: Bulletin) -> str:
    """The box of a bulletin."""
    rows = prose.sentences(bulletin.lead)
    for item in bulletin.items[:ITEMS_SHOWN]:
        rows += [f"• {prose.item_title(item)}", *(f"  {said}" for said in prose.item_facts(item))]
        rows += [f"  ↗ {text}: {url}" for text, url in prose.item_links(item)]
    rows += [prose.more_items(bulletin, min(len(bulletin.items), ITEMS_SHOWN)), *prose.sentences(bulletin.foot)]
    body = "".join(f"│ {prose.clean(row, LONGEST)}\n" for row in rows if row)
    return f"┌─ {prose.BULLETIN} {prose.one_line(bulletin.title, WIDTH)}\n{body}└─ {prose.one_line(bulletin.incident, WIDTH)}\n"
