"""Reads Prometheus's range queries, window by window.

https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Struct, field

from sidecar.errors import SidecarError, Unanswered
from sidecar.history import Series

# https://github.com/prometheus/prometheus/blob/main/web/api/v1/api.go: "exceeded maximum resolution of 11,000 points"
MOST_POINTS: Final = 11_000
WINDOW_SECONDS: Final = 86_400.0  # asked for at once: an answer of a busy day still fits into the memory
ANSWER_LIMIT: Final = 64 * 1024 * 1024  # bytes; a window that gives more is halved
TRIES: Final = 5
PAUSES: Final = (0.5, 1.0, 2.0, 4.0)  # s between the tries
CONNECT_SECONDS: Final = 5.0
TOO_MANY_REQUESTS: Final = 429
QUERY_REFUSED: Final = (400, 422)  # Prometheus says so of a query that is wrong; the next one may be right
Session = aiohttp.ClientSession  # callers pass it on without knowing aiohttp


class Places(Struct, frozen=True):
    """Where what was wrong is written, for hints; by default the options of `sidecar backfill`."""

    url: str = "--prometheus"
    credentials: str = "give --bearer-token-file, or a --header with the credentials"

    def hint(self, status: int) -> str:
        """What to do about an answer with this status; empty where only its own words help."""
        if status in (401, 403):
            return f": {self.credentials}"
        if status == 404:
            return f": {self.url} is where /api/v1/query_range is below, with its path prefix if it has one"
        return ""


BACKFILL: Final = Places()


class Range(Struct, frozen=True):
    """What is asked for: every `step` seconds from `start` to `end`, both included, seconds since the epoch."""

    match: str
    start: float
    end: float
    step: float


class _Found(Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]]


class _Data(Struct):
    kind: str = field(name="resultType")
    result: list[_Found] = []


class _Answer(Struct):
    status: str = ""
    data: _Data | None = None
    error: str = ""
    error_type: str = field(name="errorType", default="")


class _TooMuch(Exception):
    """Prometheus, or we, cannot hold the answer: ask for less at once."""


class _NotNow(Exception):
    """Worth another try."""


_decode = msgspec.json.Decoder(_Answer).decode


class Prometheus:
    """One server. `say` is told in words whenever something has to be tried again; `timeout`, seconds, is for each request."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        say: Callable[[str], object],
        places: Places = BACKFILL,
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._name = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()  # no password
        self._headers = dict(headers)
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT_SECONDS, timeout))
        self._say = say
        self._places = places

    async def windows(self, asked: Range) -> AsyncIterator[tuple[float, list[Series]]]:
        """(upto, series) until the whole range is read; what Prometheus finds too much is asked for in smaller pieces.

        Raises SidecarError, with what to do, when it does not answer or refuses.
        """
        points = max(1, min(MOST_POINTS, int(WINDOW_SECONDS / asked.step)))
        n, count = 0, int((asked.end - asked.start) / asked.step + 1e-6) + 1
        while n < count:
            many = min(points, count - n)
            upto = asked.start + (n + many - 1) * asked.step
            try:
                series = await self._window(Range(asked.match, asked.start + n * asked.step, upto, asked.step))
            except _TooMuch as error:
                if many == 1:
                    raise SidecarError(f"{self._name}: {error}, even for one moment: narrow --match") from None
                points = many // 2
                continue
            yield upto, series
            n += many

    async def _window(self, asked: Range) -> list[Series]:
        """One query, tried again a few times when that may help."""
        for pause in (*PAUSES, None):
            try:
                return await self._ask(asked)
            except (_NotNow, aiohttp.ClientError, OSError) as error:
                why = _words(error, self._timeout.total or 0.0)
                if pause is None:
                    raise SidecarError(f"{self._name}: {why}, {TRIES} times: see to it, and run this again") from None
                self._say(f"{self._name}: {why}; trying again in {pause:g} s")
                await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def points(self, asked: Range, limit: int) -> list[list[tuple[float, float]]]:
        """One query, tried once: (moment, value) of each series, at most two of them where Prometheus can stop there.

        Raises Unanswered, also when the answer has more than `limit` bytes.
        """
        seconds = self._timeout.total or 0.0
        more = {"timeout": f"{max(1, round(seconds * 1000))}ms", "limit": "2"}
        try:
            return [
                [(at, float(value)) for at, value in one.values]
                for one in self._found(*await self._get(asked, limit, more))
            ]
        except _TooMuch as error:
            raise Unanswered(f"{self._name}: {error}: make it cheaper, or aggregate it to one series") from None
        except (_NotNow, aiohttp.ClientError, OSError) as error:
            raise Unanswered(f"{self._name}: {_words(error, seconds)}", ill=True) from None
        except ValueError:
            raise Unanswered(f"{self._name}: a value is no number", ill=True) from None

    async def _ask(self, asked: Range) -> list[Series]:
        found = self._found(*await self._get(asked, ANSWER_LIMIT))
        return [Series(one.metric, [at for at, _ in one.values]) for one in found]

    async def _get(self, asked: Range, limit: int, more: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body."""
        query = {
            "query": asked.match,
            "start": f"{asked.start:.3f}",
            "end": f"{asked.end:.3f}",
            "step": f"{asked.step:.3f}",
            **(more or {}),
        }
        async with self._session.get(
            f"{self._url}/api/v1/query_range",
            params=query,
            headers=self._headers,
            timeout=self._timeout,
            allow_redirects=False,  # a header with a secret is for this server alone
        ) as response:
            if 300 <= response.status < 400:
                target = response.headers.get("Location", "nowhere")
                raise Unanswered(
                    f"{self._name} redirects to {target}: write in {self._places.url} where it leads", ill=True
                )
            return response.status, await _body(response, limit)

    def _found(self, status: int, body: bytes) -> list[_Found]:
        try:
            answer = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answer = _Answer(error="" if status >= 400 else "the answer is not Prometheus's")
        if answer.error_type == "timeout" or "too many samples" in answer.error:
            raise _TooMuch(answer.error)
        if status >= 500 or status == TOO_MANY_REQUESTS:
            raise _NotNow(f"status {status}" + (f" ({answer.error})" if answer.error else ""))
        if answer.data is None or answer.data.kind != "matrix" or status >= 400:
            said = answer.error or f"status {status}"
            ill = status not in QUERY_REFUSED
            raise Unanswered(f"{self._name}: {said}{self._places.hint(status)}", ill=ill)
        return answer.data.result


@asynccontextmanager
async def connected(
    url: str, headers: Mapping[str, str], patience: float, say: Callable[[str], object]
) -> AsyncIterator[Prometheus]:
    """The server at a URL, with a session of its own; `patience`, seconds, is for each request."""
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield Prometheus(session, url, headers, patience, say)


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(65536):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise _TooMuch(f"the answer has more than {limit} bytes")
    return b"".join(parts)


def _words(error: BaseException, timeout: float) -> str:
    """A failure as people read it; an error's own text may hold the URL with its password."""
    if isinstance(error, _NotNow):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name has no address"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.strerror or type(error.os_error).__name__})"
    return f"the connection broke ({type(error).__name__})"


__all__ = ["Places", "Prometheus", "Range", "Session", "connected"]
