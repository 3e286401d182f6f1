"""What every channel shares: the steps it may ask for, how an answer is classified, and the only I/O towards people.

A channel is pure. It says what to do (`Request`, `Mail`, `Print`), is given the `Response`, and ends with an
`Outcome`. `send` drives that conversation. Here are the project's only outgoing HTTP call (`fetch`) and its only SMTP
call.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import aiohttp
import aiosmtplib
import msgspec
from msgspec import Struct

from sidecar.bulletin import Bulletin
from sidecar.channels.settings import ChannelConfig, redact, reveal
from sidecar.channels.wire import encode_json, origin, quote, retry_after
from sidecar.domain import DeliveryKind, Message, Outcome, Rejected, Retry, Sent, SilenceRequest

USER_AGENT = "alertmanager-sidecar"
ANSWER_LIMIT = 32 * 1024 * 1024  # bytes; the longest we read is a list of silences, the rest are short
CONNECT_TIMEOUT = 5.0  # seconds; a host that does not even accept is not worth a whole request's time
FAILURES: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError),
        "TLS: the server's certificate does not verify",
    ),
    ((aiohttp.ClientSSLError, ssl.SSLError), "TLS: the handshake failed"),
    ((aiohttp.InvalidURL,), "the URL is not valid"),
)
EVERY_KIND: frozenset[DeliveryKind] = frozenset({"notify", "update", "raise", "reminder", "resolve", "digest"})

# ------------------------------------------------------------------------------------------------------------- the steps


class Request(Struct, frozen=True):
    """One HTTP request. Its `repr` names only method, host and size: headers, path and query carry secrets."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""
    timeout: float = 10.0  # seconds for the whole exchange
    verify: bool = True  # the server's certificate
    ca_file: str = ""
    proxy: str = ""

    def __repr__(self) -> str:
        return f"Request({self.method} {origin(self.url)}, {len(self.body)} bytes)"


class Response(Struct, frozen=True):
    """What came back. Status 0: nothing did, and `body` says why. For a `Mail`, status is the SMTP reply code."""

    status: int
    headers: dict[str, str] = {}  # names in lower case
    body: bytes = b""
    at: float = 0.0  # when it came, seconds since the epoch: Retry-After dates are read against it


class Mail(Struct, frozen=True):
    """One SMTP transaction. `content` has no Date header: the sender adds it, so that rendering needs no clock."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    host: str
    port: int
    hello: str = "localhost"
    username: str = ""
    password: str = ""
    require_tls: bool = True
    implicit_tls: bool = False
    verify: bool = True
    ca_file: str = ""
    timeout: float = 30.0

    def __repr__(self) -> str:
        return f"Mail({self.host}:{self.port}, {len(self.recipients)} recipients, {len(self.content)} bytes)"


class Print(Struct, frozen=True):
    """Text for the standard output, or to append to the file `path`."""

    text: str
    path: str = ""


Step = Request | Mail | Print

# ---------------------------------------------------------------------------------------------------------- the protocol

M = TypeVar("M", Message, Message | Bulletin, SilenceRequest)
C = TypeVar("C", bound=ChannelConfig)
Exchange = Generator[Step, Response, Outcome]


class Rate(NamedTuple):
    """A token bucket's default: what the provider allows one destination."""

    per_second: float
    burst: float


class Channel(ABC, Generic[M, C]):
    """A way to reach people (or, for silences, Alertmanager). Stateless: `render`, `interpret` and `exchange` are pure."""

    name: ClassVar[str]
    config_key: ClassVar[str]  # the key in a receiver's configuration
    Config: ClassVar[type[ChannelConfig]]
    edits: ClassVar[bool] = False  # can change a message that was sent
    taps: ClassVar[bool] = False  # cannot take reactions: its messages get links to answer by
    kinds: ClassVar[frozenset[DeliveryKind]]  # worth sending here; others end as Sent without a word
    rate: ClassVar[Rate]

    @abstractmethod
    def destination(self, config: C) -> str:
        """What the rate limit counts by; never the secret itself."""

    @abstractmethod
    def render(self, message: M, config: C, ref: str) -> list[Step]:
        """The steps that tell `message`; `ref` is what an earlier `Sent` gave for this incident, or empty."""

    def interpret(self, response: Response) -> Outcome:
        """What one answer means."""
        return classify_http(response.status, response.headers, response.body, response.at)

    def exchange(self, message: M, config: C, ref: str) -> Exchange:
        """The whole conversation. It stops at the first step that is not Sent; the first ref given is the message's."""
        found = ""
        if wanted(message, config, self.kinds):
            for step in self.render(message, config, ref):
                outcome = self.interpret((yield step))
                if not isinstance(outcome, Sent):
                    return outcome
                found = found or outcome.ref
        return Sent(found or ref)


