"""E-mail: text and HTML, one thread per incident, one transaction for all of `to`.

The Message-ID is made of what is told, so a try that is repeated after a connection broke has the same one, and mail
systems that know it show one mail.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr, getaddresses
from functools import lru_cache
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import Field, SecretStr, field_validator, model_validator

from sidecar.bulletin import Bulletin
from sidecar.channels import prose
from sidecar.channels.base import Channel, Mail, Rate, Response, Step
from sidecar.channels.settings import ChannelConfig, TlsConfig, reveal
from sidecar.channels.wire import quote
from sidecar.domain import Message, Outcome, Rejected, Retry, Sent

SUBJECT_LIMIT = 200  # characters; more is cut by every mail client
CLIP = 100_000  # bytes of HTML; Gmail clips above 102 KB
LINES_SHOWN = 40
ITEMS_SHOWN = 100  # lines of a bulletin
SUBMISSIONS = 465  # implicit TLS, RFC 8314
HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
OURS = frozenset({"from", "to", "subject", "date", "message-id", "content-type", "mime-version", "in-reply-to"})
NEAR = ("localhost", "127.0.0.1", "::1")


def parse_addresses(text: str) -> tuple[tuple[str, str], ...]:
    """(name, address) of each; ValueError if one is no address, or needs more than ASCII."""
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("an address holds a line break or control character")
    found = tuple(getaddresses([text]))
    for _, address in found:
        if not re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", address):
            raise ValueError(f"{text!r} is not a list of addresses: write them as name@host, with commas between")
    return found


class EmailConfig(ChannelConfig):
    """Alertmanager's `email_configs`; `to` may be a list too."""

    NO_EFFECT: ClassVar[frozenset[str]] = frozenset({"html", "text", "auth_identity", "auth_secret", "threading"})

    to: str
    from_: str = Field(alias="from")
    smarthost: str
    hello: str = "localhost"
    auth_username: str = ""
    auth_password: SecretStr = SecretStr("")
    auth_password_file: str = ""
    auth_identity: str = ""
    auth_secret: SecretStr = SecretStr("")
    require_tls: bool = True
    tls_config: TlsConfig = TlsConfig()
    headers: dict[str, str] = Field(default_factory=dict)
    html: str = ""
    text: str = ""
    threading: Any = None

    @field_validator("to", mode="before")
    @classmethod
    def _join(cls, to: Any) -> Any:
        return ", ".join(map(str, to)) if isinstance(to, list | tuple) else to

    @field_validator("to", "from_")
    @classmethod
    def _check_addresses(cls, text: str) -> str:
        parse_addresses(text)
        return text

    @field_validator("smarthost")
    @classmethod
    def _check_smarthost(cls, smarthost: str) -> str:
        host, _, port = smarthost.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("write it as host:port, as in smtp.example.org:587")
        return smarthost

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, text in headers.items():
            if not HEADER_NAME.fullmatch(name) or re.search(r"[\x00-\x1f\x7f]", text):
                raise ValueError(f"{name!r} is not a header, or its value holds a line break")
        return headers

    @model_validator(mode="after")
    def _check_tls(self) -> EmailConfig:
        host, _, port = self.smarthost.rpartition(":")
        if self.auth_username and not self.require_tls and int(port) != SUBMISSIONS and host not in NEAR:
            raise ValueError("require_tls: false with auth_username would send the password readably: set it to true")
        return self

    def usable_headers(self) -> dict[str, str]:
        """Of the configured headers those that can be set: no templates, and none that this channel makes itself."""
        return {name: text for name, text in self.headers.items() if "{{" not in text and name.lower() not in OURS}

    def warnings(self) -> tuple[str, ...]:
        left_out = sorted(set(self.headers) - set(self.usable_headers()))
        return super().warnings() + tuple(
            f"headers.{name} has no effect here: the sidecar sets it, or it is a template" for name in left_out
        )


