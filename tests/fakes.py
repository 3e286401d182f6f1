"""In-process fakes of the providers, on free loopback ports. Each is an async context manager and records what it gets.

    async with FakeSlack(token="xoxb-test") as slack:
        config = SlackConfig(api_url=slack.url, bot_token="xoxb-test", channel="#alerts")
        slack.fail(503, "hang")                 # the next two requests; also (status, headers, body), "reset",
        slack.fail(always=503)                  # "error:channel_not_found" (Slack only); fail() ends it
        await slack.wait_for(1)                 # until one request is recorded
        slack.requests[0].json                  # method, path, headers, body, json, at
        slack.messages, slack.replies(ts)       # what people would see; .ref is "CHANNEL:ts"
        await slack.react("http://127.0.0.1:8000/slack/events", "U1", "-1", slack.messages[0].ref)

`FakePagerDuty.incidents` and `.incident(dedup_key)`, `FakeTeams.cards`, `FakeWebhook.bodies`, `FakeSmtp.mails`,
`FakeAlertmanager.silences` are what the others keep. `url` is what goes into the configuration; for `FakeSmtp` it is
`smarthost`, and `ca_file` verifies its certificate. `limit(2, 1.0)` answers 429 beyond two requests in one second.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.fake_smtp import FakeSmtp, ReceivedMail, make_certificate, until

__all__ = ["FakeSmtp", "ReceivedMail", "make_certificate"]

Failure = int | str | tuple[int, dict[str, str], str]


@dataclass
class Recorded:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    failed: bool = False  # answered by `fail` or `limit`

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Fake:
    """A loopback HTTP server: `answer` is what a subclass does with a request that is not told to fail."""

    path = ""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self._next: list[Failure] = []
        self._always: Failure | None = None
        self._limit: tuple[int, float] | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.url = self.base + self.path
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def fail(self, *failures: Failure, next: list[Failure] | None = None, always: Failure | None = None) -> None:  # noqa: A002 as it reads
        """The coming requests fail in this order, then all with `always`; without arguments none does any more."""
        self._next, self._always = [*failures, *(next or [])], always

    def limit(self, count: int, seconds: float) -> None:
        """429 with Retry-After beyond `count` requests in `seconds`."""
        self._limit = (count, seconds)

    async def wait_for(self, count: int, timeout: float = 10.0) -> None:
        await until(lambda: len(self.requests) >= count, timeout)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        record = Recorded(request.method, request.path_qs, headers, await request.read(), time.time())
        self.requests.append(record)
        failure = self._failure(record)
        if failure is None:
            return await self.answer(record)
        record.failed = True
        return await self._fail(request, failure)

    def _failure(self, record: Recorded) -> Failure | None:
        if self._next:
            return self._next.pop(0)
        if self._always is None and self._limit:
            count, seconds = self._limit
            passed = [r for r in self.requests if not r.failed and r is not record and r.at > record.at - seconds]
            if len(passed) >= count:
                return (429, {"Retry-After": str(max(1, round(seconds)))}, "rate limited")
        return self._always

    async def _fail(self, request: web.Request, failure: Failure) -> web.StreamResponse:
        if failure == "hang":
            await asyncio.Event().wait()
        if failure == "reset":
            request.transport.abort()
            return web.Response(status=500)
        if isinstance(failure, str):
            return web.json_response({"ok": False, "error": failure.removeprefix("error:")})
        status, headers, body = failure if isinstance(failure, tuple) else (failure, {}, f"scripted {failure}")
        return web.Response(status=status, headers=headers, text=body)

    async def answer(self, record: Recorded) -> web.Response:
        return web.Response(text="ok")


class FakeWebhook(Fake):
    """Takes anything with 200."""

    path = "/hook"

    @property
    def bodies(self) -> list[Any]:
        return [record.json for record in self.requests if not record.failed]


# ---------------------------------------------------------------------------------------------------------------- Slack


@dataclass
class SlackPost:
    """One message or reply as it is now; `history` has what it said before."""

    channel: str
    ts: str
    text: str
    blocks: list[Any]
    thread_ts: str = ""
    broadcast: bool = False
    history: list[str] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"{self.channel}:{self.ts}"

    @property
    def shown(self) -> str:
        """All its text, as JSON."""
        return json.dumps([self.text, self.blocks], ensure_ascii=False)


class FakeSlack(Fake):
    """chat.postMessage, chat.update and incoming webhooks (any path under /services/), and reactions as signed events."""

    path = "/api"

    def __init__(self, token: str = "xoxb-test", signing_secret: str = "slack-signing-secret") -> None:
        super().__init__()
        self.token, self.signing_secret = token, signing_secret
        self.posts: list[SlackPost] = []

    @property
    def webhook_url(self) -> str:
        return f"{self.base}/services/T000/B000/secretpath"

    @property
    def messages(self) -> list[SlackPost]:
        return [post for post in self.posts if not post.thread_ts]

    def replies(self, ts: str) -> list[SlackPost]:
        return [post for post in self.posts if post.thread_ts == ts]

    def delete(self, post: SlackPost) -> None:
        self.posts.remove(post)

    async def answer(self, record: Recorded) -> web.Response:
        body = record.json
        if record.path.startswith("/services/"):
            self._post("CWEBHOOK", body)
            return web.Response(text="ok")
        if record.headers.get("authorization") != f"Bearer {self.token}":
            return web.json_response({"ok": False, "error": "invalid_auth"})
        error = _block_error(body.get("blocks") or [])
        methods = {"/api/chat.postMessage": self._post_message, "/api/chat.update": self._update}
        method = methods.get(record.path, lambda _: {"ok": False, "error": "unknown_method"})
        return web.json_response({"ok": False, "error": error} if error else method(body))

    def _post_message(self, body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("channel"):
            return {"ok": False, "error": "channel_not_found"}
        name = body["channel"]
        channel = name if name.startswith("C") else "C" + hashlib.sha256(name.encode()).hexdigest()[:8].upper()
        post = self._post(channel, body)
        return {"ok": True, "channel": post.channel, "ts": post.ts}

    def _post(self, channel: str, body: dict[str, Any]) -> SlackPost:
        ts = f"{int(time.time())}.{len(self.posts) + len(self.requests):06d}"
        thread, loud = body.get("thread_ts", ""), bool(body.get("reply_broadcast"))
        post = SlackPost(channel, ts, body.get("text", ""), body.get("blocks") or [], thread, loud)
        self.posts.append(post)
        return post

    def _update(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [post for post in self.posts if post.ref == f"{body.get('channel')}:{body.get('ts')}"]
        if not found:
            return {"ok": False, "error": "message_not_found"}
        post = found[0]
        post.history.append(post.text)
        post.text, post.blocks = body.get("text", ""), body.get("blocks") or []
        return {"ok": True, "channel": post.channel, "ts": post.ts, "text": post.text}

    async def react(
        self, url: str, user: str, emoji: str, ref: str, *, removed: bool = False, event_id: str = "", at: float = 0.0
    ) -> int:
        """Send `reaction_added` (or `_removed`) for the message `ref` to our Events endpoint; the status it answers."""
        channel, _, ts = ref.partition(":")
        event = {
            "type": "reaction_removed" if removed else "reaction_added",
            "user": user,
            "reaction": emoji,
            "item": {"type": "message", "channel": channel, "ts": ts},
            "event_ts": f"{at or time.time():.6f}",
        }
        return await self.callback(url, event, event_id=event_id, at=at)

    async def callback(self, url: str, event: dict[str, Any], *, event_id: str = "", at: float = 0.0) -> int:
        """Send any event, signed (v0) as at `at` (now without it); the status it answers."""
        outer = {"type": "event_callback", "team_id": "T000", "event": event}
        body = json.dumps({**outer, "event_id": event_id or f"Ev{uuid.uuid4().hex[:10]}"}).encode()
        headers = {"Content-Type": "application/json", **self.sign(body, at or time.time())}
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
            return answer.status

    def sign(self, body: bytes, at: float) -> dict[str, str]:
        """Slack's two signature headers over `body`."""
        stamp = str(int(at))
        digest = hmac.new(self.signing_secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}"}


