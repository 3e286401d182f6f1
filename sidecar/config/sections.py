"""The sections that say how the sidecar runs: server, store, Alertmanagers, guard, folding, delivery, Slack, training."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from sidecar.channels import BY_NAME
from sidecar.channels.settings import reveal
from sidecar.config.durations import Duration, Size
from sidecar.config.fields import (
    BySeverity,
    CronText,
    HttpUrl,
    LabelName,
    Secret,
    Section,
    SeverityName,
    StoreUrl,
    ZoneName,
)
from sidecar.config.matchers import Matchers
from sidecar.config.problems import Wrong, did_you_mean
from sidecar.domain import FeedbackKind, severity_of


def _listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise Wrong(f"{text!r} is not host:port", 'write e.g. "127.0.0.1:9095", or ":9095" for every interface')
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise Wrong(f"{text!r}: an IPv6 address is written in brackets", f'write "[{host}]:{port}"')
    return text


class Server(Section):
    """Where the sidecar listens, and what it takes."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9095"
    """host:port; ":9095" listens on every interface."""
    body_limit: Size = 32 * 1024 * 1024
    """The largest webhook that is read. Alertmanager sends all alerts of a group at once: 5,000 are 3.5 MB."""
    body_timeout: Duration = 30.0
    """How long one body may take to arrive."""
    keepalive: Duration = 15.0
    """How long an idle connection stays open."""
    webhook_secret: Secret | None = None
    """What Alertmanager must send, as Bearer token or as Basic password."""
    api_secret: Secret | None = None
    """What callers of the API must send, as Bearer token or as Basic password."""
    external_url: str = ""
    """How Alertmanager, and people's browsers, reach the sidecar: `render-alertmanager` writes it into the webhook's URL, and
    the links by which people answer begin with it."""

    @property
    def webhook_secret_value(self) -> str:
        """The secret itself; empty when none is configured."""
        return reveal(self.webhook_secret)

    @property
    def api_secret_value(self) -> str:
        """The secret itself; empty when none is configured."""
        return reveal(self.api_secret)

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]") or "0.0.0.0"  # noqa: S104 - what an empty host means

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])


def _store_url(url: str) -> str:
    scheme = url.partition(":")[0]
    if scheme.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
        raise Wrong(
            f"{scheme!r} is no store", 'write "sqlite:///sidecar.db" or "postgresql://user:${PASSWORD}@host/database"'
        )
    return url


class Store(Section):
    """The database."""

    url: Annotated[StoreUrl, AfterValidator(_store_url)] = Field(default="sqlite:///sidecar.db", repr=False)
    """sqlite:///file for one process, postgresql://user:password@host/database for replicas."""
    snapshot_every: int = Field(default=2000, ge=1)
    """Log rows between two snapshots of the folded state."""
    replica: str | None = None
    """This replica's name; by default host name and process id."""


class BasicAuth(Section):
    """A user name and password."""

    username: str
    password: Secret


class AlertmanagerPeer(Section):
    """One Alertmanager whose API is used, for silences and for what they hide."""

    url: HttpUrl
    """Its base URL, without /api."""
    basic_auth: BasicAuth | None = None
    bearer_token: Secret | None = None
    timeout: Duration = 10.0


class NeverSuppress(Section):
    """Alerts that always reach people; one severity or one matcher that applies is enough."""

    severities: tuple[SeverityName, ...] = ("CRITICAL",)
    matchers: Matchers = ()


class Guard(Section):
    """What no rule and no model may argue with."""

    never_suppress: NeverSuppress = NeverSuppress()

    @property
    def severities(self) -> tuple[str, ...]:
        """Severities that always reach people."""
        return self.never_suppress.severities

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Does a matcher of `never_suppress` apply to these labels? One is enough."""
        return any(matcher.matches(labels) for matcher in self.never_suppress.matchers)


class Folding(Section):
    """Which alerts join an open incident instead of interrupting again."""

    labels: tuple[LabelName, ...] = ("instance",)
    """Alerts with the same value of one of these labels are one incident."""
    group: bool = True
    """Alerts of one Alertmanager group are one incident."""
    for_: Duration = Field(default=3600.0, alias="for")
    """After an incident's first message, the next alert interrupts again when this has passed."""


