"""Votes by API and by Slack reactions, into a running sidecar."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.store import tables
from tests.acceptance.world import alert, webhook, within
from tests.fakes import FakeSlack
from tests.integration.running import Running, running

SECRET = "an api secret"
NOISY = {"severity": "WARNING", "domain": "artemis"}
VOTES = "SELECT who, kind, retracted, source, episode FROM votes ORDER BY who, episode"


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as started:
        yield started


@pytest.fixture
async def sidecar(database_url, slack) -> AsyncIterator[Running]:
    block = {"api_url": slack.url, "bot_token": slack.token, "channel": "#alerts"}
    settings: dict[str, Any] = {
        "receivers": [{"name": "default", "slack_configs": [block]}],
        "delivery": {"rates": {"slack": 1000}},
        "slack": {"signing_secret": slack.signing_secret},
    }
    async with running(database_url, **settings) as started:
        yield started


async def fire(sidecar: Running, *pods: str, group: str = "test") -> list[str]:
    """Alerts of one group; returns their episodes."""
    alerts = [alert("HighErrorRate", pod=pod, **NOISY) for pod in pods]
    assert await sidecar.post(webhook(alerts, group)) == (200, "ok")
    await sidecar.caught_up()
    return [row["episode"] for row in await sidecar.rows("SELECT episode FROM episodes ORDER BY labels")]


async def votes(sidecar: Running) -> list[tuple[str, str, bool]]:
    await sidecar.caught_up()
    return [(row["who"], row["kind"], bool(row["retracted"])) for row in await sidecar.rows(VOTES)]


# ---------------------------------------------------------------------------------------------------------------- the API


async def test_a_vote_on_an_episode_that_was_just_received_counts_at_once(sidecar):
    """The tables may not have it yet: the vote waits for them."""
    body = webhook([alert("HighErrorRate", **NOISY)])
    fingerprint = json.loads(body)["alerts"][0]["fingerprint"]
    await sidecar.post(body)
    episode = f"{fingerprint}-{int(sidecar.parts.decider.state.episodes[fingerprint].starts_at * 1000)}"
    assert await sidecar.vote(episode) == (200, '{"counted": 1}')
    assert await votes(sidecar) == [("ada", "false_positive", False)]
    assert await sidecar.metric('sidecar_feedback_total{kind="false_positive",source="api"}') == 1


async def test_a_vote_on_an_incident_counts_for_all_its_episodes(sidecar):
    """Three alerts of one group are one incident."""
    await fire(sidecar, "a", "b", "c")
    (row,) = await sidecar.rows("SELECT DISTINCT incident FROM episodes")
    body = {"who": "ada", "kind": "useful", "incident": row["incident"], "comment": "real"}
    assert await sidecar.request("POST", "/api/v2/feedback", json=body) == (200, '{"counted": 3}')
    assert await votes(sidecar) == [("ada", "useful", False)] * 3


async def test_one_vote_per_person_and_episode_and_it_can_be_changed_and_taken_back(sidecar):
    """The newest counts; only what is there is taken back."""
    (episode,) = await fire(sidecar, "a")
    for kind, who in (("false_positive", "ada"), ("useful", "ada"), ("false_positive", "grace")):
        assert (await sidecar.vote(episode, kind, who=who))[0] == 200
    assert await votes(sidecar) == [("ada", "useful", False), ("grace", "false_positive", False)]
    await sidecar.vote(episode, "false_positive", retracted=True)
    assert (await votes(sidecar))[0] == ("ada", "useful", False)
    await sidecar.vote(episode, "useful", retracted=True)
    assert (await votes(sidecar))[0] == ("ada", "useful", True)
    assert [vote.who for vote in sidecar.parts.decider.state.votes[episode]] == ["grace"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{}", b"not json", b"\xff", b"[" * 100_000, b'{"who": "ada", "kind": "spam", "episodes": ["x"]}',
        b'{"who": "", "kind": "useful", "episodes": ["x"]}', b'{"who": "ada", "kind": "useful"}',
        b'{"who": "ada", "kind": "useful", "episodes": ["x"], "incident": "y"}',
        b'{"who": "ada", "kind": "useful", "episodes": ["x"], "more": 1}',
        b'{"who": "\\ud800", "kind": "useful", "episodes": ["x"]}', b'{"who": "a\\u0000", "kind": "useful", "episodes": ["x"]}',
    ],
)  # fmt: skip
async def test_feedback_that_cannot_be_read_is_400_with_what_to_send(sqlite_url, body):
    """As JSON."""
    async with running(sqlite_url) as sidecar:
        status, text = await sidecar.request("POST", "/api/v2/feedback", data=body)
    assert status == 400
    assert json.loads(text)["error"]


async def test_feedback_on_what_was_never_seen_is_404_and_names_it(sidecar):
    """One unknown episode among known ones counts nothing."""
    (episode,) = await fire(sidecar, "a")
    body = {"who": "ada", "kind": "useful", "episodes": [episode, "unknown-1"]}
    status, text = await sidecar.request("POST", "/api/v2/feedback", json=body)
    assert (status, "unknown-1" in text) == (404, True)
    status, text = await sidecar.request(
        "POST", "/api/v2/feedback", json={"who": "a", "kind": "ack", "incident": "i-9"}
    )
    assert (status, "i-9" in text) == (404, True)
    assert await votes(sidecar) == []


async def test_feedback_on_what_ended_long_ago_is_410(sidecar):
    """Too old to count, and that is said; it counts for the ones of an incident that are not."""
    old, new = await fire(sidecar, "a", "b")
    async with sidecar.parts.database.write() as connection:
        ended = tables.episodes.update().where(tables.episodes.c.episode == old)
        await connection.execute(ended.values(ended_at=time.time() - 61 * 86400))
    status, text = await sidecar.vote(old)
    assert (status, "too old" in text) == (410, True)
    (row,) = await sidecar.rows("SELECT DISTINCT incident FROM episodes")
    body = {"who": "ada", "kind": "useful", "incident": row["incident"]}
    assert await sidecar.request("POST", "/api/v2/feedback", json=body) == (200, '{"counted": 1}')
    await sidecar.caught_up()
    assert [row["episode"] for row in await sidecar.rows(VOTES)] == [new]


async def test_feedback_without_the_secret_is_401(sqlite_url):
    """Bearer or Basic; so is a reload."""
    async with running(sqlite_url, server={"api_secret": SECRET}) as sidecar:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert (await sidecar.vote("x-1"))[0] == 401
            assert (await sidecar.request("POST", "/api/v2/feedback", headers=headers, json={}))[0] == 401
            assert (await sidecar.request("POST", "/-/reload", headers=headers))[0] == 401
        right = {"Authorization": f"Bearer {SECRET}"}
        assert (await sidecar.request("POST", "/api/v2/feedback", headers=right, json={}))[0] == 400
        assert (await sidecar.request("POST", "/-/reload", headers=right))[0] == 200


async def test_feedback_that_cannot_be_stored_is_503(sidecar, monkeypatch):
    """The caller sends it again; when the tables are behind, an unknown episode may only be new."""
    from sidecar.errors import StoreError

    (episode,) = await fire(sidecar, "a")

    async def behind(*_: object) -> bool:
        return False

    async def refuse(_: object) -> int:
        raise StoreError("down")

    monkeypatch.setattr(sidecar.parts.projector, "reached", behind)
    assert (await sidecar.vote("unknown-1"))[0] == 503
    assert (await sidecar.vote(episode))[0] == 200
    monkeypatch.setattr(sidecar.parts.decider, "submit", refuse)
    status, text = await sidecar.vote(episode)
    assert (status, "send it again" in text) == (503, True)


# ------------------------------------------------------------------------------------------------------------------ Slack


async def told(sidecar: Running, slack: FakeSlack, *pods: str) -> str:
    """Fires, and waits for the message; returns its reference once votes on it can be counted."""
    await fire(sidecar, *pods or ("a",))
    await within(10, lambda: slack.messages)
    await within(10, lambda: sidecar.count("SELECT count(*) FROM messages"))
    return slack.messages[0].ref


def events(sidecar: Running) -> str:
    return f"{sidecar.url}/slack/events"


async def test_a_reaction_is_a_vote_and_taking_it_off_takes_it_back(sidecar, slack):
    """On every alert of the message; skin tones mean the same."""
    ref = await told(sidecar, slack, "a", "b")
    assert await slack.react(events(sidecar), "U1", "-1::skin-tone-4", ref) == 200
    assert await votes(sidecar) == [("U1", "false_positive", False)] * 2
    assert await slack.react(events(sidecar), "U1", "-1::skin-tone-4", ref, removed=True) == 200
    assert await votes(sidecar) == [("U1", "false_positive", True)] * 2
    assert await slack.react(events(sidecar), "U2", "white_check_mark", ref) == 200
    assert ("U2", "useful", False) in await votes(sidecar)


async def test_the_older_of_two_reactions_can_be_taken_off(sidecar, slack):
    """The newer one stays somebody's vote."""
    ref = await told(sidecar, slack)
    for emoji, removed in (("-1", False), ("+1", False), ("-1", True)):
        assert await slack.react(events(sidecar), "U1", emoji, ref, removed=removed) == 200
    assert await votes(sidecar) == [("U1", "useful", False)]


