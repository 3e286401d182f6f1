"""The training job on a real store: what it reads, keeps, promotes and rolls back."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
import yaml

from models.artifact import unpack
from models.features import pack
from models.features import unpack as seen
from sidecar.store import schema, tables
from sidecar.store import training as stored
from sidecar.store.engine import Database, open_engine
from tests.unit.training.history import taught
from training.__main__ import main
from training.promote import load

KEY = "a signing key for tests"


@pytest.fixture
async def database(database_url):
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


@pytest.fixture
def config(database_url, tmp_path) -> Path:
    path = tmp_path / "sidecar.yml"
    path.write_text(yaml.safe_dump({"store": {"url": database_url}, "training": {"min_votes": 50, "signing_key": KEY}}))
    return path


async def store(database: Database, count: int, **how) -> None:
    rows, votes, _, _ = taught(count, **how)
    async with database.write() as connection:
        for number, row in enumerate(rows):
            await connection.execute(tables.episodes.insert().values(_episode(row)))
            for again in range(2):  # a later decision on the same episode must not be learned from
                await connection.execute(tables.decisions.insert().values(_decision(row, number, again)))
        for episode, who, kind, at, retracted in votes:
            given = {"episode": episode, "who": who, "kind": kind, "at": at, "retracted": retracted}
            await connection.execute(tables.votes.insert().values(source="api", comment="", **given))


def _episode(row) -> dict:
    empty = dict.fromkeys(("labels", "annotations"), "{}") | dict.fromkeys(
        ("group_key", "generator_url", "external_url"), ""
    )
    times = {"starts_at": row[2], "first_seen": row[2], "last_seen": row[2], "times": 1}
    return {
        "episode": row[0],
        "shard": 0,
        "fingerprint": row[0],
        "alertname": row[4],
        "incident": row[1],
        **times,
        **empty,
    }


def _decision(row, number: int, again: int) -> dict:
    episode, incident, at, severity, _, observation, model, propensity = row
    other = observation if not again else [9.0] * len(observation)
    return {
        "shard": 0, "seq": number + 1 + 100_000 * again, "n": 0, "at": at + again, "episode": episode, "incident": incident,
        "verdict": "notify", "severity": severity, "reasons": "[]", "receivers": "[]", "model": model,
        "observation": b64encode(pack(tuple(other))).decode(), "propensity": propensity, "marks": "[]",
    }  # fmt: skip


async def run_in_thread(*arguments: str) -> int:
    """The command line starts a loop of its own."""
    import asyncio

    return await asyncio.to_thread(main, list(arguments))


async def test_what_is_stored_is_what_is_read(database):
    """First decisions in the order of time, with their alertname and observation, and every vote."""
    await store(database, 20)
    rows, votes, _, _ = taught(20)
    async with database.read() as connection:
        found = await stored.decisions_for_training(connection)
        assert found == [(*row[:5], seen(pack(tuple(row[5]))), *row[6:], None, row[2], None, {}, True) for row in rows]
        assert sorted(await stored.votes_for_training(connection)) == sorted(votes)


async def test_a_run_promotes_and_a_dry_run_does_not(database, config, tmp_path, capsys):
    """Exit code 0, a champion in the store that loads with the key, and the report as JSON."""
    await store(database, 120)
    assert await run_in_thread("run", "--config", str(config), "--dry-run") == 0
    async with database.read() as connection:
        assert await stored.champion(connection) is None
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    assert await run_in_thread("run", "--config", str(config), "--json", str(report), "--html", str(page)) == 0
    assert "promoted: fp-" in capsys.readouterr().out
    async with database.read() as connection:
        version, files = await stored.champion(connection)
        assert await stored.champion_version(connection) == version
        assert await stored.newest_artifact_at(connection) is not None
    written = json.loads(report.read_text())
    assert written["version"] == version
    assert len(written["charts"]["tradeoff"]) == 101
    assert f"Training report {version}" in page.read_text("utf-8")
    loaded = load(files, KEY.encode())
    assert loaded is not None
    assert loaded.version == version
    assert load(files, b"another key") is None
    unpack(files, tmp_path / "artifact")


async def test_a_refused_run_keeps_the_champion(database, config, capsys):
    """Exit code 3 with reasons, and the run is on record."""
    await store(database, 20)
    assert await run_in_thread("run", "--config", str(config)) == 3
    assert "too few" in capsys.readouterr().out
    async with database.read() as connection:
        found = await stored.list_artifacts(connection)
        assert await stored.champion(connection) is None
    assert [row["state"] for row in found] == ["refused"]
    assert "too few" in found[0]["report"]["refused"][0]


async def test_promote_and_rollback_move_the_champion(database, config, capsys):
    """One champion at a time; a rollback goes to the one before; unknown and empty versions are refused."""
    async with database.write() as connection:
        for number, name in enumerate(("fp-1", "fp-2")):
            await stored.save_artifact(
                connection, name, {"model.txt": name}, {"refused": []}, "candidate", float(number)
            )
        await stored.save_artifact(connection, "refused-1", {}, {"refused": ["empty"]}, "refused", 5.0)
    for version in ("fp-1", "fp-2"):
        assert await run_in_thread("promote", version, "--config", str(config)) == 0
    assert await run_in_thread("promote", "fp-9", "--config", str(config)) == 2
    assert await run_in_thread("promote", "refused-1", "--config", str(config)) == 2
    async with database.read() as connection:
        assert {row["version"]: row["state"] for row in await stored.list_artifacts(connection)} == {
            "fp-1": "retired",
            "fp-2": "champion",
            "refused-1": "refused",
        }
    capsys.readouterr()
    assert await run_in_thread("rollback", "--config", str(config)) == 0
    assert await run_in_thread("list", "--config", str(config)) == 0
    shown = capsys.readouterr().out
    assert "fp-1 serves" in shown
    assert "empty" in shown
    async with database.read() as connection:
        assert await stored.champion_version(connection) == "fp-1"


async def test_without_a_model_before_there_is_no_rollback(database, config):
    """Nothing to go back to is an error."""
    assert await run_in_thread("rollback", "--config", str(config)) == 2


def test_a_wrong_configuration_is_named(tmp_path, capsys):
    """Exit code 2 and the file's name."""
    assert main(["list", "--config", str(tmp_path / "none.yml")]) == 2
    assert "none.yml" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_before_the_run(tmp_path, capsys):
    """Nothing is trained whose report would be lost."""
    with pytest.raises(SystemExit) as ended:
        main(["run", "--html", str(tmp_path / "no" / "report.html")])
    assert ended.value.code == 2
    assert "a folder that exists" in capsys.readouterr().err


def test_help_has_examples(capsys):
    """Somebody who has read nothing else can start."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "python -m training run --config sidecar.yml --dry-run" in capsys.readouterr().out
