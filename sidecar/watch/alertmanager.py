"""Reads every Alertmanager that is configured: what silences hide, what has ended unsaid, and what became of ours.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml. What it means is in `sightings.py`, and the log
and the rules decide: two replicas that both watch say the same, and the second one says nothing new.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog
from msgspec import Struct, field

from sidecar.config import Config
from sidecar.config.sections import AlertmanagerPeer
from sidecar.decider import Decider, Work
from sidecar.domain import Pattern
from sidecar.errors import StoreError
from sidecar.events import EpisodeEnded, Event, SenderKnown
from sidecar.intake.webhook import fingerprint_of, is_fingerprint, is_plain, readable, seconds_of
from sidecar.state.silences import LASTING
from sidecar.store import silences
from sidecar.store.engine import Database
from sidecar.telemetry import Metrics
from sidecar.watch.sightings import (
    Answer,
    Gone,
    Known,
    Memory,
    Open,
    Ours,
    Seen,
    Sighting,
    Standing,
    Terms,
    exact,
    look,
)

ANSWER_LIMIT: Final = 256 * 1024 * 1024  # bytes; 100,000 alerts are 70 MB
CONNECT_SECONDS: Final = 5.0
PIECE: Final = 20_000  # episodes looked through before others get their turn
MOST_SILENCES: Final = 200  # that hide one alert and are looked at
AT_ONCE: Final = 500  # alerts or events handed in together
ALERTS: Final = "/api/v2/alerts?active=true&silenced=true&inhibited=true&unprocessed=true"
T = TypeVar("T")
logger = structlog.get_logger()


class _Status(Struct):
    silenced: tuple[str, ...] = field(name="silencedBy", default=())


class _Alert(Struct):
    fingerprint: str
    labels: dict[str, str]
    starts_at: datetime = field(name="startsAt")
    ends_at: datetime = field(name="endsAt")
    annotations: dict[str, str] = {}
    generator_url: str = field(name="generatorURL", default="")
    status: _Status = field(default_factory=_Status)


class _Matcher(Struct):
    name: str
    value: str
    is_regex: bool = field(name="isRegex", default=False)
    is_equal: bool = field(name="isEqual", default=True)


class _State(Struct):
    state: str


class _Silence(Struct):
    id: str
    status: _State
    matchers: list[_Matcher]
    starts_at: datetime = field(name="startsAt")
    ends_at: datetime = field(name="endsAt")
    updated_at: datetime = field(name="updatedAt")
    created_by: str = field(name="createdBy", default="")
    comment: str = ""


class _Up(Struct):
    uptime: datetime


_alerts = msgspec.json.Decoder(list[_Alert]).decode
_silences = msgspec.json.Decoder(list[_Silence]).decode
_up = msgspec.json.Decoder(_Up).decode


class _Unread(Exception):
    """What a peer did not say, in words."""


class Watcher:
    """`run` is its loop, `turn` one look at every peer."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        database: Database,
        decider: Decider,
        config: Callable[[], Config],
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._database = database
        self._decider = decider
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._memory = Memory()
        self._down: dict[str, str] = {}  # peer -> why, said once

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._config().watch.interval)
            try:
                if self._config().watch.enabled and self._config().alertmanagers:
                    await self.turn()
            except StoreError as error:
                logger.warning("watch_delayed", why=str(error))
            except Exception:  # webhooks are served without it: it must not end the process
                logger.exception("watch_failed")

    async def turn(self) -> Seen:
        """Ask every peer, and hand in what is news."""
        watch, began = self._config().watch, self._clock()
        answers = await asyncio.gather(*(self._ask(peer) for peer in self._config().alertmanagers))
        for answer in answers:
            self._show(answer)
        known = await self._known()
        terms = Terms(watch.interval, watch.settled_after)
        # in a thread, as reading is: with 100,000 alerts it takes a second
        memory, seen = await asyncio.to_thread(look, self._memory, answers, known, began, self._clock(), terms)
        await self._hand_in(seen)
        self._memory = memory  # what could not be handed in is found again
        return seen

    def _show(self, answer: Answer) -> None:
        self._metrics.watch_up.labels(answer.peer).set(0 if answer.why else 1)
        if answer.why and answer.peer not in self._down:
            logger.warning("alertmanager_unwatched", peer=answer.peer, why=answer.why)
        elif not answer.why and self._down.pop(answer.peer, None) is not None:
            logger.info("alertmanager_watched_again", peer=answer.peer)
        if answer.why:
            self._down[answer.peer] = answer.why

    # ------------------------------------------------------------------------------------------------------ what is asked

    async def _ask(self, peer: AlertmanagerPeer) -> Answer:
        name = urlsplit(peer.url).netloc.rpartition("@")[2]
        try:
            status, at = await self._get(peer, "/api/v2/status")
            alerts, _ = await self._get(peer, ALERTS)
            listed, _ = await self._get(peer, "/api/v2/silences")
            return await asyncio.to_thread(_read, name, at or self._clock(), status, alerts, listed)
        except _Unread as error:
            return Answer(name, why=str(error))
        except (aiohttp.ClientError, OSError) as error:
            return Answer(name, why=f"no answer ({type(error).__name__})")
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
            return Answer(name, why=f"its answer cannot be read: {error}")

    async def _get(self, peer: AlertmanagerPeer, path: str) -> tuple[bytes, float]:
        """(body, the peer's own time; 0 where it gives none)."""
        timeout = aiohttp.ClientTimeout(total=peer.timeout, sock_connect=min(CONNECT_SECONDS, peer.timeout))
        url = peer.url.rstrip("/") + path
        async with self._session.get(url, headers=_headers(peer), timeout=timeout, allow_redirects=False) as answer:
            body = await answer.content.read(ANSWER_LIMIT) if answer.status != 200 else await _whole(answer)
            if answer.status != 200:
                raise _Unread(f"HTTP {answer.status} at {path.partition('?')[0]}")
            said = answer.headers.get("Date")
            return body, parsedate_to_datetime(said).timestamp() if said else 0.0

    # ----------------------------------------------------------------------------------------------------- what is known

    async def _known(self) -> Known:
        state = self._decider.state
        muted = {fingerprint: tuple(by.silence_id for by in one.by) for fingerprint, one in state.muted.items()}
        firing: dict[str, Open] = {}
        for piece in _pieces(list(state.episodes.items()), PIECE):
            for fingerprint, one in piece:
                if one.ended_at is None:
                    names = muted.get(fingerprint)
                    firing[fingerprint] = Open(one.episode, one.last_seen, names or (), names is not None)
            await asyncio.sleep(0)
        ours = [
            Ours(
                Pattern(*key.split("\x1f")), one.silence_id, one.state, exact(one.matchers), one.asked_at, one.ends_at,
                one.at, one.created_by, one.mark, one.hidden, one.adopted,
            )
            for key, one in state.silences.items()
            if one.state in LASTING and one.state != "asked"
        ]  # fmt: skip
        return Known(firing, ours)

    # ----------------------------------------------------------------------------------------------------- what is handed in

    async def _hand_in(self, seen: Seen) -> None:
        events = [*await self._senders(seen.new), *await self._ends(seen.gone), *seen.events]
        url = next(iter(self._decider.state.senders), "")  # as their webhooks say it: for links, and whose they are
        for piece in _pieces(list(seen.received), AT_ONCE):
            received = tuple(msgspec.structs.replace(one, external_url=url) for one in piece)
            await self._decider.submit(Work(received=received))
        for piece in _pieces(events, AT_ONCE):
            await self._decider.submit(Work(asks=tuple(piece)))

    async def _senders(self, new: tuple[str, ...]) -> list[Event]:
        """Whose webhooks brought what these Alertmanagers have: what comes from there may be ended by their word."""
        if not new:
            return []
        urls = set((await silences.senders_of(self._database, new[:AT_ONCE])).values())
        return [
            SenderKnown(self._clock(), url) for url in sorted(urls) if url and url not in self._decider.state.senders
        ]

    async def _ends(self, gone: tuple[Gone, ...]) -> list[Event]:
        unmet = [one.episode for one in gone if not one.met]
        senders: dict[str, str] = {}
        for piece in _pieces(unmet, AT_ONCE):
            senders |= await silences.senders_of(self._database, piece)
        known = self._decider.state.senders
        return [
            EpisodeEnded(self._clock(), one.episode, one.fingerprint, one.ends_at)
            for one in gone
            if one.met or senders.get(one.episode, "") in known
        ]


