"""Silences on a real Alertmanager: written with their evidence, ended early, and people's word on them."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

from tests.acceptance.world import alert, rows, within
from tests.servers import Alertmanager

FLAKY = {"severity": "WARNING", "domain": "artemis", "service": "api", "namespace": "prod"}
WATCH = {"interval": "1s", "settled_after": "1s"}
SOON = 60.0  # s in which all of this happens, with a look every second; two minutes are allowed with one in thirty


async def begin(world, **changes: Any) -> None:
    """A sidecar that watches; every WARNING of artemis goes to Slack, every CRITICAL to PagerDuty too."""
    roles = {
        "artemis": {"roles": {"team": "artemis-slack", "slack-oncall": "artemis-slack", "pagerduty": "artemis-pager"}}
    }
    domains = {**world.config()["domains"], **roles}
    await world.start(**{"domains": domains, "watch": WATCH, **changes})


async def fire(world, *clusters: str, name: str = "FlakyProbe", **labels: str) -> None:
    await world.alertmanager.post([alert(name, cluster=one, pod=one, **{**FLAKY, **labels}) for one in clusters])


def episodes(world, word: str) -> list[dict[str, Any]]:
    return rows(world.sidecar.store, f"SELECT * FROM episodes WHERE labels LIKE '%\"{word}\"%' ORDER BY starts_at")


async def vote(world, cluster: str, kind: str = "false_positive", **more: Any) -> None:
    (row,) = await within(30, lambda: episodes(world, cluster))
    body = {"who": "ada", "kind": kind, "episodes": [row["episode"]], **more}
    status, text = await world.sidecar.request("POST", "/api/v2/feedback", json=body)
    assert status == 200, text


async def call_noise(world, *clusters: str) -> None:
    """Incidents of one pattern fire, and somebody calls every one of them noise."""
    await fire(world, *clusters)
    for cluster in clusters:
        await vote(world, cluster)


def listed(world, *words: str) -> list[dict[str, Any]]:
    return json.loads(world.alertmanager.amtool("silence", "query", *words, "--output=json"))


async def silenced(world) -> dict[str, Any]:
    """The silence that five votes made."""
    await call_noise(world, "c0", "c1", "c2", "c3", "c4")
    (made,) = await within(30, lambda: listed(world))
    await within(30, lambda: rows(world.sidecar.store, "SELECT 1 FROM silences WHERE state = 'active'"))
    return made


def ends(world) -> list[dict[str, Any]]:
    return rows(world.sidecar.store, "SELECT * FROM silence_ends")


def shown(world, word: str) -> list[Any]:
    return [post for post in world.slack.messages if word in post.shown]


async def test_five_votes_make_a_silence_that_says_why_and_a_sixth_alert_is_seen_under_it(world):
    """Amtool shows the evidence, what it would have hidden, and how to end it; what it hides is an episode, untold."""
    await begin(world)
    made = await silenced(world)
    text = world.alertmanager.amtool("silence", "query", "-o", "extended")
    assert "5 incidents of this pattern were called a false positive within 30 d, none real" in text
    assert "it would have hidden 5 episodes in 5 incidents, of them 5 voted noise, 0 real, 0 unanswered" in text
    assert "sidecar silences end FlakyProbe" in text
    assert episodes(world, "c0")[0]["episode"] in made["comment"]

    await fire(world, "hidden")
    (hidden,) = await within(SOON, lambda: episodes(world, "hidden"))
    query = f"SELECT * FROM decisions WHERE episode = '{hidden['episode']}'"
    (decision,) = await within(10, lambda: rows(world.sidecar.store, query))
    assert decision["verdict"] == "suppress"
    assert f"silence of ours for a repeated false positive ({made['id']})" in decision["reasons"]
    assert shown(world, "hidden") == []
    told = await world.sidecar.run("silences")
    assert "active" in told
    assert "it hid:   6 episode(s)" in told, "the five that were voted on still fire"
    (row,) = json.loads(await world.sidecar.run("silences", "--json"))
    assert (row["state"], row["hides"]["noise"], len(row["evidence"])) == ("active", 5, 5)
    before = await world.sidecar.run("silences", "preview", "alertname=FlakyProbe", "namespace=prod")
    assert "would have hidden 6 episodes in" in before
    assert "5 voted noise, 0 real, 1 unanswered" in before
    assert await world.sidecar.metric("sidecar_silences_active") == 1


async def test_one_real_episode_in_the_history_stops_it(world):
    """It lies outside the window in which votes count, and inside the history: nothing is written, and the reason kept."""
    rule = {"automation": {"auto_silence_patterns": {"enabled": True, "window": "20s"}}}
    await begin(world, feedback_loop=rule)
    await fire(world, "real")
    await vote(world, "real", "useful")
    await asyncio.sleep(21)
    await call_noise(world, "c0", "c1", "c2", "c3", "c4")
    (row,) = await within(30, lambda: rows(world.sidecar.store, "SELECT * FROM silences WHERE state = 'refused'"))
    assert "1 episodes that people called real" in row["why"]
    assert episodes(world, "real")[0]["episode"] in row["why"]
    assert listed(world) == []
    assert "against it: it would have hidden 1" in await world.sidecar.run("silences", "preview", "FlakyProbe")


async def test_a_vote_real_ends_it_and_what_fires_is_told(world):
    """Gone from amtool, and the alert that nobody was told of is in Slack with the reason."""
    await begin(world)
    await silenced(world)
    await fire(world, "hidden")
    await within(SOON, lambda: episodes(world, "hidden"))
    await asyncio.sleep(2)
    assert shown(world, "hidden") == []

    await vote(world, "hidden", "useful")

    await within(SOON, lambda: listed(world) == [])
    await within(SOON, lambda: shown(world, "hidden"))
    (end,) = ends(world)
    assert (end["cause"], end["hidden"]) == ("votes", 6)
    assert "its silence ended early: somebody called an incident of it real" in await world.sidecar.run(
        "why", episodes(world, "hidden")[0]["episode"]
    )


async def test_a_higher_severity_ends_it(world):
    """The same alert as CRITICAL pages, and the silence of the WARNING is over."""
    await begin(world)
    await silenced(world)
    await fire(world, "hidden")
    await within(SOON, lambda: episodes(world, "hidden"))
    await fire(world, "worse", severity="CRITICAL")
    await within(SOON, lambda: listed(world) == [])
    await within(SOON, lambda: world.pagerduty.incidents)
    await within(SOON, lambda: shown(world, "hidden"))
    assert [end["cause"] for end in ends(world)] == ["severity"]
    assert await world.sidecar.metric('sidecar_silences_ended_total{why="severity"}') == 1


async def test_a_person_who_deletes_it_is_respected_over_a_restart(world):
    """Five more votes do not bring it back, neither at once nor after a restart."""
    await begin(world)
    made = await silenced(world)
    world.alertmanager.amtool("silence", "expire", made["id"])
    await within(SOON, lambda: rows(world.sidecar.store, "SELECT * FROM silences WHERE state = 'revoked'"))
    assert [end["cause"] for end in ends(world)] == ["revoked"]
    await call_noise(world, "d0", "d1", "d2")
    await world.sidecar.stop()
    await world.sidecar.start()
    await call_noise(world, "d3", "d4", "d5")
    await asyncio.sleep(3)
    assert listed(world) == []
    assert "somebody expired it" in await world.sidecar.run("silences")


async def test_one_that_a_person_edits_is_theirs(world):
    """Its end was moved: a vote real no longer ends it, and the list says whose it is."""
    await begin(world)
    made = await silenced(world)
    world.alertmanager.amtool("silence", "update", "-d", "3h", made["id"])
    (row,) = await within(SOON, lambda: rows(world.sidecar.store, "SELECT * FROM silences WHERE state = 'theirs'"))
    assert "changed its end" in row["why"]
    assert row["ends_at"] < time.time() + 4 * 3600
    await vote(world, "c0", "useful", who="grace")
    await asyncio.sleep(3)
    assert [one["id"] for one in listed(world)] == [made["id"]]
    assert ends(world) == []
    assert "theirs" in await world.sidecar.run("silences")


async def test_the_command_ends_it(world):
    """Recorded at once, gone from Alertmanager a moment later, and counted as a person's word."""
    await begin(world)
    await silenced(world)
    assert "it ends in Alertmanager" in await world.sidecar.run("silences", "end", "FlakyProbe")
    await within(SOON, lambda: listed(world) == [])
    await call_noise(world, "d0", "d1", "d2", "d3", "d4")
    await asyncio.sleep(3)
    assert listed(world) == []


