"""A real SMTP server for tests, with STARTTLS under a certificate made on the spot. Used by way of `tests.fakes`."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


async def until(condition, timeout: float = 10.0) -> None:
    """Wait until `condition()` is true; AssertionError after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not so within {timeout} s"
        await asyncio.sleep(0.01)


@dataclass
class ReceivedMail:
    """One mail as the server took it."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    tls: bool
    user: str

    def part(self, subtype: str) -> str:
        """The text of its `plain` or `html` part."""
        body = self.message.get_body((subtype,))
        return body.get_content() if body is not None else ""


class FakeSmtp:
    """A real SMTP server (aiosmtpd). `refuse` maps an address to the reply its RCPT gets, e.g. "550 5.1.1 unknown".

    `fail("421 4.3.0 busy", "hang", "reset")` applies to the coming transactions, `always=` to all.
    """

    def __init__(self, *, starttls: bool = True, user: str = "", password: str = "") -> None:
        self.starttls, self._login = starttls, (user, password)
        self.mails: list[ReceivedMail] = []
        self.refuse: dict[str, str] = {}
        self._next: list[str] = []
        self._always: str | None = None
        self._connections: list[SMTP] = []

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self.ca_file, self.context = make_certificate(Path(self._folder.name))
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._connection(loop), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.smarthost = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abort()
        tasks = [each._handler_coroutine for each in self._connections if each._handler_coroutine is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._folder.cleanup()

    def fail(self, *replies: str, next: list[str] | None = None, always: str | None = None) -> None:  # noqa: A002 as it reads
        self._next, self._always = [*replies, *(next or [])], always

    async def wait_for(self, count: int, timeout: float = 10.0) -> None:
        await until(lambda: len(self.mails) >= count, timeout)

    def _connection(self, loop: asyncio.AbstractEventLoop) -> SMTP:
        connection = SMTP(
            self,
            loop=loop,
            hostname="localhost",
            tls_context=self.context if self.starttls else None,
            authenticator=self._authenticate if self._login[0] else None,
            auth_required=bool(self._login[0]),
        )
        self._connections.append(connection)
        return connection

    def _authenticate(self, server, session, envelope, mechanism, data) -> AuthResult:
        if (data.login.decode(), data.password.decode()) == self._login:
            return AuthResult(success=True, auth_data=data.login.decode())
        return AuthResult(success=False, handled=False)

    async def handle_MAIL(self, server, session, envelope, address, options) -> str:  # noqa: N802 aiosmtpd's name
        failure = self._next.pop(0) if self._next else self._always
        if failure == "hang":
            await asyncio.Event().wait()
        if failure == "reset":
            server.transport.abort()
        if failure:
            return failure if failure[:1].isdigit() else "421 gone"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:  # noqa: N802 aiosmtpd's name
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802 aiosmtpd's name
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        user = session.auth_data if session.authenticated else ""
        mail = ReceivedMail(envelope.mail_from, list(envelope.rcpt_tos), message, session.ssl is not None, user)
        self.mails.append(mail)
        return "250 taken"


def make_certificate(folder: Path) -> tuple[str, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1 and localhost: (file that verifies it, the server's context)."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    secret = serialization.NoEncryption()
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    certificate = builder.sign(key, hashes.SHA256())
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_format = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, key_format, secret))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return str(cert_file), context
