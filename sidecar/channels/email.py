"""E-mail: text and HTML, one thread per incident, one transaction for all of `to`.

The Message-ID is made of what is told, so a try that is repeated after a connection broke has the same one, and mail
systems that know it show one mail.
"""

from __future__ import annotations

import hashlib
import re
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr, getaddresses
from typing import Any, ClassVar

from jinja2 import Environment, StrictUndefined
from pydantic import Field, SecretStr, field_validator, model_validator

from sidecar.channels import prose
from sidecar.channels.base import Channel, Mail, Rate, Response, Step
from sidecar.channels.settings import ChannelConfig, TlsConfig, reveal
from sidecar.channels.wire import quote
from sidecar.domain import Message, Outcome, Rejected, Retry, Sent

SUBJECT_LIMIT = 200  # characters; more is cut by every mail client
CLIP = 100_000  # bytes of HTML; Gmail clips above 102 KB
LINES_SHOWN = 40
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


class Email(Channel[Message, EmailConfig]):
    name = "email"
    config_key = "email_configs"
    Config = EmailConfig
    kinds = frozenset({"notify", "raise", "reminder", "resolve"})
    rate = Rate(2.0, 20.0)

    def destination(self, config: EmailConfig) -> str:
        return config.smarthost

    def render(self, message: Message, config: EmailConfig, ref: str) -> list[Step]:  # noqa: ARG002 a mail is never edited
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


def compose(message: Message, config: EmailConfig) -> bytes:
    """The mail without Date. Deterministic: its Message-ID and boundary are hashes of what it tells."""
    domain = parse_addresses(config.from_)[0][1].rpartition("@")[2]
    told = (message.dedup_key, message.kind, message.status, message.severity, message.note)
    identity, root = _hash(*told), f"<incident-{_hash(message.dedup_key)}@{domain}>"
    mail = EmailMessage(policy=SMTP)
    mail["From"] = ", ".join(formataddr(pair) for pair in parse_addresses(config.from_)[:1])
    mail["To"] = ", ".join(formataddr(pair) for pair in parse_addresses(config.to))
    mail["Subject"] = subject(message)
    mail["Message-ID"] = f"<{identity}@{domain}>"
    mail["In-Reply-To"] = mail["References"] = root  # nobody sent the root: clients thread by it all the same
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notes in return
    mail["X-Auto-Response-Suppress"] = "All"  # the same for Exchange
    mail["List-Id"] = f"<alertmanager-sidecar.{domain}>"
    if message.severity == "CRITICAL" and message.status == "firing":
        mail["Importance"] = "high"
    for name, text in config.usable_headers().items():
        del mail[name]
        mail[name] = text
    mail.set_content(text_of(message), cte="quoted-printable")
    mail.add_alternative(html_of(message), subtype="html", cte="quoted-printable")
    mail.set_boundary(f"=_{identity}")
    return mail.as_bytes()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def subject(message: Message) -> str:
    """`[FIRING] HighLatency - artemis/payments`, as the specification writes it."""
    status = "RESOLVED" if message.status == "resolved" else "FIRING"
    name = prose.label(message, "alertname") or message.title
    place = "/".join(part for part in (message.domain, prose.label(message, "namespace")) if part)
    note = f" ({message.note})" if message.note else ""
    return prose.one_line(f"[{status}] {name}" + (f" - {place}" if place else "") + note, SUBJECT_LIMIT)


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
    count = min(len(message.lines), LINES_SHOWN)
    page = _page(message, count)
    while count and len(page.encode()) > CLIP:
        count //= 2
        page = _page(message, count)
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
    return PAGE.render(
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


PAGE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<style>
body { font-family: Arial, sans-serif; }
.header { background: #dc3545; color: white; padding: 20px; }
.resolved { background: #28a745; }
.warning { background: #ffc107; color: black; }
.info { background: #0d6efd; }
.content { padding: 20px; }
.alert-box { border: 1px solid #ddd; margin: 10px 0; padding: 15px; }
.label { display: inline-block; padding: 3px 8px; background: #f0f0f0; margin: 2px; }
.metric { font-family: monospace; background: #f8f9fa; padding: 5px; }
</style>
</head>
<body>
<div class="header {{ colour }}"><h2>{{ title }}</h2></div>
<div class="content">
{% if note %}
<p><strong>{{ note }}</strong></p>
{% endif %}
{% for name, text in facts %}
<p><strong>{{ name }}:</strong> {{ text }}</p>
{% endfor %}
{% for alert in alerts %}
<div class="alert-box">
<h3>{{ alert.name }}</h3>
<p>{{ alert.about }}</p>
{% for name, text in alert.times %}
<p><strong>{{ name }}:</strong> {{ text }}</p>
{% endfor %}
{% if alert.value %}
<p class="metric"><strong>Current value:</strong> {{ alert.value }}</p>
{% endif %}
{% for sentence in alert.around %}
<p class="metric">{{ sentence }}</p>
{% endfor %}
<div>
{% for name, text in alert.labels %}
<span class="label">{{ name }}: {{ text }}</span>
{% endfor %}
</div>
{% if alert.source %}
<p><a href="{{ alert.source }}">View in Prometheus</a></p>
{% endif %}
</div>
{% endfor %}
{% if more %}
<p>{{ more }}</p>
{% endif %}
{% if score %}
<p><strong>Score:</strong> {{ score }}</p>
{% endif %}
{% if reasons %}
<ul>
{% for reason in reasons %}
<li>{{ reason }}</li>
{% endfor %}
</ul>
{% endif %}
{% if why %}
<p><strong>Why you are told:</strong></p>
<ul>
{% for sentence in why %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
{% endif %}
<hr>
<p>
{% for text, url in links %}
<a href="{{ url }}">{{ text }}</a>{{ " | " if not loop.last else "" }}
{% endfor %}
</p>
</div>
</body>
</html>
""")
