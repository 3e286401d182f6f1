"""Metrics and structured logs. One registry per application, so that tests can run several."""

from __future__ import annotations

import logging
import sys
from collections import Counter as Counts
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

import sidecar
from sidecar.domain import SEVERITY_RANK, Decision, Received, severity_of
from sidecar.events import Acknowledged, Escalated, Plan, SilenceEnded, SilenceWithheld
from sidecar.state import State

LATENCY_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 3600)  # s; the promise is 30
LONGEST_DOMAIN: Final = 40  # a `domain` label comes from outside
PROVIDER_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5)  # s; the default timeout is 0.2
REPORTED: Final = {  # a metric of `sidecar report` -> the gauge that shows it
    "feedback_response_rate": ("sidecar_feedback_response_ratio", "Share of the incidents told that have a vote"),
    "false_positive_marked": ("sidecar_false_positives_marked", "Alerts that people call false"),
    "useful_alert_percentage": ("sidecar_useful_alert_ratio", "Share of the judged incidents with a real alert"),
    "mean_time_to_acknowledge": ("sidecar_time_to_acknowledge_mean_seconds", "Mean from the first message to an ack"),
    "alert_volume_reduction": ("sidecar_alert_volume_reduction_ratio", "Share of the alerts that interrupted nobody"),
    "false_positive_reduction": (
        "sidecar_false_positive_reduction_ratio",
        "Share of the alerts called false that interrupted nobody",
    ),
    "real_incidents_told": ("sidecar_real_incidents_told_ratio", "Share of the incidents called real that were told"),
    "delivery_latency_p99": ("sidecar_delivery_latency_p99_seconds", "99th percentile of the delivery time"),
    "notification_success": ("sidecar_notification_success_ratio", "Share of the settled messages that arrived"),
    "grouping_efficiency": ("sidecar_alerts_per_interruption", "Alerts told per interruption"),
}
ACKNOWLEDGED_BUCKETS: Final = (30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)  # s; the SLAs are 5 min to 4 h
PER_NOTIFICATION: Final = (1, 2, 3, 5, 10, 20, 50, 100, 500)
logger = structlog.get_logger()


