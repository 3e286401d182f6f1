"""Webhooks over HTTP into a running sidecar: what Alertmanager sends, what it must never be answered, and attacks."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import resource
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.errors import StoreError
from tests.acceptance.world import alert, webhook, within
from tests.fakes import FakeWebhook
from tests.integration.running import Running, hooks, running

ALIASES = ("/webhook", "/webhook/", "//webhook", "/api/v1/webhook", "/api/v1/webhook/")
EPISODES = "SELECT count(*) FROM episodes"
NOISY = {"severity": "WARNING", "domain": "artemis"}


@pytest.fixture
async def fake() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


@pytest.fixture
async def sidecar(database_url, fake) -> AsyncIterator[Running]:
    async with running(database_url, receivers=hooks(fake)) as started:
        yield started


async def stored(sidecar: Running) -> int:
    await sidecar.caught_up()
    return await sidecar.count(EPISODES)


async def raw(sidecar: Running, *pieces: bytes, pause: float = 0.0, within: float = 10.0) -> bytes:
    """What comes back for these bytes on a connection of their own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.client.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(within):
            return await reader.readuntil(b"\r\n")
    finally:
        writer.close()


def one(name: str = "HighErrorRate", **labels: str) -> bytes:
    return webhook([alert(name, **NOISY | labels)])


# ------------------------------------------------------------------------------------------------------ answers


async def test_finding_1_no_spelling_of_the_path_is_answered_with_a_redirect(sidecar):
    """Each is taken, and what is no webhook's path is 404 or 405: a redirect would eat the alerts."""
    for number, path in enumerate(ALIASES):
        assert await sidecar.post(one(pod=f"p{number}"), path) == (200, "ok"), path
    assert await stored(sidecar) == len(ALIASES)
    for path in ("/", "/webhookx", "/api/v1", "/x/webhook", "/api/v2/webhook", "/webhook/x", "/%2fwebhook"):
        status, _ = await sidecar.post(one(), path)
        assert status == 404, path
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        status, _ = await sidecar.request(method, "/webhook")
        assert status == 405, method


async def test_finding_1_a_missing_secret_is_401_and_never_a_login_page(database_url):
    """On every alias; Bearer and Basic with the secret are taken."""
    async with running(database_url, server={"webhook_secret": "corréct horse"}) as sidecar:
        basic = base64.b64encode("anybody:corréct horse".encode()).decode()
        right = ["Bearer corréct horse", "bearer corréct horse", f"Basic {basic}"]
        wrong = [
            None, "", "Bearer", "Bearer wrong", "Bearer corréct horse2", "Basic !!!", "Basic " + base64.b64encode(b"x").decode(),
            "Basic " + base64.b64encode(b"corr\xe9ct horse:").decode(), "Bearer \u00ff\u00fe", "Digest x", "corréct horse",
        ]  # fmt: skip
        for path in ALIASES:
            for given in wrong:
                headers = {} if given is None else {"Authorization": given}
                status, text = await sidecar.post(one(), path, headers=headers)
                assert status == 401, (path, given)
                assert "webhook_secret" in text
        assert await stored(sidecar) == 0
        for given in right:
            assert await sidecar.post(one(), headers={"Authorization": given}) == (200, "ok"), given
        assert await stored(sidecar) >= 1


async def test_finding_2_what_cannot_be_stored_now_is_503_and_never_429(sidecar):
    """Alertmanager retries 5xx and nothing else; when the store is back the same webhook is taken."""
    real = sidecar.parts.decider.submit

    async def refuse(_: Any) -> int:
        raise StoreError("the database is down")

    sidecar.parts.decider.submit = refuse  # type: ignore[method-assign]
    status, text = await sidecar.post(one())
    assert (status, "send it again" in text) == (503, True)
    sidecar.parts.decider.submit = real  # type: ignore[method-assign]
    sidecar.parts.decider.waiting = 200_000
    assert (await sidecar.post(one()))[0] == 503
    sidecar.parts.decider.waiting = 0
    assert await sidecar.post(one()) == (200, "ok")
    assert await sidecar.metric('sidecar_webhooks_total{status="503"}') == 2


