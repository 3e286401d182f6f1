"""What people answer changes what they get: votes make a silence, training makes another verdict."""

from __future__ import annotations

import asyncio
import json
import random

from tests.acceptance.world import alert, rows, webhook, within

PATTERN = {"severity": "WARNING", "domain": "artemis", "service": "api", "namespace": "prod"}


async def react(world, user: str, number: int, *, removed: bool = False, emoji: str = "-1") -> None:
    """A person reacts to the message `number`, or takes the reaction back."""
    ref = world.slack.messages[number].ref
    status = await world.slack.react(f"{world.sidecar.url}/slack/events", user, emoji, ref, removed=removed)
    assert status == 200


def silences(world) -> list[dict]:
    return json.loads(world.alertmanager.amtool("silence", "query", "--output=json"))


def votes(world) -> list[dict]:
    return rows(world.sidecar.store, "SELECT * FROM votes")


async def test_five_false_votes_make_one_silence(world):
    """Two people call five incidents of one pattern noise, one vote is taken back and given again: one silence."""
    config = world.config()
    roles = {"artemis": {"roles": {"team": "artemis-slack"}}}
    await world.start(domains={**config["domains"], **roles})
    await world.alertmanager.post([alert("FlakyProbe", cluster=f"c{n}", pod=f"p{n}", **PATTERN) for n in range(5)])
    await within(30, lambda: len(world.slack.messages) == 5)

    for number in range(3):
        await react(world, "UADA", number)
    await react(world, "UGRACE", 3)
    await react(world, "UADA", 0, removed=True)
    await react(world, "UGRACE", 4)
    await asyncio.sleep(3)
    assert silences(world) == [], "four votes stand: that of the removed reaction does not"

    await react(world, "UADA", 0, emoji="no_bell")
    made = await within(30, lambda: silences(world))
    await react(world, "UGRACE", 0)  # a sixth vote on the same five incidents
    await asyncio.sleep(3)

    assert len(silences(world)) == 1
    assert made[0]["createdBy"] == "alertmanager-sidecar"
    assert {one["name"]: one["value"] for one in made[0]["matchers"]} == {
        "alertname": "FlakyProbe", "namespace": "prod", "service": "api", "severity": "WARNING",
    }  # fmt: skip
    assert not any(one["isRegex"] for one in made[0]["matchers"])
    assert "false positive" in made[0]["comment"]
    shown = world.alertmanager.amtool("silence", "query")
    assert "FlakyProbe" in shown
    assert await world.sidecar.metric('sidecar_silences_created_total{reason="false_positive"}') == 1


async def test_a_forged_or_replayed_reaction_counts_for_nothing(world):
    """A wrong signature is refused, and the same event sent twice is one vote."""
    config = world.config()
    await world.start(domains={**config["domains"], "artemis": {"roles": {"team": "artemis-slack"}}})
    await world.alertmanager.post([alert("FlakyProbe", **PATTERN)])
    await within(30, lambda: world.slack.messages)
    url, ref = f"{world.sidecar.url}/slack/events", world.slack.messages[0].ref
    await within(10, lambda: rows(world.sidecar.store, "SELECT ref FROM messages"), "where the message is")

    secret, world.slack.signing_secret = world.slack.signing_secret, "not the secret"
    assert await world.slack.react(url, "UADA", "-1", ref) == 401
    world.slack.signing_secret = secret
    assert await world.slack.react(url, "UADA", "-1", ref, at=1_600_000_000.0) == 401
    assert await world.slack.react(url, "UADA", "-1", ref, event_id="Ev1") == 200
    assert await world.slack.react(url, "UADA", "-1", ref, event_id="Ev1", removed=True) == 200

    await asyncio.sleep(2)
    given = votes(world)
    assert [(vote["who"], vote["kind"]) for vote in given] == [("UADA", "false_positive")]
    assert await world.sidecar.metric('sidecar_feedback_total{kind="false_positive",source="slack"}') == 1