# Ten minutes and one more: Alertmanager tells of an end with the group's next interval, five minutes later by default.
_HELD = {"CRITICAL": 0.0, "WARNING": 660.0, "INFO": 660.0}


class Holding(Section):
    """How long an alert that is probably noise may wait for clearing by itself."""

    max: Annotated[BySeverity[Duration], BeforeValidator(lambda given: _over(_HELD, given))] = _HELD
    """By severity; one that is not listed is never held, nor, in mode `ladder`, suppressed."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """Alerts with a lower probability of being false are never held."""

    def max_for(self, severity: str) -> float:
        """The longest hold in seconds; 0 for a severity that is never held."""
        return self.max.get(severity, 0.0)


class AuditSample(Section):
    """What would be kept back by score and is told all the same, at random and marked, to know what is missed."""

    share: float = Field(default=0.05, ge=0, le=1)
    """Of what would be kept back, drawn per instance and hour."""
    first_month: float = Field(default=0.1, ge=0, le=1)
    """The share in the first 30 days."""

    def share_after(self, age: float) -> float:
        """The share after `age` seconds of history."""
        return self.first_month if age < _MONTH else self.share


_MONTH = 30 * 86_400.0


def _over(defaults: Mapping[str, Any], given: Any) -> Any:
    """What is given, over the defaults of the severities that are not."""
    if not isinstance(given, dict):
        return given
    named = {severity_of({"severity": str(name)}) for name in given}
    return {name: value for name, value in defaults.items() if name not in named} | given


class Windows(Section):
    """Deployment windows, which are opened by `POST /api/v2/windows` and end when their owner stops renewing them."""

    max_lease: Duration = 3600.0
    """The longest time that one request may ask for."""
    most: int = Field(default=100, ge=1, le=1000)
    """How many may be open at once. Each is compared with every alert."""

    @field_validator("max_lease")
    @classmethod
    def _positive(cls, seconds: float) -> float:
        if seconds <= 0:
            raise Wrong("no window could be opened", 'write e.g. "1h"')
        return seconds


class Silences(Section):
    """Silences the sidecar writes; `feedback_loop.automation.auto_silence_patterns` says whether it does."""

    budget: int = Field(default=50, ge=0)
    """How many of them may stand at once; one that ended within five days counts, since Alertmanager keeps it so long."""
    created_by: str = Field(default="alertmanager-sidecar", min_length=1)
    """The author they carry in Alertmanager."""


class Watch(Section):
    """Reading every peer of `alertmanagers`: what silences hide, ends that are never sent, and silences of ours."""

    enabled: bool = True
    """`false` turns it off: then a silence of ours ends by its time and by votes alone."""
    interval: Annotated[Duration, Field(ge=1, le=300)] = 30.0
    """Between two looks. What is gone in two of them, one after the other, has ended."""
    settled_after: Duration = 300.0
    """A peer that has been up for less proves nothing by what it does not have: Prometheus has yet to send it again."""


def plain_emoji(reaction: str) -> str:
    """An emoji's name without colons and skin tone: "+1::skin-tone-3" is "+1"."""
    return reaction.strip(":").partition("::")[0]


EmojiName = Annotated[str, AfterValidator(plain_emoji)]


class Emoji(Section):
    """Which reaction to a message means what."""

    useful: tuple[EmojiName, ...] = ("+1", "white_check_mark")
    false_positive: tuple[EmojiName, ...] = ("-1", "no_bell", "mute")
    not_actionable: tuple[EmojiName, ...] = ()
    ack: tuple[EmojiName, ...] = ("eyes",)
    resolved: tuple[EmojiName, ...] = ()


# Slack sends the first of each pair for either: https://github.com/iamcal/emoji-data (short_name and short_names)
_SYNONYMS = {"thumbsup": "+1", "thumbsdown": "-1"}


