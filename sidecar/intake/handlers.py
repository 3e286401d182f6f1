"""The thin HTTP handlers. Machine endpoints never answer 3xx, 413 or 429: Alertmanager would lose the alerts.

A webhook is answered 200 only after its commit, 503 when it cannot be committed (Alertmanager retries), 400 only for
what can never be parsed, 401 for a wrong secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sidecar.app_keys import SIDECAR, Sidecar
from sidecar.decider import Work
from sidecar.domain import Feedback, Received
from sidecar.errors import AuthError, ConfigError, PayloadError, Refused, StoreError, TooOld, UnknownEpisode
from sidecar.events import Regrouped
from sidecar.intake import assessment, feedback, regroup, slack_events, webhook, windows
from sidecar.intake.access import allowed as _allowed
from sidecar.intake.access import as_json as _json
from sidecar.intake.access import body_of as _body
from sidecar.intake.access import unauthorized as _unauthorized
from sidecar.intake.answers import routes as answer_routes
from sidecar.intake.voting import found, vote
from sidecar.store import queries
from sidecar.store.engine import Database

ASIDE: Final = "it could not be decided"
_ODD: Final[dict[type[Exception], int]] = {AuthError: 401, PayloadError: 400, TimeoutError: 503}
T = TypeVar("T")
logger = structlog.get_logger()


def routes() -> list[web.RouteDef]:
    """Every route; the webhook's many spellings are one handler, so that none of them redirects."""
    return [
        web.post("/webhook", receive),  # these two are found without trying patterns
        web.post("/api/v1/webhook", receive),
        web.post("/{_:/*}{alias:(api/v1/)?}webhook{__:/*}", receive),
        web.post("/api/v2/feedback", give_feedback),
        web.post("/feedback", give_feedback),
        web.post("/api/v2/incidents/{incident}/take-out", take_out),
        web.post("/api/v2/incidents/{incident}/merge", merge),
        web.post("/classify", classify),
        web.post("/anomaly", spot_anomalies),
        web.get("/api/v2/windows", windows.list_windows),
        web.post("/api/v2/windows", windows.open_window),
        web.delete("/api/v2/windows/{name}", windows.end_window),
        web.post("/slack/events", hear_slack),
        web.get("/-/healthy", say_healthy),
        web.get("/-/ready", say_ready),
        web.post("/-/reload", reload),
        web.put("/-/reload", reload),
        web.get("/metrics", show_metrics),
        web.get("/openapi.yaml", show_contract),
        *answer_routes(),
    ]


async def receive(request: web.Request) -> web.Response:
    """An Alertmanager webhook."""
    sidecar = request.app[SIDECAR]
    status, text = await _receive(request, sidecar)
    sidecar.metrics.webhooks.labels(str(status)).inc()
    headers = {"WWW-Authenticate": 'Bearer realm="sidecar"'} if status == web.HTTPUnauthorized.status_code else None
    return web.Response(status=status, text=text, headers=headers)


async def _receive(request: web.Request, sidecar: Sidecar) -> tuple[int, str]:
    if not _allowed(request, sidecar.config.server.webhook_secret):
        return 401, "send server.webhook_secret as a Bearer token or as the Basic password (http_config)"
    if not sidecar.ready:
        return 503, "starting or stopping"
    try:
        body = await _body(request, sidecar)
        parsed = webhook.parse(body, sidecar.clock())
    except PayloadError as error:
        logger.warning("webhook_unreadable", why=str(error), remote=request.remote)
        return 400, str(error)
    except TimeoutError:
        return 503, "the body did not arrive in time"
    try:
        parsed = msgspec.structs.replace(parsed, received=await sidecar.providers.ask(parsed.received))
        await _set_aside(parsed.poison, sidecar)
        await _decide(parsed, body, sidecar)
    except StoreError as error:
        logger.warning("webhook_refused", why=str(error))
        return 503, "it could not be stored: send it again"
    return 200, "ok"