class Metrics:
    """Every metric of the sidecar; names follow Prometheus' conventions, labels are bounded by configuration."""

    def __init__(self) -> None:  # long, since it is a list: a metric is an entry, and nothing is computed
        registry = self.registry = CollectorRegistry()
        self.received = Counter(
            "sidecar_alerts_received",
            "Alerts in webhooks, by domain and severity",
            ["domain", "severity"],
            registry=registry,
        )
        self.decisions = Counter(
            "sidecar_decisions",
            "Decisions, by verdict and the rule that made it",
            ["verdict", "rule"],
            registry=registry,
        )
        self.shadowed = Counter(
            "sidecar_shadow_decisions",
            "What mode shadow would have done instead, silences included, by verdict and rule",
            ["verdict", "rule"],
            registry=registry,
        )
        self.sent = Counter(
            "sidecar_notifications", "Notifications accepted", ["receiver", "channel"], registry=registry
        )
        self.failed = Counter(
            "sidecar_notifications_failed",
            "Attempts that failed",
            ["receiver", "channel", "outcome"],
            registry=registry,
        )
        self.latency = Histogram(
            "sidecar_notification_latency_seconds",
            "From receipt of the alert, or the release of its hold, to the provider's acceptance",
            ["channel"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.per_notification = Histogram(
            "sidecar_alerts_per_notification",
            "Alerts that one message told",
            buckets=PER_NOTIFICATION,
            registry=registry,
        )
        self.acknowledged = Histogram(
            "sidecar_time_to_acknowledge_seconds",
            "From the first message of an incident to the first vote on it, by severity",
            ["severity"],
            buckets=ACKNOWLEDGED_BUCKETS,
            registry=registry,
        )
        self.escalations = Counter(
            "sidecar_escalations",
            "Incidents that nobody acknowledged in time, by severity, each time others were told",
            ["severity"],
            registry=registry,
        )
        self.silences = Counter("sidecar_silences_created", "Silences created", ["reason"], registry=registry)
        self.silences_active = Gauge("sidecar_silences_active", "Silences of ours that stand", registry=registry)
        self.silences_ended = Counter("sidecar_silences_ended", "Their ends, by why", ["why"], registry=registry)
        self.silenced_alerts = Gauge(
            "sidecar_silenced_alerts", "Alerts that fire and are silenced in Alertmanager", ["by"], registry=registry
        )
        self.hidden = Counter(
            "sidecar_silence_hidden_alerts",
            "Alerts that silences of ours hid, by the time they ended",
            registry=registry,
        )
        self.watch_up = Gauge(
            "sidecar_watch_up", "1 while this Alertmanager answers the watcher", ["peer"], registry=registry
        )
        self.feedback = Counter("sidecar_feedback", "Votes, by kind and source", ["kind", "source"], registry=registry)
        self.webhooks = Counter("sidecar_webhooks", "Webhooks answered, by status", ["status"], registry=registry)
        self.quarantined = Counter("sidecar_quarantined", "Alerts and payloads set aside", registry=registry)
        self.truncated = Counter("sidecar_alerts_truncated", "Alerts that Alertmanager left out", registry=registry)
        self.reload_ok = Gauge(
            "sidecar_config_last_reload_successful", "1 if the last reload worked", registry=registry
        )
        self.reload_at = Gauge(
            "sidecar_config_last_reload_success_timestamp_seconds", "When a reload last worked", registry=registry
        )
        self.digests = Counter(
            "sidecar_digests",
            "Digests, ends of silences and reviews that a channel took",
            ["what"],
            registry=registry,
        )
        self.digest_lines = Counter("sidecar_digest_lines", "Lines in them", registry=registry)
        self.depth = Gauge("sidecar_outbox_rows", "Outbox rows, by state", ["state"], registry=registry)
        self.waiting = Gauge("sidecar_intake_waiting_alerts", "Alerts waiting to be decided", registry=registry)
        self.behind = Gauge("sidecar_projection_lag_rows", "Log rows not yet in the tables", registry=registry)
        self.skipped = Counter(
            "sidecar_projection_skipped_rows", "Log rows the tables could not take", registry=registry
        )
        self.holds = Gauge("sidecar_held_alerts", "Alerts held now", registry=registry)
        self.fallback = Gauge("sidecar_scoring_fallback", "1 while no trained model serves", registry=registry)
        self.scoring_failures = Counter(
            "sidecar_scoring_failures",
            "Batches that the trained model, or the prior, could not score",
            registry=registry,
        )
        self.refused = Counter(
            "sidecar_models_refused",
            "Promoted models and certificates that are damaged, and do not serve",
            registry=registry,
        )
        self.threshold = Gauge(
            "sidecar_certified_threshold",
            "Score from which alerts may be kept back; 2: none",
            ["kind"],
            registry=registry,
        )
        self.drift = Gauge(
            "sidecar_drift_alarms",
            "What training found to have changed lately: alertnames with an alarm, and 1 for one over all",
            ["scope"],
            registry=registry,
        )
        self.model = Info("sidecar_model", "The model that serves", registry=registry)
        self.provider_requests = Counter(
            "sidecar_provider_requests",
            "Questions to models of others, by what came of them",
            ["model", "outcome"],
            registry=registry,
        )
        self.provider_seconds = Histogram(
            "sidecar_provider_request_seconds",
            "How long they took",
            ["model"],
            buckets=PROVIDER_BUCKETS,
            registry=registry,
        )
        self.provider_left_out = Counter(
            "sidecar_provider_alerts_left_out", "Alerts beyond max_batch, not asked about", ["model"], registry=registry
        )
        self.provider_breaker = Gauge(
            "sidecar_provider_breaker_state", "0 closed, 1 half open, 2 open", ["model"], registry=registry
        )
        self.context_queries = Counter(
            "sidecar_context_queries",
            "Queries about the time around an alert's start, by what came of them",
            ["result"],
            registry=registry,
        )
        self.context_seconds = Histogram(
            "sidecar_context_query_seconds", "How long they took", buckets=PROVIDER_BUCKETS, registry=registry
        )
        self.training_at = Gauge(
            "sidecar_training_last_run_timestamp_seconds", "When training last ended", registry=registry
        )
        self.training_promoted = Gauge("sidecar_training_last_promoted", "1 if it promoted a model", registry=registry)
        self.report = {
            name: Gauge(metric, f"{about}, over 7 days; NaN while it is not measured", registry=registry)
            for name, (metric, about) in REPORTED.items()
        }
        self.report_at = Gauge(
            "sidecar_report_last_success_timestamp_seconds", "When these were last measured", registry=registry
        )
        for gauge in self.report.values():
            gauge.set(float("nan"))
        Info("sidecar_build", "Version", registry=registry).info({"version": sidecar.__version__})
        for state in ("waiting", "leased", "dead"):
            self.depth.labels(state).set(0)

    def breaker(self, model: str, state: str) -> None:
        """Show the circuit breaker of a model's endpoint."""
        self.provider_breaker.labels(model).set(("closed", "half_open", "open").index(state))

    def planned(self, plan: Plan) -> None:
        """Count what a committed plan decided."""
        made = Counts([(decision.verdict, _decisive(decision)) for decision in plan.decisions])
        for (verdict, rule), count in made.items():
            self.decisions.labels(verdict.value, rule).inc(count)
        instead = [one.would for one in plan.decisions if one.would is not None]
        for would, count in Counts(instead).items():
            self.shadowed.labels(would.verdict.value, would.rule).inc(count)
        for event in plan.events:
            if isinstance(event, Acknowledged):
                self.acknowledged.labels(_known(event.severity)).observe(event.after)
            elif isinstance(event, Escalated) and (event.tell or event.again):
                self.escalations.labels(_known(event.severity)).inc()
            elif type(event) is SilenceEnded:
                self.silences_ended.labels(event.cause).inc()
                self.hidden.inc(event.hidden)
            elif type(event) is SilenceWithheld:
                self._withheld(event)

    def _withheld(self, event: SilenceWithheld) -> None:
        self.shadowed.labels("silence", "repeated_false_positive").inc()
        pattern = dict(zip(event.pattern._fields, event.pattern, strict=True))
        logger.info("silence_withheld", pattern=pattern, ends_at=event.ends_at, comment=event.comment)

    def silenced(self, state: State) -> None:
        """Show what silences hide now, and how many of ours stand."""
        self.silences_active.set(sum(one.state == "active" for one in state.silences.values()))
        ours = sum(any(by.silence_id in state.ours for by in one.by) for one in state.muted.values())
        theirs = sum(state.silenced_by_people(fingerprint) for fingerprint in state.muted)
        self.silenced_alerts.labels("us").set(ours)
        self.silenced_alerts.labels("people").set(theirs)

    def alerts(self, received: Iterable[Received], domain_of: Callable[[dict[str, str]], str]) -> None:
        """Count the alerts of a webhook that was committed."""
        seen = Counts([(domain_of(one.alert.labels), one.alert.labels.get("severity", "")) for one in received])
        for (domain, spelled), count in seen.items():
            severity = severity_of({"severity": spelled})
            self.received.labels(domain if len(domain) <= LONGEST_DOMAIN else "other", _known(severity)).inc(count)


def _known(severity: str) -> str:
    return severity if severity in SEVERITY_RANK else "other"


def _decisive(decision: Decision) -> str:
    """The rule that made the verdict: the last that is not the routing every told alert goes through."""
    for one in reversed(decision.reasons):
        if one.rule != "routing":
            return one.rule
    return "routing"


def configure_logging(level: str = "INFO", *, json: bool = True) -> None:
    """One line per event on standard error: `noun_verbed` with key-values."""
    render = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