async def test_a_resolve_that_is_never_sent_resolves(world):
    """Somebody silences what fires, and it clears: Alertmanager says nothing, and Slack and PagerDuty hear of it."""
    await begin(world)
    await fire(world, "one", severity="CRITICAL")
    await within(30, lambda: world.pagerduty.incidents and shown(world, "one"))
    until = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()
    world.alertmanager.amtool("silence", "add", "-a", "ada", "-c", "known", "--end", until, "cluster=one")
    await asyncio.sleep(2)
    cleared = alert("FlakyProbe", ago=30, ended=0, cluster="one", pod="one", **{**FLAKY, "severity": "CRITICAL"})
    await world.alertmanager.post([cleared])
    await within(SOON, lambda: world.pagerduty.incidents[0].state == "resolved")
    await within(SOON, lambda: "RESOLVED" in shown(world, "one")[0].shown)


async def test_what_a_person_silences_is_seen_and_nothing_else(world):
    """CRITICAL too: it is an episode with the reason, and nobody is told until the silence ends."""
    await begin(world)
    world.alertmanager.amtool("silence", "add", "-a", "ada", "-c", "known", "-d", "1h", "cluster=one")
    await fire(world, "one", severity="CRITICAL")
    (seen,) = await within(SOON, lambda: episodes(world, "one"))
    why = await world.sidecar.run("why", seen["episode"])
    assert "silence of ada" in why
    assert world.pagerduty.incidents == []
    (silence,) = listed(world)
    world.alertmanager.amtool("silence", "expire", silence["id"])
    await within(SOON, lambda: world.pagerduty.incidents)


