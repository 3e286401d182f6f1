"""What newcomers read is true: compared with the code it speaks of."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar import __version__
from sidecar.__main__ import _parser
from sidecar.config import loads
from sidecar.config.reference import SHARED, TEXTS, render, rows
from sidecar.config.schema import json_schema
from sidecar.intake.handlers import routes
from sidecar.rules import RULES
from sidecar.telemetry import Metrics
from tests.servers import ROOT
from tests.unit.config.samples import env_of
from training.__main__ import _parser as training_parser

README = (ROOT / "README.md").read_text("utf-8")
REFERENCE = (ROOT / "docs" / "configuration.md").read_text("utf-8")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.y*ml", "sidecar/**/*.yml", "LICENSE", "NOTICE")
    for path in ROOT.glob(pattern)
)
WRITTEN_AGAIN = "run: python -m sidecar.config.reference > docs/configuration.md"


def section(title: str) -> str:
    """The README's text below a heading, up to the next one of its level or above."""
    level, _, _ = title.partition(" ")
    found = re.search(rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", README, re.DOTALL | re.MULTILINE)
    assert found, f"the README has no {title!r}"
    return found[1]


def table(title: str) -> list[list[str]]:
    """The cells of each row of the table below a heading."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(text: str) -> set[str]:
    """What stands in backticks."""
    return set(re.findall(r"`([^`]+)`", text))


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


# ----------------------------------------------------------------------------------------------------------------- README


def test_the_rules_are_those_of_the_code():
    """The README's block names every rule, in the order in which they are applied."""
    block = re.search(r"```text\n(.*?)```", section("### The rules, in order"), re.DOTALL)
    assert block

    assert [line.split()[0] for line in block[1].splitlines()] == [rule.__name__ for rule in RULES]


def metrics() -> dict[str, set[str]]:
    """Every metric as Prometheus calls it, with its labels."""
    suffixes = {"counter": "_total", "info": "_info"}
    found = {}
    registry = Metrics().registry
    for collector in list(registry._collector_to_names):
        family = next(iter(collector.describe()))
        samples = [sample for one in collector.collect() for sample in one.samples]
        labels = set(collector._labelnames) or (set(samples[0].labels) if family.type == "info" else set())
        found[family.name + suffixes.get(family.type, "")] = labels
    return found


def test_every_metric_is_in_the_readme():
    """Each metric with its labels, and none that is not there."""
    written = {next(iter(code(name))): code(labels) for name, labels, _ in table("### Metrics")}
    made = metrics()

    assert sorted(written) == sorted(made)
    made["sidecar_model_info"] = {"name", "version"}  # what the champion sets
    assert written == made


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next(dict(action.choices) for action in parser._actions if isinstance(action.choices, dict))


def test_every_command_is_in_the_readme():
    """Each command of the command line, and none that is not there."""
    written = [next(iter(code(name))) for name, _ in table("### Commands")]

    assert sorted(written) == sorted([*(f"sidecar {name}" for name in commands(_parser())), "python -m training"])


def test_every_command_of_training_is_in_the_readme():
    """Each of them is shown with what it does."""
    shown = re.findall(r"^python -m training (\w+)", section("## Training"), re.MULTILINE)

    assert set(shown) == set(commands(training_parser()))


def shown_commands() -> Iterator[tuple[argparse.ArgumentParser, list[str]]]:
    """Every call of one of the two command lines in the shell blocks, as its parser would get it."""
    for line in "\n".join(snippets("sh")).splitlines():
        words = line.split("#")[0].split(">")[0].removesuffix("& ").rstrip(" &").split()
        if words[:1] == ["sidecar"]:
            yield _parser(), words[1:]
        elif words[:3] == ["python", "-m", "training"]:
            yield training_parser(), words[3:]


def test_the_commands_in_the_readme_parse():
    """No shell block shows an option that does not exist."""
    shown = list(shown_commands())
    assert len(shown) >= 10

    for parser, words in shown:
        assert parser.parse_args(words), words


def test_every_endpoint_is_in_the_readme():
    """Each route, and none that is not there; the webhook's spellings are one row."""
    written = {tuple(next(iter(code(name))).split()) for name, _ in table("### Endpoints")}
    served = {(route.method, "/webhook" if "webhook" in route.path else route.path) for route in routes()}

    assert written == served - {("PUT", "/-/reload")}  # as POST


def test_the_configurations_in_the_readme_load():
    """Every sidecar.yml it shows is valid, alone."""
    shown = [text for text in snippets("yaml") if text.startswith("# sidecar.yml")]
    assert len(shown) >= 2

    modes = [loads(text, env_of(text)).mode for text in shown]

    assert modes[0] == "shadow"


def test_the_make_targets_in_the_pages_exist():
    """`make demo`, `make test` and every other target that a page names."""
    made = set(re.findall(r"^\.PHONY: (\w+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    pages = README + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"(?:^|`)make (\w+)", pages, re.MULTILINE))

    assert {"demo", "test"} <= named
    assert named <= made


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings make, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    """Every relative link names a file of the project, and its fragment a heading there."""
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text("utf-8")):
        name, _, fragment = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not fragment or fragment in anchors(target), f"{page.name}: {link}"


def test_files_named_in_pages_exist():
    """What stands in backticks and looks like a path of the project is one."""
    for name in ("README.md", "CONTRIBUTING.md"):
        for path in code((ROOT / name).read_text("utf-8")):
            if re.fullmatch(r"(?:sidecar|models|training|migrations|deploy|docs|tests)/[\w./]+", path):
                assert (ROOT / path).exists(), f"{name}: {path}"


# -------------------------------------------------------------------------------------------------------------- reference


def keys(node: dict[str, Any], known: dict[str, Any], path: str = "") -> set[str]:
    """Every key that the schema allows, by a walk of its own: paths as the reference writes them."""
    found: set[str] = set()
    for choice in node.get("anyOf", ()):
        found |= keys(choice, known, path)
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return found if name in SHARED else found | keys(known[name], known, path)
    if "items" in node:
        found |= keys(node["items"], known, f"{path}[]")
    fields = node.get("properties", {})
    for name, field in fields.items():
        inner = f"{path}.{name}" if path else name
        found |= {inner} | keys(field, known, inner)
    if isinstance(free := node.get("additionalProperties"), dict):
        inner = f"{path}.<name>"
        found |= ({inner} if fields else set()) | keys(free, known, inner)
    return found


def test_the_reference_has_every_key():
    """Each key that the schema allows, and none that it does not."""
    schema = json_schema()
    allowed = keys(schema, schema["$defs"])
    for name, path in SHARED.items():
        allowed |= keys(schema["$defs"][name], schema["$defs"], path)
    written = re.findall(r"^\| `([^`]+)` \|", REFERENCE, re.MULTILINE)

    assert sorted(written) == sorted(allowed), WRITTEN_AGAIN


def test_the_reference_is_up_to_date():
    """Its types, defaults and words are those of the code."""
    assert render(json_schema()) == REFERENCE, WRITTEN_AGAIN


def test_every_key_is_explained():
    """No row of the reference is without words."""
    assert [row.path for row in rows(json_schema()) if not row.about] == []


def test_no_words_are_left_over():
    """Each text of reference.yml is used: its key exists and has no docstring."""
    said = {row.about for row in rows(json_schema())}
    used = said | {text.removesuffix(" No effect yet.") for text in said}

    assert [key for key, text in TEXTS["keys"].items() if text not in used] == []


# ------------------------------------------------------------------------------------------------------------- the others


def test_the_changelog_has_this_version():
    """Its newest entry is the version of pyproject.toml, which the package says too."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    newest = re.search(r"^## (\S+) / ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert newest
    assert newest[1] == version == __version__


def test_changelog_entries_say_their_kind_and_area():
    """So that an operator finds what concerns them."""
    entries = re.findall(r"^\* .*$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert entries

    form = re.compile(r"\* \[(?:CHANGE|FEATURE|ENHANCEMENT|BUGFIX|SECURITY)\] [A-Z][\w ]+: \S.*\.")
    assert [entry for entry in entries if not form.fullmatch(entry)] == []


def test_the_licence_is_apache():
    """The full text, and what others' licences ask for."""
    licence, notice = (ROOT / "LICENSE").read_text("utf-8"), (ROOT / "NOTICE").read_text("utf-8")

    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert "psycopg" in notice
    assert "Lesser General Public License" in notice
    assert "sidecar/demo/history/LICENSE" in notice


def test_pages_speak_of_the_project_alone():
    """No path of a machine it was written on."""
    assert len(PAGES) >= 10
    for page in PAGES:
        assert not re.search(r"/work/|/root/|/home/\w+/|/tmp/\w+|shared/", page.read_text("utf-8")), page


def test_yaml_files_are_yaml():
    """Everything in deploy/ can be read."""
    files = [path for path in PAGES if path.suffix in (".yml", ".yaml")]
    assert len(files) >= 8

    for path in files:
        assert list(yaml.safe_load_all(path.read_text("utf-8"))), path