async def test_an_event_is_counted_once(sidecar, slack):
    """Slack sends it again when we were slow; a replay after the reaction was taken off changes nothing."""
    ref = await told(sidecar, slack)
    for _ in range(3):
        assert await slack.react(events(sidecar), "U1", "-1", ref, event_id="Ev1") == 200
    assert await slack.react(events(sidecar), "U1", "-1", ref, removed=True, event_id="Ev2") == 200
    assert await slack.react(events(sidecar), "U1", "-1", ref, event_id="Ev1") == 200
    assert await votes(sidecar) == [("U1", "false_positive", True)]
    assert await sidecar.metric('sidecar_feedback_total{kind="false_positive",source="slack"}') == 2


async def test_the_same_event_at_once_leaves_one_vote(sidecar, slack):
    """Two of Slack's retries cross each other."""
    ref = await told(sidecar, slack)
    answers = await asyncio.gather(*(slack.react(events(sidecar), "U1", "+1", ref, event_id="Ev1") for _ in range(5)))
    assert answers == [200] * 5
    assert await votes(sidecar) == [("U1", "useful", False)]


async def test_other_emoji_messages_and_events_are_none_of_ours(sidecar, slack):
    """200, so that Slack does not send them again, and no vote."""
    ref = await told(sidecar, slack)
    assert await slack.react(events(sidecar), "U1", "tada", ref) == 200
    assert await slack.react(events(sidecar), "U1", "-1", "C999:1.5") == 200
    assert await slack.callback(events(sidecar), {"type": "message", "text": "hello"}) == 200
    assert await slack.callback(events(sidecar), {"type": ["reaction_added"]}) == 200
    assert await votes(sidecar) == []