class Email(Channel[Message | Bulletin, EmailConfig]):
    name = "email"
    config_key = "email_configs"
    Config = EmailConfig
    kinds = frozenset({"notify", "raise", "reminder", "resolve", "digest"})
    taps = True
    rate = Rate(2.0, 20.0)

    def destination(self, config: EmailConfig) -> str:
        return config.smarthost

    def render(self, message: Message | Bulletin, config: EmailConfig, ref: str) -> list[Step]:  # noqa: ARG002 a mail is never edited
        host, _, port = config.smarthost.rpartition(":")
        return [
            Mail(
                sender=parse_addresses(config.from_)[0][1],
                recipients=tuple(dict.fromkeys(address for _, address in parse_addresses(config.to))),
                content=compose(message, config),
                host=host.strip("[]"),
                port=int(port),
                hello=config.hello,
                username=config.auth_username,
                password=reveal(config.auth_password),
                require_tls=config.require_tls,
                implicit_tls=int(port) == SUBMISSIONS,
                verify=not config.tls_config.insecure_skip_verify,
                ca_file=config.tls_config.ca_file,
                timeout=config.timeout,
            )
        ]

    def interpret(self, response: Response) -> Outcome:
        """By the reply code (RFC 5321, 4.2.1): 2xx taken, 5xx never, all else later. `ref` names who was refused."""
        if 200 <= response.status < 300:
            refused = response.headers.get("refused", "")
            return Sent(f"refused for good: {refused}" if refused else "")
        if response.status == 0:
            return Retry(quote(response.body))
        why = f"SMTP {response.status}: {quote(response.body)}"
        return Rejected(why) if response.status >= 500 else Retry(why)


# --------------------------------------------------------------------------------------------------------------- the mail


def compose(message: Message | Bulletin, config: EmailConfig) -> bytes:
    """The mail without Date. Deterministic: its Message-ID and boundary are hashes of what it tells."""
    if isinstance(message, Bulletin):
        name = f"{prose.BULLETIN} {message.title}"
        mail = _headed(prose.one_line(name, SUBJECT_LIMIT), _hash(message.incident, message.what), config)
        return _filled(mail, bulletin_text(message), bulletin_html(message), config)
    told = (message.dedup_key, message.kind, message.status, message.severity, message.note)
    mail = _headed(subject(message), _hash(*told), config)
    root = f"<incident-{_hash(message.dedup_key)}@{_domain(config)}>"
    mail["In-Reply-To"] = mail["References"] = root  # nobody sent the root: clients thread by it all the same
    if message.severity == "CRITICAL" and message.status == "firing":
        mail["Importance"] = "high"
    return _filled(mail, text_of(message), html_of(message), config)


def _domain(config: EmailConfig) -> str:
    return parse_addresses(config.from_)[0][1].rpartition("@")[2]


def _headed(said: str, identity: str, config: EmailConfig) -> EmailMessage:
    domain = _domain(config)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = ", ".join(formataddr(pair) for pair in parse_addresses(config.from_)[:1])
    mail["To"] = ", ".join(formataddr(pair) for pair in parse_addresses(config.to))
    mail["Subject"] = said
    mail["Message-ID"] = f"<{identity}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notes in return
    mail["X-Auto-Response-Suppress"] = "All"  # the same for Exchange
    mail["List-Id"] = f"<alertmanager-sidecar.{domain}>"
    return mail


def _filled(mail: EmailMessage, plain: str, html: str, config: EmailConfig) -> bytes:
    """With the configured headers, and both parts."""
    for name, text in config.usable_headers().items():
        del mail[name]
        mail[name] = text
    mail.set_content(plain, cte="quoted-printable")
    mail.add_alternative(html, subtype="html", cte="quoted-printable")
    mail.set_boundary(f"=_{mail['Message-ID'][1:33]}")
    return mail.as_bytes()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def subject(message: Message) -> str:
    """`[FIRING] HighLatency - artemis/payments`, as the specification writes it."""
    status = "RESOLVED" if message.status == "resolved" else "FIRING"
    name = "" if message.named else prose.label(message, "alertname")
    place = "/".join(part for part in (message.domain, prose.label(message, "namespace")) if part)
    note = f" ({message.note})" if message.note else ""
    return prose.one_line(
        f"[{status}] {name or message.title}" + (f" - {place}" if place else "") + note, SUBJECT_LIMIT
    )


