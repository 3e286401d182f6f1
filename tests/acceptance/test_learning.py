"""What people answer changes what they get: votes make a silence, training makes another verdict."""

from __future__ import annotations

import asyncio
import json

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


async def test_retraining_changes_the_verdict_of_the_same_alert(world):
    """An alert that was told is suppressed after people called its kind noise and training promoted a model."""
    await world.start(
        mode="auto",
        domains={**world.config()["domains"], "artemis": {"roles": {"team": "artemis-slack"}}},
        training={"nightly": False, "min_votes": 50, "signing_key": "a-signing-key-for-this-test"},
        feedback_loop={"automation": {"auto_silence_patterns": {"enabled": False}}},
    )
    await world.alertmanager.post([alert("CacheMissRatio", cluster="before", pod="x", **PATTERN)])
    await within(30, lambda: world.slack.messages)
    assert "CacheMissRatio" in world.slack.messages[0].shown
    await teach(world)
    assert not await swapped(world)

    printed = await world.sidecar.run("run", module="training", timeout=240)

    assert "promoted" in printed.lower(), printed
    await within(30, lambda: swapped(world))
    told = len(world.slack.messages)
    await world.alertmanager.post([alert("CacheMissRatio", cluster="after", pod="x", **PATTERN)])
    last = await within(30, lambda: verdicts(world, "after"), "a decision on the same alert")
    assert last[0]["verdict"] == "suppress", last
    assert last[0]["model"] != "cold-start"
    assert "suppression_by_score" in last[0]["reasons"]
    assert len(world.slack.messages) == told
    # what nobody called noise is still told, by the same model
    await world.alertmanager.post([alert("PaymentsFailing", cluster="after", pod="y", **PATTERN)])
    await within(30, lambda: any("PaymentsFailing" in post.shown for post in world.slack.messages))


async def swapped(world) -> bool:
    return await world.sidecar.metric("sidecar_scoring_fallback") == 0.0


def verdicts(world, cluster: str) -> list[dict]:
    query = "SELECT d.* FROM decisions d JOIN episodes e ON e.episode = d.episode WHERE e.labels LIKE '%\"{}\"%'"
    return rows(world.sidecar.store, query.format(cluster))


async def teach(world) -> None:
    """Two hundred episodes of noise that clears at once and of real trouble that lasts, each with a vote."""
    for number in range(100):
        for name, kind, lasted in (("CacheMissRatio", "false_positive", 20), ("PaymentsFailing", "useful", 3000)):
            where = {**PATTERN, "cluster": f"{name}-{number}", "pod": f"p{number}"}
            began, ended = alert(name, ago=lasted + 5, **where), alert(name, ago=lasted + 5, ended=5, **where)
            ended["startsAt"] = began["startsAt"]
            for one in (began, ended):
                status, text = await world.sidecar.request("POST", "/webhook", data=webhook([one], f"{name}{number}"))
                assert status == 200, text
            await vote(world, where["cluster"], kind)


async def vote(world, cluster: str, kind: str) -> None:
    query = f"SELECT episode FROM episodes WHERE labels LIKE '%\"{cluster}\"%'"
    found = await within(10, lambda: rows(world.sidecar.store, query))
    body = {"who": "ada", "kind": kind, "episodes": [row["episode"] for row in found]}
    status, text = await world.sidecar.request("POST", "/api/v2/feedback", json=body)
    assert status == 200, text
