"""Loading: every mistake at once, each with its path and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config import ConfigError, loads
from sidecar.config.load import load


def problems(text: str, env: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        loads(text, env or {})
    return {path: (wrong, hint) for path, wrong, hint in caught.value.problems}


def test_all_mistakes_at_once() -> None:
    """Typos, wrong values, missing variables, dangling names, bad zones and schedules, in one go."""
    found = problems("""
mode: shadows
guards: {}
server: {listen: "9095", body_limit: lots, body_limits: 5}
store: {url: "mysql://x"}
alertmanagers: [{url: "am:9093"}, {}]
guard: {never_suppress: {matchers: ["a=b", "oops"]}}
domains: {artemis: {roles: {pager: nobody}}}
default_receiver: slak
time_based_routing:
  day: {schedule: "0 9-25 * * *", timezone: America/Los_Angles, routs: {}}
  maintenance_windows: [{name: x, schedule: "* * * * *"}]
feedback_loop: {processing: {schedule: "0 0 * *"}}
receivers:
  - {name: slack, log_configs: [{paht: x}]}
  - {name: slack, slack_configs: [{channel: "#a", bot_token: "${TOKEN}"}]}
  - {name: a/b, opsgenie_configs: []}
delivery: {rates: {slak: 1}, lease: 60}
holding: {max: {critical: 0, CRITICAL: 1s}}
aggregation_rules: {pods: {pattern: "(?!x)", threshold: 0, window: 5m, aggregate_as: "{a b}"}}
inhibit_rules: [{source_matchers: [], target_matchers: [a=b]}]
""")
    assert found["mode"] == ("must be one of 'shadow', 'ladder' or 'auto'", "")
    assert found["guards"] == ("unknown key", "did you mean 'guard'?")
    assert "host:port" in found["server.listen"][0]
    assert "not a size" in found["server.body_limit"][0]
    assert found["server.body_limits"] == ("unknown key", "did you mean 'body_limit'?")
    assert "no store" in found["store.url"][0]
    assert "URL" in found["alertmanagers[0].url"][0]
    assert found["alertmanagers[1].url"] == ("is required", "add it")
    assert "not a matcher" in found["guard.never_suppress.matchers[1]"][0]
    assert found["domains.artemis.roles.pager"][0] == "there is no receiver 'nobody'"
    assert found["default_receiver"] == ("there is no receiver 'slak'", "did you mean 'slack'?")
    assert "hour" in found["time_based_routing.day.schedule"][0]
    assert found["time_based_routing.day.timezone"][1] == "did you mean 'America/Los_Angeles'?"
    assert found["time_based_routing.day.routs"] == ("unknown key", "did you mean 'routes'?")
    assert found["time_based_routing.day.routes"] == ("is required", "add it")
    assert "never closes" in found["time_based_routing.maintenance_windows[0].schedule"][0]
    assert "4 fields" in found["feedback_loop.processing.schedule"][0]
    assert found["receivers[0].log_configs[0].paht"] == ("unknown key", "did you mean 'path'?")
    assert found["receivers[1].name"][0] == "'slack' is there twice"
    assert found["receivers[1].slack_configs[0].bot_token"][0] == "the environment variable TOKEN is not set"
    assert "slash" in found["receivers[2].name"][1]
    assert found["receivers[2].opsgenie_configs"][0] == "unknown key"
    assert found["delivery.rates"][1] == "did you mean 'slack'?"
    assert found["delivery.lease"][1] == 'did you mean "60s"?'
    assert "twice" in found["holding.max"][0]
    assert "look-ahead" in found["aggregation_rules.pods.pattern"][0]
    assert "aggregation_rules.pods.threshold" in found
    assert "not a label" in found["aggregation_rules.pods.aggregate_as"][0]
    assert "inhibit_rules[0].source_matchers" in found
    assert len(found) == 29


def test_mistakes_come_in_the_order_of_the_file() -> None:
    """So that one can work through them from the top."""
    assert list(problems("\nslack: {x: 1}\nmode: x\ndelivery: {x: 1}\nserver: {x: 1}\n")) == [
        *("slack.x", "mode", "delivery.x", "server.x")
    ]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("mode: [", "line 1, column 8", "not YAML"),
        ("a: 1\n\tb: 2", "line 2, column 1", "not YAML"),
        ("mode: auto\nserver:\n  listen: x\n  listen: y", "line 4, column 3", "twice"),
        ("- a", "(the file)", "mapping"),
        ("just words", "(the file)", "mapping"),
        ("a: !!python/object:os.system x", "line 1, column 4", "not YAML"),
        ("a: \x00", "(the file)", "not YAML"),
    ],
)
def test_what_is_no_yaml_mapping(text: str, path: str, words: str) -> None:
    """Syntax errors come with line and column; a key that is there twice is one."""
    found = problems(text)
    assert words in found[path][0]


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("receivers: [{name: a, slack_configs: [{bot_token: t, channel: }]}]", "receivers[0].slack_configs[0].channel", "#alerts"),
        ("receivers: [{name: 5}]", "receivers[0].name", "quotes"),
        ("server: 5", "server", "indent"),
        ("receivers: {name: a}", "receivers", "dash"),
        ("domains: {a: {matchers: x}}", "domains.a.matchers", "dash"),
        ("route: {}", "route", "domains"),
        ("silences: {budgets: 1}", "silences.budgets", "did you mean 'budget'?"),
        ("server: {listen: '::1:80'}", "server.listen", "[::1]:80"),
        ("server: {webhook_secret: ''}", "server.webhook_secret", "leave the key out"),
        ("folding: {fro: 5m}", "folding.fro", "did you mean 'for'?"),
        ("alertmanagers: [{url: 'http://u:p@h'}]", "alertmanagers[0].url", "9093"),
        ("slack: {emoji: {useful: [thumbsdown]}}", "slack.emoji", "once"),
        ("grouping: {artemis_domain: {group_interval: 0}}", "grouping.artemis_domain.group_interval", "5m"),
        ("grouping: {x: {group_by: [a, a]}}", "grouping.x.group_by", "once"),
        ("training: {timezone: America}", "training.timezone", "Europe/Berlin"),
        ("alertmanagers: [{url: 'http://a', bearer_token: x}, {url: 'http://b'}]", "alertmanagers", "the same"),
    ],
)  # fmt: skip
def test_hints_say_what_to_write(text: str, path: str, hint: str) -> None:
    """The usual traps, each with its way out."""
    found = problems(text)
    assert hint in found[path][1]


def test_service_key_is_pointed_out() -> None:
    """Events v1 is gone: the message names what to use instead."""
    found = problems("receivers: [{name: a, pagerduty_configs: [{service_key: x}]}]")
    assert "routing_key" in found["receivers[0].pagerduty_configs[0]"][0]


def test_variables_and_dollars() -> None:
    """${NAME} anywhere in a string, $$ for a plain dollar, and a lone dollar is itself."""
    text = 'links: {runbook: "https://${HOST}/$$x/{alertname}"}\nguard: {never_suppress: {matchers: [\'a=~"b$"\']}}'
    config = loads(text, {"HOST": "docs"})
    assert config.links.runbook == "https://docs/$x/{alertname}"
    assert config.guard.covers({"a": "b"})
    assert problems("links: {runbook: '${a-b}'}")["links.runbook"][1] == "write $$ for a plain $"
    assert loads("delivery: {concurrency: '${N}'}", {"N": "3"}).delivery.concurrency == 3


def test_a_missing_variable_is_reported_once() -> None:
    """What would follow from it is not reported beside it."""
    assert list(problems("alertmanagers: [{url: '${AM}'}]")) == ["alertmanagers[0].url"]


def test_secrets_from_files(tmp_path: Path) -> None:
    """x_file beside any secret, relative to the configuration, without its last line break, at every depth."""
    (tmp_path / "one").write_text("s3cret\n")
    (tmp_path / "empty").write_text("\n")
    file = tmp_path / "sidecar.yml"
    file.write_text("""