def text_of(message: Message) -> str:
    """The plain part: everything the HTML says."""
    rows = [prose.heading(message, SUBJECT_LIMIT), *([prose.one_line(message.note, 400)] if message.note else []), ""]
    rows += [f"{name}: {text}" for name, text in prose.facts(message)]
    for line in message.lines[:LINES_SHOWN]:
        rows += ["", prose.alert_name(line), prose.description(line)]
        rows += [f"{name}: {text}" for name, text in prose.when(line)]
        rows += [f"Current value: {measured}"] if (measured := prose.value(line)) else []
        rows += prose.around(line)
        rows += [f"  {name}: {text}" for name, text in prose.shown_labels(line)]
    rows += ["", prose.more_line(message, min(len(message.lines), LINES_SHOWN))]
    rows += [f"Score: {score}"] if (score := prose.score_line(message)) else []
    rows += [f"- {reason}" for reason in prose.reasons(message)]
    rows += ["Why you are told:", *(f"- {said}" for said in why)] if (why := prose.why_told(message)) else []
    rows += ["", *(f"{text}: {url}" for text, url in prose.links(message))]
    return "\n".join(rows) + "\n"


def html_of(message: Message) -> str:
    """The specification's page; alerts are left out, half and half again, until no client clips it."""
    return _clipped(lambda count: _page(message, count), min(len(message.lines), LINES_SHOWN))


def _clipped(page_of: Callable[[int], str], count: int) -> str:
    """The page of so many entries, or of half as many until it is short enough."""
    page = page_of(count)
    while count and len(page.encode()) > CLIP:
        count //= 2
        page = page_of(count)
    return page


def _page(message: Message, count: int) -> str:
    alerts = [
        {
            "name": prose.alert_name(line),
            "about": prose.description(line),
            "times": prose.when(line),
            "value": prose.value(line),
            "around": prose.around(line),
            "labels": prose.shown_labels(line),
            "source": prose.safe_url(line.generator_url),
        }
        for line in message.lines[:count]
    ]
    status = "RESOLVED" if message.status == "resolved" else "FIRING"
    colour = "resolved" if status == "RESOLVED" else {"WARNING": "warning", "INFO": "info"}.get(message.severity, "")
    return (
        _pages()
        .get_template("email.html")
        .render(
            colour=colour,
            title=f"{status}: {prose.one_line(message.title, SUBJECT_LIMIT)}",
            note=prose.one_line(message.note, 400),
            facts=prose.facts(message),
            alerts=alerts,
            more=prose.more_line(message, count),
            score=prose.score_line(message),
            reasons=prose.reasons(message),
            why=prose.why_told(message),
            links=prose.links(message),
        )
    )


@lru_cache(maxsize=1)
def _pages() -> Environment:
    loader = PackageLoader("sidecar.channels", ".")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- of a bulletin


def bulletin_text(bulletin: Bulletin) -> str:
    """The plain part: everything the HTML says."""
    rows = [prose.one_line(bulletin.title, SUBJECT_LIMIT), "", *prose.sentences(bulletin.lead)]
    for item in bulletin.items[:ITEMS_SHOWN]:
        rows += ["", prose.item_title(item), *(f"- {said}" for said in prose.item_facts(item))]
        rows += [f"  {text}: {url}" for text, url in prose.item_links(item)]
    rows += ["", prose.more_items(bulletin, min(len(bulletin.items), ITEMS_SHOWN)), *prose.sentences(bulletin.foot)]
    return "\n".join(rows) + "\n"


def bulletin_html(bulletin: Bulletin) -> str:
    """As `html_of`: lines are left out, half and half again, until no client clips it."""
    return _clipped(lambda count: _bulletin_page(bulletin, count), min(len(bulletin.items), ITEMS_SHOWN))


def _bulletin_page(bulletin: Bulletin, count: int) -> str:
    items = [
        {"title": prose.item_title(item), "facts": prose.item_facts(item), "links": prose.item_links(item)}
        for item in bulletin.items[:count]
    ]
    return (
        _pages()
        .get_template("email_bulletin.html")
        .render(
            title=prose.one_line(bulletin.title, SUBJECT_LIMIT),
            lead=prose.sentences(bulletin.lead),
            items=items,
            more=prose.more_items(bulletin, count),
            foot=prose.sentences(bulletin.foot),
        )
    )
