"""The specification's sections, under its own keys and with its own values as defaults."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from sidecar.config.durations import Duration
from sidecar.config.fields import (
    CronText,
    HttpUrl,
    LabelName,
    Secret,
    Section,
    check_label,
)
from sidecar.config.matchers import Matchers
from sidecar.config.problems import Wrong

LONGEST_TIMEOUT = 5.0  # s that a model's endpoint may delay the answer to a webhook
OUR_HEADERS = ("content-type", "content-length", "transfer-encoding", "host", "connection")
Share = Annotated[float, Field(ge=0, le=1)]
GroupLabel = Annotated[str, AfterValidator(lambda name: name if name == "..." else check_label(name))]


class Group(Section):
    """How Alertmanager groups one domain's alerts (2.1)."""

    group_by: tuple[GroupLabel, ...] = ("alertname", "cluster", "service")
    group_wait: Duration = 30.0
    group_interval: Duration = 300.0
    repeat_interval: Duration = 14_400.0
    """After this, an alert that still fires is a reminder."""

    @field_validator("group_by")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) < len(labels) or ("..." in labels and len(labels) > 1):
            raise Wrong("Alertmanager takes every label once, and ... only alone", "name each label once")
        return labels

    @field_validator("group_interval", "repeat_interval")
    @classmethod
    def _positive(cls, seconds: float) -> float:
        if seconds <= 0:
            raise Wrong("Alertmanager takes no interval of 0", 'write e.g. "5m"')
        return seconds


def _group(names: str, wait: int, interval: int, repeat: int) -> dict[str, Any]:
    return {
        "group_by": names.split(),
        "group_wait": float(wait),
        "group_interval": float(interval),
        "repeat_interval": float(repeat),
    }


GROUPING: dict[str, dict[str, Any]] = {
    "artemis_domain": _group("alertname cluster namespace service severity", 30, 300, 14_400),
    "sophia_domain": _group("alertname cluster namespace ai_model severity", 45, 600, 21_600),
    "infrastructure": _group("alertname cluster node severity", 10, 180, 7_200),
    "keda_scaling": _group("alertname scaledobject namespace", 60, 300, 1_800),
}
DOMAINS: dict[str, dict[str, Any]] = {
    "artemis": {"matchers": ['domain="artemis"']},
    "sophia": {"matchers": ['domain="sophia"']},
    "keda": {"matchers": ['alertname=~"KEDA.*"']},
    "infrastructure": {"any_of": [['alertname=~"Node.*|Disk.*|Memory.*"'], ['domain="infrastructure"']]},
}
SEVERITIES: dict[str, dict[str, Any]] = {
    "CRITICAL": {
        "description": "Service-impacting issue requiring immediate attention",
        "sla": "5m",
        "escalation": "immediate",
    },
    "WARNING": {
        "description": "Degraded performance or approaching threshold",
        "sla": "30m",
        "escalation": "business_hours",
    },
    "INFO": {"description": "Informational alerts for tracking", "sla": "4h", "escalation": "none"},
}
INHIBIT_RULES: list[dict[str, Any]] = [
    {
        "source_matchers": [f'alertname="{source}"'],
        "target_matchers": [target],
        "equal": equal.split(),
    }
    for source, target, equal in (
        ("CircuitBreakerOpen", 'alertname=~".*HighLatency|.*Timeout"', "cluster namespace service"),
        ("NodeDown", 'alertname=~"Pod.*|Container.*"', "node"),
        ("MaintenanceWindow", 'alertname=~"KEDA.*|.*Scaling.*"', "namespace"),
        ("AIModelLoading", 'alertname="AIInferenceLatencyHigh"', "namespace model_name"),
        ("DatabaseMigrationInProgress", 'alertname=~".*Query.*|.*Connection.*"', "database namespace"),
    )
]


def over_groups(given: Any) -> Any:
    """Given groups over the specification's, key by key."""
    if not isinstance(given, dict):
        return given
    merged: dict[Any, Any] = dict(GROUPING)
    for name, group in given.items():
        merged[name] = {**GROUPING.get(name, {}), **group} if isinstance(group, dict) else group
    return merged


