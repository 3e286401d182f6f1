"""Context from Prometheus: in the message, in the store and in `why`; and no message is late or lost for want of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from math import inf
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from aiohttp import web

from sidecar.context import Measured
from sidecar.delivery import context
from sidecar.errors import StoreError
from sidecar.store import contexts, schema
from sidecar.store.engine import Database, open_engine
from sidecar.why import tell
from tests.acceptance.world import alert, webhook, within
from tests.fakes import Fake, FakeWebhook, Recorded
from tests.integration.running import Running, hooks, running

NOISY = {"severity": "WARNING", "domain": "artemis"}
CPU = 'avg(cpu{instance="{instance}"})'
USUAL, JUMP = 0.31, 0.97
TIMEOUT = 1.5  # s that a message waits in the tests of failures
SLOW = 3.0  # s that all the rest may take on a busy machine


class FakePrometheus(Fake):
    """One series that is USUAL until the end of what is asked for, and JUMP there."""

    def __init__(self, series: int = 1) -> None:
        super().__init__()
        self.series = series
        self.at_once = self.most_at_once = 0
        self.takes = 0.0  # s

    async def answer(self, record: Recorded) -> web.Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.takes)
        self.at_once -= 1
        asked = {name: float(self.query(record)[name]) for name in ("start", "end", "step")}
        count = round((asked["end"] - asked["start"]) / asked["step"])
        values = [[asked["start"] + n * asked["step"], str(JUMP if n == count else USUAL)] for n in range(count + 1)]
        result = [{"metric": {"n": str(n)}, "values": values} for n in range(self.series)]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})

    @staticmethod
    def query(record: Recorded) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(record.path).query).items()}

    @property
    def asked(self) -> list[str]:
        return sorted(self.query(record)["query"] for record in self.requests)


@pytest.fixture
async def fake() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


@pytest.fixture
async def prometheus() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus() as started:
        yield started


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the asking logs as a warning."""
    lines: list[dict[str, Any]] = []

    class Logger:
        def warning(self, event: str, **values: Any) -> None:
            lines.append({"event": event, **values})

        def debug(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(context, "logger", Logger())
    return lines


def asking(prometheus: Fake | str, timeout: str = "2s", queries: dict[str, str] | None = None, **more: Any) -> dict:
    """The section that asks it."""
    url = prometheus if isinstance(prometheus, str) else prometheus.base
    return {"prometheus": {"url": url, "timeout": timeout, "queries": queries or {"cpu": CPU}, **more}}


async def fire(sidecar: Running, name: str = "HighLoad", **labels: str) -> None:
    one = alert(name, ago=20, **{**NOISY, "instance": f"{name}:9100", **labels})
    assert await sidecar.post(webhook([one], name)) == (200, "ok")


def said(body: dict[str, Any]) -> list[str]:
    """The sentences of a message, over all its alerts."""
    return [sentence for one in body["sidecar"]["episodes"] for sentence in one.get("context", ())]


async def results(sidecar: Running) -> dict[str, float]:
    """How often each result is counted."""
    names = ("ok", "empty", "failed", "skipped")
    return {
        name: count
        for name in names
        if (count := await sidecar.metric(f'sidecar_context_queries_total{{result="{name}"}}'))
    }


async def test_the_message_the_store_and_why_have_it(database_url, fake, prometheus):
    """One line per query whose labels the alert has; asked once, and said again by what comes later."""
    queries = {"cpu": CPU, "disk": 'disk{node="{node}"}'}
    section = asking(prometheus, queries=queries, headers={"X-Scope-OrgID": "team-a"})
    async with running(database_url, receivers=hooks(fake), context=section) as sidecar:
        await fire(sidecar)
        await fake.wait_for(1)
        line = "cpu: 0.31 usually (30 min before), 0.97 at the start"
        assert said(fake.bodies[0]) == [line]
        assert prometheus.asked == ['avg(cpu{instance="HighLoad:9100"})']
        assert prometheus.requests[0].headers["x-scope-orgid"] == "team-a"
        (row,) = await sidecar.rows("SELECT * FROM contexts")
        (episode,) = await sidecar.rows("SELECT episode, starts_at FROM episodes")
        assert (row["episode"], row["name"], row["result"]) == (episode["episode"], "cpu", "ok")
        assert (row["usual"], row["started"], row["before"]) == (USUAL, JUMP, 1800.0)
        asked = FakePrometheus.query(prometheus.requests[0])
        assert float(asked["end"]) == pytest.approx(episode["starts_at"], abs=0.001)
        story = await tell(sidecar.parts.database, "HighLoad")
        assert f"Around its start, by Prometheus\n  {line}\n    asked " in story
        assert 'avg(cpu{instance="HighLoad:9100"})' in story
        assert await results(sidecar) == {"ok": 1, "skipped": 1}
        assert await sidecar.metric("sidecar_context_query_seconds_count") == 1

        await fire(sidecar, pod="another")  # joins the incident: an update, which asks nothing
        await within(10, lambda: len(fake.bodies) == 2)
        assert said(fake.bodies[1]) == [line]
        assert len(prometheus.requests) == 1


async def test_off_it_asks_nothing_and_says_nothing(sqlite_url, fake, prometheus):
    """Queries without a URL are questions to nobody."""
    section = {"prometheus": {"queries": {"cpu": CPU}}}
    async with running(sqlite_url, receivers=hooks(fake), context=section) as sidecar:
        await fire(sidecar)
        await fake.wait_for(1)
        assert said(fake.bodies[0]) == []
        assert await sidecar.count("SELECT count(*) FROM contexts") == 0
        assert "Around its start" not in await tell(sidecar.parts.database, "HighLoad")


async def test_what_is_not_told_is_not_asked_about(sqlite_url, fake, prometheus):
    """An alert that tells nobody costs Prometheus nothing."""
    nobody = {"always": {"schedule": "* * * * *", "routes": {"WARNING": []}}}
    more = {"time_based_routing": nobody, "context": asking(prometheus)}
    async with running(sqlite_url, receivers=hooks(fake), **more) as sidecar:
        await fire(sidecar)
        await sidecar.caught_up()
        assert await sidecar.count("SELECT count(*) FROM decisions") == 1
        await asyncio.sleep(0.3)
        assert (prometheus.requests, fake.requests) == ([], [])


async def test_receivers_share_one_question(database_url, fake, prometheus):
    """Two messages about one incident, both with the line, and Prometheus is asked once."""
    prometheus.takes = 0.3
    both = {"always": {"schedule": "* * * * *", "routes": {"WARNING": ["default", "second"]}}}
    async with FakeWebhook() as second:
        more = {"time_based_routing": both, "context": asking(prometheus)}
        async with running(database_url, receivers=hooks(fake, second), **more) as sidecar:
            await fire(sidecar)
            await within(10, lambda: fake.bodies and second.bodies)
            assert said(fake.bodies[0]) == said(second.bodies[0]) != []
            assert len(prometheus.requests) == 1
            assert await sidecar.count("SELECT count(*) FROM contexts") == 1


async def test_a_large_incident_asks_little_and_little_at_once(sqlite_url, fake, prometheus):
    """Twelve alerts in one message: three are asked about, with four queries on their way at most."""
    prometheus.takes = 0.1
    queries = {name: f'avg({name}{{instance="{{instance}}"}})' for name in ("cpu", "disk", "memory")}
    async with running(sqlite_url, receivers=hooks(fake), context=asking(prometheus, queries=queries)) as sidecar:
        many = [alert("HighLoad", ago=20, instance=f"i{n}", **NOISY) for n in range(12)]
        assert await sidecar.post(webhook(many)) == (200, "ok")
        await fake.wait_for(1)
        assert len(said(fake.bodies[0])) == len(prometheus.requests) == 9
        assert 2 <= prometheus.most_at_once <= 4


async def delay(sidecar: Running, fake: FakeWebhook, name: str) -> float:
    """Seconds from an alert's webhook to its message, which has to say nothing of Prometheus."""
    began, before = time.monotonic(), len(fake.bodies)
    await fire(sidecar, name)
    answered = time.monotonic() - began
    await within(10, lambda: len(fake.bodies) > before)
    assert answered < TIMEOUT  # the webhook never waits for it
    assert said(fake.bodies[-1]) == []
    return time.monotonic() - began


@pytest.mark.parametrize("failure", ["hang", "reset", 500, 302, 200, "dead"])
async def test_a_prometheus_that_fails_delays_no_message_for_long(sqlite_url, fake, prometheus, logged, failure):
    """Slow, broken, redirecting, talking garbage or gone: at most the timeout each, then nothing at all; one log line."""
    prometheus.fail(always=failure if failure != "dead" else 500)
    url = "http://127.0.0.1:1" if failure == "dead" else prometheus.base
    async with running(sqlite_url, receivers=hooks(fake), context=asking(url, f"{TIMEOUT}s")) as sidecar:
        first = [await delay(sidecar, fake, f"Alert{n}") for n in range(5)]
        assert max(first) < TIMEOUT + SLOW
        asked = len(prometheus.requests)
        assert asked >= (0 if failure == "dead" else 5)  # what was reset, the client tries a second time
        assert min([await delay(sidecar, fake, f"More{n}") for n in range(3)]) < TIMEOUT  # left alone now
        assert len(prometheus.requests) == asked
        assert await results(sidecar) == {"failed": 5, "skipped": 3}
        assert [line["event"] for line in logged] == ["context_failed"]
        assert logged[0]["why"]
        assert f"cpu: not measured: {logged[0]['why']}" in await tell(sidecar.parts.database, "Alert0")


async def test_a_prometheus_that_is_back_is_asked_again(sqlite_url, fake, prometheus, logged, monkeypatch):
    """After the breaker's pause one query tries it; when it fails anew later, that is logged anew."""
    monkeypatch.setattr("sidecar.breaker.PAUSE", 0.0)
    monkeypatch.setattr(context.Breaker.__init__, "__defaults__", (2, 0.1))
    prometheus.fail(500, 500)
    async with running(sqlite_url, receivers=hooks(fake), context=asking(prometheus)) as sidecar:
        for name in ("A", "B", "C"):
            await fire(sidecar, name)
            await within(10, lambda name=name: any(name in json.dumps(body) for body in fake.bodies))
            await asyncio.sleep(0.15)
        assert [bool(said(body)) for body in fake.bodies] == [False, False, True]
        prometheus.fail(500)
        await fire(sidecar, "D")
        await fake.wait_for(4)
        assert [line["event"] for line in logged] == ["context_failed"] * 2


WRONG = json.dumps({"status": "error", "errorType": "bad_data", "error": 'parse error: unexpected "}" in aggregation'})
STRANGE = {
    "huge": (200, {}, '{"status":"success","data":"' + "x" * 200_000 + '"}', "more than 65536 bytes"),
    "wrong": (400, {"Content-Type": "application/json"}, WRONG, 'parse error: unexpected "}"'),
    "no numbers": (
        200,
        {},
        '{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"a"]]}]}}',
        "no number",
    ),
    "a vector": (200, {}, '{"status":"success","data":{"resultType":"vector","result":[]}}', "status 200"),
}


@pytest.mark.parametrize("name", STRANGE)
async def test_a_strange_answer_is_left_out_and_its_reason_logged_once(sqlite_url, fake, prometheus, logged, name):
    """The message goes out in time, without it; `why` says what was wrong."""
    status, headers, body, why = STRANGE[name]
    prometheus.fail(always=(status, headers, body))
    async with running(sqlite_url, receivers=hooks(fake), context=asking(prometheus, "5s")) as sidecar:
        assert max([await delay(sidecar, fake, f"Alert{n}") for n in range(2)]) < 5
        assert [line["query"] for line in logged] == ["cpu"]
        assert why in logged[0]["why"]
        assert why in await tell(sidecar.parts.database, "Alert1")


async def test_a_wrong_query_does_not_stop_the_right_ones(sqlite_url, fake, prometheus, logged):
    """However often Prometheus refuses one, the other is asked and told."""

    class Refusing(FakePrometheus):
        async def answer(self, record: Recorded) -> web.Response:
            if "wrong" in record.path:
                return web.Response(status=400, text=WRONG)
            return await super().answer(record)

    async with Refusing() as refusing:
        queries = {"cpu": CPU, "wrong": "wrong("}
        async with running(sqlite_url, receivers=hooks(fake), context=asking(refusing, queries=queries)) as sidecar:
            for n in range(7):
                await fire(sidecar, f"Alert{n}")
                await within(10, lambda n=n: len(fake.bodies) > n)
            assert all(len(said(body)) == 1 for body in fake.bodies)
            assert await results(sidecar) == {"ok": 7, "failed": 7}
            assert [line["query"] for line in logged] == ["wrong"]


async def test_many_series_make_no_line(sqlite_url, fake, logged):
    """Which of them would it be? The reason says what to do."""
    async with (
        FakePrometheus(series=2) as many,
        running(sqlite_url, receivers=hooks(fake), context=asking(many)) as sidecar,
    ):
        await fire(sidecar)
        await fake.wait_for(1)
        assert said(fake.bodies[0]) == []
        assert [line["why"] for line in logged] == ["it gives more than one series: aggregate it, e.g. avg(...)"]


async def test_a_store_that_does_not_take_it_costs_no_message(sqlite_url, fake, prometheus, logged, monkeypatch):
    """The line is in the message all the same, and in no later one."""

    async def refuse(*_: Any) -> None:
        raise StoreError("full")

    monkeypatch.setattr("sidecar.store.contexts.save", refuse)
    async with running(sqlite_url, receivers=hooks(fake), context=asking(prometheus)) as sidecar:
        await fire(sidecar)
        await fake.wait_for(1)
        assert len(said(fake.bodies[0])) == 1
        assert [line["event"] for line in logged] == ["context_not_stored"]


async def test_what_is_stored_stays(database_url):
    """Every kind of value comes back as it was, by name; a second answer about the same changes nothing."""
    found = [
        Measured("e", "b", "up\x00", 2.5, 1800.0, "ok", 0.1, inf, -1e300, 60.0),
        Measured("e", "a", "up", 2.5, 1800.0, "failed", why="status 500"),
        Measured("other", "a", "up", 2.5, 1800.0, "empty"),
    ]
    database = Database(open_engine(database_url))
    try:
        await schema.upgrade(database)
        async with database.write() as connection:
            await contexts.save(connection, found)
            await contexts.save(connection, [Measured("e", "a", "down", 9.0, 1.0, "ok", 7.0)])
            await contexts.save(connection, [])
        async with database.read() as connection:
            assert await contexts.of(connection, ["e", "unknown"]) == {
                "e": [found[1], msgspec.structs.replace(found[0], query="up\ufffd")]
            }
    finally:
        await database.close()


async def test_secrets_are_in_no_log_line_and_in_no_story(sqlite_url, fake, prometheus, logged):
    """A header's value is for Prometheus alone, also when it is refused."""
    prometheus.fail(always=401)
    section = asking(prometheus, headers={"Authorization": "Bearer canary-5f3a"})
    async with running(sqlite_url, receivers=hooks(fake), context=section) as sidecar:
        await fire(sidecar)
        await fake.wait_for(1)
        assert prometheus.requests[0].headers["authorization"] == "Bearer canary-5f3a"
        story = await tell(sidecar.parts.database, "HighLoad")
        assert "context.prometheus.headers" in story
        assert "canary" not in f"{logged} {story} {fake.bodies} {sidecar.parts.config.redacted()}"
