"""Context from a real Prometheus: a metric that jumps, and labels that would like to be queries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from aiohttp import web

from sidecar.why import tell
from tests.acceptance.world import alert, webhook, within
from tests.fakes import FakeWebhook
from tests.integration.running import Running, hooks, running
from tests.servers import Prometheus

NASTY = '"} or vector(7) or x{a="\\'
LIKE_ANY = ".*"


def quoted(value: str) -> str:
    """A label's value as the exposition format writes it."""
    return value.replace("\\", "\\\\").replace('"', '\\"')


class Service:
    """Shows its load, by path: two of the paths look like PromQL."""

    def __init__(self) -> None:
        self.load = 0.31

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._show)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _show(self, _: web.Request) -> web.Response:
        paths = {"/": self.load, NASTY: 5.0, LIKE_ANY: 6.0}
        return web.Response(text="".join(f'load{{path="{quoted(path)}"}} {value}\n' for path, value in paths.items()))


@pytest.fixture
async def fake() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


def section(url: str) -> dict[str, Any]:
    queries = {
        "load": 'load{job="app", path="{path}"}',
        "like": "load{path=~'{path}|nothing'}",
        "gone": 'gone{path="{path}"}',
        "many": 'load{instance!="{path}"}',
        "wrong": 'avg(load{path="{path}"}',
    }
    return {"prometheus": {"url": url, "queries": queries, "before": "10s", "timeout": "5s"}}


async def sentences(sidecar: Running, fake: FakeWebhook, name: str, path: str) -> list[str]:
    """What the message about an alert with this path says; it is sent within the timeout and a little."""
    one = alert(name, severity="WARNING", domain="artemis", path=path)
    before, began = len(fake.bodies), time.monotonic()
    assert await sidecar.post(webhook([one], name)) == (200, "ok")
    await within(15, lambda: len(fake.bodies) > before)
    assert time.monotonic() - began < 5
    return [said for episode in fake.bodies[-1]["sidecar"]["episodes"] for said in episode.get("context", ())]


async def test_the_message_says_what_the_metric_did(sqlite_url, fake):
    """The median before and the value at the start; no value of a label changes what is asked."""
    async with Service() as service, Prometheus([], "127.0.0.1:1", {"app": service.address}) as prometheus:

        async def value(query: str) -> float:
            found = await prometheus.get(f"/api/v1/query?query={query}")
            return float(found["data"]["result"][0]["value"][1]) if found["data"]["result"] else 0.0

        await within(60, lambda: _at_least(value('count_over_time(load{path="/"}[1m])'), 8))
        service.load = 0.97
        await within(30, lambda: _at_least(value('load{path="/"}'), 0.9))

        async with running(sqlite_url, receivers=hooks(fake), context=section(prometheus.url)) as sidecar:
            line = "0.31 usually (10 s before), 0.97 at the start"
            assert await sentences(sidecar, fake, "Jump", "/") == ["gone: no data", f"like: {line}", f"load: {line}"]
            story = await tell(sidecar.parts.database, "Jump")
            assert f"  load: {line}\n    asked " in story
            assert "many: not measured: it gives more than one series" in story
            assert "wrong: not measured: http" in story
            assert "parse error: unclosed left parenthesis" in story

            for name, path, load in (("Nasty", NASTY, 5), ("Any", LIKE_ANY, 6)):
                line = f"{load} usually (10 s before), {load} at the start"
                assert await sentences(sidecar, fake, name, path) == [
                    "gone: no data",
                    f"like: {line}",
                    f"load: {line}",
                ]

            await asyncio.to_thread(prometheus.kill)
            assert await sentences(sidecar, fake, "Dead", "/") == []
            assert "load: not measured: http" in await tell(sidecar.parts.database, "Dead")


async def _at_least(value: Any, least: float) -> bool:
    return await value >= least
