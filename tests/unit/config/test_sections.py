"""What sections answer: defaults over which given keys lie, guards, holds, emoji, links, secrets."""

from __future__ import annotations

import pytest
import yaml

from sidecar.config import loads, warnings
from sidecar.domain import FeedbackKind
from tests.unit.config.samples import EXAMPLE, env_of


def test_an_empty_file_is_a_configuration() -> None:
    """Nothing has to be written to start."""
    config = loads("")
    assert (config.mode, config.server.host, config.server.port) == ("ladder", "127.0.0.1", 9095)
    assert (config.server.body_limit, config.store.url) == (33554432, "sqlite:///sidecar.db")
    assert config.folding.for_ == 3600
    assert config.silence_config is None


@pytest.mark.parametrize(
    ("listen", "host", "port"), [(":80", "0.0.0.0", 80), ("[::1]:9", "::1", 9), ("a.example:1", "a.example", 1)]
)
def test_listen(listen: str, host: str, port: int) -> None:
    """Host and port, IPv6 in brackets, no host for every interface."""
    server = loads(f"server: {{listen: '{listen}'}}").server
    assert (server.host, server.port) == (host, port)


def test_groups_and_holds_lie_over_the_defaults() -> None:
    """A key that is given changes only itself."""
    config = loads(
        "grouping: {artemis_domain: {repeat_interval: 1h}, mine: {group_by: ['...']}}\nholding: {max: {warn: 1m}}"
    )
    group = config.group_for("artemis")
    assert (group.repeat_interval, group.group_interval, group.group_by[-1]) == (3600, 300, "severity")
    assert config.group_for("mine").group_by == ("...",)
    assert config.group_for("sophia").group_wait == 45
    assert [config.holding.max_for(name) for name in ("CRITICAL", "WARNING", "INFO", "OTHER")] == [0, 60, 660, 0]


def test_what_is_never_suppressed() -> None:
    """One severity or one matcher is enough."""
    guard = loads(
        "guard: {never_suppress: {severities: [critical, page, error], matchers: ['a=\"1\"', 'b=\"1\"']}}"
    ).guard
    assert guard.severities == ("CRITICAL", "CRITICAL", "ERROR")
    assert guard.covers({"b": "1"})
    assert not guard.covers({"a": "2"})


@pytest.mark.parametrize(
    ("reaction", "kind"),
    [
        ("+1", FeedbackKind.USEFUL),
        ("+1::skin-tone-3", FeedbackKind.USEFUL),
        (":thumbsup:", FeedbackKind.USEFUL),
        ("-1::skin-tone-6", FeedbackKind.FALSE_POSITIVE),
        ("mute", FeedbackKind.FALSE_POSITIVE),
        ("eyes", FeedbackKind.ACK),
        ("shrug", FeedbackKind.NOT_ACTIONABLE),
        ("tada", None),
        ("", None),
    ],
)
def test_what_an_emoji_says(reaction: str, kind: FeedbackKind | None) -> None:
    """Skin tones and colons do not matter."""
    assert loads("slack: {emoji: {not_actionable: [':shrug:']}}").slack.kind_of(reaction) is kind


@pytest.mark.parametrize(
    ("section", "threshold", "suppress"),
    [
        ("{}", 0.85, True),
        ("{enabled: false}", 0.85, False),
        ("{models: [{name: a, type: binary-classifier, confidence_threshold: 0.9, auto_suppress: true}]}", 0.9, True),
        ("{models: [{name: a, type: binary-classifier, confidence_threshold: 0}]}", 0.0, False),
        ("{models: [{name: a, type: time-series-anomaly}]}", 0.85, False),
    ],
)
def test_the_models_bar(section: str, threshold: float, suppress: bool) -> None:
    """The classifier says from where, and whether at all."""
    config = loads(f"ml_anomaly_detection: {section}")
    assert (config.confidence_threshold, config.auto_suppress) == (threshold, suppress)


def test_the_training_schedule_is_the_processing_schedule_unless_given() -> None:
    """feedback_loop.processing.schedule is what the specification has."""
    loop = 'feedback_loop: {processing: {schedule: "0 3 * * *"}}\n'
    assert loads(loop).training.schedule == "0 3 * * *"
    assert loads(loop + 'training: {schedule: "0 4 * * *"}').training.schedule == "0 4 * * *"
    assert loads("").training.schedule == "0 0 * * *"


def test_fingerprint_fields_are_those_of_the_exact_match() -> None:
    """Unless both are given: then the strategy's count, and a warning says so."""
    assert loads("deduplication: {fingerprint_fields: [a]}").deduplication.strategies.exact_match.fields == ("a",)
    both = loads("deduplication: {fingerprint_fields: [a], strategies: {exact_match: {fields: [b]}}}")
    assert both.deduplication.strategies.exact_match.fields == ("b",)
    assert "deduplication.fingerprint_fields" in dict(warnings(both))


def test_links_are_filled_in_and_encoded() -> None:
    """A link whose label is absent is left out; a label cannot change where a link leads."""
    links = loads(
        "links: {alertmanager: 'http://am', runbook: 'http://r/{alertname}', dashboard: 'http://d/{domain}'}"
    ).links
    assert links.of({"alertname": "a/../b?c"}) == (
        ("View in Alertmanager", "http://am"),
        ("Runbook", "http://r/a%2F..%2Fb%3Fc"),
    )


def test_secrets_print_as_stars() -> None:
    """None of the example's secrets is in the printed configuration, its repr or its warnings."""
    config = loads(EXAMPLE, env_of(EXAMPLE))
    assert config.server.webhook_secret_value == "planted-sidecar_webhook_secret"
    text = config.redacted()
    for shown in (text, repr(config), str(config), str(warnings(config))):
        assert "planted" not in shown
    shown = yaml.safe_load(text)
    assert shown["store"]["url"] == "postgresql://sidecar:**********@postgres:5432/sidecar"
    assert shown["server"]["webhook_secret"] == "**********"
    assert shown["folding"]["for"] == "1h"


def test_a_mistake_does_not_print_the_secret_beside_it() -> None:
    """Error messages name the path, not the value."""
    with pytest.raises(Exception) as caught:
        loads("server: {webhook_secret: [planted]}\nreceivers: [{name: a, slack_configs: [{bot_token: planted}]}]")
    assert "planted" not in str(caught.value)


def test_a_configuration_cannot_be_changed() -> None:
    """It is shared by every task."""
    config = loads("")
    with pytest.raises(ValueError, match="frozen"):
        config.mode = "auto"  # type: ignore[misc]


def test_warnings_of_a_careless_configuration() -> None:
    """Open to the network without a secret, critical alerts unguarded, votes that never arrive."""
    said = dict(
        warnings(
            loads("""
mode: shadow
server: {listen: ":9095"}
guard: {never_suppress: {severities: []}}
receivers: [{name: a, slack_configs: [{bot_token: t, channel: "#c", username: x}]}, {name: empty}]
time_based_routing: {w: {schedule: "* * * * *", routes: {CRITCAL: [a]}}}
""")
        )
    )
    assert set(said) == {
        *("mode", "alertmanagers", "guard.never_suppress.severities", "server.webhook_secret", "server.api_secret"),
        *("receivers[0].slack_configs[0]", "receivers[1]", "slack.signing_secret", "time_based_routing.w.routes"),
    }
    assert "CRITCAL is not in severity_definitions" in said["time_based_routing.w.routes"]