async def test_finding_2_before_it_is_ready_it_says_503(sidecar):
    """Starting and stopping: Alertmanager sends it again."""
    sidecar.parts.ready = False
    assert (await sidecar.post(one()))[0] == 503
    assert (await sidecar.request("GET", "/-/ready"))[0] == 503
    assert (await sidecar.request("GET", "/-/healthy"))[0] == 200
    sidecar.parts.ready = True
    assert (await sidecar.post(one()))[0] == 200


async def test_finding_3_200_means_that_it_is_committed(sidecar):
    """The answer comes after the log row, with what is to be sent beside it."""
    assert await sidecar.post(one()) == (200, "ok")
    assert await sidecar.count("SELECT count(*) FROM log") == 1
    assert await sidecar.count("SELECT count(*) FROM outbox") == 1


async def test_finding_4_an_alert_whose_firing_we_never_saw_is_closed_by_its_resolve(sidecar, fake):
    """Alertmanager sends resolves without their firing; nothing is left open and nobody is woken."""
    assert await sidecar.post(webhook([alert("Gone", ago=60, ended=5, **NOISY)])) == (200, "ok")
    await sidecar.caught_up()
    (row,) = await sidecar.rows("SELECT ended_at FROM episodes")
    assert row["ended_at"] is not None
    assert [row["verdict"] for row in await sidecar.rows("SELECT verdict FROM decisions")] == ["digest"]
    assert fake.requests == []


async def test_finding_5_a_body_beyond_the_limit_is_400_and_never_413(database_url):
    """With what to do about it; one at the limit is taken."""
    async with running(database_url, server={"body_limit": "64KiB"}) as sidecar:
        status, text = await sidecar.post(b" " * 70_000)
        assert (status, "body_limit" in text) == (400, True)
        assert await sidecar.post(one() + b" " * 60_000) == (200, "ok")

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(80):
                yield b" " * 1024

        status, _ = await sidecar.post(chunks())  # type: ignore[arg-type]
        assert status == 400
        assert await sidecar.metric('sidecar_webhooks_total{status="400"}') == 2


async def test_finding_5_a_webhook_of_five_thousand_alerts_is_stored_whole(sidecar):
    """3.5 MB in one body: all of it before the answer, one message, and not a row twice when it comes again."""
    alerts = [alert("PodCrashLooping", namespace="prod", pod=f"api-{n}", **NOISY) for n in range(5000)]
    for each in alerts:
        each["annotations"]["filling"] = "x" * 330
    body = webhook(alerts)
    assert len(body) > 3_400_000
    for _ in range(2):
        assert await sidecar.post(io.BytesIO(body)) == (200, "ok")  # type: ignore[arg-type]
    assert await stored(sidecar) == 5000
    assert await sidecar.count("SELECT count(*) FROM decisions") == 5000
    assert await sidecar.count("SELECT count(*) FROM outbox WHERE kind = 'notify'") == 1


async def test_finding_6_nul_and_lone_surrogates_are_replaced(sidecar, fake):
    """In every text of an alert and of the envelope; the message goes out."""
    odd = alert("odd-@@", notes={"sum-@@": "text-@@"}, **NOISY)
    body = webhook([odd], group="group-@@").replace(b"@@", rb"\u0000\ud800")
    assert await sidecar.post(body) == (200, "ok")
    await within(10, lambda: fake.bodies)
    await sidecar.caught_up()
    (row,) = await sidecar.rows("SELECT labels, annotations, group_key, alertname FROM episodes")
    assert row["alertname"] == "odd-\ufffd\ufffd"
    assert "\ufffd\ufffd" in row["group_key"]
    assert json.loads(row["annotations"])["sum-\ufffd\ufffd"] == "text-\ufffd\ufffd"
    assert await sidecar.metric("sidecar_projection_skipped_rows_total") == 0


