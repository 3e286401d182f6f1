"""The specification's functional tests (7.1), with a real Alertmanager, and what a resolve does."""

from __future__ import annotations

import asyncio
import time

from tests.acceptance.world import alert, rows, within
from tests.servers import amtool

SETTLES = 6.0  # s in which a message too many would have come: two group intervals, and delivery


async def test_an_alert_reaches_its_route_within_30_seconds(world):
    """An alert posted to Alertmanager's API is shown by it, and told to its domain's receivers in time."""
    await world.start()
    sent = time.time()

    await world.alertmanager.post([alert("HighErrorRate", severity="CRITICAL", domain="artemis", service="api")])

    shown = await world.alertmanager.get("/api/v2/alerts")
    assert [one["labels"]["alertname"] for one in shown] == ["HighErrorRate"]
    assert [receiver["name"] for receiver in shown[0]["receivers"]] == ["sidecar"]
    await within(30, lambda: world.slack.messages and world.pagerduty.incidents)
    assert time.time() - sent < 30
    assert "HighErrorRate" in world.slack.messages[0].shown
    assert world.pagerduty.incidents[0].severity == "critical"
    assert "HighErrorRate" in world.pagerduty.incidents[0].summary
    latency = await world.sidecar.metric('sidecar_notification_latency_seconds_count{channel="slack"}')
    assert latency == 1


async def test_five_similar_alerts_are_one_notification(world):
    """Five pods of one service in one group: one message that counts five, and one page."""
    await world.start()
    labels = {"severity": "CRITICAL", "domain": "artemis", "service": "api", "namespace": "prod", "cluster": "eu"}

    await world.alertmanager.post([alert("PodCrashLooping", pod=f"api-{n}", **labels) for n in range(5)])

    await within(30, lambda: world.slack.messages and world.pagerduty.incidents)
    groups = await world.alertmanager.get("/api/v2/alerts/groups")
    assert [len(group["alerts"]) for group in groups] == [5]
    await asyncio.sleep(SETTLES)
    assert len(world.slack.messages) == 1
    assert len(world.pagerduty.incidents) == 1
    shown = world.slack.messages[0].shown
    assert all(f"api-{n}" in shown for n in range(5))


async def test_a_parent_inhibits_its_children(world):
    """While CircuitBreakerOpen fires, HighLatency of the same service is not told; that of another service is."""
    await world.start()
    where = {"domain": "artemis", "cluster": "eu", "namespace": "prod"}
    await world.alertmanager.post([alert("CircuitBreakerOpen", severity="CRITICAL", service="checkout", **where)])

    await world.alertmanager.post(
        [
            alert("HighLatency", severity="CRITICAL", service="checkout", **where),
            alert("HighLatency", severity="CRITICAL", service="search", **where),
        ]
    )

    await within(30, lambda: len(world.slack.messages) >= 2)
    await asyncio.sleep(SETTLES)
    told = sorted(incident.summary for incident in world.pagerduty.incidents)
    assert len(told) == 2, told
    assert "CircuitBreakerOpen" in told[0]
    assert "HighLatency" in told[1]
    assert any("HighLatency" in post.shown and "search" in post.shown for post in world.slack.messages)
    assert not any("HighLatency" in post.shown and "checkout" in post.shown for post in world.slack.messages)
    alerts = await world.alertmanager.get("/api/v2/alerts")
    inhibited = [one["labels"] for one in alerts if one["status"]["inhibitedBy"]]
    assert [(labels["alertname"], labels["service"]) for labels in inhibited] == [("HighLatency", "checkout")]


async def test_severity_and_domain_choose_the_receiver(world):
    """CRITICAL of artemis: PagerDuty and Slack; WARNING of sophia: mail; INFO of infrastructure: Teams."""
    await world.start()

    await world.alertmanager.post(
        [
            alert("ServiceDown", severity="CRITICAL", domain="artemis", service="api"),
            alert("ModelDrift", severity="WARNING", domain="sophia", ai_model="ranker"),
            alert("NodeDiskFilling", severity="INFO", domain="infrastructure", node="n1"),
        ]
    )

    await within(
        30, lambda: world.slack.messages and world.pagerduty.incidents and world.smtp.mails and world.teams.cards
    )
    await asyncio.sleep(SETTLES / 2)
    assert ["ServiceDown" in incident.summary for incident in world.pagerduty.incidents] == [True]
    assert ["ServiceDown" in post.shown for post in world.slack.messages] == [True]
    assert ["ModelDrift" in mail.part("plain") for mail in world.smtp.mails] == [True]
    assert world.smtp.mails[0].recipients == ["sophia@example.org"]
    assert world.smtp.mails[0].tls
    assert ["NodeDiskFilling" in str(card) for card in world.teams.cards] == [True]


async def test_a_resolve_edits_the_message_and_resolves_the_page(world):
    """One message from beginning to end: the resolve edits it, replies in its thread and closes the incident."""
    await world.start()
    labels = {"severity": "CRITICAL", "domain": "artemis", "service": "api"}
    began = time.time()
    await world.alertmanager.post([alert("HighErrorRate", ago=0, **labels)])
    await within(30, lambda: world.slack.messages and world.pagerduty.incidents)
    post, page = world.slack.messages[0], world.pagerduty.incidents[0]
    assert page.state == "triggered"
    assert post.history == []

    await world.alertmanager.post([alert("HighErrorRate", ago=time.time() - began, ended=0, **labels)])

    await within(30, lambda: world.slack.replies(post.ts) and page.state == "resolved")
    assert "resolved" in post.shown.lower()
    assert post.history
    assert len(world.slack.messages) == 1
    replies = world.slack.replies(post.ts)
    assert len(replies) == 1
    assert "resolved" in replies[0].shown.lower()
    assert not replies[0].broadcast
    keys = [request.json["dedup_key"] for request in world.pagerduty.requests]
    assert [request.json["event_action"] for request in world.pagerduty.requests] == ["trigger", "resolve"]
    assert len(set(keys)) == 1
    ended = await within(10, lambda: rows(world.sidecar.store, "SELECT ended_at FROM episodes WHERE ended_at > 0"))
    assert len(ended) == 1


async def test_amtool_accepts_what_the_sidecar_renders(world):
    """The rendered configuration is one of a stock Alertmanager, with and without the direct route for CRITICAL."""
    sidecar = await world.start_sidecar()
    for more in ((), ("--direct-critical",)):
        path = sidecar.folder / "rendered.yml"
        path.write_text(await sidecar.run("render-alertmanager", "--url", sidecar.url, *more), "utf-8")

        told = amtool("check-config", str(path))
        fallback = amtool("config", "routes", "test", f"--config.file={path}", "alertname=AlertmanagerSidecarDown")

        assert "SUCCESS" in told
        assert fallback.strip() == "sidecar-down"
        usual = amtool("config", "routes", "test", f"--config.file={path}", "domain=artemis", "severity=WARNING")
        assert usual.strip() == "sidecar"