def wanted(message: Message | Bulletin | SilenceRequest, config: ChannelConfig, kinds: frozenset[DeliveryKind]) -> bool:
    """Whether this channel says anything about this kind of message at all."""
    if isinstance(message, SilenceRequest):
        return True
    return message.kind in kinds and (message.kind != "resolve" or config.send_resolved)


# -------------------------------------------------------------------------------------------------------- classification


def classify_http(status: int, headers: dict[str, str], body: bytes, now: float) -> Outcome:
    """2xx Sent; no answer, 408, 429 and 5xx Retry (not before Retry-After); 3xx and other 4xx Rejected.

    `now`: seconds since the epoch, against which a Retry-After that is a date is read.
    """
    if 200 <= status < 300:
        return Sent()
    if status == 0:
        return Retry(quote(body))
    if status in (408, 429) or status >= 500:
        return Retry(f"HTTP {status}: {quote(body)}".rstrip(": "), retry_after(headers, now))
    if 300 <= status < 400:
        where = origin(headers.get("location", ""))
        return Rejected(
            f"HTTP {status}: redirects are not followed; write the final URL ({where}) in the configuration"
        )
    return Rejected(f"HTTP {status}: {quote(body)}".rstrip(": "))


# ------------------------------------------------------------------------------------------------------------- requests


def post_json(url: str, value: Any, config: ChannelConfig, headers: dict[str, str] | None = None) -> Request:
    """A POST of `value` as JSON under the channel's `http_config` and `timeout`."""
    return http_request("POST", url, config, encode_json(value), headers)


def http_request(
    method: str, url: str, config: ChannelConfig, body: bytes = b"", headers: dict[str, str] | None = None
) -> Request:
    """A request under the channel's `http_config` and `timeout`; `headers` win over those."""
    http = config.http_config
    every = {"User-Agent": USER_AGENT, "Content-Type": "application/json; charset=utf-8"}
    every |= http.headers() | (headers or {})
    tls = http.tls_config
    verify = not tls.insecure_skip_verify
    return Request(method, url, every, body, config.timeout, verify, tls.ca_file, reveal(http.proxy_url))


# --------------------------------------------------------------------------------------------------------------- the I/O


async def send(
    session: aiohttp.ClientSession,
    channel: Channel[Any, Any],
    message: Message | Bulletin | SilenceRequest,
    config: ChannelConfig,
    ref: str = "",
    *,
    clock: Callable[[], float] = time.time,
) -> Outcome:
    """Drive one exchange to its outcome. Never raises for what a network, server or mailbox does; no secret in `why`."""
    talk = channel.exchange(message, config, ref)
    try:
        step = next(talk)
        while True:
            answer = await _perform(session, step, clock)
            step = talk.send(_hide(answer, config, step))
    except StopIteration as end:
        return _hide_why(end.value, config)
    finally:
        talk.close()


def _hide(answer: Response, config: ChannelConfig, step: Step) -> Response:
    """An error's text without our secrets, before anybody cuts it: half a secret would no longer be found."""
    if 200 <= answer.status < 300:
        return answer
    sent = step.headers.get("Authorization", "").partition(" ")[2] if isinstance(step, Request) else ""
    text = redact(answer.body.decode("utf-8", "replace"), config, (sent,) if sent else ())
    return msgspec.structs.replace(answer, body=text.encode())


def _hide_why(outcome: Outcome, config: ChannelConfig) -> Outcome:
    if isinstance(outcome, Sent):
        return outcome
    return msgspec.structs.replace(outcome, why=redact(outcome.why, config))


async def _perform(session: aiohttp.ClientSession, step: Step, clock: Callable[[], float]) -> Response:
    if isinstance(step, Request):
        answer = await fetch(session, step)
    elif isinstance(step, Mail):
        answer = await _mail(step, clock())
    else:
        answer = await _print(step)
    return msgspec.structs.replace(answer, at=clock())