async def test_finding_9_the_same_group_twice_at_once_is_told_once(sidecar, fake):
    """Two Alertmanagers, 10 ms apart, with another externalURL."""
    body = json.loads(one())
    twin = json.dumps({**body, "externalURL": "http://other.example.org"}).encode()
    await asyncio.gather(sidecar.post(json.dumps(body).encode()), sidecar.post(twin))
    await within(10, lambda: fake.requests)
    assert await stored(sidecar) == 1
    verdicts = await sidecar.rows("SELECT verdict FROM decisions")
    assert [row["verdict"] for row in verdicts] == ["notify"]
    assert await sidecar.count("SELECT count(*) FROM outbox") == 1


async def test_finding_10_a_body_that_never_ends_is_cut(database_url):
    """Aiohttp has no read deadline: ours answers, and the connection ends."""
    async with running(database_url, server={"body_timeout": "200ms"}) as sidecar:
        began = time.monotonic()
        head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        assert b" 503 " in await raw(sidecar, head + b'{"alerts"')
        assert b" 503 " in await raw(sidecar, head.replace(b"/webhook", b"/api/v2/feedback"))
        assert time.monotonic() - began < 8
        assert await sidecar.post(one()) == (200, "ok")


async def test_finding_10_slack_s_body_is_cut_too(database_url):
    """Before its signature can be checked."""
    settings = {"server": {"body_timeout": "200ms"}, "slack": {"signing_secret": "secret"}}
    async with running(database_url, **settings) as sidecar:
        head = b"POST /slack/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        assert b" 503 " in await raw(sidecar, head)


async def test_finding_10_a_body_in_chunks_of_one_byte_is_read(sidecar):
    """Slow is not wrong."""
    body = one()
    chunks = b"".join(b"1\r\n" + body[n : n + 1] + b"\r\n" for n in range(len(body)))
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 200 " in await raw(sidecar, head, chunks[:999], chunks[999:], b"0\r\n\r\n", pause=0.01)
    assert await stored(sidecar) == 1


async def test_finding_11_what_alertmanager_really_writes_is_read(sidecar):
    """An escaped receiver, year 1 as the end of what fires, nanoseconds, and keys that are new."""
    body = json.loads(one())
    body |= {
        "receiver": r"ok\.recv\+x",
        "notification_reason": "first notification",
        "routeLabels": {"a": "b"},
        "new": [{}],
    }
    body["alerts"][0] |= {"startsAt": "2026-11-22T02:59:00.123456789Z", "endsAt": "0001-01-01T00:00:00Z", "extra": None}
    assert await sidecar.post(json.dumps(body).encode()) == (200, "ok")
    await sidecar.caught_up()
    (row,) = await sidecar.rows("SELECT starts_at, ended_at FROM episodes")
    assert row["starts_at"] == pytest.approx(1_795_316_340.123456, abs=1e-5)
    assert row["ended_at"] is None


async def test_truncated_alerts_are_counted(sidecar):
    """max_alerts left some out: the metric tells; no number makes an error."""
    for number in (3, -1, 10**30):
        body = json.dumps({"version": "4", "alerts": [], "truncatedAlerts": number}).encode()
        assert await sidecar.post(body) == (200, "ok"), number
    assert await sidecar.metric("sidecar_alerts_truncated_total") >= 1e9


# -------------------------------------------------------------------------------------------------------------- attacks

