"""A real amtool accepts what is generated, and routes as meant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sidecar.alertmanager_config import render
from sidecar.config import loads
from tests.unit.config.samples import EXAMPLE, RECEIVERS, SPECIFICATION, env_of

RECEIVER = "receivers: [{{name: a, {}}}]"
TEXTS = {
    "empty": "",
    "example": EXAMPLE,
    "specification": SPECIFICATION + RECEIVERS,
    "incoming webhook": RECEIVER.format("slack_configs: [{api_url: 'https://hooks.slack.com/services/x'}]"),
    "pagerduty": RECEIVER.format("pagerduty_configs: [{routing_key: k, api_url: 'http://pd:1/v2/enqueue'}]"),
    "email": RECEIVER.format(
        "email_configs: [{to: a@b.c, from: d@e.f, smarthost: 'm:25', auth_username: u, auth_password: p}]"
    ),
    "webhook": RECEIVER.format("webhook_configs: [{url: 'http://hook:1/x', http_config: {proxy_url: 'http://p:1'}}]"),
    "teams": RECEIVER.format("msteams_configs: [{webhook_url: 'https://a.logic.azure.com/x?sig=y'}]"),
    "secret and odd matchers": r"""
server: {webhook_secret: s}
domains:
  odd:
    matchers: ['a="x\\\"y, z"']
    any_of: [['b=~"(?i)c|\d+"'], [d!=e]]
""",
}


def amtool(*arguments: str) -> str:
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(text: str, folder: Path) -> str:
    file = folder / "alertmanager.yml"
    file.write_text(render(loads(text, env_of(text)), "http://sidecar:9095", direct_critical=True))
    return str(file)


@pytest.mark.parametrize("name", TEXTS)
def test_amtool_accepts_it(name: str, tmp_path: Path) -> None:
    """With every kind of default receiver."""
    assert "SUCCESS" in amtool("check-config", written(TEXTS[name], tmp_path))


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=AlertmanagerSidecarDown", "severity=CRITICAL"], "sidecar-down"),
        (["domain=artemis", "severity=critical"], "sidecar-down,sidecar"),
        (["alertname=KEDAScaling", "severity=INFO"], "sidecar"),
        (["alertname=Anything"], "sidecar"),
    ],
)
def test_amtool_routes_it(labels: list[str], receivers: str, tmp_path: Path) -> None:
    """Everything reaches the sidecar, but for the alert that it is down."""
    file = written(EXAMPLE, tmp_path)
    assert amtool("config", "routes", "test", f"--config.file={file}", *labels).strip() == receivers
