"""What was answered with 200 is never lost: large webhooks, poison, and crashes."""

from __future__ import annotations

import asyncio
import io
import json
import time

from tests.acceptance.world import alert, rows, webhook, within

CRITICAL = {"severity": "CRITICAL", "domain": "artemis", "service": "api"}


async def test_a_group_of_5000_alerts_is_taken_whole(world):
    """5,000 alerts of one group, 3.5 MB, through a real Alertmanager: 5,000 episodes, one message, one page."""
    await world.start()
    filling = "x" * 330
    alerts = [alert("PodCrashLooping", namespace="prod", pod=f"api-{n}", **CRITICAL) for n in range(5000)]
    for one in alerts:
        one["annotations"]["filling"] = filling

    for first in range(0, 5000, 1000):
        await world.alertmanager.post(alerts[first : first + 1000])

    count = "SELECT COUNT(*) AS n FROM episodes"
    await within(60, lambda: rows(world.sidecar.store, count)[0]["n"] == 5000)
    await within(30, lambda: world.slack.messages and world.pagerduty.incidents)
    assert await world.sidecar.metric('sidecar_webhooks_total{status="400"}') == 0
    assert len(world.slack.messages) == 1
    assert len(world.pagerduty.incidents) == 1


async def test_one_webhook_of_3_5_megabytes_is_answered_with_200(world):
    """The same size in one request, for certain: every alert of it is stored before the answer."""
    sidecar = await world.start_sidecar()
    alerts = [alert("PodCrashLooping", namespace="prod", pod=f"api-{n}", **CRITICAL) for n in range(5000)]
    for one in alerts:
        one["annotations"]["filling"] = "x" * 330
    body = webhook(alerts)
    assert len(body) > 3_500_000

    status, text = await sidecar.request("POST", "/webhook", data=io.BytesIO(body))

    assert (status, text) == (200, "ok")
    await within(60, lambda: rows(sidecar.store, "SELECT COUNT(*) AS n FROM episodes")[0]["n"] == 5000)
    verdicts = rows(sidecar.store, "SELECT verdict, COUNT(*) AS n FROM decisions GROUP BY verdict ORDER BY verdict")
    assert {row["verdict"]: row["n"] for row in verdicts} == {"fold": 4999, "notify": 1}
    await within(30, lambda: world.slack.messages)
    assert len(world.slack.messages) == 1


async def test_a_poison_alert_takes_no_other_with_it(world):
    """One alert of 51 cannot be read: the others are told, and `sidecar quarantine` shows it."""
    sidecar = await world.start_sidecar()
    good = [alert("HighErrorRate", namespace=f"team-{n}", pod=f"p{n}", instance=f"i{n}", **CRITICAL) for n in range(50)]
    envelope = json.loads(webhook(good))
    envelope["groupKey"] = ""
    envelope["alerts"].insert(25, {"status": "firing", "labels": {"alertname": ["PoisonousAlert"]}})

    status, _ = await sidecar.request("POST", "/webhook", json=envelope)

    assert status == 200
    await within(30, lambda: len(world.pagerduty.incidents) >= 50)
    told = {incident.dedup_key for incident in world.pagerduty.incidents}
    assert len(told) == 50
    shown = await sidecar.run("quarantine")
    assert "PoisonousAlert" in shown
    assert shown.count("time(s)") == 1
    assert await sidecar.metric("sidecar_quarantined_total") == 1


async def test_characters_no_database_takes_reach_people_replaced(world):
    """NUL and a lone surrogate in one alert of a group: all of them are told."""
    sidecar = await world.start_sidecar()
    body = webhook([alert("HighErrorRate", pod="a", **CRITICAL), alert("HighErrorRate", pod="odd-@@-pod", **CRITICAL)])

    status, text = await sidecar.request("POST", "/webhook", data=body.replace(b"@@", rb"\u0000\ud800"))

    assert (status, text) == (200, "ok")
    await within(30, lambda: world.slack.messages)
    assert "odd-\ufffd\ufffd-pod" in world.slack.messages[0].shown
    assert rows(sidecar.store, "SELECT COUNT(*) AS n FROM episodes")[0]["n"] == 2


