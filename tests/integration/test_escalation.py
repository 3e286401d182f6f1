"""An incident that nobody acknowledges, in a running sidecar: what people read on their channels, and what stops it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.why import tell
from tests.acceptance.world import alert, webhook
from tests.fakes import FakePagerDuty, FakeSlack, until
from tests.integration.running import Running, running

CRITICAL = {"severity": "CRITICAL", "namespace": "shop"}


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as started:
        yield started


@pytest.fixture
async def pager() -> AsyncIterator[FakePagerDuty]:
    async with FakePagerDuty() as started:
        yield started


@pytest.fixture
async def sidecar(database_url, slack, pager) -> AsyncIterator[Running]:
    block = {"api_url": slack.url, "bot_token": slack.token, "channel": "#alerts"}
    settings: dict[str, Any] = {
        "receivers": [
            {"name": "team", "slack_configs": [block]},
            {"name": "lead", "pagerduty_configs": [{"url": pager.url, "routing_key": "r" * 32}]},
        ],
        "severity_definitions": {"CRITICAL": {"sla": "2s", "escalation": "immediate", "escalate_to": ["lead"]}},
        "delivery": {"rates": {"slack": 1000, "pagerduty": 1000}},
    }
    async with running(database_url, **settings) as started:
        yield started


async def test_the_next_role_is_told_why_and_then_everybody_once_more(sidecar, slack, pager):
    """PagerDuty's summary and Slack's reply say that nobody acknowledged it; `why` does too; nothing comes after."""
    await sidecar.post(webhook([alert("Down", **CRITICAL)]))
    await until(lambda: len(slack.messages) == 1)
    await until(lambda: len(pager.requests) == 1, 15)
    summary = pager.requests[0].json["payload"]["summary"]
    assert "not acknowledged within 2 s: escalated to lead, as escalate_to of CRITICAL says" in summary
    await until(lambda: len(pager.requests) == 2 and len(slack.posts) == 2, 15)
    assert "not acknowledged within 4 s: everybody who was told is told once more" in str(slack.posts[1])
    assert "told once more" in pager.requests[1].json["payload"]["summary"]
    await asyncio.sleep(3)
    assert (len(pager.requests), len(slack.posts)) == (2, 2)
    assert await sidecar.metric('sidecar_escalations_total{severity="CRITICAL"}') == 2
    await sidecar.caught_up()
    assert "raise: attempt 1 sent (not acknowledged within 2 s: escalated to lead" in await tell(
        sidecar.parts.database, "Down"
    )


async def test_an_acknowledgement_by_api_stops_it(sidecar, slack, pager):
    """And the time it took is measured."""
    await sidecar.post(webhook([alert("Down", **CRITICAL)]))
    await sidecar.caught_up()
    (row,) = await sidecar.rows("SELECT episode FROM episodes")
    assert (await sidecar.vote(row["episode"], "ack"))[0] == 200
    assert sidecar.parts.decider.state.escalations.first() is None
    await asyncio.sleep(3)
    assert pager.requests == []
    assert await sidecar.metric('sidecar_time_to_acknowledge_seconds_count{severity="CRITICAL"}') == 1
