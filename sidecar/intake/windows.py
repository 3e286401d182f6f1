"""Deployment windows by API: opened, renewed, listed, ended.

`POST /api/v2/windows`, as JSON:

    {"name": "deploy", "owner": "ci", "matchers": ["namespace=shop"], "lease": "10m", "comment": "release 42"}

opens a window, or renews it (the same name and owner). What matches and has one of its `severities` (INFO and WARNING when
they are not given) waits until the window ends: by its lease, or by `DELETE /api/v2/windows/{name}`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web
from msgspec import Struct

from sidecar.app_keys import SIDECAR, Sidecar
from sidecar.config import Config
from sidecar.config.durations import format_duration, parse_duration
from sidecar.config.matchers import parse_matcher, split_matchers
from sidecar.config.problems import Wrong
from sidecar.decider import Work
from sidecar.domain import SEVERITY_RANK, severity_of
from sidecar.errors import PayloadError, StoreError
from sidecar.events import WindowClosed, WindowOpened
from sidecar.intake.access import allowed, as_json, body_of, unauthorized
from sidecar.rules.maintenance import covers
from sidecar.state import State, Window

LONGEST_NAME: Final = 100
LONGEST_OWNER: Final = 200
LONGEST_COMMENT: Final = 2000
MOST_MATCHERS: Final = 50
LONGEST_MATCHER: Final = 1000
LEASE: Final = "10m"
SEVERITIES: Final = ("INFO", "WARNING")
logger = structlog.get_logger()


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    owner: str
    matchers: tuple[str, ...]
    severities: tuple[str, ...] = SEVERITIES
    lease: str | int = LEASE
    comment: str = ""


class Shown(Struct, frozen=True):
    """A window as it is answered; times are RFC 3339."""

    name: str
    owner: str
    matchers: tuple[str, ...]
    severities: tuple[str, ...]
    opened_at: str
    ends_at: str
    comment: str
    waiting: int  # alerts that wait for its end


def read(body: bytes, config: Config, now: float) -> WindowOpened:
    """The event that a request asks for. Raises PayloadError that says what to send."""
    try:
        said = msgspec.json.decode(body, type=Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(
            f"{error}. Send name, owner and matchers; severities, lease and comment if you like"
        ) from None
    _check_words(said)
    ends_at = now + _lease(said.lease, config.windows.max_lease)
    severities = _severities(said.severities, config)
    return WindowOpened(now, said.name, said.owner, _matchers(said.matchers), severities, ends_at, said.comment)


def _check_words(said: Body) -> None:
    for field, text, longest in (("name", said.name, LONGEST_NAME), ("owner", said.owner, LONGEST_OWNER)):
        if not text.strip() or len(text) > longest or not text.isprintable() or "/" in text:
            raise PayloadError(f"`{field}` needs 1 to {longest} printable characters without a slash")
    if len(said.comment) > LONGEST_COMMENT or "\x00" in said.comment:
        raise PayloadError(f"`comment` has at most {LONGEST_COMMENT} characters, and no NUL")


def _lease(given: str | int, longest: float) -> float:
    try:
        seconds = parse_duration(given)
    except Wrong as fault:
        raise PayloadError(f"`lease`: {fault} ({fault.hint})") from None
    if not 0 < seconds <= longest:
        limit = format_duration(longest)
        raise PayloadError(f"`lease` is above 0 and at most {limit} (windows.max_lease): renew it before it ends")
    return seconds


def _severities(given: tuple[str, ...], config: Config) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(severity_of({"severity": name}) for name in given))
    if not names:
        raise PayloadError("`severities` is empty: no alert would wait; leave it out for INFO and WARNING")
    for name in names:
        if name in config.guard.severities:
            raise PayloadError(f"{name} is never kept back (guard.never_suppress): leave it out of `severities`")
        if name not in SEVERITY_RANK:
            raise PayloadError(f"{name!r} is no severity that may wait: write {', '.join(SEVERITIES)} or ERROR")
    return names


def _matchers(given: tuple[str, ...]) -> tuple[str, ...]:
    if len(given) > MOST_MATCHERS or any(len(text) > LONGEST_MATCHER or "\x00" in text for text in given):
        raise PayloadError(
            f"give at most {MOST_MATCHERS} `matchers`, with at most {LONGEST_MATCHER} characters each and no NUL"
        )
    try:
        parsed = [parse_matcher(text) for text in split_matchers(list(given))]
    except Wrong as fault:
        raise PayloadError(f"`matchers`: {fault} ({fault.hint})") from None
    if not parsed or len(parsed) > MOST_MATCHERS:
        raise PayloadError(f'`matchers` needs 1 to {MOST_MATCHERS}: ["namespace=shop"]')
    if all(one.matches({}) for one in parsed):
        raise PayloadError("`matchers` match every alert: at least one must not match an absent label")
    return tuple(sorted(map(str, parsed)))


# --------------------------------------------------------------------------------------------------------------- handlers


async def open_window(request: web.Request) -> web.Response:
    """`POST /api/v2/windows`: open a window, or renew it."""
    sidecar = request.app[SIDECAR]
    if (refused := _refused(request, sidecar)) is not None:
        return refused
    try:
        event = read(await body_of(request, sidecar), sidecar.config, sidecar.clock())
        taken = _taken(event, sidecar)
        if taken is None:
            await sidecar.decider.submit(Work(asks=(event,)))
            taken = _taken(event, sidecar)  # somebody else's, opened elsewhere in this moment
    except PayloadError as error:
        return web.json_response({"error": str(error)}, status=400)
    except (StoreError, TimeoutError) as error:
        return web.json_response({"error": f"not stored, send it again: {error}"}, status=503)
    if taken is not None:
        return web.json_response({"error": taken}, status=409)
    logger.info("window_opened", name=event.name, owner=event.owner, ends_at=event.ends_at)
    window = sidecar.decider.state.windows.get(event.name)
    return as_json(_shown(event.name, window or _window(event), _waiting(sidecar.decider.state)))


def _window(event: WindowOpened) -> Window:
    return Window(event.owner, event.matchers, event.severities, event.at, event.ends_at, event.comment)


def _taken(event: WindowOpened, sidecar: Sidecar) -> str | None:
    """Why this window cannot be opened now; None when it can."""
    windows, now = sidecar.decider.state.windows, event.at
    known = windows.get(event.name)
    if known is not None and known.ends_at > now:
        if known.owner == event.owner:
            return None
        until = _stamp(known.ends_at)
        return f"{event.name} is open until {until} and belongs to {known.owner}: take another name, or end it first"
    if sum(one.ends_at > now for one in windows.values()) >= sidecar.config.windows.most:
        return f"{sidecar.config.windows.most} windows are open already (windows.most): end one first"
    return None


async def end_window(request: web.Request) -> web.Response:
    """`DELETE /api/v2/windows/{name}`: what still fires is told at once. With `?owner=` only that owner's."""
    sidecar = request.app[SIDECAR]
    if (refused := _refused(request, sidecar)) is not None:
        return refused
    name, owner, now = request.match_info["name"], request.query.get("owner", ""), sidecar.clock()
    known = sidecar.decider.state.windows.get(name)
    if known is None or known.ends_at <= now:
        return web.json_response({"error": f"there is no open window {name!r}: it ended, or never was"}, status=404)
    if owner and owner != known.owner:
        return web.json_response({"error": f"{name} belongs to {known.owner}, not to {owner}"}, status=409)
    shown = _shown(name, known, _waiting(sidecar.decider.state))
    try:
        await sidecar.decider.submit(Work(asks=(WindowClosed(now, name, f"ended for {owner or 'somebody'}"),)))
    except StoreError as error:
        return web.json_response({"error": f"not stored, send it again: {error}"}, status=503)
    logger.info("window_ended", name=name, owner=known.owner)
    return as_json(msgspec.structs.replace(shown, ends_at=_stamp(now)))