server: {webhook_secret_file: one}
alertmanagers: [{url: "http://a", basic_auth: {username: u, password_file: one}}]
receivers: [{name: a, slack_configs: [{bot_token_file: one, channel: "#a"}], webhook_configs: [{url: "http://h", http_config: {authorization: {credentials_file: one}}}]}]
""")
    config = load(file, {})
    assert config.server.webhook_secret_value == "s3cret"
    assert config.silence_config is not None
    assert config.silence_config.http_config.headers() == {"Authorization": "Basic dTpzM2NyZXQ="}
    assert "s3cret" not in repr(config) + config.redacted() + str(config.silence_config)
    (slack,) = (block for name, _, block in config.receivers[0].blocks() if name == "slack")
    assert getattr(slack, "has_token", False)
    file.write_text(
        "server: {webhook_secret_file: nowhere, api_secret_file: empty}\nslack: {signing_secret: a, signing_secret_file: one}"
    )
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    found = {path: wrong for path, wrong, _ in caught.value.problems}
    assert "cannot be read" in found["server.webhook_secret_file"]
    assert "is empty" in found["server.api_secret_file"]
    assert found["slack.signing_secret_file"] == "signing_secret is given too"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is a ConfigError like any other."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.yml")
    (tmp_path / "latin").write_bytes(b"mode: \xe9")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "latin")


def test_globals_fill_in_what_receivers_leave_out() -> None:
    """Alertmanager's `global:` block works for Slack, PagerDuty and mail; what a receiver says itself stays."""
    config = loads("""
global:
  smtp_from: a@example.org
  smtp_smarthost: mail.example.org:587
  smtp_auth_username: u
  smtp_auth_password: p
  smtp_require_tls: true
  slack_api_url: https://hooks.slack.example/services/planted
  pagerduty_url: https://pd.example.org/v2/enqueue
receivers:
  - name: all
    email_configs: [{to: x@example.org}, {to: y@example.org, smarthost: "other:25"}]
    slack_configs: [{}, {bot_token: t, channel: "#c"}]
    pagerduty_configs: [{routing_key: k}, {routing_key: k, api_url: "https://else.example.org"}]
""")
    blocks = {target: block.model_dump() for _, target, block in config.receivers[0].blocks()}
    assert blocks["all/email/0"]["from_"] == "a@example.org"
    assert blocks["all/email/0"]["auth_password"].get_secret_value() == "p"
    assert [blocks[f"all/email/{n}"]["smarthost"] for n in (0, 1)] == ["mail.example.org:587", "other:25"]
    assert "hooks.slack" in blocks["all/slack/0"]["api_url"].get_secret_value()
    assert "hooks.slack" not in blocks["all/slack/1"]["api_url"].get_secret_value()
    assert [str(blocks[f"all/pagerduty/{n}"]["url"])[:16] for n in (0, 1)] == ["https://pd.examp", "https://else.exa"]
