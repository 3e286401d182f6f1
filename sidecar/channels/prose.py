"""The words a message is made of, the same on every channel. Pure; each channel escapes them in its own way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from sidecar.bulletin import Bulletin, Item
from sidecar.domain import Line, Message, severity_of

# Control characters (a terminal would obey them) and the marks that turn the direction of all the text after them.
# Letters of languages written from right to left are untouched.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
LABEL_LIMIT = 300  # characters of one label value in a message for people
LABELS_SHOWN = 30  # labels of one alert
DESCRIPTION_LIMIT = 1000  # characters
SENTENCE_LIMIT = 300
RULES_SHOWN = 6
FACTS_SHOWN = 6  # of one line of a bulletin: with its links it fits into one of Slack's sections
LEAD_SHOWN = 6
BULLETIN = "📋"
SIGNS = {"CRITICAL": "🔴", "ERROR": "🟠", "WARNING": "🟠", "INFO": "🔵"}


def clean(text: str, limit: int) -> str:
    """`text` without characters that do harm, at most `limit` long; cut before it is searched: labels can be 2 MB."""
    short = text[: limit + 1].replace("\r\n", "\n")
    short = UNSAFE.sub(" ", short).encode("utf-8", "replace").decode()
    return short if len(text) <= limit else short[: max(limit - 1, 0)] + "…"


def one_line(text: str, limit: int) -> str:
    """As `clean`, with every run of white space as one space: for subjects, headings and headers."""
    return " ".join(clean(text, limit).split())


def safe_url(url: str, limit: int = 2000) -> str:
    """The URL if it is a plain http(s) one, else empty: a label can hold `javascript:` or markup."""
    if not url.startswith(("http://", "https://")) or len(url) > limit or re.search(r"[\s<>\"'`|\\^{}\x00-\x20]", url):
        return ""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return ""
    return url if host and UNSAFE.search(url) is None and url.isprintable() else ""


def format_moment(at: float) -> str:
    """As people read it: `2026-11-22 03:00:00 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_span(seconds: float) -> str:
    """A duration in its one or two largest units: `2 d 3 h`, `5 min`, `12 s`."""
    left, parts = max(0, round(seconds)), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


# ----------------------------------------------------------------------------------------------------------- of a message


def sign(message: Message) -> str:
    """A coloured dot for the severity, or a tick once all is over."""
    return "✅" if message.status == "resolved" else SIGNS.get(message.severity, "🔴")


def status_word(message: Message) -> str:
    """`FIRING:3` or `RESOLVED`, as Alertmanager's templates begin."""
    return f"FIRING:{message.firing}" if message.status == "firing" else "RESOLVED"


def heading(message: Message, limit: int) -> str:
    """`[FIRING:3] HighLatency on checkout (payments)`."""
    return one_line(f"[{status_word(message)}] {message.title}", limit)


def label(message: Message, *names: str) -> str:
    """The first of these labels that all alerts share, else what the newest alert has, else empty."""
    first = message.lines[0].labels if message.lines else {}
    for labels in (message.common_labels, first):
        for name in names:
            if labels.get(name):
                return one_line(labels[name], LABEL_LIMIT)
    return ""


def facts(message: Message) -> list[tuple[str, str]]:
    """The message's own fields with a value: domain, severity, namespace, service, environment, since, duration."""
    end = max((line.ends_at or line.starts_at for line in message.lines), default=message.started_at)
    over = message.status == "resolved"
    rows = [
        ("Domain", one_line(message.domain, LABEL_LIMIT)),
        ("Severity", one_line(message.severity, 40)),
        ("Namespace", label(message, "namespace")),
        ("Service", label(message, "service")),
        ("Environment", label(message, "environment", "cluster")),
        ("Started", format_moment(message.started_at)),
        ("Resolved at", format_moment(end) if over else ""),
        ("Duration", format_span(end - message.started_at) if over else ""),
    ]
    return [(name, value) for name, value in rows if value]


def score_line(message: Message) -> str:
    """How likely this is noise, by which model; empty when no model answered."""
    if message.score is None:
        return ""
    model = f", model {one_line(message.model, 60)}" if message.model else ""
    return f"{message.score:.0%} likely a false alarm{model}"


def reasons(message: Message) -> list[str]:
    """Up to three reasons for the score, in words."""
    return [one_line(reason, SENTENCE_LIMIT) for reason in message.reasons[:3]]


def why_told(message: Message) -> list[str]:
    """What each rule said, then the message's marks."""
    said = [one_line(rule.sentence, SENTENCE_LIMIT) for rule in message.rules[:RULES_SHOWN]]
    return said + [one_line(mark, SENTENCE_LIMIT) for mark in message.marks[:RULES_SHOWN]]


def links(message: Message) -> list[tuple[str, str]]:
    """(text, URL) of the links that are safe to open."""
    pairs = [(one_line(text, 60), safe_url(url)) for text, url in message.links[:10]]
    return [(text, url) for text, url in pairs if url and text]


def link_named(message: Message, word: str) -> str:
    """The URL of the first link whose text has this word, any case; else empty."""
    return next((url for text, url in links(message) if word in text.lower()), "")


def more_line(message: Message, shown: int) -> str:
    """`and 12 more alerts`, for what is not shown; empty for none."""
    left = message.more + len(message.lines) - shown
    return f"and {left} more alert{'s' if left != 1 else ''}" if left > 0 else ""


# ------------------------------------------------------------------------------------------------------------ of an alert


def description(line: Line, limit: int = DESCRIPTION_LIMIT) -> str:
    """What its author wrote for people."""
    notes = line.annotations
    text = notes.get("description") or notes.get("summary") or notes.get("message") or ""
    return clean(text, limit).strip()


def value(line: Line) -> str:
    """The measured value, where its author put it in an annotation: a webhook carries none of its own."""
    notes = line.annotations
    return one_line(notes.get("value") or notes.get("current_value") or "", LABEL_LIMIT)


def around(line: Line) -> list[str]:
    """What its metrics did around its start, a sentence each."""
    return [one_line(sentence, SENTENCE_LIMIT) for sentence in line.context]


def shown_labels(line: Line, without: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Its labels by name, alertname and those in `without` left out, each cut; at most LABELS_SHOWN."""
    hidden = set(without)
    pairs = [pair for pair in line.labels.items() if pair[0] != "alertname" and pair not in hidden]
    return [(one_line(name, 80), one_line(text, LABEL_LIMIT)) for name, text in sorted(pairs)[:LABELS_SHOWN]]


def when(line: Line) -> list[tuple[str, str]]:
    """Started, and once it is over, resolved at and duration."""
    rows = [("Started", format_moment(line.starts_at))]
    if line.ends_at is not None:
        rows.append(("Resolved at", format_moment(line.ends_at)))
        rows.append(("Duration", format_span(line.ends_at - line.starts_at)))
    return rows


def alert_name(line: Line) -> str:
    """Its alertname, with its severity in capitals."""
    return f"{one_line(line.alertname, LABEL_LIMIT) or 'an alert without a name'} ({one_line(severity_of(line.labels), 20)})"


# ----------------------------------------------------------------------------------------------------------- of a bulletin


def sentences(said: Iterable[str]) -> list[str]:
    """What stands above the lines of a bulletin, or below them."""
    return [text for each in list(said)[:LEAD_SHOWN] if (text := one_line(each, SENTENCE_LIMIT))]


def item_title(item: Item) -> str:
    return one_line(item.title, 200) or "an alert without a name"


def item_facts(item: Item) -> list[str]:
    return [text for each in item.facts[:FACTS_SHOWN] if (text := one_line(each, SENTENCE_LIMIT))]


def item_links(item: Item) -> list[tuple[str, str]]:
    """(text, URL) of the links that are safe to open and short enough for every channel."""
    pairs = [(one_line(text, 60), safe_url(url, 500)) for text, url in item.links[:2]]
    return [(text, url) for text, url in pairs if url and text]


def more_items(bulletin: Bulletin, shown: int) -> str:
    """`and 12 more lines`, for what is not shown; empty for none."""
    left = bulletin.more + len(bulletin.items) - shown
    return f"and {left} more line{'s' if left != 1 else ''}" if left > 0 else ""