async def test_with_one_of_two_peers_down_the_other_is_believed(world):
    """A peer that does not answer proves nothing, is shown as down, and is watched again when it is back."""
    first = Alertmanager(cluster=True)
    second = Alertmanager(cluster=True, peers=[first.cluster_address])
    peers = [{"url": first.url}, {"url": second.url}]
    world.sidecar = await world.start_sidecar(watch=WATCH, alertmanagers=peers, domains=only_slack(world))
    for one in (first, second):
        one.configure(await world.rendered(world.sidecar))
    async with first, second:
        await with_one_down(world, first, second)


async def with_one_down(world, first: Alertmanager, second: Alertmanager) -> None:
    world.alertmanager = first
    await fire(world, "one")
    await within(30, lambda: shown(world, "one"))
    await within(SOON, lambda: up(world, second))
    said = world.sidecar.output.count("alertmanager_unwatched")  # it began before they did
    await second.stop()
    first.amtool("silence", "add", "-a", "ada", "-c", "known", "-d", "1h", "cluster=one")
    await asyncio.sleep(3)
    assert "RESOLVED" not in shown(world, "one")[0].shown
    await first.post([alert("FlakyProbe", ago=30, ended=0, cluster="one", pod="one", **FLAKY)])
    await within(SOON, lambda: "RESOLVED" in shown(world, "one")[0].shown)
    assert await up(world, first) == 1
    assert await up(world, second) == 0
    assert world.sidecar.output.count("alertmanager_unwatched") == said + 1
    await second.start()
    await within(SOON, lambda: up(world, second))


def only_slack(world) -> dict[str, Any]:
    return {**world.config()["domains"], "artemis": {"roles": {"team": "artemis-slack"}}}


async def up(world, one: Alertmanager) -> float:
    return await world.sidecar.metric(f'sidecar_watch_up{{peer="{one.address}"}}')