async def _decide(parsed: webhook.Parsed, body: bytes, sidecar: Sidecar) -> None:
    """Commit a webhook. One that makes its batch fail is taken apart, alert by alert, and only the poison set aside."""
    if parsed.truncated:
        sidecar.metrics.truncated.inc(parsed.truncated)
        logger.warning("alerts_truncated", count=parsed.truncated)
    if not parsed.received:
        return
    try:
        await sidecar.decider.submit(Work(received=parsed.received))
        sidecar.metrics.alerts(parsed.received, sidecar.config.domain_of)
        return
    except Refused as error:
        if len(parsed.received) == 1:
            await _set_aside((webhook.Poison(f"{ASIDE}: {error}", body),), sidecar)
            return
    halves = (parsed.received[: len(parsed.received) // 2], parsed.received[len(parsed.received) // 2 :])
    for half in halves:
        await _decide(webhook.Parsed(half), webhook.encoded(half), sidecar)


async def _set_aside(poison: tuple[webhook.Poison, ...], sidecar: Sidecar) -> None:
    for one in poison:
        name = hashlib.sha256(one.body).hexdigest()
        logger.error("alert_quarantined", id=name, why=one.why)
        sidecar.metrics.quarantined.inc()
        async with sidecar.database.write() as connection:
            await queries.set_aside(connection, name, sidecar.clock(), one.why.replace("\x00", ""), one.body)


# --------------------------------------------------------------------------------------------------------------- feedback


async def give_feedback(request: web.Request) -> web.Response:
    """`POST /api/v2/feedback`, and `POST /feedback` as the specification has it beside /classify and /anomaly."""
    sidecar = request.app[SIDECAR]
    if not _allowed(request, sidecar.config.server.api_secret):
        return _unauthorized()
    try:
        said = feedback.read(await _body(request, sidecar))
        given = Feedback(said.who, said.kind, said.episodes, "api", said.retracted, said.comment)
        counted = await vote(given, said.incident, sidecar)
    except PayloadError as error:
        return web.json_response({"error": str(error)}, status=400)
    except UnknownEpisode as error:
        return web.json_response({"error": str(error)}, status=404)
    except TooOld as error:
        return web.json_response({"error": str(error)}, status=410)
    except (StoreError, TimeoutError) as error:
        return web.json_response({"error": f"not stored, send it again: {error}"}, status=503)
    return web.json_response({"counted": counted})


async def hear_slack(request: web.Request) -> web.Response:
    """Slack's Events API: a reaction on a message of ours is a vote."""
    sidecar = request.app[SIDECAR]
    secret = sidecar.config.slack.signing_secret
    if secret is None:
        return web.Response(status=404, text="slack.signing_secret is not configured")
    try:
        body = await _body(request, sidecar)
        slack_events.verify(request.headers, body, secret.get_secret_value(), sidecar.clock())
        event = slack_events.read(body)
    except (AuthError, PayloadError, TimeoutError) as error:
        return web.Response(status=_ODD[type(error)], text=str(error) or "the body did not arrive in time")
    if isinstance(event, slack_events.Challenge):
        return web.Response(text=event.text)
    if event is not None:
        try:
            await _count_reaction(event, sidecar)
        except (StoreError, TimeoutError) as error:
            logger.warning("reaction_delayed", why=str(error))
            return web.Response(status=503, text="not stored, send it again")
    return web.Response(text="ok")


async def _count_reaction(event: slack_events.Reaction, sidecar: Sidecar) -> None:
    kind = sidecar.config.slack.kind_of(event.emoji)
    incident = await feedback.incident_of(sidecar.database, event.ref) if kind is not None else None
    if kind is None or incident is None:
        return
    async with sidecar.database.read() as connection:
        if event.event_id and await queries.was_seen(connection, event.event_id):
            return
    try:
        await vote(Feedback(event.who, kind, (), "slack", event.removed), incident, sidecar)
    except (UnknownEpisode, TooOld) as error:
        logger.info("reaction_not_counted", why=str(error))
    if event.event_id:
        async with sidecar.database.write() as connection:
            await queries.mark_seen(connection, event.event_id, sidecar.clock())


# ------------------------------------------------------------------------------------------------------------ regrouping


async def take_out(request: web.Request) -> web.Response:
    """`POST /api/v2/incidents/{incident}/take-out`: alerts that do not belong there go on in an incident of their own."""
    return await _regroup(request, regroup.read_take_out, regroup.taken_out)


async def merge(request: web.Request) -> web.Response:
    """`POST /api/v2/incidents/{incident}/merge`: what fires in it goes on in another incident."""
    return await _regroup(request, regroup.read_merge, regroup.merged)


async def _regroup(
    request: web.Request,
    read: Callable[[bytes], T],
    event_of: Callable[[Database, T, str, float], Awaitable[Regrouped]],
) -> web.Response:
    sidecar, incident = request.app[SIDECAR], request.match_info["incident"]
    if not _allowed(request, sidecar.config.server.api_secret):
        return _unauthorized()
    try:
        said = read(await _body(request, sidecar))
        event = await found(lambda: event_of(sidecar.database, said, incident, sidecar.clock()), sidecar)
        await sidecar.decider.submit(Work(asks=(event,)))
    except PayloadError as error:
        return web.json_response({"error": str(error)}, status=400)
    except UnknownEpisode as error:
        return web.json_response({"error": str(error)}, status=404)
    except (StoreError, TimeoutError) as error:
        return web.json_response({"error": f"not stored, send it again: {error}"}, status=503)
    return _json(regroup.Answer(event.into, len(event.episodes), len(event.pairs)))


# ------------------------------------------------------------------------------------------------------------- the models


async def classify(request: web.Request) -> web.Response:
    """`POST /classify`: how probably alerts are false, as the built-in classifier sees it now."""
    sidecar = request.app[SIDECAR]
    received = await _asked_about(request, sidecar)
    if isinstance(received, web.Response):
        return received
    state, config, now = sidecar.decider.state, sidecar.config, sidecar.clock()
    return _json(assessment.classify(received, state, sidecar.scorers, config, now))


async def spot_anomalies(request: web.Request) -> web.Response:
    """`POST /anomaly`: whether alerts are more than is usual at this time."""
    sidecar = request.app[SIDECAR]
    received = await _asked_about(request, sidecar)
    if isinstance(received, web.Response):
        return received
    return _json(assessment.spot(received, sidecar.decider.state, sidecar.clock()))


async def _asked_about(request: web.Request, sidecar: Sidecar) -> tuple[Received, ...] | web.Response:
    """The alerts of the request, or what it is answered without them."""
    if not _allowed(request, sidecar.config.server.api_secret):
        return _unauthorized()
    if not sidecar.ready:
        return web.json_response({"error": "starting or stopping"}, status=503)
    try:
        return assessment.read(await _body(request, sidecar), sidecar.clock())
    except PayloadError as error:
        return web.json_response({"error": str(error)}, status=400)
    except TimeoutError:
        return web.json_response({"error": "the body did not arrive in time"}, status=503)


# -------------------------------------------------------------------------------------------------------------- operating


async def show_contract(_: web.Request) -> web.Response:
    """`GET /openapi.yaml`: what every endpoint takes and answers."""
    return web.Response(text=_contract(), content_type="application/yaml")


@lru_cache(maxsize=1)
def _contract() -> str:
    return (Path(__file__).parent / "openapi.yaml").read_text("utf-8")


async def say_healthy(_: web.Request) -> web.Response:
    return web.Response(text="healthy")


async def say_ready(request: web.Request) -> web.Response:
    ready = request.app[SIDECAR].ready
    return web.Response(status=200 if ready else 503, text="ready" if ready else "not ready")


async def reload(request: web.Request) -> web.Response:
    """Read the configuration again; a bad file keeps the old one."""
    sidecar = request.app[SIDECAR]
    if not _allowed(request, sidecar.config.server.api_secret):
        return web.Response(status=401, text="send server.api_secret as a Bearer token")
    try:
        sidecar.reload()
    except ConfigError as error:
        return web.Response(status=400, text=f"the old configuration stays:\n{error}\n")
    return web.Response(text="reloaded")


async def show_metrics(request: web.Request) -> web.Response:
    sidecar = request.app[SIDECAR]
    body = generate_latest(sidecar.metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