DEEP = b"[" * 100_000 + b"]" * 100_000
ODD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
    "a number": b"17",
    "a text": b'"x"',
    "no alerts": b"{}",
    "alerts null": b'{"alerts": null}',
    "alerts an object": b'{"alerts": {}}',
    "alerts of nothing": b'{"alerts": [null, 1, "x", [], {}]}',
    "NaN": b'{"alerts": [{"labels": {"alertname": NaN}}]}',
    "1e999": b'{"alerts": [], "truncatedAlerts": 1e999}',
    "a group key that is a number": b'{"alerts": [], "groupKey": 5}',
    "duplicate keys": b'{"alerts": [], "alerts": [{"labels": {"alertname": "a", "alertname": "b"}}]}',
    "deep": DEEP,
    "deep in an alert": b'{"alerts": [{"labels": {"alertname": "a"}, "x": ' + DEEP + b"}]}",
    "a BOM": b"\xef\xbb\xbf" + one(),
    "UTF-16": one().decode().encode("utf-16"),
    "UTF-16 without a BOM": one().decode().encode("utf-16-le"),
    "Latin-1": one().replace(b"a test", b"caf\xe9"),
    "a raw NUL": one().replace(b"a test", b"\x00"),
    "cut": one()[:-20],
    "garbage": bytes(range(256)) * 40,
    "a label of 2 MB": one("x" * 2_000_000),
    "10,000 labels": webhook([alert("Many", **{f"label_{n}": "v" for n in range(10_000)})]),
    "right to left": webhook([alert("مرحبا\u202e🚨", notes={"summary": "שלום \u2066 z̷̢͝"}, **NOISY)]),
    "year 1": one().replace(b'"startsAt": "2', b'"startsAt": "0001-01-01T00:00:00Z", "x": "2'),
    "year 1 without a zone": one().replace(b'"startsAt": "2', b'"startsAt": "0001-01-01T00:00:00", "x": "2'),
    "year 9999": one().replace(b'"startsAt": "2', b'"startsAt": "9999-12-31T23:59:59.999999999Z", "x": "2'),
    "resolved before it began": webhook([alert("Odd", ago=10, ended=999, **NOISY)]),
    "an unknown version": b'{"version": "99", "alerts": [{"labels": {"alertname": "a"}}]}',
    "an unknown status": b'{"alerts": [{"status": "pending", "labels": {"alertname": "b"}}]}',
    "a custom payload": b'{"text": "HighLatency is firing", "channel": "#ops"}',
    "a form": b"payload=%7B%7D",
    "no labels": b'{"alerts": [{"labels": {}}]}',
    "empty names": b'{"alerts": [{"labels": {"": "", "alertname": ""}}]}',
    "a fingerprint of 3 MB": b'{"alerts": [{"labels": {"alertname": "f"}, "fingerprint": "'
    + b"ab" * 1_500_000
    + b'"}]}',
    "a fingerprint with slashes": b'{"alerts": [{"labels": {"alertname": "g"}, "fingerprint": "../a/b%00"}]}',
    "a query": one("'; DROP TABLE log; --", namespace='"; DELETE FROM outbox'),
}


async def test_odd_bodies_are_400_or_stored_and_never_an_error_of_ours(sidecar, fake):
    """Whatever comes, the next webhook is taken, and what was stored reaches the tables."""
    answers = {}
    for name, body in ODD_BODIES.items():
        status, text = await sidecar.post(io.BytesIO(body))  # type: ignore[arg-type]
        answers[name] = status
        assert status in (200, 400), (name, status, text)
        assert text, name
    refused = {name for name, status in answers.items() if status == 400}
    assert refused == {
        "empty", "a list", "null", "a number", "a text", "no alerts", "alerts null", "alerts an object", "NaN", "1e999",
        "a group key that is a number", "deep", "deep in an alert", "UTF-16 without a BOM", "a raw NUL", "cut", "garbage",
        "a custom payload", "a form",
    }  # fmt: skip
    assert await sidecar.post(webhook([alert("StillHere", **NOISY)], group="another")) == (200, "ok")
    await sidecar.caught_up()
    assert await sidecar.metric("sidecar_projection_skipped_rows_total") == 0
    assert await sidecar.count("SELECT count(*) FROM episodes WHERE alertname = 'StillHere'") == 1
    await within(20, lambda: any("StillHere" in json.dumps(body) for body in fake.bodies))


async def test_one_bad_alert_does_not_block_its_group(sidecar):
    """The good ones are stored; the bad ones are in the quarantine, each once, with their bytes and why."""
    body = json.loads(webhook([alert("HighErrorRate", pod=f"p{n}", **NOISY) for n in range(10)]))
    bad = [
        {"labels": {"alertname": 5}},
        None,
        {"labels": {"alertname": "Odd"}, "startsAt": "yesterday"},
        {"labels": None},
    ]
    for place, each in enumerate(bad):
        body["alerts"].insert(2 * place, each)
    for _ in range(2):
        assert await sidecar.post(json.dumps(body).encode()) == (200, "ok")
    assert await stored(sidecar) == 10
    found = await sidecar.rows("SELECT body, why, times FROM quarantine")
    assert sorted(json.dumps(json.loads(bytes(row["body"]))) for row in found) == sorted(
        json.dumps(each) for each in bad
    )
    assert all(row["why"] and row["times"] == 2 for row in found)
    assert await sidecar.metric("sidecar_quarantined_total") == 8


