"""Who may import whom: the contracts in pyproject.toml hold, and each of them fails when it is broken."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.servers import ROOT

PACKAGES = ("sidecar", "models", "training")


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the tree at `root`, whatever is installed."""
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from importlinter.cli import lint_imports_command as go; go()"
    )
    argv = [sys.executable, "-c", program, str(root), "--no-cache"]
    return subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code that a test may break."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def contract_names() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


def test_the_contracts_hold():
    """Nothing in the code breaks one of them."""
    done = lint_imports(ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(contract_names())} kept, 0 broken." in done.stdout


BREACHES = {
    "domain imports nothing of ours": ("sidecar/domain.py", "import sidecar.errors"),
    "models knows neither sidecar nor training": ("models/table.py", "from sidecar.domain import Alert"),
    "what decides does no I/O": ("sidecar/state/__init__.py", "import asyncio"),
    "the configuration is read from files and nowhere else": ("sidecar/config/load.py", "import aiohttp"),
    "no rule imports another": ("sidecar/rules/guard.py", "from sidecar.rules.routing import routing"),
    "no channel imports another": ("sidecar/channels/email.py", "from sidecar.channels import slack"),
    "only the store speaks SQL": ("sidecar/pipeline.py", "import sqlalchemy"),
    "only channels/base.py, watch and the store talk to the network": ("sidecar/channels/slack.py", "import aiohttp"),
}
MORE_BREACHES = [
    ("models knows neither sidecar nor training", "models/statistics.py", "import training"),
    ("what decides does no I/O", "models/features.py", "import socket"),
    ("what decides does no I/O", "sidecar/rules/routing.py", "from sqlalchemy import text"),
    ("what decides does no I/O", "sidecar/scoring.py", "from sidecar.store import queries"),  # by way of the store
    ("what decides does no I/O", "sidecar/pipeline.py", "from sidecar.delivery import worker"),
    ("only the store speaks SQL", "training/__init__.py", "from sqlalchemy import select"),
    ("only the store speaks SQL", "sidecar/decider.py", "import psycopg"),
    ("only channels/base.py, watch and the store talk to the network", "training/__init__.py", "import requests"),
    ("only channels/base.py, watch and the store talk to the network", "sidecar/pipeline.py", "import socket"),
]


def test_every_contract_has_a_breach_below():
    """A new contract needs a proof that it can fail."""
    assert sorted(BREACHES) == sorted(contract_names())


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [*((name, *breach) for name, breach in BREACHES.items()), *MORE_BREACHES],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else None,
)
def test_a_broken_contract_is_named(tree: Path, name: str, file: str, line: str):
    """One forbidden import in one module, and import-linter fails with the contract's name."""
    path = tree / file
    path.write_text(f"{path.read_text('utf-8')}\n\n{line}\n", "utf-8")

    done = lint_imports(tree)

    assert done.returncode != 0, done.stdout
    assert f"{name} BROKEN" in done.stdout, done.stdout + done.stderr


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def opened_sessions(source: str) -> list[int]:
    """Lines in which an HTTP client is made, or urllib's is imported: finer than import-linter can see."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr="ClientSession") | ast.Name(id="ClientSession")):
                lines.append(node.lineno)
            case ast.ImportFrom(module="urllib.request" | "http.client"):
                lines.append(node.lineno)
            case ast.Import(names=names) if any(each.name in ("urllib.request", "http.client") for each in names):
                lines.append(node.lineno)
            case _:
                pass
    return lines


def test_one_place_opens_the_http_session():
    """app.py makes the only client of a serving sidecar; the demo, which plays the world outside, and backfill have theirs."""
    found = {str(path.relative_to(ROOT)): opened_sessions(path.read_text("utf-8")) for path in sources()}
    makers = {path for path, lines in found.items() if lines}

    assert "sidecar/app.py" in makers
    assert {path for path in makers if not path.startswith("sidecar/demo/")} == {
        "sidecar/app.py",
        "sidecar/watch/prometheus.py",
        "sidecar/watch/running.py",
    }
    assert len(found["sidecar/app.py"]) == 1


def test_a_second_http_client_would_be_seen():
    """The search above finds each way to make one."""
    assert opened_sessions("import aiohttp\nasync def f():\n    aiohttp.ClientSession()") == [3]
    assert opened_sessions("from urllib.request import urlopen") == [1]
    assert opened_sessions("import http.client") == [1]