async def test_what_was_accepted_before_a_crash_is_delivered_once_after_it(world, database_url):
    """The providers fail, the sidecar is killed and started again: each is told once, under the same key."""
    sidecar = await world.start_sidecar(store=database_url)
    world.pagerduty.fail(always=503)
    world.slack.fail(always=503)
    alerts = [alert("HighErrorRate", namespace=f"team-{n}", pod=f"p{n}", **CRITICAL) for n in range(10)]
    for number, one in enumerate(alerts):
        status, _ = await sidecar.request("POST", "/webhook", data=webhook([one], f"g{number}"))
        assert status == 200
    await within(10, lambda: len(world.pagerduty.requests) >= 5 and len(world.slack.requests) >= 5)
    tried = {request.json["dedup_key"] for request in world.pagerduty.requests}

    sidecar.kill()
    await asyncio.sleep(1)  # what the dead process had put on the wire is refused like the rest
    world.pagerduty.fail()
    world.slack.fail()
    await sidecar.start()

    await within(30, lambda: len(world.pagerduty.incidents) >= 10 and len(world.slack.messages) >= 10)
    await asyncio.sleep(4)
    accepted = [request.json["dedup_key"] for request in world.pagerduty.requests if not request.failed]
    assert len(accepted) == len(set(accepted)) == 10
    assert tried <= set(accepted)
    assert len(world.slack.messages) == 10
    assert "nothing waits" in await sidecar.run("outbox")


async def test_a_webhook_is_never_answered_with_a_redirect(world):
    """Alertmanager would follow it with a GET and lose the alerts: each spelling of the path is taken, or said to be wrong."""
    sidecar = await world.start_sidecar()
    body = webhook([alert("HighErrorRate", **CRITICAL)])

    for path in ("/webhook", "/webhook/", "/api/v1/webhook", "/api/v1/webhook/"):
        status, text = await sidecar.request("POST", path, data=body)
        assert (status, text) == (200, "ok"), path
    status, _ = await sidecar.request("POST", "//webhook", data=body)
    assert not 300 <= status < 400


async def test_a_hold_survives_a_crash(world, database_url):
    """An alert that waits, probably noise, is told after a restart when its time has come and it still fires."""
    sidecar = await world.start_sidecar(
        store=database_url,
        mode="auto",
        domains={**world.config()["domains"], "artemis": {"roles": {"team": "artemis-slack"}}},
        holding={"max": {"WARNING": "8s"}, "min_score": 0.3},
        ml_anomaly_detection={
            "models": [
                {
                    "name": "false-positive-classifier",
                    "type": "binary-classifier",
                    "confidence_threshold": 1.0,
                    "auto_suppress": True,
                }
            ]
        },
        feedback_loop={"automation": {"auto_silence_patterns": {"enabled": False}}},
    )
    await make_noisy(sidecar)
    held = alert("FlakyProbe", pod="held", cluster="held", **{**CRITICAL, "severity": "WARNING"})
    status, _ = await sidecar.request("POST", "/webhook", data=webhook([held], "held"))
    assert status == 200
    at = time.time()
    hold = await within(10, lambda: decisions_on(database_url, "held"))
    assert [row["verdict"] for row in hold] == ["hold"], hold

    sidecar.kill()
    await sidecar.start()

    assert not any("held" in post.shown for post in world.slack.messages)
    await within(30, lambda: any("held" in post.shown for post in world.slack.messages))
    assert time.time() - at >= hold[0]["until"] - hold[0]["at"] - 1.0
    after = await within(10, lambda: len(rows := decisions_on(database_url, "held")) == 2 and rows)
    assert [row["verdict"] for row in after] == ["hold", "notify"]


def decisions_on(store: str, pod: str) -> list[dict]:
    query = "SELECT d.* FROM decisions d JOIN episodes e ON e.episode = d.episode WHERE e.labels LIKE '%\"{}\"%'"
    return sorted(rows(store, query.format(pod)), key=lambda row: row["at"])


async def make_noisy(sidecar) -> None:
    """A history of one alert that cleared within a minute each time and was called noise."""
    labels = {**CRITICAL, "severity": "WARNING"}
    for number in range(20):
        where = {**labels, "pod": f"p{number}", "cluster": f"c{number}"}
        began = alert("FlakyProbe", ago=40, **where)
        ended = {**alert("FlakyProbe", ago=40, ended=5, **where), "startsAt": began["startsAt"]}
        for one in (began, ended):
            status, text = await sidecar.request("POST", "/webhook", data=webhook([one], f"g{number}"))
            assert status == 200, text
        query = f"SELECT episode FROM episodes WHERE labels LIKE '%\"p{number}\"%'"
        found = await within(10, lambda query=query: rows(sidecar.store, query))
        body = {"who": "ada", "kind": "false_positive", "episodes": [row["episode"] for row in found]}
        status, text = await sidecar.request("POST", "/api/v2/feedback", json=body)
        assert status == 200, text
