"""People take alerts out of an incident, or merge two, in a running sidecar; their messages follow."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.store import tables
from tests.acceptance.world import alert, webhook, within
from tests.fakes import FakePagerDuty, FakeSlack
from tests.integration.running import Running, running

SECRET = "an api secret"
A, B, C = "HighErrorRate", "CertExpires", "DiskFull"


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as started:
        yield started


@pytest.fixture
async def pagerduty() -> AsyncIterator[FakePagerDuty]:
    async with FakePagerDuty() as started:
        yield started


@pytest.fixture
async def sidecar(database_url, slack, pagerduty) -> AsyncIterator[Running]:
    receiver = {
        "name": "default",
        "slack_configs": [{"api_url": slack.url, "bot_token": slack.token, "channel": "#alerts"}],
        "pagerduty_configs": [{"routing_key": "A" * 32, "url": pagerduty.url}],
    }
    settings: dict[str, Any] = {
        "receivers": [receiver],
        "delivery": {"rates": {"slack": 1000, "pagerduty": 1000}},
        "audit_sample": {"share": 0, "first_month": 0},
    }
    async with running(database_url, **settings) as started:
        yield started


async def fire(sidecar: Running, group: str, *names: str, **labels: str) -> dict[str, tuple[str, str]]:
    """Alerts of one group; returns (episode, incident) by alertname, once the tables have them."""
    assert await sidecar.post(webhook([alert(name, severity="WARNING", **labels) for name in names], group)) == (
        200,
        "ok",
    )
    return await where(sidecar)


async def where(sidecar: Running) -> dict[str, tuple[str, str]]:
    await sidecar.caught_up()
    rows = await sidecar.rows("SELECT alertname, episode, incident FROM episodes ORDER BY first_seen, episode")
    return {row["alertname"]: (row["episode"], row["incident"]) for row in rows}


async def regroup(sidecar: Running, incident: str, what: str, **said: Any) -> tuple[int, dict[str, Any]]:
    path = f"/api/v2/incidents/{incident}/{what}"
    status, text = await sidecar.request("POST", path, json={"who": "ada", **said})
    return status, json.loads(text)


def actions(pagerduty: FakePagerDuty, incident: str) -> list[str]:
    return [event["event_action"] for one in pagerduty.incidents if incident in one.dedup_key for event in one.events]


async def test_what_is_taken_out_gets_a_message_of_its_own_and_stays_out(sidecar, slack):
    """The old message is edited; the like of it joins the new incident, although its group would fold it into the old."""
    first = await fire(sidecar, "g", A, B)
    (_, old), (episode, same) = first[A], first[B]
    assert old == same
    await within(10, lambda: len(slack.messages) == 1)
    status, answer = await regroup(sidecar, old, "take-out", episodes=[episode])
    assert (status, answer["moved"], answer["remembered"]) == (200, 1, 1)
    now = await where(sidecar)
    assert (now[A][1], now[B][1]) == (old, answer["incident"])
    await within(10, lambda: len(slack.messages) == 2)
    await within(10, lambda: B not in slack.messages[0].shown)
    again = await fire(sidecar, "g", B, pod="another")
    assert again[B][1] == answer["incident"]
    reasons = await sidecar.rows("SELECT reasons FROM decisions WHERE incident = :i", i=answer["incident"])
    assert any("ada took it out of" in row["reasons"] for row in reasons)
    assert any("ada took the like out of an incident with" in row["reasons"] for row in reasons)


async def test_what_is_merged_is_closed_where_it_was(sidecar, slack, pagerduty):
    """PagerDuty resolves the one that emptied; the other has both alerts, and so has the next one of the kind."""
    await fire(sidecar, "g1", A, instance="a")
    first = await fire(sidecar, "g2", B, instance="b")
    (_, one), (_, other) = first[A], first[B]
    assert one != other
    await within(10, lambda: actions(pagerduty, other) == ["trigger"])
    status, answer = await regroup(sidecar, other, "merge", into=one)
    assert (status, answer) == (200, {"incident": one, "moved": 1, "remembered": 1})
    await within(10, lambda: actions(pagerduty, other) == ["trigger", "resolve"])
    await within(10, lambda: B in slack.messages[0].shown)
    assert (await where(sidecar))[B][1] == one
    later = await fire(sidecar, "g3", B, instance="c")
    assert later[B][1] == one


async def test_an_incident_that_is_empty_takes_nothing_more(sidecar):
    """It went on elsewhere, and that is said."""
    await fire(sidecar, "g1", A, instance="a")
    first = await fire(sidecar, "g2", B, instance="b")
    (_, one), (episode, other) = first[A], first[B]
    await regroup(sidecar, other, "merge", into=one)
    await sidecar.caught_up()
    assert (await regroup(sidecar, other, "merge", into=one))[0] == 404
    status, answer = await regroup(sidecar, other, "take-out", episodes=[episode])
    assert (status, other in answer["error"]) == (404, True)


async def test_what_cannot_be_regrouped_is_refused_with_a_sentence(sidecar):
    """Unknown ids are 404 and named; all of an incident, itself, and what nobody was told of are 400."""
    first = await fire(sidecar, "g", A, B)
    episode, incident = first[A]
    for name, what, said, status, words in (
        ("i-unknown", "take-out", {"episodes": [episode]}, 404, "i-unknown"),
        ("i-%00", "take-out", {"episodes": [episode]}, 404, "no such incident"),
        (incident, "take-out", {"episodes": [episode, "nobody-1"]}, 404, "nobody-1"),
        (incident, "take-out", {"episodes": [first[A][0], first[B][0]]}, 400, "leave at least one"),
        (incident, "take-out", {"episodes": []}, 400, "1 to 1000"),
        (incident, "merge", {"into": incident}, 400, "itself"),
        (incident, "merge", {"into": "i-unknown"}, 404, "i-unknown"),
        ("i-unknown", "merge", {"into": incident}, 404, "i-unknown"),
        (incident, "merge", {"into": "a\x00"}, 400, "NUL"),
        (incident, "merge", {"into": 3}, 400, "Send who and into"),
        (incident, "merge", {"into": "x", "who": " "}, 400, "`who`"),
        (incident, "take-out", {"episodes": [episode], "more": 1}, 400, "more"),
    ):
        assert (await regroup(sidecar, name, what, **said))[0] == status, (name, what, said)
        assert words in (await regroup(sidecar, name, what, **said))[1]["error"]
    assert (await where(sidecar))[A] == (episode, incident)
    assert len(sidecar.parts.decider.state.pairs) == 0


async def test_an_incident_nobody_was_told_of_is_no_place_to_merge_into(sidecar):
    """It would hide what people have; the error says which way round it works."""
    await fire(sidecar, "g1", A, instance="a")
    first = await fire(sidecar, "g2", B, instance="b")
    async with sidecar.parts.database.write() as connection:
        untold = tables.incidents.update().where(tables.incidents.c.incident == first[A][1])
        await connection.execute(untold.values(told_at=None))
    status, answer = await regroup(sidecar, first[B][1], "merge", into=first[A][1])
    assert (status, "nobody was told" in answer["error"]) == (400, True)


async def test_it_needs_the_secret_and_a_store_that_takes_it(sqlite_url, monkeypatch):
    """401 without, 503 when it cannot be stored."""
    from sidecar.errors import StoreError

    async with running(sqlite_url, server={"api_secret": SECRET}) as sidecar:
        first = await fire(sidecar, "g", A, B)
        path, said = f"/api/v2/incidents/{first[A][1]}/take-out", {"who": "ada", "episodes": [first[B][0]]}
        assert (await sidecar.request("POST", path, json=said))[0] == 401

        async def refuse(_: object) -> int:
            raise StoreError("down")

        monkeypatch.setattr(sidecar.parts.decider, "submit", refuse)
        headers = {"Authorization": f"Bearer {SECRET}"}
        status, text = await sidecar.request("POST", path, json=said, headers=headers)
        assert (status, "send it again" in text) == (503, True)


async def test_it_is_remembered_after_a_restart(database_url):
    """By the log alone, as every state is."""
    async with running(database_url) as sidecar:
        first = await fire(sidecar, "g", A, B)
        assert (await regroup(sidecar, first[A][1], "take-out", episodes=[first[B][0]]))[0] == 200
        before = sidecar.parts.decider.state.dump()
    async with running(database_url) as sidecar:
        assert sidecar.parts.decider.state.dump() == before
        later = await fire(sidecar, "g", C)
        assert later[C][1] == first[A][1]


async def test_a_vote_on_a_message_whose_alerts_went_elsewhere_counts_for_them(sidecar, slack):
    """People see the old message still: what they say of it is said of the alerts that it had."""
    first = await fire(sidecar, "g1", A) | await fire(sidecar, "g2", C, pod="other", service="other")
    (episode, old), (_, new) = first[A], first[C]
    assert old != new
    await within(10, lambda: len(slack.messages) == 2)
    assert (await regroup(sidecar, old, "merge", into=new))[0] == 200
    await sidecar.caught_up()
    vote = {"who": "ada", "kind": "useful", "incident": old}
    status, text = await sidecar.request("POST", "/api/v2/feedback", json=vote)
    assert (status, json.loads(text)) == (200, {"counted": 1})
    await sidecar.caught_up()
    said = await sidecar.rows("SELECT episode, who, kind FROM votes")
    assert said == [{"episode": episode, "who": "ada", "kind": "useful"}]