async def test_the_url_is_verified_by_its_challenge(sidecar, slack):
    """Signed like everything else."""
    body = b'{"type": "url_verification", "challenge": "3eZbrw1aB10", "token": "x"}'
    answer = await sidecar.request("POST", "/slack/events", data=body, headers=slack.sign(body, time.time()))
    assert answer == (200, "3eZbrw1aB10")
    assert (await sidecar.request("POST", "/slack/events", data=body))[0] == 401


async def test_a_signature_that_does_not_hold_is_401_and_never_an_error_of_ours(sidecar, slack):
    """Wrong, stale, of another body, non-ASCII, odd timestamps, a body that is no UTF-8: nothing is counted."""
    ref = await told(sidecar, slack)
    channel, _, ts = ref.partition(":")
    item = {"type": "message", "channel": channel, "ts": ts}
    inner = {"type": "reaction_added", "user": "U1", "reaction": "-1", "item": item}
    body = json.dumps({"type": "event_callback", "event_id": "Ev9", "event": inner}).encode()
    good = slack.sign(body, time.time())
    stamp, signature = "X-Slack-Request-Timestamp", "X-Slack-Signature"
    wrong: list[dict[str, str]] = [
        {}, {stamp: good[stamp]}, {signature: good[signature]}, {**good, signature: "v0=" + "0" * 64},
        {**good, signature: "v0=é\u00ff"}, {**good, signature: good[signature].upper()}, {**good, stamp: ""},
        {**good, stamp: "yesterday"}, {**good, stamp: "1e9"}, {**good, stamp: "-5"}, {**good, stamp: "9" * 40},
        {**good, stamp: "²"}, slack.sign(body, time.time() - 301), slack.sign(body, time.time() + 400),
        slack.sign(body + b" ", time.time()), {**good, stamp: f"{int(good[stamp]) + 1}"},
    ]  # fmt: skip
    for headers in wrong:
        status, _ = await sidecar.request("POST", "/slack/events", data=body, headers=headers)
        assert status == 401, headers
    odd = b"\xff\xfe" + body
    assert (await sidecar.request("POST", "/slack/events", data=odd, headers=good))[0] == 401
    assert (await sidecar.request("POST", "/slack/events", data=odd, headers=slack.sign(odd, time.time())))[0] == 400
    assert await votes(sidecar) == []
    assert (await sidecar.request("POST", "/slack/events", data=body, headers=good))[0] == 200
    assert len(await votes(sidecar)) == 1


async def test_slack_sends_again_what_could_not_be_stored(sidecar, slack, monkeypatch):
    """503 while the database is down; the second delivery of the event counts."""
    from sidecar.errors import StoreError

    ref = await told(sidecar, slack)
    submit = sidecar.parts.decider.submit

    async def refuse(_: object) -> int:
        raise StoreError("down")

    monkeypatch.setattr(sidecar.parts.decider, "submit", refuse)
    assert await slack.react(events(sidecar), "U1", "-1", ref, event_id="Ev1") == 503
    monkeypatch.setattr(sidecar.parts.decider, "submit", submit)
    assert await slack.react(events(sidecar), "U1", "-1", ref, event_id="Ev1") == 200
    assert await votes(sidecar) == [("U1", "false_positive", False)]


async def test_without_a_signing_secret_no_event_is_accepted(sqlite_url):
    """It says which key is missing."""
    async with running(sqlite_url) as sidecar:
        status, text = await sidecar.request("POST", "/slack/events", data=b"{}")
    assert (status, "signing_secret" in text) == (404, True)
