"""Mode shadow and mode ladder get the same webhooks: shadow tells everything, and what it says it would have done is what
ladder did.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sidecar.__main__ import main
from sidecar.domain import Pattern
from sidecar.events import Decided, SilenceWithheld
from sidecar.store import log
from sidecar.store.engine import Database
from tests.acceptance.world import alert, webhook, within
from tests.fakes import FakeWebhook
from tests.integration.running import Running, hooks, running


def window() -> dict[str, Any]:
    """Open now, and for an hour at least, for INFO."""
    hour = datetime.now(UTC).hour
    return {"name": "work", "schedule": f"0 {hour},{(hour + 1) % 24} * * *", "timezone": "UTC", "suppress": ["INFO"]}


def story() -> list[bytes]:
    """An alert that a window holds, one of the same instance that it does not, the next of both kinds, and a CRITICAL."""
    rows = [
        ("info", "Slow", "db-1"), ("warning", "Stuck", "db-1"), ("info", "Late", "db-1"), ("info", "Slow", "db-2"),
        ("critical", "Down", "db-3"), ("info", "Late", "db-3"), ("warning", "Stuck", "db-4"), ("warning", "Late", "db-4"),
    ]  # fmt: skip
    return [
        webhook([alert(name, ago=30, severity=severity, instance=where)], group=f"g{n}")
        for n, (severity, name, where) in enumerate(rows)
    ]


async def decided(database: Database) -> dict[str, Decided]:
    """The first decision on each episode, as the log has it."""
    found: dict[str, Decided] = {}
    async for _, events in log.all_after(database, 0, 0):
        for event in events:
            if isinstance(event, Decided):
                found.setdefault(event.episode, event)
    return found


async def play(sidecar: Running, bodies: list[bytes]) -> dict[str, Decided]:
    for body in bodies:
        assert await sidecar.post(body) == (200, "ok")
    await sidecar.caught_up()
    return await decided(sidecar.parts.database)


async def test_shadow_tells_everything_and_says_what_the_ladder_did(database_url, tmp_path, capsys):
    """Verdict by verdict; the message, the metric, `sidecar why` and `sidecar report` all say so."""
    settings = {"time_based_routing": {"maintenance_windows": [window()]}}
    bodies, spare = story(), f"sqlite:///{tmp_path / 'ladder.db'}"
    async with FakeWebhook() as told, FakeWebhook() as kept:
        async with running(spare, mode="ladder", receivers=hooks(kept), **settings) as ladder:
            did = await play(ladder, bodies)
        async with running(database_url, mode="shadow", receivers=hooks(told), **settings) as shadow:
            would = await play(shadow, bodies)
            marked = await within(20, lambda: [one for one in told.requests if one.json["sidecar"]["marks"]])
            counted = await shadow.metric('sidecar_shadow_decisions_total{rule="maintenance_windows",verdict="hold"}')
            told_of = await shadow.count("SELECT count(*) FROM incidents WHERE told_at IS NOT NULL")
            all_of = await shadow.count("SELECT count(*) FROM incidents")

    assert {name: one.verdict if one.would is None else one.would.verdict for name, one in would.items()} == {
        name: one.verdict for name, one in did.items()
    }
    assert {one.verdict.value for one in did.values()} == {"hold", "notify", "fold"}
    assert {one.verdict.value for one in would.values()} == {"notify", "fold"}
    assert (told_of, all_of) == (4, 4)
    assert counted == 4
    assert marked[0].json["sidecar"]["marks"][0].startswith("shadow: would have been held for ")
    assert marked[0].json["sidecar"]["marks"][0].endswith(" by maintenance_windows")

    path = tmp_path / "sidecar.yml"
    path.write_text(yaml.safe_dump({"store": {"url": database_url}}))
    held = next(name for name, one in would.items() if one.would is not None)
    assert await asyncio.to_thread(main, ["why", held, "--config", str(path)]) == 0
    assert "shadow: would have been held for " in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["report", "--config", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "another mode would have done: 4 held, to be told later if they still fired, 0 told to nobody" in said


async def test_withheld_silences_are_listed_in_the_report(database_url, tmp_path, capsys):
    """Their pattern, time and comment, as text, JSON and on the page."""
    async with running(database_url, mode="shadow") as sidecar:
        pattern, now = Pattern("Flaky", "", "", "WARNING"), time.time()
        event = SilenceWithheld(now, pattern, now + 86400, "false_positive", "5 incidents were noise", ("e-1",))
        async with sidecar.parts.database.write() as connection:
            await log.append(connection, 0, await log.head(connection, 0), now, (event,), ())
    path = tmp_path / "sidecar.yml"
    path.write_text(yaml.safe_dump({"store": {"url": database_url}}))
    page: Path = tmp_path / "report.html"

    assert await asyncio.to_thread(main, ["report", "--config", str(path), "--html", str(page)]) == 0
    said = capsys.readouterr().out
    assert "Silences that mode shadow would have asked for" in said
    assert "alertname=Flaky, severity=WARNING" in said
    assert "5 incidents were noise" in page.read_text("utf-8")
    assert await asyncio.to_thread(main, ["report", "--config", str(path), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["withheld_silences"]
    assert (one["pattern"]["alertname"], one["comment"]) == ("Flaky", "5 incidents were noise")