class Slack(Section):
    """What comes back from Slack; where messages go is in `receivers`."""

    signing_secret: Secret | None = None
    """Of the Slack app whose events arrive here; without it, no event is accepted."""
    emoji: Emoji = Emoji()

    @property
    def signing_secret_value(self) -> str:
        """The secret itself; empty when none is configured."""
        return reveal(self.signing_secret)

    @field_validator("emoji")
    @classmethod
    def _one_meaning(cls, emoji: Emoji) -> Emoji:
        names = [_SYNONYMS.get(name, name) for kind in FeedbackKind for name in getattr(emoji, kind.value)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Wrong(f"{', '.join(twice)} would mean two things", "list every emoji once")
        return emoji

    def kind_of(self, reaction: str) -> FeedbackKind | None:
        """What a reaction says, whatever its skin tone; None when it says nothing."""
        name = plain_emoji(reaction)
        wanted = _SYNONYMS.get(name, name)
        for kind in FeedbackKind:
            if wanted in (_SYNONYMS.get(emoji, emoji) for emoji in getattr(self.emoji, kind.value)):
                return kind
        return None


class Training(Section):
    """The nightly job that learns from votes."""

    nightly: bool = True
    """Does `sidecar serve` run it itself? Turn it off where a CronJob does."""
    schedule: CronText = "0 0 * * *"
    """When; by default `feedback_loop.processing.schedule`."""
    timezone: ZoneName = "UTC"
    signing_key: Secret | None = None
    """Signs promoted models; without it they are only checked for damage."""
    miss_budget: float = Field(default=0.05, gt=0, lt=1)
    """The share of real incidents that suppression may leave untold for 15 minutes; holding may four times it."""
    implicit_evidence: bool = False
    """Learn a little, too, from alerts that were acknowledged, and from alerts that cleared within minutes and nobody
    reacted to. Such hints only rank: they prove nothing, and count for no rung, silence or certificate."""
    min_votes: int = Field(default=50, ge=1)
    """Fewer votes than this, and nothing is trained."""


class DeliverySettings(Section):
    """How messages leave."""

    lease: Duration = 60.0
    """How long a worker has for one message before another may take it."""
    give_up_after: Duration = 86_400.0
    """A message that still fails after this goes to the dead letters."""
    max_backoff: Duration = 600.0
    """The longest wait between two attempts."""
    concurrency: int = Field(default=8, ge=1)
    """Messages to one destination at once."""
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Messages per second and destination, by channel: slack, pagerduty, ..."""

    @field_validator("rates")
    @classmethod
    def _known(cls, rates: dict[str, float]) -> dict[str, float]:
        for name in rates:
            if name not in BY_NAME:
                raise Wrong(f"there is no channel {name!r}", did_you_mean(name, list(BY_NAME)))
        return rates


def _template(text: str) -> str:
    try:
        parts = [(name, spec, how) for _, name, spec, how in Formatter().parse(text) if name is not None]
    except ValueError as fault:
        raise Wrong(f"not a template: {fault}", "write labels in braces: {alertname}") from None
    for name, spec, how in parts:
        if not name.isidentifier():
            raise Wrong(f"{{{name}}} is not a label", "write labels in braces: {alertname}")
        if spec or how:
            raise Wrong(f"{{{name}}} has a format, which is not read", f"write only the name: {{{name}}}")
    return text


Template = Annotated[str, AfterValidator(_template)]


class Links(Section):
    """Links of a message; {label} stands for the label's value. A link whose label is absent is left out."""

    alertmanager: str = ""
    runbook: Template = ""
    """e.g. https://docs.example.org/runbooks/{alertname}"""
    dashboard: Template = ""
    """e.g. https://grafana.example.org/d/{domain}"""

    def of(self, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """(text, URL) of each link for these labels, their values percent-encoded."""
        safe = {name: quote(value, safe="") for name, value in labels.items()}
        found: list[tuple[str, str]] = []
        templates = (
            ("View in Alertmanager", self.alertmanager),
            ("Runbook", self.runbook),
            ("Dashboard", self.dashboard),
        )
        for text, template in templates:
            names = [name for _, name, _, _ in Formatter().parse(template) if name]
            if template and all(safe.get(name) for name in names):
                found.append((text, template.format_map(safe)))
        return tuple(found)


class Global(Section):
    """Alertmanager's `global:` keys that fill in what a receiver leaves out."""

    smtp_from: str | None = None
    smtp_smarthost: str | None = None
    smtp_hello: str | None = None
    smtp_auth_username: str | None = None
    smtp_auth_password: Secret | None = None
    smtp_require_tls: bool | None = None
    slack_api_url: Secret | None = None
    slack_app_token: Secret | None = None
    pagerduty_url: HttpUrl | None = None
    resolve_timeout: Duration | None = None
    http_config: dict[str, Any] | None = None


Mode = Literal["shadow", "ladder", "auto"]