async def test_an_alert_that_cannot_be_decided_is_found_among_its_group(sidecar, monkeypatch):
    """A defect of ours on one alert: the others are told, it is set aside with its JSON, and the answer is 200."""
    planned = sidecar.parts.decider._plan

    def plan(works: Any) -> Any:
        names = [one.alert.labels["alertname"] for work in works for one in work.received]
        if "Cursed" in names:
            raise RuntimeError("a defect")
        return planned(works)

    monkeypatch.setattr(sidecar.parts.decider, "_plan", plan)
    alerts = [alert("Fine", pod=f"p{n}", **NOISY) for n in range(7)]
    alerts.insert(4, alert("Cursed", pod="c", **NOISY))
    assert await sidecar.post(webhook(alerts)) == (200, "ok")
    assert await sidecar.post(webhook(alerts[4:5])) == (200, "ok")
    assert await stored(sidecar) == 7
    found = await sidecar.rows("SELECT body, why FROM quarantine")
    assert len(found) == 2  # alone it is kept as it came
    assert all(b"Cursed" in bytes(row["body"]) and "a defect" in row["why"] for row in found)


async def test_a_poison_of_the_database_is_found_too(sidecar, monkeypatch):
    """What only the database refuses comes out the same way."""
    from sidecar.errors import Refused
    from sidecar.store import log

    append = log.append

    async def refuse(connection: Any, shard: int, head: int, at: float, events: Any, deliveries: Any) -> int:
        if any("Cursed" in str(event) for event in events):
            raise Refused("invalid byte sequence")
        return await append(connection, shard, head, at, events, deliveries)

    monkeypatch.setattr(log, "append", refuse)
    alerts = [alert("Cursed" if n == 3 else "Fine", pod=f"p{n}", **NOISY) for n in range(6)]
    assert await sidecar.post(webhook(alerts)) == (200, "ok")
    assert await stored(sidecar) == 5
    assert await sidecar.count("SELECT count(*) FROM quarantine") == 1


async def test_compressed_bodies_are_read_and_bombs_are_not(sidecar):
    """300 MB in 300 KB is refused before it fills the memory; a broken compression is the sender's fault."""
    close = {"Connection": "close", "Content-Encoding": "gzip"}
    assert await sidecar.post(gzip.compress(one()), headers=close) == (200, "ok")
    bomb = await asyncio.to_thread(gzip.compress, bytes(300_000_000), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, _ = await sidecar.post(io.BytesIO(bomb), headers=close)  # type: ignore[arg-type]
    assert status == 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * 1024  # KiB
    for encoding in ("gzip", "deflate", "br"):
        status, _ = await sidecar.post(one(), headers={**close, "Content-Encoding": encoding})
        assert status == 400, encoding
    assert (await sidecar.post(gzip.compress(one())[:-60], headers=close))[0] == 400


async def test_broken_http_is_refused(sidecar):
    """Two lengths, bad chunks, a header of 20 KB, a negative length: 4xx, and the server goes on."""
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\n"
    for name, request in {
        "two lengths": head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a bad chunk": head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        "a chunk that is longer than it says": head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n",
        "a header of 20 KB": head + b"X: " + b"a" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
        "a negative length": head + b"Content-Length: -5\r\n\r\n",
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    }.items():
        assert b" 400 " in await raw(sidecar, request), name
    assert await sidecar.post(one()) == (200, "ok")


async def test_many_webhooks_at_once_are_all_stored(sidecar):
    """A hundred callers: each answered after its commit."""
    bodies = [webhook([alert("Storm", pod=f"{n}-{m}", **NOISY) for m in range(5)], group=f"g{n}") for n in range(100)]
    answers = await asyncio.gather(*(sidecar.post(body) for body in bodies))
    assert set(answers) == {(200, "ok")}
    assert await stored(sidecar) == 500
    assert await sidecar.metric('sidecar_alerts_received_total{domain="artemis",severity="WARNING"}') == 500
