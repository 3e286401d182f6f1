"""History from the servers that people run: Prometheus's memory, under the names that Alertmanager gives."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from importlib.resources import as_file, files

from sidecar.__main__ import _parser
from sidecar.cold_start import asked_for, backfill
from sidecar.config import load
from sidecar.intake.webhook import fingerprint_of
from tests.acceptance.test_prometheus import RULE, Exporter
from tests.acceptance.world import rows, stamp, within
from tests.servers import Alertmanager, Prometheus, SidecarProcess

QUIET = "route: {receiver: none}\nreceivers: [{name: none}]\n"


async def test_fingerprints_are_those_of_a_real_alertmanager():
    """For names, values and orders that two algorithms could see differently."""
    odd = [
        {"alertname": "A"},
        {"alertname": "Disk full", "instance": "db-1:9100", "a": "1", "B": "2", "_": "3"},
        {"alertname": "Überhitzt", "raum": "küche 🔥", "path": "/var/lib\nx", "quote": '"\\'},
        {f"label_{n}": "x" * n for n in range(1, 60)} | {"alertname": "Long"},
    ]
    async with Alertmanager(QUIET) as alertmanager:
        await alertmanager.post([{"labels": labels} for labels in odd])
        found = await within(20, lambda: _all(alertmanager, len(odd)))

    theirs = {json.dumps(one["labels"], sort_keys=True): one["fingerprint"] for one in found}
    assert theirs == {json.dumps(labels, sort_keys=True): fingerprint_of(labels) for labels in odd}


async def _all(alertmanager: Alertmanager, count: int):
    found = await alertmanager.get("/api/v2/alerts")
    return found if len(found) == count else None


async def _is_quiet(prometheus: Prometheus) -> bool:
    return not (await prometheus.get("/api/v1/alerts"))["data"]["alerts"]


async def test_what_fired_in_prometheus_is_known_from_the_first_day():
    """A rule that really fired, read back: `sidecar why` shows its episode, under the name that Alertmanager uses."""
    began = time.time()
    async with Alertmanager(QUIET) as alertmanager, Exporter() as service:
        targets, external = {"checkout": service.address}, {"cluster": "eu-1"}
        async with Prometheus([RULE], alertmanager.address, targets, external) as prometheus:
            (there,) = await within(60, lambda: _all(alertmanager, 1))
            await asyncio.sleep(3)
            service.failing = 0.0
            await within(60, lambda: _is_quiet(prometheus))
            ended = time.time()
            await asyncio.sleep(3)
            sidecar = SidecarProcess({})
            try:
                said = await _backfilled(sidecar, prometheus.url, began)
                story = await sidecar.run("why", there["fingerprint"])
                (episode,) = rows(sidecar.store, "SELECT * FROM episodes")
            finally:
                shutil.rmtree(sidecar.folder)

    assert "Recorded 1 episodes" in said
    for words in ("CheckoutErrors", "ended", "DIGEST", "rule import: history", "cluster=eu-1", "Nothing was sent."):
        assert words in story
    assert json.loads(episode["labels"]) == there["labels"]
    assert began - 1 <= episode["starts_at"] <= episode["ended_at"] - 2
    assert episode["ended_at"] <= ended + 2


async def _backfilled(sidecar: SidecarProcess, url: str, since: float) -> str:
    """As `sidecar backfill` does, ten minutes later: what is younger than five is left to Alertmanager."""
    words = ["--prometheus", url, "--since", stamp(since), "--step", "1s", "--external-label", "cluster=eu-1"]
    early = await sidecar.run("backfill", *words)
    assert "There is nothing to ask for" in early
    options = vars(_parser().parse_args(["backfill", *words]))
    later = time.time() + 600
    asked = asked_for({**options, "until": stamp(time.time())}, later)
    return await backfill(load(sidecar.path), asked, dry=False, clock=lambda: later)


async def test_an_imported_file_is_there_for_training_and_for_people():
    """The command records it, a second time adds nothing, `why` tells it, and the nightly job trains on its votes."""
    sidecar = SidecarProcess({})
    try:
        with as_file(files("sidecar.demo") / "history" / "asd.jsonl.gz") as path:
            assert "Would record 9,355 episodes" in await sidecar.run("import", str(path), "--dry-run")
            said = await sidecar.run("import", str(path), "--voter", "last-year")
            again = await sidecar.run("import", str(path), "--voter", "last-year")
        story = await sidecar.run("why", "m03_High")
        trained = await sidecar.run("run", "--dry-run", module="training")
    finally:
        shutil.rmtree(sidecar.folder)

    assert "Recorded 9,355 episodes of 94 alertnames" in said
    assert "4,719 are labelled, 77% of them false positives" in said
    assert "9,355 episodes were there already.\nNothing is new: nothing was added." in again
    assert "last-year: false_positive" in story
    assert "passed the gate" in trained