def _block_error(blocks: list[dict[str, Any]]) -> str:
    """What Slack says of blocks beyond its limits; empty if it takes them."""
    if len(json.dumps(blocks, ensure_ascii=False, separators=(",", ":"))) > 13_200:
        return "msg_blocks_too_long"
    bad = len(blocks) > 50
    for block in blocks:
        text = (block.get("text") or {}).get("text", "x")
        bad |= not 0 < len(text) <= (150 if block["type"] == "header" else 3000)
        fields = block.get("fields", [])
        bad |= len(fields) > 10 or any(not 0 < len(each["text"]) <= 2000 for each in fields)
        bad |= len(block.get("elements", [])) > 25
    return "invalid_blocks" if bad else ""


# ------------------------------------------------------------------------------------------------------------- PagerDuty


@dataclass
class PagerDutyIncident:
    """What the events of one dedup_key made: `state` is triggered, acknowledged or resolved."""

    routing_key: str
    dedup_key: str
    state: str
    severity: str
    summary: str
    events: list[dict[str, Any]]


class FakePagerDuty(Fake):
    """Events API v2 at `url`: validation, deduplication, resolve."""

    path = "/v2/enqueue"

    def __init__(self) -> None:
        super().__init__()
        self.incidents: list[PagerDutyIncident] = []

    def incident(self, dedup_key: str) -> PagerDutyIncident | None:
        """The newest one with this key."""
        return next((each for each in reversed(self.incidents) if each.dedup_key == dedup_key), None)

    async def answer(self, record: Recorded) -> web.Response:
        event = record.json
        if len(record.body) > 512 * 1024:
            return web.json_response({"status": "invalid event", "message": "too large"}, status=413)
        errors = _event_errors(event)
        if errors:
            refusal = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
            return web.json_response(refusal, status=400)
        key = event.get("dedup_key") or uuid.uuid4().hex
        self._apply(event, key)
        return web.json_response({"status": "success", "message": "Event processed", "dedup_key": key}, status=202)

    def _apply(self, event: dict[str, Any], key: str) -> None:
        found = self.incident(key)
        live = found if found and found.state != "resolved" and found.routing_key == event["routing_key"] else None
        if event["event_action"] == "trigger":
            payload = event["payload"]
            if live is None:
                live = PagerDutyIncident(
                    event["routing_key"], key, "triggered", payload["severity"], payload["summary"], []
                )
                self.incidents.append(live)
        elif live:
            live.state = {"resolve": "resolved", "acknowledge": "acknowledged"}[event["event_action"]]
        if live:
            live.events.append(event)