def over_domains(given: Any) -> Any:
    """Given domains first and in their order, then the specification's that were not given.

    A domain without matchers has the specification's for that name, else `domain="<name>"`.
    """
    if not isinstance(given, dict):
        return given
    merged: dict[Any, Any] = {}
    for name, domain in given.items():
        body = {} if domain is None else domain
        bare = isinstance(body, dict) and "matchers" not in body and "any_of" not in body
        merged[name] = {**DOMAINS.get(name, {"matchers": [f'domain="{name}"']}), **body} if bare else body
    return merged | {name: domain for name, domain in DOMAINS.items() if name not in merged}


class Domain(Section):
    """Which alerts belong to a domain, and who its roles are."""

    matchers: Matchers = ()
    """All of them have to match."""
    any_of: tuple[Matchers, ...] = ()
    """Beside `matchers`, all matchers of one of these lists have to match."""
    roles: dict[str, str] = Field(default={})
    """The receiver of each role that `time_based_routing` names; a role that is not listed is the receiver of that name."""


class SeverityDefinition(Section):
    """What a severity means (2.2)."""

    description: str = ""
    sla: Duration | None = None
    """How soon somebody has to acknowledge an incident of it: by a vote or an `ack`, of any kind and from any side."""
    escalation: Literal["immediate", "business_hours", "none"] = "none"
    """What happens when nobody has: immediate escalates, business_hours does and counts only the time in which the window
    business_hours is open. It counts where `severity_definitions` is written in the file."""
    escalate_to: tuple[str, ...] | None = None
    """Roles that are told in turn, one more with every `sla` that passes. By default first those that the open window names
    for the next higher severity, then those that the other windows name for this one. When all have been told, the
    same people are interrupted once more, and that is the end. While a maintenance window overrides the route, only they are."""
    examples: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.escalation != "none" and self.sla is not None and self.sla <= 0:
            raise Wrong("sla is 0: it would escalate before anybody has read it", 'write e.g. "5m"')
        return self


class ExactMatch(Section):
    enabled: bool = True
    fields: tuple[LabelName, ...] = ("alertname", "namespace", "service", "pod")


class FuzzyMatch(Section):
    enabled: bool = True
    similarity_threshold: Share = 0.85
    fields: tuple[LabelName, ...] = ("alertname", "namespace", "service")


class TemporalCorrelation(Section):
    enabled: bool = True
    window: Duration = 120.0
    min_alerts: int = Field(default=3, ge=2, le=50)
    labels: tuple[LabelName, ...] = ("node", "instance", "service", "namespace")
    """What the alerts share, the narrowest first; `cluster` has to be equal as well."""


class Strategies(Section):
    exact_match: ExactMatch = ExactMatch()
    fuzzy_match: FuzzyMatch = FuzzyMatch()
    temporal_correlation: TemporalCorrelation = TemporalCorrelation()


