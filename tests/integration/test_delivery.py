"""From the outbox to people: retries, pauses, dead letters, and destinations that do not delay each other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.__main__ import main
from sidecar.errors import StoreError
from sidecar.why import tell
from tests.acceptance.world import alert, webhook, within
from tests.fakes import FakeWebhook, Recorded
from tests.integration.running import QUICK, Running, hooks, running

NOISY = {"severity": "WARNING", "domain": "artemis"}
BOTH = {"always": {"schedule": "* * * * *", "routes": {"WARNING": ["default", "second"]}}}
STATES = "SELECT receiver, kind, state, why, attempts FROM outbox ORDER BY seq, receiver, kind"


@pytest.fixture
async def fake() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


@pytest.fixture
async def second() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


async def fire(sidecar: Running, name: str = "HighErrorRate", group: str = "", **how: Any) -> bytes:
    body = webhook([alert(name, pod=name, **NOISY)], group or name, **how)
    assert await sidecar.post(body) == (200, "ok")
    return body


async def settled(sidecar: Running, *states: str) -> list[dict[str, Any]]:
    """The outbox once its rows are in these states, in their order."""

    async def look() -> list[dict[str, Any]] | None:
        rows = await sidecar.rows(STATES)
        return rows if [row["state"] for row in rows] == list(states) else None

    return await within(20, look, f"{states}, not {await sidecar.rows(STATES)}")


def times(fake: FakeWebhook, name: str) -> list[float]:
    """When requests came that show this alert."""
    return [request.at for request in fake.requests if name.encode() in request.body]


async def test_what_failed_is_tried_again(database_url, fake):
    """503, a reset connection, then taken: one message, with every attempt on record and in the metrics."""
    fake.fail(503, "reset")
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        await fire(sidecar)
        (row,) = await settled(sidecar, "sent")
        assert row["attempts"] == 3
        made = await sidecar.rows("SELECT n, outcome, why FROM attempts ORDER BY n")
        assert [(one["n"], one["outcome"]) for one in made] == [(1, "retry"), (2, "retry"), (3, "sent")]
        assert made[0]["why"].startswith("HTTP 503")
        assert [request.failed for request in fake.requests] == [True, True, False]
        assert len({request.body for request in fake.requests}) == 1
        story = await tell(sidecar.parts.database, "HighErrorRate")
        assert "attempt 1 retry (HTTP 503" in story
        assert "attempt 3 sent\n" in story
        failed = 'sidecar_notifications_failed_total{channel="webhook",outcome="retry",receiver="default"}'
        assert await sidecar.metric(failed) == 2
        assert await sidecar.metric('sidecar_notifications_total{channel="webhook",receiver="default"}') == 1


async def test_waits_grow_between_attempts(database_url, fake):
    """At least a tenth of a doubling span."""
    fake.fail(503, 503, 503)
    quick = {**QUICK, "max_backoff": "30s"}
    async with running(database_url, receivers=hooks(fake), delivery=quick) as sidecar:
        await fire(sidecar)
        await fake.wait_for(2, 20)
        seen = await within(10, lambda: sidecar.rows("SELECT next_at, attempts FROM outbox WHERE attempts >= 2"))
        made = await sidecar.rows("SELECT at FROM attempts ORDER BY n")
        assert seen[0]["next_at"] - made[seen[0]["attempts"] - 1]["at"] >= 0.1 * 2 ** (seen[0]["attempts"] - 1)


async def test_a_pause_holds_for_the_whole_destination_and_no_other(database_url, fake, second):
    """Retry-After: nothing goes there before, while the other destination gets everything at once."""
    fake.fail((429, {"Retry-After": "2"}, "slow down"))
    receivers = hooks(fake, second)
    async with running(database_url, receivers=receivers, time_based_routing=BOTH) as sidecar:
        await fire(sidecar, "First")
        await fake.wait_for(1)
        await within(10, lambda: sidecar.count("SELECT count(*) FROM attempts WHERE outcome = 'retry'"))
        await fire(sidecar, "Second")
        await settled(sidecar, "sent", "sent", "sent", "sent")
        first = fake.requests[0].at
        assert all(request.at - first >= 1.9 for request in fake.requests[1:])
        assert len(times(fake, "Second")) == 1
        assert times(second, "Second")[0] < min(request.at for request in fake.requests[1:])


async def test_a_destination_that_hangs_delays_no_other(database_url, fake, second):
    """More messages than it takes at once wait for it; the other destination's are all sent meanwhile."""
    fake.fail(always="hang")
    receivers = hooks(fake, second)
    receivers[0]["webhook_configs"][0]["timeout"] = 60
    async with running(database_url, receivers=receivers, time_based_routing=BOTH) as sidecar:
        for number in range(12):
            await fire(sidecar, f"Alert{number}")
        await within(20, lambda: len(second.bodies) >= 12)
        sent = await sidecar.count("SELECT count(*) FROM outbox WHERE receiver LIKE 'default%' AND state = 'sent'")
        assert sent == 0
        drain = sidecar.parts.worker.drain
        sidecar.parts.worker.drain = lambda _: drain(0.1)  # type: ignore[method-assign] - 20 s for what hangs
    async with running(database_url, receivers=receivers, time_based_routing=BOTH) as sidecar:
        left = await sidecar.rows("SELECT DISTINCT state FROM outbox WHERE receiver LIKE 'default%' ORDER BY state")
        assert [row["state"] for row in left] == ["leased", "waiting"]


