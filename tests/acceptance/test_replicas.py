"""Several Alertmanagers and several sidecars: everything told, and told once."""

from __future__ import annotations

import asyncio

from tests.acceptance.world import alert, rows, within
from tests.servers import Alertmanager

GROUPS = 100
DECISIONS = "SELECT episode, COUNT(*) AS times FROM decisions WHERE verdict = 'notify' GROUP BY episode"


async def test_two_split_alertmanagers_and_two_sidecars_tell_each_group_once(world, postgres_url):
    """Both Alertmanagers send all 100 groups, each to its own sidecar, on one database: 100 of 100, once."""
    sidecars = [await world.start_sidecar(store=postgres_url) for _ in range(2)]
    managers = [Alertmanager(await world.rendered(sidecar)) for sidecar in sidecars]
    for manager in managers:
        await world.stack.enter_async_context(manager)
    labels = {"severity": "CRITICAL", "domain": "artemis", "service": "api"}
    alerts = [alert("HighErrorRate", namespace=f"team-{n}", pod=f"api-{n}", **labels) for n in range(GROUPS)]

    await managers[0].post(alerts)
    await asyncio.sleep(0.01)
    await managers[1].post(alerts)

    await within(60, lambda: len(world.pagerduty.incidents) >= GROUPS and len(world.slack.messages) >= GROUPS)
    for sidecar in sidecars:
        await within(30, lambda sidecar=sidecar: heard(sidecar), "each sidecar gets every group")
    await asyncio.sleep(3)
    keys = [request.json["dedup_key"] for request in world.pagerduty.requests]
    assert len(keys) == GROUPS
    assert len(set(keys)) == GROUPS
    assert len(world.slack.messages) == GROUPS
    assert {n for n in range(GROUPS) if any(f'team-{n}"' in each.body.decode() for each in world.pagerduty.requests)}
    decided = rows(postgres_url, DECISIONS)
    assert len(decided) == GROUPS
    assert {row["times"] for row in decided} == {1}


async def heard(sidecar) -> bool:
    return await sidecar.metric('sidecar_webhooks_total{status="200"}') >= GROUPS


async def test_one_of_three_clustered_alertmanagers_dies_while_alerts_are_sent(world, postgres_url):
    """SIGKILL in the middle: every alert is told, and none twice."""
    sidecar = await world.start_sidecar(store=postgres_url)
    config = await world.rendered(sidecar)
    managers: list[Alertmanager] = []
    for _ in range(3):
        manager = Alertmanager(config, cluster=True, peers=[each.cluster_address for each in managers])
        managers.append(await world.stack.enter_async_context(manager))
    await within(30, lambda: clustered(managers), "three peers that know each other")
    labels = {"severity": "CRITICAL", "domain": "artemis", "service": "api"}

    for wave in range(6):
        alerts = [alert("HighErrorRate", namespace=f"wave-{wave}-{n}", pod=f"{wave}-{n}", **labels) for n in range(5)]
        if wave == 3:
            managers[0].kill()
        for manager in managers:
            if manager.process.running:
                await manager.post(alerts)
        await asyncio.sleep(0.3)

    await within(60, lambda: len(world.pagerduty.incidents) >= 30 and len(world.slack.messages) >= 30)
    await asyncio.sleep(5)
    told = [request.json for request in world.pagerduty.requests]
    assert len({one["dedup_key"] for one in told}) == 30
    assert len(told) == 30
    assert len(world.slack.messages) == 30
    for wave in range(6):
        for n in range(5):
            assert any(f"wave-{wave}-{n}" in post.shown for post in world.slack.messages)


async def clustered(managers: list[Alertmanager]) -> bool:
    seen = [(await manager.get("/api/v2/status"))["cluster"] for manager in managers]
    return all(len(cluster["peers"]) == 3 and cluster["status"] == "ready" for cluster in seen)