def _event_errors(event: dict[str, Any]) -> list[str]:
    action, payload, errors = event.get("event_action"), event.get("payload") or {}, []
    if action not in ("trigger", "acknowledge", "resolve"):
        errors.append("'event_action' is invalid")
    if not event.get("routing_key"):
        errors.append("'routing_key' is missing")
    if len(event.get("dedup_key", "")) > 255:
        errors.append("'dedup_key' is too long")
    if action != "trigger":
        return errors if event.get("dedup_key") else [*errors, "'dedup_key' is missing"]
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        errors.append("'payload.severity' is invalid (must be one of critical, warning, error, info)")
    if not 0 < len(payload.get("summary", "")) <= 1024 or not payload.get("source"):
        errors.append("'payload.summary' or 'payload.source' is missing, blank or too long")
    return errors


# ----------------------------------------------------------------------------------------------------------------- Teams


class FakeTeams(Fake):
    """A Workflow: takes an Adaptive Card with 202, 413 above 28 KB."""

    path = "/workflows/secretpath?sig=secretsignature"

    def __init__(self) -> None:
        super().__init__()
        self.cards: list[dict[str, Any]] = []

    async def answer(self, record: Recorded) -> web.Response:
        if len(record.body) > 28 * 1024:
            return web.Response(status=413, text="Request Entity too large")
        attachment = (record.json.get("attachments") or [{}])[0]
        if attachment.get("contentType") != "application/vnd.microsoft.card.adaptive":
            return web.Response(status=400, text="no Adaptive Card")
        self.cards.append(attachment["content"])
        return web.Response(status=202)


# ---------------------------------------------------------------------------------------------------------- Alertmanager


class FakeAlertmanager(Fake):
    """API v2's silences: `url` is its base; an update with other matchers expires the old one and gives a new id."""

    def __init__(self) -> None:
        super().__init__()
        self.silences: dict[str, dict[str, Any]] = {}
        self.alerts: list[dict[str, Any]] = []
        self.up_since = "2026-01-01T00:00:00.000Z"

    @property
    def active(self) -> list[dict[str, Any]]:
        return [each for each in self.silences.values() if each["status"]["state"] == "active"]

    async def answer(self, record: Recorded) -> web.Response:
        if record.path.startswith("/api/v2/status"):
            return web.json_response({"uptime": self.up_since})
        if record.path.startswith("/api/v2/alerts"):
            return web.json_response(self.alerts)
        if not record.path.startswith("/api/v2/silences"):
            return web.Response(status=404, text="404 page not found")
        if record.method == "GET":
            return web.json_response(list(self.silences.values()))
        return self._create(record.json)

    def _create(self, body: dict[str, Any]) -> web.Response:
        missing = [key for key in ("matchers", "startsAt", "endsAt", "createdBy", "comment") if not body.get(key)]
        if missing:
            return web.json_response({"code": 602, "message": f"{missing[0]} in body is required"}, status=422)
        if datetime.fromisoformat(body["endsAt"]).timestamp() <= time.time():
            return web.json_response("end time can't be in the past", status=400)
        old = self.silences.get(body.get("id", ""))
        if body.get("id") and old is None:
            return web.json_response(f"silence {body['id']} not found", status=404)
        kept = old is not None and old["matchers"] == body["matchers"] and old["status"]["state"] == "active"
        if old and not kept:
            old["status"] = {"state": "expired"}
        identity = body["id"] if kept else str(uuid.uuid4())
        self.silences[identity] = {**body, "id": identity, "status": {"state": "active"}}
        return web.json_response({"silenceID": identity})
