"""The whole configuration: every section of the file, and the questions the rest of the project asks it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple
from zoneinfo import available_timezones

import yaml
from pydantic import Field, field_validator, model_validator

from sidecar.calendar import Cron
from sidecar.channels.settings import ChannelConfig, reveal
from sidecar.channels.silence import SilenceConfig
from sidecar.config import gathering, later, timing
from sidecar.config import sections as ours
from sidecar.config import specified as spec
from sidecar.config.context import Context
from sidecar.config.digest import Digest
from sidecar.config.fields import BySeverity, Section
from sidecar.config.intervals import NamedInterval
from sidecar.config.patterns import Patterns
from sidecar.config.problems import Wrong
from sidecar.config.receivers import AnyReceiver, Receiver, fill_in
from sidecar.config.routing import Route, Router, Step
from sidecar.domain import DeliveryKind

CONFIDENCE = 0.85  # the specification's bar for the false-positive-classifier (3.4)
IMPLICIT = {"name": "default", "log_configs": [{}]}  # when nobody configured a receiver, messages are printed
Targets = tuple[tuple[str, frozenset[DeliveryKind]], ...]


class AutoSilence(NamedTuple):
    """When a pattern that people call false gets a silence: times in seconds."""

    enabled: bool
    pattern_threshold: int
    duration: float
    window: float


class Compared(NamedTuple):
    """How alerts of a domain are compared by similarity; without words, they are not."""

    names: tuple[str, ...] = ()  # every label that is read
    fields: tuple[str, ...] = ()  # those that have to be there
    equal: tuple[str, ...] = ()  # those that have to be equal as they stand
    words: tuple[str, ...] = ()  # those whose words are compared


class Config(Section):
    """One file. Keys it does not know are errors; `load` reports every problem at once."""

    mode: ours.Mode = "ladder"
    """shadow: score and say what would be done, and tell everybody everything. ladder: suppress what evidence allows.
    auto: suppress what the model says."""
    server: ours.Server = ours.Server()
    store: ours.Store = ours.Store()
    alertmanagers: tuple[ours.AlertmanagerPeer, ...] = ()
    """Peers of one cluster, for silences and what they hide; without them no silence can be created."""
    watch: ours.Watch = ours.Watch()
    guard: ours.Guard = ours.Guard()
    grouping: spec.Grouping = Field(default_factory=dict, validate_default=True)
    """How Alertmanager groups each domain (2.1): `render-alertmanager` writes it, and repeat_interval makes reminders."""
    domains: spec.Domains = Field(default_factory=dict, validate_default=True)
    """Which alerts belong to which domain, the first that matches counts, and the receivers of its roles."""
    severity_definitions: BySeverity[spec.SeverityDefinition] = Field(default=spec.SEVERITIES, validate_default=True)
    deduplication: spec.Deduplication = spec.Deduplication()
    folding: ours.Folding = ours.Folding()
    holding: ours.Holding = ours.Holding()
    audit_sample: ours.AuditSample = ours.AuditSample()
    inhibit_rules: tuple[spec.InhibitRule, ...] = Field(default=spec.INHIBIT_RULES, validate_default=True)
    time_based_routing: timing.TimeBasedRouting = timing.TimeBasedRouting()
    aggregation_rules: dict[str, gathering.AggregationRule] = Field(default={}, max_length=gathering.MOST_RULES)
    flapping: gathering.Flapping = gathering.Flapping()
    storm: gathering.Storm = gathering.Storm()
    suppression_budget: gathering.SuppressionBudget = gathering.SuppressionBudget()
    time_intervals: tuple[NamedInterval, ...] = ()
    """Alertmanager's section, as it is there: windows of `time_based_routing` name its intervals."""
    windows: ours.Windows = ours.Windows()
    ml_anomaly_detection: spec.MlAnomalyDetection = spec.MlAnomalyDetection()
    feedback_loop: spec.FeedbackLoop = spec.FeedbackLoop()
    silences: ours.Silences = ours.Silences()
    slack: ours.Slack = ours.Slack()
    global_: ours.Global = Field(default=ours.Global(), alias="global")
    """Alertmanager's defaults for receivers."""
    receivers: tuple[AnyReceiver, ...] = Field(default=(IMPLICIT,), validate_default=True)
    default_receiver: str | None = None
    """Gets what no route names; by default the receiver `default`, else the first."""
    training: ours.Training = ours.Training()
    delivery: ours.DeliverySettings = ours.DeliverySettings()
    links: ours.Links = ours.Links()
    context: Context = Context()
    digest: Digest = Digest()
    audit_logging: later.AuditLogging | None = None
    authentication: later.Authentication | None = None
    encryption: later.Encryption | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Fill in what one section says for another: `global:` for receivers, the processing schedule for training, the
        time zone of business hours for the digest.
        """
        if not isinstance(given, dict):
            return given
        filled = dict(given)
        if "receivers" in given:
            filled["receivers"] = fill_in(given["receivers"] or [IMPLICIT], given.get("global"))
        schedule = _nested(given, "feedback_loop", "processing", "schedule")
        training = given.get("training", {})
        if (
            isinstance(schedule, str)
            and isinstance(training, dict)
            and "schedule" not in training
            and _is_cron(schedule)
        ):
            filled["training"] = {**training, "schedule": schedule}
        zone = _nested(given, "time_based_routing", "business_hours", "timezone")
        digest = given.get("digest", {})
        if (
            isinstance(digest, dict)
            and "timezone" not in digest
            and isinstance(zone, str)
            and zone in available_timezones()
        ):
            filled["digest"] = {**digest, "timezone": zone}
        return filled

    @field_validator("alertmanagers")
    @classmethod
    def _same_credentials(cls, peers: tuple[ours.AlertmanagerPeer, ...]) -> tuple[ours.AlertmanagerPeer, ...]:
        if len({(peer.basic_auth, peer.bearer_token) for peer in peers}) > 1:
            raise Wrong("the peers have different credentials", "a silence may be sent to any of them: use the same")
        return peers

    # ---------------------------------------------------------------------------------------------------------- receivers

    @cached_property
    def default(self) -> str:
        """The name of the default receiver; there always is one."""
        names = [receiver.name for receiver in self.receivers]
        return self.default_receiver or ("default" if "default" in names else names[0])

    @cached_property
    def _by_name(self) -> dict[str, Receiver]:
        return {receiver.name: receiver for receiver in self.receivers}

    @cached_property
    def _targets(self) -> dict[str, Targets]:
        return {receiver.name: receiver.kinds() for receiver in self.receivers}

    @cached_property
    def _integrations(self) -> dict[str, tuple[str, ChannelConfig]]:
        return {name: (kind, block) for one in self.receivers for kind, name, block in one.blocks()}

    def receiver(self, name: str) -> Receiver | None:
        """The receiver of that name; None when there is none."""
        return self._by_name.get(name)

    def targets(self, receiver: str) -> Targets:
        """(target `receiver/channel/index`, kinds worth sending there) of each block; empty for an unknown name."""
        return self._targets.get(receiver, ())

    @cached_property
    def digesting(self) -> frozenset[str]:
        """The receivers with a channel that takes a digest."""
        return frozenset(
            name for name, targets in self._targets.items() if any("digest" in kinds for _, kinds in targets)
        )

    def integration(self, target: str) -> tuple[str, ChannelConfig] | None:
        """(channel's name, block) of a target; None when the configuration has no such any more."""
        return self._integrations.get(target)

    @cached_property
    def silence_config(self) -> SilenceConfig | None:
        """The block of the silence channel: the Alertmanagers; None without any."""
        if not self.alertmanagers:
            return None
        first = self.alertmanagers[0]
        block: dict[str, Any] = {
            "url": [peer.url for peer in self.alertmanagers],
            "timeout": max(peer.timeout for peer in self.alertmanagers),
        }
        if first.bearer_token:
            block["bearer_token"] = first.bearer_token
        if first.basic_auth:
            block["http_config"] = {"basic_auth": first.basic_auth.model_dump()}
        return SilenceConfig.model_validate(block)

    @property
    def link_key(self) -> str:
        """What links to answer by are signed with; empty for none."""
        server = self.server
        return reveal(self.digest.link_key) or server.api_secret_value or server.webhook_secret_value

    # ------------------------------------------------------------------------------------------------------------ routing

    @cached_property
    def _router(self) -> Router:
        timing = self.time_based_routing if "time_based_routing" in self.model_fields_set else None
        return Router(self.domains, timing, self._by_name, self.default, self.time_intervals)

    def domain_of(self, labels: Mapping[str, str]) -> str:
        """The first domain whose matchers hold, else the `domain` label, else empty."""
        return self._router.domain_of(labels)

    def route(self, severity: str, labels: Mapping[str, str], now: float) -> Route:
        """Who is told of an alert of this severity (in capitals) and these labels at `now`, and why."""
        return self._router.route(severity, labels, now)

    def maintenance(self, severity: str, now: float) -> tuple[str, float] | None:
        """(name, end) of the maintenance window that suppresses this severity at `now`; None when there is none."""
        return self._router.maintenance(severity, now)

    def told_from(self, severity: str, labels: Mapping[str, str], now: float) -> float | None:
        """The first moment from `now` on at which the route names somebody; None when not within eight days."""
        return self._router.told_from(severity, labels, now)

    @property
    def endless_maintenance(self) -> list[int]:
        """Maintenance windows that never close, by their place in the file."""
        return self._router.endless()

    @cached_property
    def _escalating(self) -> dict[str, spec.SeverityDefinition]:
        """What is written of the severities whose incidents escalate."""
        written = self.severity_definitions if "severity_definitions" in self.model_fields_set else {}
        return {name: one for name, one in written.items() if one.sla and one.escalation != "none"}

    def acknowledged_by(self, severity: str, now: float) -> float | None:
        """When what is told now escalates unless somebody acknowledges it, seconds since the epoch; None: never."""
        found = self._escalating.get(severity)
        if found is None or found.sla is None:
            return None
        if found.escalation == "immediate":
            return now + found.sla
        return self._router.open_for("business_hours", now, found.sla)

    def sla_of(self, severity: str) -> float:
        """Seconds within which somebody has to acknowledge; 0: none is configured."""
        found = self._escalating.get(severity)
        return (found.sla or 0.0) if found is not None else 0.0

    def escalation_steps(self, severity: str, domain: str, now: float) -> list[Step]:
        """Who is told after one another of a domain's incident that nobody acknowledges."""
        found = self._escalating.get(severity)
        return self._router.steps(severity, domain, now, found.escalate_to) if found is not None else []

    @cached_property
    def _groups(self) -> dict[str, spec.Group]:
        return {domain: self._group(domain) for domain in self.domains}

    def _group(self, domain: str) -> spec.Group:
        named = (name for name in self.grouping if domain and name.startswith(f"{domain}_"))
        name = domain if domain in self.grouping else next(named, "")
        return self.grouping[name] if name else _ANY_GROUP

    def group_for(self, domain: str) -> spec.Group:
        """The grouping of a domain: the key of that name, else one that begins with it (`artemis_domain`), else usual."""
        return self._groups.get(domain) or (self._group(domain) if domain else _ANY_GROUP)

    # ----------------------------------------------------------------------------------------------------- deduplication

    @cached_property
    def near_labels(self) -> tuple[str, ...]:
        """The labels by which several alerts at a time are one incident, without those by which any two are."""
        correlation = self.deduplication.strategies.temporal_correlation
        return tuple(name for name in correlation.labels if correlation.enabled and name not in self.folding.labels)

    @cached_property
    def _compared(self) -> dict[str, Compared]:
        return {domain: self._compare(domain) for domain in ("", *self.domains, *self.grouping)}

    def _compare(self, domain: str) -> Compared:
        """What the operator's grouping keeps apart stays apart; a raised severity is seen to by the rule."""
        fuzzy, group_by = self.deduplication.strategies.fuzzy_match, self.group_for(domain).group_by
        words = tuple(name for name in fuzzy.fields if name not in ("cluster", "namespace"))
        if not fuzzy.enabled or "..." in group_by:
            return Compared()
        equal = tuple(sorted({"cluster", "namespace", *group_by} - {"alertname", "severity", *words}))
        names = dict.fromkeys((*equal, *fuzzy.fields, *(("instance",) if "node" in equal else ())))
        return Compared(tuple(names), fuzzy.fields, equal, words)

    def compared(self, domain: str) -> Compared:
        """How alerts of a domain are compared by similarity."""
        known = self._compared.get(domain)
        if known is not None:
            return known
        usual = self.group_for(domain) is _ANY_GROUP  # a `domain` label that no domain is configured for
        return self._compared[""] if usual else self._compare(domain)

    @cached_property
    def patterns(self) -> Patterns | None:
        """`aggregation_rules`, ready to be asked; None when there are none."""
        return Patterns(self.aggregation_rules) if self.aggregation_rules else None

    # ------------------------------------------------------------------------------------------------------------- models

    @cached_property
    def _classifier(self) -> spec.MlModel | None:
        return next((one for one in self.ml_anomaly_detection.models if one.type == "binary-classifier"), None)

    @cached_property
    def http_models(self) -> tuple[spec.MlModel, ...]:
        """The models that are asked over HTTP: of each type the first counts, here as everywhere."""
        settings = self.ml_anomaly_detection
        first: dict[str, spec.MlModel] = {}
        for one in settings.models:
            first.setdefault(one.type, one)
        return tuple(one for one in first.values() if one.provider == "http" and settings.enabled)

    @cached_property
    def confidence_threshold(self) -> float:
        """The probability of being false from which an alert may be suppressed."""
        given = self._classifier.confidence_threshold if self._classifier else None
        return CONFIDENCE if given is None else given

    @cached_property
    def auto_suppress(self) -> bool:
        """May a score suppress at all? As the classifier says; without configured models, yes."""
        settings = self.ml_anomaly_detection
        if not settings.models:
            return settings.enabled
        return settings.enabled and self._classifier is not None and bool(self._classifier.auto_suppress)

    @cached_property
    def auto_silence(self) -> AutoSilence:
        """`feedback_loop.automation.auto_silence_patterns`."""
        rule = self.feedback_loop.automation.auto_silence_patterns
        return AutoSilence(rule.enabled, rule.pattern_threshold, rule.duration, rule.window)

    @cached_property
    def auto_tune(self) -> spec.AutoTune | None:
        """`feedback_loop.automation.auto_tune_thresholds`; None when it is not there, or off."""
        rule = self.feedback_loop.automation.auto_tune_thresholds
        return rule if rule is not None and rule.enabled else None

    def redacted(self) -> str:
        """The configuration in force as YAML, defaults included, secrets as stars."""
        shown = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)


_ANY_GROUP = spec.Group()


def _nested(given: Any, *keys: str) -> Any:
    for key in keys:
        given = given.get(key) if isinstance(given, dict) else None
    return given


def _is_cron(text: str) -> bool:
    try:
        Cron.parse(text)
    except ValueError:
        return False
    return True
