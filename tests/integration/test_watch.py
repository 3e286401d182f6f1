"""The watcher in a running sidecar: what it asks, whose alerts it may end, and what it does with odd answers."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from sidecar.config.sections import Watch
from sidecar.events import EpisodeEnded, SenderKnown
from sidecar.store import log
from sidecar.watch.alertmanager import MOST_SILENCES, Watcher
from tests.acceptance.world import alert, stamp, webhook
from tests.fakes import FakeAlertmanager, FakeWebhook
from tests.integration.running import QUICK, hooks, running

OURS, THEIRS = "http://am.example.org", "http://elsewhere.example.org"
# The sidecar's own watcher is off: these tests look when they want to.
WATCH = {"enabled": False, "interval": "1s", "settled_after": "300s"}


def listed(body: bytes, *silenced: str) -> list[dict[str, Any]]:
    """The alerts of a webhook as Alertmanager lists them."""
    return [
        {**one, "endsAt": stamp(time.time() + 240), "status": {"state": "active", "silencedBy": list(silenced)}}
        for one in json.loads(body)["alerts"]
    ]


def sent(name: str, by: str = OURS) -> bytes:
    return json.dumps({**json.loads(webhook([alert(name, severity="warning")], name)), "externalURL": by}).encode()


class Looks:
    """Watchers of one sidecar, each as a replica has it."""

    def __init__(self, sidecar: Any) -> None:
        self.sidecar, self.session = sidecar, sidecar.client.session

    def watcher(self) -> Watcher:
        parts = self.sidecar.parts
        how = (parts.database, parts.decider, lambda: parts.config, parts.metrics, parts.clock)
        return Watcher(self.session, *how)

    async def twice(self, watcher: Watcher) -> None:
        for _ in range(2):
            await watcher.turn()
            await asyncio.sleep(1.05)
        await watcher.turn()
        await self.sidecar.caught_up()

    async def events(self, kind: type) -> list[Any]:
        async with self.sidecar.parts.database.read() as connection:
            return [one for _, row in await log.tail(connection, 0, 0) for one in row if type(one) is kind]


@pytest.fixture
async def place(database_url):
    """(looks, Alertmanager, what people were told)."""
    async with FakeAlertmanager() as alertmanager, FakeWebhook() as hook:
        config = {"watch": WATCH, "alertmanagers": [{"url": alertmanager.url}], "delivery": QUICK}
        async with running(database_url, receivers=hooks(hook), **config) as sidecar:
            yield Looks(sidecar), alertmanager, hook


async def test_what_came_from_there_is_ended_by_its_word_even_after_a_restart(place):
    """The externalURL of what was met there is remembered; what another Alertmanager sent is left alone."""
    looks, alertmanager, hook = place
    for body in (sent("A"), sent("B"), sent("C", THEIRS)):
        assert (await looks.sidecar.post(body))[0] == 200
    await looks.sidecar.caught_up()
    alertmanager.alerts = listed(sent("A"))
    await looks.watcher().turn()
    assert [one.url for one in await looks.events(SenderKnown)] == [OURS]
    alertmanager.alerts = []
    await looks.twice(looks.watcher())  # a new one has met nothing
    rows = await looks.sidecar.rows("SELECT alertname, ended_at FROM episodes ORDER BY alertname")
    assert [row["alertname"] for row in rows if row["ended_at"] is not None] == ["A", "B"]
    await hook.wait_for(5)  # three alerts, two ends
    assert sum(body["status"] == "resolved" for body in hook.bodies) == 2


async def test_two_that_watch_say_it_once(place):
    """Whoever is second has no news."""
    looks, alertmanager, _ = place
    assert (await looks.sidecar.post(sent("A")))[0] == 200
    await looks.sidecar.caught_up()
    alertmanager.alerts = [*listed(sent("A")), *listed(sent("S"), "s1")]
    both = (looks.watcher(), looks.watcher())
    await asyncio.gather(*(one.turn() for one in both))
    await looks.sidecar.caught_up()
    assert len(await looks.sidecar.rows("SELECT 1 FROM mutes")) == 1
    assert len(await looks.sidecar.rows("SELECT 1 FROM decisions WHERE verdict = 'suppress'")) == 1
    alertmanager.alerts = []
    await asyncio.gather(*(looks.twice(one) for one in both))
    assert len(await looks.events(EpisodeEnded)) == 2
    assert len(await looks.events(SenderKnown)) == 1


@pytest.mark.parametrize(
    "failure", [500, (301, {"Location": "http://127.0.0.1:1/"}, ""), (200, {}, "<html>"), (200, {}, "[{}]"), "reset"]
)
async def test_an_odd_answer_proves_nothing(place, failure):
    """Nothing is ended by a server in trouble, a redirect, or a page; the metric says so, and the next look goes on."""
    looks, alertmanager, _ = place
    assert (await looks.sidecar.post(sent("A")))[0] == 200
    await looks.sidecar.caught_up()
    watcher = looks.watcher()
    alertmanager.alerts = listed(sent("A"))
    await watcher.turn()
    up = looks.sidecar.parts.metrics.watch_up.labels(alertmanager.url.removeprefix("http://"))
    assert up._value.get() == 1
    alertmanager.fail(always=failure)
    await looks.twice(watcher)
    assert up._value.get() == 0
    assert await looks.events(EpisodeEnded) == []
    alertmanager.fail()
    await watcher.turn()
    assert up._value.get() == 1


async def test_a_young_peer_ends_nothing(place):
    """Prometheus has yet to send again what was lost with its memory."""
    looks, alertmanager, _ = place
    assert (await looks.sidecar.post(sent("A")))[0] == 200
    await looks.sidecar.caught_up()
    watcher = looks.watcher()
    alertmanager.alerts = listed(sent("A"))
    await watcher.turn()
    alertmanager.alerts, alertmanager.up_since = [], stamp(time.time() - 60)
    await looks.twice(watcher)
    assert await looks.events(EpisodeEnded) == []


async def test_what_no_database_takes_is_made_readable(place):
    """A NUL in a label passes through Alertmanager 0.25, and through us as in a webhook."""
    looks, alertmanager, _ = place
    odd = json.loads(sent("S"))
    odd["alerts"][0]["labels"]["pod"] = "a\x00b\ud800"
    alertmanager.alerts = listed(json.dumps(odd).encode(), "s1")
    await looks.watcher().turn()
    await looks.sidecar.caught_up()
    (row,) = await looks.sidecar.rows("SELECT labels FROM episodes")
    assert json.loads(row["labels"])["pod"] == "a\ufffdb\ufffd"


async def test_a_defect_does_not_end_the_loop(place, monkeypatch):
    """It is logged, and the next look goes on: webhooks are served all the time."""
    looks, _, _ = place
    watcher, times = looks.watcher(), []

    async def broken() -> None:
        times.append(time.time())
        raise RuntimeError("a defect")

    parts = looks.sidecar.parts
    monkeypatch.setattr(watcher, "_config", lambda: parts.config.model_copy(update={"watch": Watch(interval=1.0)}))
    monkeypatch.setattr(watcher, "turn", broken)
    running_on = asyncio.create_task(watcher.run())
    await asyncio.sleep(2.5)
    running_on.cancel()
    assert len(times) >= 2


@pytest.mark.parametrize("name", ["", "-", "a-1", "x" * 100_000, "a/b\x1f"])
async def test_a_fingerprint_that_is_none(place, name):
    """It is named by its labels, as in a webhook: episodes and keys of the database are made of it."""
    looks, alertmanager, _ = place
    alertmanager.alerts = [{**listed(sent("S"), "s1")[0], "fingerprint": name, "startsAt": "0001-01-01T00:00:00Z"}]
    await looks.watcher().turn()
    await looks.sidecar.caught_up()
    (row,) = await looks.sidecar.rows("SELECT fingerprint, episode FROM episodes")
    assert len(row["fingerprint"]) == 16
    assert row["episode"].removeprefix(row["fingerprint"] + "-").isdigit()


async def test_an_alert_that_thousands_of_silences_hide(place):
    """The first of them are enough to know that it is hidden."""
    looks, alertmanager, _ = place
    alertmanager.alerts = listed(sent("S"), *map(str, range(20_000)))
    began = time.perf_counter()
    seen = await looks.watcher().turn()
    assert (len(seen.received), len(seen.received[0].muted)) == (1, MOST_SILENCES)
    assert time.perf_counter() - began < 5.0
    assert (await looks.watcher().turn()).events == ()


async def test_an_answer_nested_without_end(place):
    """It cannot be read; the watcher goes on, and so does everything else."""
    looks, alertmanager, _ = place
    alertmanager.fail(always=(200, {}, '{"uptime": "2026-01-01T00:00:00Z", "config": ' + "[" * 200_000))
    watcher = looks.watcher()
    await watcher.turn()
    assert looks.sidecar.parts.metrics.watch_up.labels(alertmanager.url.removeprefix("http://"))._value.get() == 0