def _pieces(values: list[Any], size: int) -> Iterable[Any]:
    return (values[n : n + size] for n in range(0, len(values), size))


def _headers(peer: AlertmanagerPeer) -> dict[str, str]:
    if peer.bearer_token is not None:
        return {"Authorization": f"Bearer {peer.bearer_token.get_secret_value()}"}
    if peer.basic_auth is not None:
        pair = f"{peer.basic_auth.username}:{peer.basic_auth.password.get_secret_value()}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {}


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_chunked(1 << 18):
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT:
            raise _Unread(f"its answer has more than {ANSWER_LIMIT} bytes")
    return b"".join(parts)


def _read(peer: str, at: float, status: bytes, alerts: bytes, listed: bytes) -> Answer:
    """The three answers of a peer. Raises msgspec.DecodeError, ValueError, OverflowError and RecursionError."""
    return Answer(
        peer,
        at,
        _up(status).uptime.timestamp(),
        {one.fingerprint: one for one in map(_sighting, _lenient(_alerts, alerts))},
        {one.id: _standing(one) for one in _lenient(_silences, listed)},
    )


def _lenient(decode: Callable[[bytes], list[T]], body: bytes) -> list[T]:
    """What no database takes is replaced, when there is any: to look for it holds up everybody for half a second."""
    if is_plain(body):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return decode(body)
    return decode(readable(body))


def _sighting(one: _Alert) -> Sighting:
    """As a webhook of it would be read: the two have to be one episode."""
    starts_at, ends_at = max(0.0, seconds_of(one.starts_at)), seconds_of(one.ends_at)
    name = one.fingerprint if is_fingerprint(one.fingerprint) else fingerprint_of(one.labels)
    silenced = tuple(dict.fromkeys(one.status.silenced))[:MOST_SILENCES]
    return Sighting(name, one.labels, one.annotations, starts_at, ends_at, one.generator_url, silenced)


def _standing(one: _Silence) -> Standing:
    return Standing(
        one.id,
        one.status.state,
        frozenset((each.name, each.value, each.is_regex, each.is_equal) for each in one.matchers),
        seconds_of(one.starts_at),
        seconds_of(one.ends_at),
        seconds_of(one.updated_at),
        one.created_by,
        one.comment,
    )
