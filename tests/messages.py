"""Messages and channel configurations for tests: a plain one, and ones that nobody should ever send."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sidecar.bulletin import Bulletin, Item
from sidecar.channels.email import EmailConfig
from sidecar.channels.log import LogConfig
from sidecar.channels.msteams import MsTeamsConfig
from sidecar.channels.pagerduty import PagerDutyConfig
from sidecar.channels.settings import ChannelConfig
from sidecar.channels.silence import SilenceConfig
from sidecar.channels.slack import SlackConfig
from sidecar.channels.webhook import WebhookConfig
from sidecar.domain import Line, Message, Pattern, Reason, SilenceRequest

T0 = 1_795_316_400.0  # 2026-11-22T03:00:00Z
LABELS = {
    "alertname": "HighLatency",
    "severity": "critical",
    "domain": "artemis",
    "namespace": "payments",
    "service": "checkout",
    "cluster": "prod-eu",
    "pod": "checkout-7d9",
}
CANARIES = ("canary-token-5f3a", "canary-user-77aa", "canary-pass-91cc")  # secrets that may appear nowhere


def make_line(number: int = 0, **changes: Any) -> Line:
    line = Line(
        episode=f"00000000000000{number % 256:02x}-{int(T0 * 1000)}",
        labels={**LABELS, "instance": f"10.0.0.{number}:8080"},
        annotations={"description": "p95 is 2.4 s, above 1 s for 10 min", "value": "2.4"},
        starts_at=T0,
        ends_at=None,
        generator_url="https://prometheus.example.org/graph?g0.expr=up%3D%3D0",
    )
    return replace(line, **changes)


def make_message(kind: str = "notify", lines: int = 1, **changes: Any) -> Message:
    """One incident; a resolved one for kind "resolve"."""
    over = kind == "resolve"
    every = tuple(make_line(number, ends_at=T0 + 300 if over else None) for number in range(lines))
    message = Message(
        incident="inc-0a1b2c",
        kind=kind,
        dedup_key="inc-0a1b2c",
        status="resolved" if over else "firing",
        severity="CRITICAL",
        domain="artemis",
        title="HighLatency on checkout (payments)",
        common_labels=LABELS,
        lines=every,
        more=0,
        firing=0 if over else lines,
        resolved=lines if over else 0,
        started_at=T0,
        score=0.13,
        reasons=("fired 14 times in 7 days, 13 voted noise", "usually clears in 3 min"),
        rules=(Reason("routing", "CRITICAL in artemis goes to artemis-oncall"),),
        marks=("shadow: would have been held",),
        links=(
            ("Alertmanager", "https://alertmanager.example.org"),
            ("Runbook", "https://docs.example.org/runbooks/HighLatency"),
            ("Dashboard", "https://grafana.example.org/d/artemis"),
        ),
        model="cold-start",
        note={"raise": "severity raised to CRITICAL", "reminder": "still firing after 4 h"}.get(kind, ""),
    )
    return replace(message, **changes)


def odd_message(kind: str, text: str, lines: int = 1) -> Message:
    """A message with `text` in every place that a sender of alerts can fill."""
    line = make_line(
        labels={
            "alertname": text,
            "severity": text,
            "namespace": text,
            "service": text,
            "cluster": text,
            "x" + text: text,
        },
        annotations={"description": text, "summary": text, "value": text},
        generator_url=text,
        ends_at=T0 + 5 if kind == "resolve" else None,
        context=(text,) * 10,
    )
    plain = make_message(kind, lines)
    return replace(
        plain,
        lines=(line, *plain.lines[1:]),
        common_labels={"alertname": text, "namespace": text, "service": text, "cluster": text},
        title=text,
        domain=text,
        severity=text,
        incident=text,
        dedup_key=text,
        reasons=(text,) * 5,
        rules=(Reason("routing", text),) * 20,
        marks=(text,) * 20,
        links=((text, text), ("Runbook", f"javascript:alert({text})"), (text, "https://ok.example.org/" + "x" * 470))
        * 10,
        note=text,
        model=text,
    )


def make_bulletin(lines: int = 1) -> Bulletin:
    """A digest with two links on each line."""
    links = "https://sidecar.example.org/v/"
    items = tuple(
        Item(
            title=f"HighLatency on checkout-{number} (payments)",
            facts=(
                "12 times, usually over after 4 min",
                "score 0.86 to 0.97",
                "suppressed: like what people call noise",
            ),
            links=(("noise", f"{links}n-{number}"), ("real", f"{links}r-{number}")),
            episodes=(f"00000000000000{number % 256:02x}-{int(T0 * 1000)}",),
            data={"count": 12, "lowest": 0.86, "highest": 0.97, "answered": 0},
        )
        for number in range(lines)
    )
    return Bulletin(
        "digest-default-1795316400", "default", "digest", "12 alerts were kept back from default", T0 - 86400, T0,
        ("Nothing of it interrupted anybody.",), items, 0, ("React 👍 useful or 👎 noise.",),
    )  # fmt: skip


def odd_bulletin(text: str, lines: int = 1) -> Bulletin:
    """A bulletin with `text` in every place that a sender of alerts can fill."""
    plain = make_bulletin(lines)
    good = plain.items[0].links
    items = tuple(
        Item(text, (text,) * 20, ((text, text), good[1]) if number % 2 else good, ("e-1",), {"reason": text})
        for number in range(lines)
    )
    return replace(plain, title=text, receiver=text, lead=(text,) * 20, foot=(text,) * 20, items=items)


def make_silence(**changes: Any) -> SilenceRequest:
    request = SilenceRequest(
        pattern=Pattern("HighLatency", "payments", "checkout", "WARNING"),
        matchers=(("alertname", "HighLatency"), ("namespace", "payments"), ("service", "checkout")),
        ends_at=T0 + 86400,
        created_by="alertmanager-sidecar",
        comment="voted a false alarm in 5 of 5 episodes",
    )
    return replace(request, **changes)


def make_config(name: str) -> ChannelConfig:
    """A valid configuration of the channel `name`, with CANARIES as its secrets."""
    token, user, password = CANARIES
    auth = {"basic_auth": {"username": user, "password": password}}
    url = f"https://example.org/{token}"
    mail = {"to": "a@example.org, B <b@example.org>", "from": "Alerts <alerts@example.org>"}
    mail |= {"smarthost": "smtp.example.org:587", "auth_username": "alerts", "auth_password": password}
    makers = {
        "slack": lambda: SlackConfig(bot_token=token, channel="#alerts"),
        "pagerduty": lambda: PagerDutyConfig(routing_key=token),
        "email": lambda: EmailConfig(**mail),
        "msteams": lambda: MsTeamsConfig(webhook_url=f"{url}?sig={password}"),
        "webhook": lambda: WebhookConfig(url=url, http_config=auth),
        "log": LogConfig,
        "silence": lambda: SilenceConfig(url="https://alertmanager.example.org", bearer_token=token),
    }
    return makers[name]()
