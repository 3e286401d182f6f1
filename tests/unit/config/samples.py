"""Texts that several tests load."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
SPECIFICATION = (HERE / "specification.yml").read_text(encoding="utf-8")
EXAMPLE_PATH = HERE.parents[2] / "deploy" / "sidecar.example.yml"
EXAMPLE = EXAMPLE_PATH.read_text(encoding="utf-8")

RECEIVERS = """
receivers:
  - name: oncall
    slack_configs: [{bot_token: xoxb-planted, channel: "#oncall"}]
  - name: slack-oncall
    log_configs: [{}]
  - name: pagerduty
    pagerduty_configs: [{routing_key: key-planted}]
default_receiver: oncall
"""


def env_of(text: str) -> dict[str, str]:
    """A value for every variable a text mentions."""
    env = {name: f"planted-{name.lower()}" for name in re.findall(r"\$\{(\w+)\}", text)}
    env["TEAMS_WORKFLOW_URL"] = "https://prod.westeurope.logic.azure.com/workflows/1/triggers?sig=planted-sig"
    return env