async def test_messages_of_one_incident_arrive_in_their_order(database_url, fake):
    """The update and the resolve wait while the first message is tried again."""
    fake.fail(503)
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        began = alert("HighErrorRate", ago=30, **NOISY)
        assert await sidecar.post(webhook([began])) == (200, "ok")
        await fake.wait_for(1)
        ended = {**alert("HighErrorRate", ago=30, ended=1, **NOISY), "startsAt": began["startsAt"]}
        assert await sidecar.post(webhook([ended])) == (200, "ok")
        await settled(sidecar, "sent", "sent")
        assert [body["sidecar"]["kind"] for body in fake.bodies] == ["notify", "resolve"]
        assert [body["status"] for body in fake.bodies][-1] == "resolved"


async def test_updates_that_wait_become_one_message(database_url, fake):
    """While the provider is down ten alerts join: one update says all of it."""
    fake.fail(503)
    quick = {**QUICK, "max_backoff": "3s"}
    async with running(database_url, receivers=hooks(fake), delivery=quick) as sidecar:
        await fire(sidecar, "Alert", "group")
        await fake.wait_for(1)
        fake.fail(always=503)
        for number in range(10):
            body = webhook([alert("Alert", pod=f"p{number}", **NOISY)], "group")
            assert await sidecar.post(body) == (200, "ok")
        fake.fail()
        rows = await within(20, lambda: _all_settled(sidecar))
        assert sum(row["state"] == "sent" for row in rows) < 11
        assert sum(row["state"] == "merged" for row in rows) >= 1
        assert {row["state"] for row in rows} == {"sent", "merged"}
        assert max(len(body["alerts"]) for body in fake.bodies) == 11


async def _all_settled(sidecar: Running) -> list[dict[str, Any]] | None:
    rows = await sidecar.rows(STATES)
    return rows if all(row["state"] not in ("waiting", "leased") for row in rows) else None


def written(folder: Path, url: str, **changes: Any) -> Path:
    """A configuration file on this database."""
    path = folder / "sidecar.yml"
    path.write_text(
        yaml.safe_dump({"store": {"url": url}, "delivery": QUICK, "training": {"nightly": False}, **changes})
    )
    return path


async def command(path: Path, *words: str) -> int:
    """The command line, which starts a loop of its own."""
    return await asyncio.to_thread(main, [*words, "--config", str(path)])


async def test_what_is_refused_goes_to_the_dead_letters_and_can_be_replayed(database_url, fake, tmp_path, capsys):
    """`sidecar outbox --dead` shows it with the reason; `--replay` sends it again, once."""
    fake.fail((400, {}, "invalid payload"))
    path = written(tmp_path, database_url, receivers=hooks(fake))
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        await fire(sidecar)
        (row,) = await settled(sidecar, "dead")
        assert row["why"] == "HTTP 400: invalid payload"
        assert await command(path, "outbox", "--dead") == 0
        shown = capsys.readouterr().out
        assert "invalid payload" in shown
        assert "/default/webhook/0/notify/1" in shown
        assert await command(path, "outbox", "--replay", "unknown") == 1
        assert "no dead letters" in capsys.readouterr().err
        assert await command(path, "outbox", "--replay") == 0
        assert "1 dead letter(s)" in capsys.readouterr().out
        await settled(sidecar, "sent")
        assert len(fake.bodies) == 1
        assert await command(path, "outbox") == 0
        assert "nothing waits" in capsys.readouterr().out


async def test_after_a_dead_letter_the_next_repeat_is_told(database_url, fake):
    """A message that will never arrive told nobody: the alert that still fires is sent as a new message."""
    fake.fail((400, {}, "invalid payload"))
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        body = await fire(sidecar)
        await settled(sidecar, "dead")
        assert await sidecar.post(body) == (200, "ok")
        await sidecar.caught_up()
        verdicts = await sidecar.rows("SELECT verdict FROM decisions ORDER BY seq")
        assert [row["verdict"] for row in verdicts] == ["notify", "notify"]
        await within(10, lambda: fake.bodies, "the second message")


async def test_what_never_arrives_is_given_up(database_url, fake):
    """After give_up_after: a dead letter that says so; replayed, it has as long again."""
    fake.fail(always=503)
    quick = {**QUICK, "give_up_after": "1s", "max_backoff": "500ms"}
    async with running(database_url, receivers=hooks(fake), delivery=quick) as sidecar:
        await fire(sidecar)
        (row,) = await settled(sidecar, "dead")
        assert row["why"].startswith("given up: HTTP 503")
        assert row["attempts"] >= 2


