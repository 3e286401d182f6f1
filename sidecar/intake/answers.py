"""`GET /v/{token}` shows what a link to answer by is about, `POST` of its button votes. Thin handlers around verdict.py.

GET changes nothing, since scanners and previews open every link; nothing redirects.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from sidecar.app_keys import SIDECAR, Sidecar
from sidecar.channels.prose import format_moment
from sidecar.domain import Feedback, severity_of
from sidecar.domain import what_and_where as title_of
from sidecar.errors import AuthError, PayloadError, StoreError, TooOld, UnknownEpisode
from sidecar.intake import verdict
from sidecar.intake.verdict import Subject
from sidecar.intake.voting import DIGEST, LINK, vote
from sidecar.links import Answer, read
from sidecar.store import digests, queries

YEAR: Final = 365 * 86400  # s that a browser remembers the name
BODY_SECONDS: Final = 10.0
UNREAD: Final = (PayloadError, TimeoutError, web.HTTPException, web.RequestPayloadError)
ODD: Final = (AuthError, TooOld, UnknownEpisode, StoreError, *UNREAD)
logger = structlog.get_logger()


def routes() -> list[web.RouteDef]:
    return [web.get("/v/{token}", show), web.post("/v/{token}", count)]


async def show(request: web.Request) -> web.Response:
    """What is asked, and one button."""
    try:
        answer, subject = await _opened(request)
    except ODD as error:
        return _refused(error)
    return _page(verdict.ask(subject, answer.kind, verdict.remembered(request.cookies.get(verdict.COOKIE, ""))))


async def count(request: web.Request) -> web.Response:
    """The button was pressed: the vote counts, or is taken back."""
    sidecar = request.app[SIDECAR]
    try:
        answer, subject = await _opened(request)
        async with asyncio.timeout(BODY_SECONDS):
            form = verdict.read_form(await request.read())
        shown_as = form.who or f"somebody via {answer.receiver}"
        given = Feedback(shown_as, answer.kind, (), LINK, form.undo)
        counted = await vote(given, answer.about, sidecar, answer.line)
    except ODD as error:
        return _refused(error)
    if form.undo:
        return _page(verdict.ask(subject, answer.kind, form.who, taken_back=True))
    page = _page(verdict.thank(subject, answer.kind, form.who, shown_as, counted))
    base = urlsplit(sidecar.config.server.external_url)
    page.set_cookie(
        verdict.COOKIE, verdict.to_remember(form.who), max_age=YEAR, path=f"{base.path.rstrip('/')}/v/", httponly=True,
        samesite="Lax", secure=base.scheme == "https",
    )  # fmt: skip
    return page


async def _opened(request: web.Request) -> tuple[Answer, Subject]:
    """What the link says, and what it is about. Raises AuthError, TooOld, UnknownEpisode or StoreError."""
    sidecar = request.app[SIDECAR]
    answer = read(request.match_info["token"], sidecar.config.link_key, sidecar.clock())
    return answer, await _subject(answer, sidecar)


async def _subject(answer: Answer, sidecar: Sidecar) -> Subject:
    """What the page says the answer is about. Raises UnknownEpisode."""
    async with sidecar.database.read() as connection:
        if answer.about.startswith(DIGEST):
            found = await digests.stored(connection, answer.about)
            if found is None or not 0 <= answer.line < len(found.items):
                raise UnknownEpisode(answer.about)
            item = found.items[answer.line]
            when = f"from {format_moment(found.since)} to {format_moment(found.until)}"
            return Subject(item.title, (when, *item.facts))
        view = await queries.incident_view(connection, answer.about)
    if view is None or not view.episodes:
        raise UnknownEpisode(answer.about)
    first = min(view.episodes, key=lambda row: row.starts_at)
    total = view.firing + view.resolved
    count = "1 alert" if total == 1 else f"{total} alerts"
    facts = (
        f"{severity_of(first.labels)}, {count}, {view.firing} still firing",
        f"since {format_moment(first.starts_at)}",
    )
    return Subject(view.title or title_of(first.labels), facts)


def _page(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=verdict.HEADERS)


def _refused(error: Exception) -> web.Response:
    """The page for what went wrong, in words for whoever pressed."""
    if isinstance(error, AuthError):
        status, title, why = 404, "Not found", "This link is not one of ours, or was cut, or its key has been changed."
    elif isinstance(error, UnknownEpisode):
        status, title, why = 404, "Not found", "What this link is about is not stored."
    elif isinstance(error, TooOld):
        status, title, why = 410, "Too old", f"{error}. Answers count for 60 days."
    elif isinstance(error, StoreError):
        logger.warning("answer_not_stored", why=str(error))
        status, title, why = 503, "Not now", "The database cannot be reached: try again in a minute."
    else:
        status, title, why = 400, "That was not understood", "Open the link again, and press its button."
    return _page(verdict.refuse(title, why), status)