async def fetch(session: aiohttp.ClientSession, step: Request) -> Response:
    """The answer to one HTTP request; whatever the network does, a Response. Its error texts name no secret of ours."""
    timeout = aiohttp.ClientTimeout(total=step.timeout, sock_connect=min(CONNECT_TIMEOUT, step.timeout))
    try:
        async with session.request(
            step.method,
            step.url,
            data=io.BytesIO(step.body) if step.body else None,  # bytes over 1 MiB make aiohttp warn
            headers=step.headers,
            timeout=timeout,
            allow_redirects=False,
            ssl=tls_context(step.verify, step.ca_file),
            proxy=step.proxy or None,
        ) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Response(answer.status, headers, await _read(answer))
    except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
        return Response(0, {}, _sentence(error, step.timeout).encode())


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for chunk in answer.content.iter_chunked(65536):
        parts.append(chunk)
        size += len(chunk)
        if size > ANSWER_LIMIT:
            break
    return b"".join(parts)[:ANSWER_LIMIT]


def _sentence(error: BaseException, timeout: float) -> str:
    """A network failure in words. Made from the kind of error: an error's own text may hold the URL, a secret."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"DNS: {error.host} has no address"
    for kinds, words in FAILURES:
        if isinstance(error, kinds):
            return words
    if isinstance(error, OSError) and error.strerror:
        return f"the connection failed: {error.strerror}"
    return f"the connection broke ({type(error).__name__})"


@lru_cache(maxsize=32)
def tls_context(verify: bool, ca_file: str) -> ssl.SSLContext | bool:
    """For aiohttp's `ssl`: True is its own default; an SSLContext where the configuration asks for something else."""
    if verify and not ca_file:
        return True
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _print(step: Print) -> Response:
    try:
        await asyncio.to_thread(_write, step)
    except OSError as error:
        return Response(0, {}, f"the file cannot be written: {error.strerror}".encode())
    return Response(200)


def _write(step: Print) -> None:
    if step.path:
        with Path(step.path).open("a", encoding="utf-8", errors="replace") as file:
            file.write(step.text)
    else:
        sys.stdout.write(step.text)
        sys.stdout.flush()


async def _mail(step: Mail, now: float) -> Response:
    context = tls_context(step.verify, step.ca_file)
    client = aiosmtplib.SMTP(
        hostname=step.host,
        port=step.port,
        timeout=step.timeout,
        use_tls=step.implicit_tls,
        start_tls=False,
        local_hostname=step.hello,
        tls_context=context if isinstance(context, ssl.SSLContext) else None,
    )
    try:
        async with asyncio.timeout(step.timeout):
            answer = await _transact(client, step, now)
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):  # taken is taken, however the goodbye goes
            await client.quit(timeout=1.0)
        return answer
    except aiosmtplib.SMTPResponseException as error:
        return Response(error.code, {}, error.message.encode("utf-8", "replace"))
    except aiosmtplib.SMTPException as error:
        return Response(0, {}, _mail_sentence(error, step.timeout).encode())
    except (OSError, ValueError) as error:
        return Response(0, {}, _sentence(error, step.timeout).encode())
    finally:
        client.close()


def _mail_sentence(error: aiosmtplib.SMTPException, timeout: float) -> str:
    if isinstance(error, aiosmtplib.SMTPTimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error.__cause__, ssl.SSLError | OSError):
        return _sentence(error.__cause__, timeout)
    return f"the connection broke ({type(error).__name__})"


async def _transact(client: aiosmtplib.SMTP, step: Mail, now: float) -> Response:
    """One transaction, all or none: a recipient who cannot be reached *now* ends it before any data is sent, so that
    the next try repeats nothing to anybody; one who is refused for good is left out and named in `refused`.
    """
    await client.connect()
    await client.ehlo()
    if not step.implicit_tls and client.supports_extension("starttls"):
        await client.starttls()
        await client.ehlo()
    elif not step.implicit_tls and step.require_tls:
        return Response(0, {}, b"the mail server does not offer STARTTLS, and require_tls is true")
    if step.username:
        await client.login(step.username, step.password)
    await client.mail(step.sender)
    refused: list[str] = []
    for recipient in step.recipients:
        try:
            await client.rcpt(recipient)
        except aiosmtplib.SMTPRecipientRefused as error:
            if error.code < 500 or len(refused) + 1 == len(step.recipients):
                return Response(error.code, {}, f"{recipient}: {error.message}".encode("utf-8", "replace"))
            refused.append(recipient)
    answer = await client.data(f"Date: {formatdate(now)}\r\n".encode() + step.content)
    return Response(answer.code, {"refused": ", ".join(refused)} if refused else {}, answer.message.encode())
