"""An Alertmanager webhook's body -> alerts. Pure: bytes in, values out.

What can be read is read: NUL and lone surrogates become U+FFFD (no database takes them), and so do the two separators
that keys of the state are joined by (two alerts could be made to look like one, or a key not to come apart again). One alert that cannot be read is
set aside with its raw bytes and the others go on. Only a body that is no webhook at all raises PayloadError.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct, field

from sidecar.domain import Alert, Received
from sidecar.errors import PayloadError

YEAR_ONE_ENDS: Final = -62_000_000_000.0  # Alertmanager writes year 1 for "not yet"
LONGEST_FINGERPRINT: Final = 64  # characters; Alertmanager's have 16, and names made of it are keys in the database
MOST_TRUNCATED: Final = 1_000_000_000
FNV_OFFSET: Final = 0xCBF2_9CE4_8422_2325  # of the 64-bit hash, http://www.isthe.com/chongo/tech/comp/fnv/
FNV_PRIME: Final = 0x100_0000_01B3
DEEP: Final = "the JSON is nested too deeply"


class WireAlert(Struct, gc=False):
    labels: dict[str, str]
    status: str = "firing"
    annotations: dict[str, str] = {}
    starts_at: datetime | None = field(name="startsAt", default=None)
    ends_at: datetime | None = field(name="endsAt", default=None)
    generator_url: str = field(name="generatorURL", default="")
    fingerprint: str = ""


class Envelope(Struct, gc=False):
    """Everything but the alerts; keys that newer Alertmanagers add are ignored, and so are absent ones."""

    alerts: list[msgspec.Raw]
    group_key: str = field(name="groupKey", default="")
    external_url: str = field(name="externalURL", default="")
    truncated: int = field(name="truncatedAlerts", default=0)


class Wire(Struct, gc=False):
    alerts: list[WireAlert]
    group_key: str = field(name="groupKey", default="")
    external_url: str = field(name="externalURL", default="")
    truncated: int = field(name="truncatedAlerts", default=0)


class Poison(Struct, frozen=True):
    """An alert that could not be read."""

    why: str
    body: bytes


class Parsed(Struct, frozen=True):
    received: tuple[Received, ...]
    poison: tuple[Poison, ...] = ()
    truncated: int = 0  # alerts that Alertmanager left out (max_alerts)


_wire = msgspec.json.Decoder(Wire).decode
_envelope = msgspec.json.Decoder(Envelope).decode
_alert = msgspec.json.Decoder(WireAlert).decode

# In this order: a valid pair, a lone surrogate, NUL or a separator, any other escape. Reading escape by escape keeps `\\u0000`, which is
# a backslash and five letters.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\u0000|\\u001[eEfF])|\\.",
    re.DOTALL,
)


def parse(body: bytes, now: float) -> Parsed:
    """Read a webhook received at `now`. Raises PayloadError with what to do about it."""
    if is_plain(body):
        try:
            return _values(_wire(body), now)
        except (msgspec.DecodeError, OverflowError, ValueError, RecursionError):
            pass
    return _salvage(readable(body), now)


def is_plain(body: bytes) -> bool:
    """Whether nothing in it that JSON can be read with has to be replaced."""
    return b"\\u0000" not in body and b"\\u001" not in body


def readable(body: bytes) -> bytes:
    """The body without a byte-order mark, invalid UTF-8, NUL, separators and lone surrogates."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        body = body.decode("utf-16", "replace").encode("utf-8", "replace")
    body = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").encode()
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match.group(1) else match.group(), body)


def _salvage(body: bytes, now: float) -> Parsed:
    try:
        envelope = _envelope(body)
    except RecursionError:
        raise PayloadError(DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayloadError(
            f"not an Alertmanager webhook (version 4, with `alerts`): {error}. A custom `payload:` in webhook_configs "
            "cannot be read: remove it, so that Alertmanager sends its own."
        ) from None
    received, poison = [], []
    for raw in envelope.alerts:
        try:
            received.append(received_of(_alert(raw), envelope, now))
        except RecursionError:
            poison.append(Poison(DEEP, bytes(raw)))
        except (msgspec.DecodeError, OverflowError, ValueError) as error:
            poison.append(Poison(str(error), bytes(raw)))
    return Parsed(tuple(received), tuple(poison), _truncated(envelope))


def _values(wire: Wire, now: float) -> Parsed:
    return Parsed(tuple([received_of(alert, wire, now) for alert in wire.alerts]), (), _truncated(wire))


def _truncated(around: Wire | Envelope) -> int:
    return min(max(0, around.truncated), MOST_TRUNCATED)  # it goes into a counter, whatever was sent


def received_of(wire: WireAlert, around: Wire | Envelope, now: float) -> Received:
    """An alert as it came, received at `now`. Raises ValueError or OverflowError for a time that no clock shows."""
    labels = wire.labels
    starts_at = seconds_of(wire.starts_at) if wire.starts_at is not None else 0.0
    ends_at = None
    if wire.status == "resolved":
        ends_at = seconds_of(wire.ends_at) if wire.ends_at is not None else now
        ends_at = min(ends_at, now) if ends_at > YEAR_ONE_ENDS else now
    fingerprint = wire.fingerprint if is_fingerprint(wire.fingerprint) else fingerprint_of(labels)
    alert = Alert(fingerprint, labels, wire.annotations, max(0.0, starts_at), ends_at, wire.generator_url)
    return Received(alert, around.group_key, around.external_url, now)


def seconds_of(moment: datetime) -> float:
    """A time without a zone is UTC: in each replica's own zone it would be another episode on each."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def is_fingerprint(text: str) -> bool:
    return 0 < len(text) <= LONGEST_FINGERPRINT and text.isascii() and text.isalnum()


def fingerprint_of(labels: dict[str, str]) -> str:
    """Alertmanager's name of a label set, for senders that send none: 16 hex digits.

    FNV-1a over names and values in the order of names, each followed by the byte 255
    (https://pkg.go.dev/github.com/prometheus/common/model#LabelSet.Fingerprint).
    """
    digest = FNV_OFFSET
    for name, value in sorted(labels.items()):
        for byte in b"%b\xff%b\xff" % (name.encode(), value.encode()):
            digest = (digest ^ byte) * FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return f"{digest:016x}"


def encoded(received: tuple[Received, ...]) -> bytes:
    """Alerts as JSON again: what is kept of a part of a webhook that had to be taken apart."""
    return msgspec.json.encode(received)