QUEUE = {"severity": "WARNING", "domain": "artemis", "service": "queue", "namespace": "prod"}
JUST_OVER, FAR_OVER = {"value": "105", "threshold": "100"}, {"value": "400", "threshold": "100"}


async def test_retraining_changes_the_verdict_of_the_same_alert(world):
    """People call one alert noise whenever it is just over its threshold. The heuristic cannot see that; a model can."""
    await world.start(
        mode="auto",
        domains={**world.config()["domains"], "artemis": {"roles": {"team": "artemis-slack"}}},
        deduplication={"correlation_window": "1s"},
        folding={"for": "1s"},
        training={"nightly": False, "min_votes": 50, "signing_key": "a-signing-key-for-this-test"},
        feedback_loop={"automation": {"auto_silence_patterns": {"enabled": False}}},
    )
    await teach(world)
    first = await fire(world, "probe", JUST_OVER)
    assert [(row["verdict"], row["model"]) for row in first] == [("notify", "cold-start")]
    await world.alertmanager.post(
        [alert("QueueLong", ago=3600, ended=0, cluster="probe", pod="probe", notes=JUST_OVER, **QUEUE)]
    )
    ended = "SELECT episode FROM episodes WHERE labels LIKE '%\"probe\"%' AND ended_at IS NOT NULL"
    await within(30, lambda: rows(world.sidecar.store, ended))
    process = world.sidecar.process

    printed = await world.sidecar.run("run", module="training", timeout=240)

    version = printed.split()[-1]
    await within(30, lambda: swapped(world), printed)
    again = await fire(world, "probe", JUST_OVER, known=1)
    assert [(row["verdict"], row["model"]) for row in again[1:]] == [("suppress", version)], printed
    assert "suppression_by_score" in again[1]["reasons"]
    real = await fire(world, "probe-2", FAR_OVER)
    assert [(row["verdict"], row["model"]) for row in real] == [("notify", version)]
    await within(30, lambda: any("probe-2" in post.shown for post in world.slack.messages))
    told = [post for post in world.slack.messages if "probe" in post.shown and "probe-2" not in post.shown]
    assert len(told) == 1, "the suppressed firing was not told"
    assert world.sidecar.process is process
    assert process.running


async def fire(world, cluster: str, notes: dict[str, str], known: int = 0) -> list[dict]:
    """Send an alert through Alertmanager; the decisions on it, oldest first, when there is one more than `known`."""
    await world.alertmanager.post([alert("QueueLong", cluster=cluster, pod=cluster, notes=notes, **QUEUE)])

    def decided() -> list[dict]:
        query = "SELECT d.* FROM decisions d JOIN episodes e ON e.episode = d.episode WHERE e.labels LIKE '%\"{}\"%'"
        found = rows(world.sidecar.store, query.format(cluster))
        return sorted(found, key=lambda row: row["at"]) if len(found) > known else []

    return await within(30, decided, f"a decision on {cluster}")


async def swapped(world) -> bool:
    return await world.sidecar.metric("sidecar_scoring_fallback") == 0.0


async def teach(world) -> None:
    """Two hundred episodes of one alert in no order, each with a vote: noise just over the threshold, else real."""
    kinds = [("false_positive", JUST_OVER), ("useful", FAR_OVER)] * 100
    random.Random(7).shuffle(kinds)
    for number, (kind, notes) in enumerate(kinds):
        one = alert("QueueLong", cluster=f"past-{number}", pod=f"p{number}", notes=notes, **QUEUE)
        status, text = await world.sidecar.request("POST", "/webhook", data=webhook([one], f"past-{number}"))
        assert status == 200, text
        query = f"SELECT episode FROM episodes WHERE labels LIKE '%\"past-{number}\"%'"
        found = await within(10, lambda query=query: rows(world.sidecar.store, query))
        body = {"who": "ada", "kind": kind, "episodes": [row["episode"] for row in found]}
        status, text = await world.sidecar.request("POST", "/api/v2/feedback", json=body)
        assert status == 200, text