class Deduplication(Section):
    """Which alerts are the same alert (2.3)."""

    fingerprint_fields: tuple[LabelName, ...] = ("alertname", "namespace", "service", "pod")
    """What strategies.exact_match.fields are when that is not given."""
    correlation_window: Duration = 300.0
    strategies: Strategies = Strategies()

    @model_validator(mode="before")
    @classmethod
    def _same_fields(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "fingerprint_fields" not in given:
            return given
        strategies = given.get("strategies", {})
        exact = strategies.get("exact_match", {}) if isinstance(strategies, dict) else None
        if not isinstance(exact, dict) or "fields" in exact:
            return given
        return {**given, "strategies": {**strategies, "exact_match": {**exact, "fields": given["fingerprint_fields"]}}}


class InhibitRule(Section):
    """While an alert of the source fires, those of the target with equal labels are muted, by Alertmanager (3.1)."""

    source_matchers: Matchers = Field(min_length=1)
    target_matchers: Matchers = Field(min_length=1)
    equal: tuple[LabelName, ...] = ()


def check_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    """The same headers. Raises Wrong for one that cannot be sent, or that is ours to set."""
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or name.lower() in OUR_HEADERS:
            raise Wrong(f"{name!r} cannot be set", "leave it out, or check its spelling")
        if re.search(r"[\x00-\x1f\x7f]", value.get_secret_value()):
            raise Wrong(f"{name} holds a line break or control character", "a header is one line")
    return headers


class MlModel(Section):
    """One model (3.4)."""

    name: str
    type: Literal["time-series-anomaly", "binary-classifier"]
    provider: Literal["built-in", "http"] = "built-in"
    """http: `endpoint` is asked for its answer before an alert is decided, and the built-in model stands in for it."""
    endpoint: HttpUrl | None = None
    """With `provider: http`, the URL that answers as our own POST /classify or POST /anomaly does."""
    timeout: Duration = 0.2
    """How long its answer is waited for, at most 5s: so much later is the webhook answered while it hangs."""
    headers: dict[str, Secret] = Field(default={})
    """Sent to the endpoint."""
    bearer_token: Secret | None = None
    """Sent to the endpoint as the Authorization header."""
    max_batch: int = Field(default=500, ge=1, le=10_000)
    """Alerts in one request; of a larger webhook, the built-in model scores the rest."""
    features: tuple[str, ...] = ()
    confidence_threshold: Share | None = None
    auto_suppress: bool | None = None

    @field_validator("timeout")
    @classmethod
    def _brief(cls, seconds: float) -> float:
        if not 0 < seconds <= LONGEST_TIMEOUT:
            raise Wrong("has to be above 0 and at most 5s: Alertmanager waits for it", 'write e.g. "200ms"')
        return seconds

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        return check_headers(headers)

    @field_validator("bearer_token")
    @classmethod
    def _one_line(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and re.search(r"[\x00-\x1f\x7f]", token.get_secret_value()):
            raise Wrong("holds a line break or control character", "a token is one line")
        return token

    @model_validator(mode="after")
    def _complete(self) -> MlModel:
        if self.provider == "http" and self.endpoint is None:
            raise Wrong("provider: http needs an endpoint", 'write e.g. endpoint: "http://127.0.0.1:8080/classify"')
        if self.bearer_token is not None and any(name.lower() == "authorization" for name in self.headers):
            raise Wrong("bearer_token and an Authorization header are both given", "keep one of them")
        return self


class MlFeedback(Section):
    enabled: bool = True
    endpoint: str | None = None
    collection_interval: Duration = 86_400.0


class MlAnomalyDetection(Section):
    """The models (3.4)."""

    enabled: bool = True
    provider: str = "built-in"
    models: tuple[MlModel, ...] = ()
    feedback_loop: MlFeedback | None = None


class Collection(Section):
    methods: tuple[Literal["slack_reactions", "web_ui_feedback", "api_endpoint"], ...] = (
        "slack_reactions",
        "api_endpoint",
    )


class Processing(Section):
    schedule: CronText = "0 0 * * *"
    pipeline: tuple[
        Literal["collect_feedback", "classify_alerts", "update_ml_model", "adjust_thresholds", "generate_report"], ...
    ] = ()


class AutoTune(Section):
    """Gives alertnames with enough votes a score floor of their own, instead of `confidence_threshold`."""

    enabled: bool = True
    confidence_required: Share = 0.85
    """How false an alertname's incidents at and above its floor must be, at least, with 90 % confidence."""
    min_samples: int = Field(default=100, ge=1)
    """Voted episodes that a trained model scored within 60 days, before an alertname gets a floor."""


class AutoSilencePatterns(Section):
    """A silence for a pattern that people call false again and again."""

    enabled: bool = True
    pattern_threshold: int = Field(default=5, ge=1)
    """Distinct episodes voted false positive, and none voted real."""
    duration: Duration = 86_400.0
    window: Duration = 30 * 86_400.0
    """How far back votes count."""


class Automation(Section):
    auto_tune_thresholds: AutoTune | None = None
    auto_silence_patterns: AutoSilencePatterns = AutoSilencePatterns()


class FeedbackLoop(Section):
    """How people's answers are collected and used (8.4)."""

    collection: Collection = Collection()
    processing: Processing = Processing()
    metrics: tuple[str, ...] = ()
    automation: Automation = Automation()


Grouping = Annotated[dict[str, Group], BeforeValidator(over_groups)]
Domains = Annotated[dict[str, Domain], BeforeValidator(over_domains)]
