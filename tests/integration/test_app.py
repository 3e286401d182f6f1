"""The wiring: starting, stopping, reloading, swapping the model, and restoring what was known."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.artifact import pack, write
from sidecar.champion import Champion
from sidecar.config import load
from sidecar.decider import restore
from sidecar.scoring import Scorers
from sidecar.state import VERSION
from sidecar.store import schema, tables, training
from sidecar.store.engine import Database, open_engine
from sidecar.telemetry import Metrics
from tests.acceptance.world import alert, rows, webhook, within
from tests.fakes import FakeWebhook
from tests.integration.running import Running, configured, hooks, running
from tests.integration.test_delivery import Slow, written
from tests.servers import SidecarProcess
from tests.unit.models.conftest import trained  # noqa: F401 - a fixture

NOISY = {"severity": "WARNING", "domain": "artemis"}
RELOADED = "sidecar_config_last_reload_successful"
KEY = "a signing key"


@pytest.fixture
async def fake() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


async def fire(sidecar: Running, name: str) -> None:
    assert await sidecar.post(webhook([alert(name, pod=name, instance=name, **NOISY)], name)) == (200, "ok")


async def test_it_is_ready_healthy_and_shows_its_metrics(database_url):
    """From the first moment that it serves."""
    async with running(database_url) as sidecar:
        assert await sidecar.request("GET", "/-/healthy") == (200, "healthy")
        assert await sidecar.request("GET", "/-/ready") == (200, "ready")
        _, shown = await sidecar.request("GET", "/metrics")
        assert "# HELP sidecar_alerts_received_total" in shown
        assert await sidecar.metric(RELOADED) == 1
        assert await sidecar.metric("sidecar_scoring_fallback") == 1


async def test_a_restart_knows_what_was_known(database_url, fake):
    """The snapshot of the end and the log give the state: an alert that was told is a repeat, not news."""
    body = webhook([alert("HighErrorRate", **NOISY)])
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        assert await sidecar.post(body) == (200, "ok")
        await within(10, lambda: sidecar.count("SELECT count(*) FROM outbox WHERE state = 'sent'"))
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        assert await sidecar.count("SELECT count(*) FROM snapshots") == 1
        before = sidecar.parts.decider.state.dump()
        assert before == (await restore(sidecar.parts.database, 0, VERSION)).dump()
        assert await sidecar.post(body) == (200, "ok")
        await sidecar.caught_up()
        assert await sidecar.count("SELECT count(*) FROM decisions") == 1
        assert len(fake.bodies) == 1


async def test_a_reload_changes_where_messages_go(database_url, fake, tmp_path):
    """By POST, by PUT and by SIGHUP, without a restart."""
    async with FakeWebhook() as other:
        path = written(tmp_path, database_url, receivers=hooks(fake))
        async with running(database_url, path=str(path), receivers=hooks(fake)) as sidecar:
            await fire(sidecar, "First")
            await within(10, lambda: fake.bodies)
            written(tmp_path, database_url, receivers=hooks(other))
            assert await sidecar.request("POST", "/-/reload") == (200, "reloaded")
            await fire(sidecar, "Second")
            await within(10, lambda: other.bodies)
            written(tmp_path, database_url, receivers=hooks(fake))
            os.kill(os.getpid(), signal.SIGHUP)
            await within(10, lambda: sidecar.parts.config == load(path))
            await fire(sidecar, "Third")
            await within(10, lambda: len(fake.bodies) == 2)
            assert (await sidecar.request("PUT", "/-/reload"))[0] == 200
        assert [body["sidecar"]["title"] for body in other.bodies] == ["Second on Second"]


async def test_a_bad_file_keeps_the_old_configuration_and_says_so(sqlite_url, fake, tmp_path):
    """400 with every mistake, the metric falls, and messages go where they went; a good file mends it."""
    path = written(tmp_path, sqlite_url, receivers=hooks(fake))
    async with running(sqlite_url, path=str(path), receivers=hooks(fake)) as sidecar:
        for bad in ("mode: sometimes\nsilence: {}\n", "[", "", "receivers: [{name: a, webhook_configs: [{url: 5}]}]\n"):
            path.write_text(bad or "default_receiver: nobody\n")
            status, text = await sidecar.request("POST", "/-/reload")
            assert (status, "the old configuration stays" in text) == (400, True), bad
            assert await sidecar.metric(RELOADED) == 0
        os.kill(os.getpid(), signal.SIGHUP)
        path.unlink()
        assert (await sidecar.request("POST", "/-/reload"))[0] == 400
        await fire(sidecar, "StillTold")
        await within(10, lambda: fake.bodies)
        written(tmp_path, sqlite_url, receivers=hooks(fake))
        assert (await sidecar.request("POST", "/-/reload"))[0] == 200
        assert await sidecar.metric(RELOADED) == 1


# --------------------------------------------------------------------------------------------------------------- models


def packed(folder: Path, model: Any, key: bytes | None = KEY.encode()) -> tuple[str, dict[str, str]]:
    version = write(folder / "artifact", model, key)
    return version, pack(folder / "artifact")


async def promote(database: Database, version: str, files: dict[str, str], at: float = 1.0) -> None:
    async with database.write() as connection:
        await training.save_artifact(connection, version, files, {}, "candidate", at)
        assert await training.promote(connection, version, at)


async def test_a_promoted_model_serves_without_a_restart(database_url, tmp_path, trained):  # noqa: F811 - the fixture
    """It is noticed, tried and swapped in; the next decision names it."""
    version, files = packed(tmp_path, trained)
    settings = {"training": {"nightly": False, "signing_key": KEY}}
    async with running(database_url, **settings) as sidecar:
        await fire(sidecar, "First")
        await promote(sidecar.parts.database, version, files)
        await within(30, lambda: sidecar.parts.scorers.version == version)
        await fire(sidecar, "Second")
        await sidecar.caught_up()
        models = await sidecar.rows("SELECT model FROM decisions ORDER BY seq")
        assert [row["model"] for row in models] == ["cold-start", version]
        assert await sidecar.metric("sidecar_scoring_fallback") == 0
        assert await sidecar.metric(f'sidecar_model_info{{name="false-positive-classifier",version="{version}"}}') == 1


@pytest.fixture
async def database(database_url) -> AsyncIterator[Database]:
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


DAMAGE: dict[str, Any] = {
    "cut": lambda files: {**files, "model.txt": files["model.txt"][:-200]},
    "another key": lambda files: {**files, "signature": "0" * 64},
    "no calibration": lambda files: {name: text for name, text in files.items() if name != "calibration.json"},
    "nothing": lambda _: {"model.txt": ""},
}


@pytest.mark.parametrize("how", DAMAGE)
async def test_a_damaged_model_leaves_the_one_before_it_in_place(database, tmp_path, trained, how):  # noqa: F811
    """It is tried once, not every few seconds, and the next good one serves."""
    version, files = packed(tmp_path, trained)
    config = configured("sqlite://", training={"nightly": False, "signing_key": KEY})
    scorers, metrics = Scorers(), Metrics()
    champion = Champion(database, scorers, lambda: config, metrics)
    assert not await champion.look()
    await promote(database, "fp-damaged", DAMAGE[how](files), 1.0)
    assert not await champion.look()
    assert not await champion.look()
    assert scorers.version == "cold-start"
    assert scorers.score([(0.0,) * len(trained.golden_rows[0])])[1] == "cold-start"
    await promote(database, version, files, 2.0)
    assert await champion.look()
    assert scorers.version == version


PROVEN = {
    "at": 1.0, "hold": {"threshold": 0.9}, "suppress": {}, "drifted": {"A": "changed", "B": "too"}, "unsettled": "all"
}  # fmt: skip


@pytest.mark.parametrize("report", ['{"certificate": {"at": 1', "null", "5", '{"certificate": 7}', "{}"])
async def test_a_damaged_report_takes_the_certificate_away_and_ends_nothing(database, report):
    """What the newest run has proven serves; one that cannot be read, or proves nothing, allows nothing."""
    config = configured("sqlite://", training={"nightly": False})
    scorers = Scorers()
    metrics = Metrics()
    champion = Champion(database, scorers, lambda: config, metrics)

    def drift(scope: str) -> float | None:
        return metrics.registry.get_sample_value("sidecar_drift_alarms", {"scope": scope})

    async def keep(version: str, text: str, at: float) -> None:
        row = {"version": version, "created_at": at, "state": "refused", "files": "{}", "report": text}
        async with database.write() as connection:
            await connection.execute(tables.artifacts.insert().values(row))

    await keep("refused-1", msgspec.json.encode({"certificate": PROVEN}).decode(), 1.0)
    await champion.look()
    assert scorers.certificate is not None
    assert scorers.certificate.hold.threshold == 0.9
    assert (drift("alertname"), drift("all")) == (2, 1)
    await keep("refused-2", report, 2.0)
    await champion.look()
    assert scorers.certificate is None
    assert (drift("alertname"), drift("all")) == (0, 0)


# ------------------------------------------------------------------------------------------------------------- stopping


async def test_sigterm_ends_what_is_being_sent_and_exits_with_0(database_url):
    """As Kubernetes stops it: the message is settled, the state is kept, and nothing is sent twice."""
    async with Slow() as slow:
        config = {"receivers": hooks(slow), "training": {"nightly": False}}
        async with SidecarProcess(config, store=database_url) as sidecar:
            status, text = await sidecar.request("POST", "/webhook", data=webhook([alert("HighErrorRate", **NOISY)]))
            assert (status, text) == (200, "ok")
            await slow.wait_for(1)
            stopping = asyncio.create_task(sidecar.stop())
            asyncio.get_running_loop().call_later(0.5, slow.go.set)
            assert await stopping == 0, sidecar.output
            assert [row["state"] for row in rows(database_url, "SELECT state FROM outbox")] == ["sent"]
            assert len(rows(database_url, "SELECT seq FROM snapshots")) == 1
        assert len(slow.requests) == 1


async def test_a_hangup_reloads_a_real_process(sqlite_url, fake):
    """SIGHUP with a bad file keeps it alive and says so in the metric."""
    config = {"receivers": hooks(fake), "training": {"nightly": False}}
    async with SidecarProcess(config, store=sqlite_url) as sidecar:
        sidecar.path.write_text("mode: sometimes\n")
        assert sidecar.process is not None
        sidecar.process.send(signal.SIGHUP)

        async def refused() -> bool:
            return await sidecar.metric(RELOADED) == 0

        await within(20, refused)
        sidecar.configure({**config, "mode": "shadow"})
        status, _ = await sidecar.request("POST", "/-/reload")
        assert status == 200
        assert await sidecar.metric(RELOADED) == 1
