"""Everything around a sidecar for an acceptance test: providers (fakes), a sidecar process and a real Alertmanager.

async with World() as world:
    await world.start()                        # one sidecar and one Alertmanager that sends to it
    await world.alertmanager.post([alert("HighErrorRate", severity="CRITICAL", domain="artemis")])
    await within(30, lambda: world.slack.messages)
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from tests.fakes import FakePagerDuty, FakeSlack, FakeSmtp, FakeTeams
from tests.servers import Alertmanager, SidecarProcess

GROUP_WAIT = "1s"
GROUP_INTERVAL = "2s"


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def alert(
    name: str, *, ago: float = 0.0, ended: float | None = None, notes: dict[str, str] | None = None, **labels: str
) -> dict[str, Any]:
    """An alert as Prometheus posts it, firing since `ago` seconds; `ended`: it cleared so many seconds ago."""
    now = time.time()
    body: dict[str, Any] = {
        "labels": {"alertname": name, **labels},
        "annotations": {"summary": f"{name} fires", "description": "a test", **(notes or {})},
        "startsAt": stamp(now - ago),
        "generatorURL": "http://prometheus.example.org/graph",
    }
    if ended is not None:
        body["endsAt"] = stamp(now - ended)
    return body


def webhook(alerts: Iterable[dict[str, Any]], group: str = "test") -> bytes:
    """The same alerts as Alertmanager sends them, for tests that speak to the sidecar without one."""
    sent = []
    for one in alerts:
        labels = {str(name): str(value) for name, value in one["labels"].items()}
        fingerprint = hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]
        status = "resolved" if "endsAt" in one else "firing"
        sent.append({"endsAt": "0001-01-01T00:00:00Z", **one, "status": status, "fingerprint": fingerprint})
    return json.dumps({"version": "4", "groupKey": f'{{}}:{{group="{group}"}}', "alerts": sent}).encode()


async def within(seconds: float, condition: Callable[[], Any], what: str = "") -> Any:
    """The first true value of `condition`, plain or awaited; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.02)


class World:
    """Slack, PagerDuty, Teams and SMTP, and the configuration that sends to them."""

    def __init__(self) -> None:
        self.slack, self.pagerduty, self.teams, self.smtp = FakeSlack(), FakePagerDuty(), FakeTeams(), FakeSmtp()
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for fake in (self.slack, self.pagerduty, self.teams, self.smtp):
            await self.stack.enter_async_context(fake)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stack.aclose()

    def config(self, **changes: Any) -> dict[str, Any]:
        """Domains to receivers, at any time of day; grouping short enough to wait for."""
        every_group = {"group_wait": GROUP_WAIT, "group_interval": GROUP_INTERVAL}
        slack = {"api_url": self.slack.url, "bot_token": self.slack.token}
        mail = {
            "to": "sophia@example.org",
            "from": "alerts@example.org",
            "smarthost": self.smtp.smarthost,
            "tls_config": {"ca_file": self.smtp.ca_file},
        }
        base = {
            "mode": "ladder",
            "audit_sample": {"share": 0, "first_month": 0},
            "grouping": {
                name: dict(every_group)
                for name in ("artemis_domain", "sophia_domain", "infrastructure", "keda_scaling")
            },
            "receivers": [
                {"name": "platform", "slack_configs": [{**slack, "channel": "#platform"}]},
                {"name": "artemis-slack", "slack_configs": [{**slack, "channel": "#artemis"}]},
                {"name": "artemis-pager", "pagerduty_configs": [{"routing_key": "A" * 32, "url": self.pagerduty.url}]},
                {"name": "sophia-mail", "email_configs": [mail]},
                {"name": "infra-teams", "msteams_configs": [{"webhook_url": self.teams.url}]},
            ],
            "default_receiver": "platform",
            "domains": {
                "artemis": {"roles": {"pagerduty": "artemis-pager", "slack-oncall": "artemis-slack"}},
                "sophia": {"roles": {"team": "sophia-mail", "slack-oncall": "platform"}},
                "infrastructure": {"roles": {"team": "infra-teams", "info": "infra-teams"}},
            },
            "time_based_routing": {
                "always": {
                    "schedule": "* * * * *",
                    "routes": {
                        "CRITICAL": ["pagerduty", "slack-oncall"],
                        "WARNING": ["team"],
                        "INFO": ["info"],
                    },
                }
            },
            "slack": {"signing_secret": self.slack.signing_secret},
            # the providers' limits are for the real ones; a lease that a killed process held ends soon
            "delivery": {
                "rates": {"slack": 500, "pagerduty": 500, "email": 500, "msteams": 500},
                "lease": "3s",
                "max_backoff": "2s",
            },
            "training": {"nightly": False},
            # tests send many alerts that look alike, to count what becomes of each
            "storm": {"enabled": False},
            "deduplication": {
                "strategies": {"fuzzy_match": {"enabled": False}, "temporal_correlation": {"enabled": False}}
            },
        }
        return {**copy.deepcopy(base), **changes}

    async def start(self, *, store: str = "", **changes: Any) -> None:
        """One sidecar, and one Alertmanager with the configuration that the sidecar renders for it."""
        self.alertmanager = Alertmanager()
        self.sidecar = await self.start_sidecar(store=store, alertmanagers=[{"url": self.alertmanager.url}], **changes)
        self.alertmanager.configure(await self.rendered(self.sidecar))
        await self.stack.enter_async_context(self.alertmanager)

    async def start_sidecar(self, *, store: str = "", **changes: Any) -> SidecarProcess:
        """A sidecar that nothing sends to yet."""
        sidecar = SidecarProcess(self.config(**changes), store=store)
        await self.stack.enter_async_context(sidecar)
        return sidecar

    async def rendered(self, sidecar: SidecarProcess) -> str:
        """What a stock Alertmanager needs to send everything to this sidecar."""
        return await sidecar.run("render-alertmanager", "--url", sidecar.url)


def rows(store: str, query: str) -> list[dict[str, Any]]:
    """What a query finds in the sidecar's database."""
    if store.startswith("postgresql:"):
        with psycopg.connect(store, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]