async def list_windows(request: web.Request) -> web.Response:
    """`GET /api/v2/windows`: those that are open, the first to end first."""
    sidecar = request.app[SIDECAR]
    if (refused := _refused(request, sidecar)) is not None:
        return refused
    state, now = sidecar.decider.state, sidecar.clock()
    found = sorted((window.ends_at, name, window) for name, window in state.windows.items() if window.ends_at > now)
    shown, waiting = [], _waiting(state)
    for _, name, window in found:
        shown.append(_shown(name, window, waiting))
        await asyncio.sleep(0)  # with thousands of alerts that wait, each window takes a while
    return as_json({"windows": shown})


def _refused(request: web.Request, sidecar: Sidecar) -> web.Response | None:
    if not allowed(request, sidecar.config.server.api_secret):
        return unauthorized()
    return None if sidecar.ready else web.json_response({"error": "starting or stopping"}, status=503)


def _waiting(state: State) -> list[tuple[str, dict[str, str]]]:
    """Severity and labels of the alerts that wait for a window."""
    held: Any = (state.holds.get(fingerprint) for fingerprint in state.holds.of_windows())
    return [(severity_of(hold.alert.labels), hold.alert.labels) for hold in held if hold is not None]


def _shown(name: str, window: Window, alerts: list[tuple[str, dict[str, str]]]) -> Shown:
    waiting = sum(covers(window, severity, labels) for severity, labels in alerts)
    return Shown(
        name, window.owner, window.matchers, window.severities, _stamp(window.opened_at), _stamp(window.ends_at),
        window.comment, waiting,
    )  # fmt: skip


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
