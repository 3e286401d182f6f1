"""check-config's text, the example file, and the schema for editors."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from sidecar.config.describe import check
from sidecar.config.schema import json_schema
from tests.unit.config.samples import EXAMPLE, EXAMPLE_PATH, RECEIVERS, SPECIFICATION, env_of


def test_the_example_is_right() -> None:
    """It loads, and its only warning is the shadow mode it recommends."""
    code, text = check(EXAMPLE_PATH, env_of(EXAMPLE))
    assert code == 0
    assert text.splitlines()[-2:] == [
        "1 warning:",
        "  mode: shadow: no rule or score keeps anything back; messages are marked with what would have been done",
    ]
    assert "default: platform-oncall" in text
    assert "artemis, sophia, keda, infrastructure" in text


def test_mistakes_are_listed_one_per_line(tmp_path: Path) -> None:
    """With path, what is wrong, and what to write instead."""
    file = tmp_path / "sidecar.yml"
    file.write_text("mod: auto\nserver: {listen: x}\n")
    code, text = check(file, {})
    assert code == 1
    assert text.splitlines() == [
        f"{file}: 2 mistakes",
        "  mod: unknown key (did you mean 'mode'?)",
        """  server.listen: 'x' is not host:port (write e.g. "127.0.0.1:9095", or ":9095" for every interface)""",
    ]


def test_the_schema_is_one() -> None:
    """It is a valid schema of draft 2020-12."""
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", [EXAMPLE, SPECIFICATION + RECEIVERS, "{}", "server: {webhook_secret_file: x}"])
def test_the_schema_takes_what_the_sidecar_takes(text: str) -> None:
    """The example, the specification's blocks, an empty file, secrets from files."""
    assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "mod: auto",
        "mode: x",
        "folding: {for: 5}",
        "holding: {max: {INFO: soon}}",
        "time_based_routing: {w: {routes: {}}}",
        "time_based_routing: {w: {schedule: x, routs: {}}}",
        "receivers: [{name: a, slack_config: []}]",
        "receivers: [{name: a, log_configs: [{paht: x}]}]",
        "alertmanagers: [{}]",
    ],
)
def test_the_schema_refuses_typos(text: str) -> None:
    """An editor underlines what check-config would name."""
    assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text)))


def test_keys_are_described() -> None:
    """The schema carries the words that the reference shows."""
    schema = json_schema()
    assert schema["$defs"]["Server"]["properties"]["body_limit"]["description"].startswith("The largest webhook")
    assert schema["$defs"]["Server"]["properties"]["webhook_secret_file"]["type"] == "string"