async def test_a_receiver_that_is_gone_from_the_configuration_is_a_dead_letter(database_url, fake, second):
    """With what to do about it; the others go on."""
    fake.fail(503)
    receivers = hooks(fake, second)
    async with running(database_url, receivers=receivers, time_based_routing=BOTH) as sidecar:
        await fire(sidecar)
        await fake.wait_for(1)
        from tests.integration.running import configured

        config = configured(database_url, receivers=receivers[1:], default_receiver="second")
        sidecar.parts.worker._config = lambda: config
        rows = await settled(sidecar, "dead", "sent")
        assert "no such receiver" in rows[0]["why"]


async def test_an_outcome_that_cannot_be_stored_is_stored_later_and_nothing_sent_twice(database_url, fake, monkeypatch):
    """The database fails just after the provider took it."""
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        submit, failures = sidecar.parts.decider.submit, [StoreError("down"), StoreError("down")]

        async def fail(work: Any) -> int:
            if work.settled and failures:
                raise failures.pop()
            return await submit(work)

        monkeypatch.setattr(sidecar.parts.decider, "submit", fail)
        await fire(sidecar)
        await settled(sidecar, "sent")
        assert failures == []
        assert len(fake.requests) == 1


async def test_a_message_that_cannot_be_rendered_stops_no_other(database_url, fake, monkeypatch):
    """It is a dead letter with the error; the queue moves on."""
    from sidecar.delivery import worker

    send = worker.send

    async def fail(session: Any, channel: Any, message: Any, *more: Any, **how: Any) -> Any:
        if "Cursed" in message.title:
            raise KeyError("a defect")
        return await send(session, channel, message, *more, **how)

    monkeypatch.setattr(worker, "send", fail)
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        await fire(sidecar, "Cursed")
        await fire(sidecar, "Fine")
        rows = await settled(sidecar, "dead", "sent")
        assert "KeyError" in rows[0]["why"]


async def test_what_a_stopped_sidecar_left_is_sent_by_the_next(database_url, fake):
    """Accepted is durable: nobody was told yet, and then once."""
    fake.fail(always=503)
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        await fire(sidecar)
        await fake.wait_for(1)
    fake.fail()
    async with running(database_url, receivers=hooks(fake)) as sidecar:
        await settled(sidecar, "sent")
        assert len(fake.bodies) == 1


class Slow(FakeWebhook):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def answer(self, record: Recorded) -> Any:
        await self.go.wait()
        return await super().answer(record)


async def test_stopping_lets_what_is_being_sent_end(database_url):
    """It is settled as sent, and the next sidecar does not send it again."""
    async with Slow() as slow:
        async with running(database_url, receivers=hooks(slow)) as sidecar:
            await fire(sidecar)
            await slow.wait_for(1)
            asyncio.get_running_loop().call_later(0.3, slow.go.set)
        async with running(database_url, receivers=hooks(slow)) as sidecar:
            assert [row["state"] for row in await sidecar.rows(STATES)] == ["sent"]
            assert len(slow.requests) == 1


async def test_a_storm_that_comes_one_by_one_is_a_few_messages(database_url, fake):
    """What had not left when it became a storm goes on in its message, and is never sent by itself."""
    slow = {"rates": {"webhook": 2}, "max_backoff": "1s"}
    apart = {"folding": {"labels": [], "group": False}}
    async with running(
        database_url, receivers=hooks(fake), delivery=slow, storm={"min_incidents": 30}, **apart
    ) as sidecar:
        for n in range(60):
            body = webhook([alert("Storm", pod=f"p{n}", namespace=f"n{n}", service=f"s{n}", **NOISY)], f"g{n}")
            assert await sidecar.post(body) == (200, "ok")
        await sidecar.caught_up()
        storms = await sidecar.rows("SELECT incident, title FROM incidents WHERE title IS NOT NULL")
        assert [one["title"] for one in storms] == ["Alert storm in artemis: {count} WARNING alerts"]

        async def nothing_waits() -> bool:
            return await sidecar.count("SELECT count(*) FROM outbox WHERE state IN ('waiting', 'leased')") == 0

        await within(30, nothing_waits)
        assert len(fake.requests) <= 20
        numbers = [int(n) for one in fake.requests for n in re.findall(rb"(\d+) WARNING alerts", one.body)]
        assert 40 <= max(numbers) <= 60, "but for the few that had left"
        states = await sidecar.rows("SELECT state, count(*) AS n FROM outbox WHERE kind = 'notify' GROUP BY state")
        assert {row["state"] for row in states} == {"sent", "merged"}
        merged = await sidecar.count("SELECT count(*) FROM outbox WHERE state = 'merged' AND kind = 'resolve'")
        assert merged > 0
