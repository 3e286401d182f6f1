"""The whole way: a metric, a rule that fires in a real Prometheus, Alertmanager, the sidecar, a message, and back."""

from __future__ import annotations

from typing import Self

from aiohttp import web

from tests.acceptance.world import within
from tests.servers import Prometheus


class Exporter:
    """A service that shows how many of its requests fail."""

    def __init__(self) -> None:
        self.failing = 0.5

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
        return web.Response(text=f"checkout_error_ratio {self.failing}\n")


RULE = {
    "alert": "CheckoutErrors",
    "expr": "checkout_error_ratio > 0.1",
    "for": "1s",
    "labels": {"severity": "critical", "domain": "artemis", "service": "checkout"},
    "annotations": {"summary": "{{ $value | humanizePercentage }} of checkouts fail"},
}


async def test_a_rule_that_fires_in_prometheus_reaches_people(world):
    """A real rule over a real scrape: told with its summary while it is true, resolved when it is not."""
    await world.start()
    async with Exporter() as service:
        prometheus = Prometheus([RULE], world.alertmanager.address, {"checkout": service.address})
        async with prometheus:
            await within(60, lambda: world.slack.messages and world.pagerduty.incidents)
            post, page = world.slack.messages[0], world.pagerduty.incidents[0]
            assert "50% of checkouts fail" in post.shown
            assert "CheckoutErrors" in page.summary
            assert page.severity == "critical"
            rules = await prometheus.get("/api/v1/alerts")
            assert [one["state"] for one in rules["data"]["alerts"]] == ["firing"]

            service.failing = 0.0
            await within(60, lambda: page.state == "resolved" and world.slack.replies(post.ts))
            assert "resolved" in post.shown.lower()
            assert len(world.slack.messages) == 1
            assert len(world.pagerduty.incidents) == 1
