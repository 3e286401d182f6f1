"""What is valid but will surprise: sections without effect yet, roles nobody has, missing secrets."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from sidecar.channels import BY_KEY
from sidecar.config.problems import path_of
from sidecar.config.root import Config

Notice = tuple[str, str]

NO_EFFECT = "is checked but has no effect yet"

# Sections and keys that are parsed for later; what the sidecar does instead, where that is not obvious.
_LATER = (
    ("ml_anomaly_detection.provider", ": each model has a `provider` of its own"),
    ("ml_anomaly_detection.feedback_loop", ": votes stay in the sidecar's own store"),
    ("feedback_loop.processing.pipeline", ": training always takes all its steps"),
    ("feedback_loop.metrics", ": /metrics has what is counted"),
    ("audit_logging", ": structured logs and `sidecar why` tell what happened"),
    ("authentication", ": server.webhook_secret and server.api_secret protect the endpoints"),
    ("encryption", ": put a proxy with TLS in front"),
    ("global.http_config", ": http_config belongs to each receiver"),
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def warnings(config: Config) -> list[Notice]:
    """(path in the file, sentence) of everything that is valid but may not do what its reader expects."""
    return [
        *_running(config),
        *_receivers(config),
        *_escalations(config),
        *_digest(config),
        *_roles(config),
        *_severities(config),
        *_without_effect(config),
    ]


def _running(config: Config) -> Iterator[Notice]:
    if config.mode == "shadow":
        yield "mode", "shadow: no rule or score keeps anything back; messages are marked with what would have been done"
    if not config.alertmanagers:
        yield "alertmanagers", "there are none: no silence can be created"
    if "CRITICAL" not in config.guard.severities:
        yield "guard.never_suppress.severities", "CRITICAL is not among them: a rule may keep critical alerts back"
    asked = config.context.prometheus
    if (asked.url is None) == bool(asked.queries):
        missing = "url" if asked.queries else "queries"
        yield f"context.prometheus.{missing}", "is not set: Prometheus is asked nothing"
    if config.server.host not in _LOOPBACK:
        for key in ("webhook_secret", "api_secret"):
            if getattr(config.server, key) is None:
                yield f"server.{key}", f"is not set, and {config.server.listen} is not only this host: anybody may send"


def _escalations(config: Config) -> Iterator[Notice]:
    """What escalates although nobody can acknowledge it, and roles that only escalation names."""
    if "severity_definitions" not in config.model_fields_set:
        return
    escalating = [name for name, one in config.severity_definitions.items() if one.sla and one.escalation != "none"]
    if escalating and config.slack.signing_secret is None:
        said = f"{', '.join(escalating)} will escalate unless somebody votes by POST /api/v2/feedback"
        yield "slack.signing_secret", f"is not set, so that no reaction acknowledges: {said}"
    for name, one in config.severity_definitions.items():
        if one.escalation != "none" and one.sla is None:
            yield f"severity_definitions.{name}.escalation", "has no effect without sla"
        if one.escalate_to is not None and one.escalation == "none":
            yield f"severity_definitions.{name}.escalate_to", "has no effect while escalation is none"


def _receivers(config: Config) -> Iterator[Notice]:
    if "receivers" not in config.model_fields_set:
        yield "receivers", "there are none: messages are printed by an implicit receiver named default"
    token = False
    for index, receiver in enumerate(config.receivers):
        if not receiver.blocks():
            yield f"receivers[{index}]", f"{receiver.name} has no channel: what it gets goes nowhere"
        for key in BY_KEY:
            for place, block in enumerate(getattr(receiver, key)):
                token = token or bool(getattr(block, "has_token", False))
                for sentence in block.warnings():
                    yield path_of(("receivers", index, key, place)), sentence
    if token and config.slack.signing_secret is None:
        yield "slack.signing_secret", "is not set: reactions to Slack messages are not counted as votes"


def _digest(config: Config) -> Iterator[Notice]:
    settings = config.digest
    if not settings.enabled:
        return
    for name in settings.receivers:
        if name not in config.digesting:
            yield "digest.receivers", f"{name} takes no digest: it has no Slack, e-mail, Teams, webhook or log"
    if config.default not in config.digesting and not settings.receivers:
        yield (
            "digest",
            f"the default receiver {config.default} takes no digest: what is kept back from the pager is not summed up",
        )
    if config.server.external_url and not config.link_key:
        yield "digest.link_key", "is not set, nor a secret in `server`: messages have no links to answer by"


def _roles(config: Config) -> Iterator[Notice]:
    names = {receiver.name for receiver in config.receivers}
    first: dict[str, str] = {}
    for path, routes in _routes(config):
        for severity, roles in routes.items():
            for role in roles:
                first.setdefault(role, f"{path}.{severity}")
    for severity, definition in config.severity_definitions.items():
        for role in definition.escalate_to or ():
            first.setdefault(role, f"severity_definitions.{severity}.escalate_to")
    for role, path in first.items():
        bare = [name for name, domain in config.domains.items() if role not in domain.roles]
        if role not in names and bare:
            where = "" if len(bare) == len(config.domains) else f" in {', '.join(bare)}"
            said = f"no receiver has the role {role!r}{where}"
            yield path, f"{said}: alerts for it go to the default receiver {config.default}"


def _routes(config: Config) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    timing = config.time_based_routing
    for name, window in timing.windows.items():
        yield f"time_based_routing.{name}.routes", window.routes
    for index, resting in enumerate(timing.maintenance_windows):
        yield f"time_based_routing.maintenance_windows[{index}].override_routes", resting.override_routes


def _severities(config: Config) -> Iterator[Notice]:
    used = [(path, tuple(routes)) for path, routes in _routes(config)]
    used += [("guard.never_suppress.severities", config.guard.severities)]
    used += [("holding.max", tuple(config.holding.max))] if "holding" in config.model_fields_set else []
    used += [
        (f"time_based_routing.maintenance_windows[{index}].suppress", window.suppress)
        for index, window in enumerate(config.time_based_routing.maintenance_windows)
    ]
    for path, names in used:
        for name in names:
            if name not in config.severity_definitions:
                yield path, f"{name} is not in severity_definitions: is it spelled as in the alerts?"


def _without_effect(config: Config) -> Iterator[Notice]:
    for path, instead in _LATER:
        if _given(config, path.split(".")):
            yield path, NO_EFFECT + instead
    yield from _models(config)
    yield from _collection(config)
    exact = config.deduplication.strategies.exact_match
    if exact.enabled and config.deduplication.fingerprint_fields != exact.fields:
        yield "deduplication.fingerprint_fields", "differs from strategies.exact_match.fields, which counts"


def _models(config: Config) -> Iterator[Notice]:
    seen: set[str] = set()
    for index, model in enumerate(config.ml_anomaly_detection.models):
        path = f"ml_anomaly_detection.models[{index}]"
        if model.type in seen:
            yield path, f"has no effect: only the first {model.type} counts"
        seen.add(model.type)
        http = model.provider == "http"
        if model.endpoint and not http:
            yield (
                f"{path}.endpoint",
                f"{NO_EFFECT.removesuffix(' yet')}: the built-in {model.name} scores; `provider: http` asks it",
            )
        for key in ("timeout", "headers", "bearer_token", "max_batch"):
            if key in model.model_fields_set and not http:
                yield f"{path}.{key}", "has no effect without `provider: http`"
        if model.features:
            why = "an endpoint is sent the alert itself" if http else "the features are built in"
            yield f"{path}.features", f"{NO_EFFECT}: {why}"
    if not config.ml_anomaly_detection.enabled:
        asked = (
            "; no endpoint is asked"
            if any(one.provider == "http" for one in config.ml_anomaly_detection.models)
            else ""
        )
        said = f"false: scores are still computed and shown, but suppress nothing{asked}"
        yield "ml_anomaly_detection.enabled", said


def _collection(config: Config) -> Iterator[Notice]:
    methods, path = config.feedback_loop.collection.methods, "feedback_loop.collection.methods"
    if "web_ui_feedback" in methods:
        yield path, f"web_ui_feedback {NO_EFFECT}: use reactions, or POST /api/v2/feedback"
    for method, instead in (
        ("slack_reactions", "leave out slack.signing_secret to turn it off"),
        ("api_endpoint", "server.api_secret protects it"),
    ):
        if method not in methods:
            yield path, f"leaving out {method} has no effect yet: {instead}"


def _given(section: BaseModel, path: list[str]) -> bool:
    """Is this key written in the file?"""
    key = "global_" if path[0] == "global" else path[0]
    if key not in section.model_fields_set:
        return False
    inner = getattr(section, key)
    return len(path) == 1 or (isinstance(inner, BaseModel) and _given(inner, path[1:]))
