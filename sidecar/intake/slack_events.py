"""Slack's Events API: signature, replay window, and what a reaction says. Pure: bytes and headers in, values out.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from sidecar.errors import AuthError, PayloadError

REPLAY_SECONDS: Final = 300
VERSION: Final = "v0"
LONGEST: Final = 1000  # characters of an id, an emoji's name or a challenge


class Reaction(Struct, frozen=True):
    """Somebody put an emoji on a message, or took it off."""

    event_id: str
    who: str
    emoji: str
    ref: str  # CHANNEL:ts, as the slack channel keeps it
    removed: bool


class Challenge(Struct, frozen=True):
    """Slack asks whether the URL is ours."""

    text: str


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """Raises AuthError for anything odd: a signature that does not hold, or one older or newer than five minutes."""
    stamp = headers.get("X-Slack-Request-Timestamp", "")
    given = headers.get("X-Slack-Signature", "")
    if not (stamp.isascii() and stamp.isdigit()) or len(stamp) > 12:
        raise AuthError("no valid X-Slack-Request-Timestamp")
    if abs(now - int(stamp)) > REPLAY_SECONDS:
        raise AuthError("the request is older than five minutes: check this host's clock")
    signed = f"{VERSION}:{stamp}:".encode() + body
    wanted = f"{VERSION}=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogateescape")):
        raise AuthError("the signature does not hold: check slack.signing_secret")


def read(body: bytes) -> Reaction | Challenge | None:
    """What a verified event says; None when it is nothing we listen to. Raises PayloadError for what is not an event."""
    try:
        event: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PayloadError("not a Slack event") from None
    if not isinstance(event, dict):
        raise PayloadError("not a Slack event")
    if event.get("type") == "url_verification":
        return Challenge(_text(event, "challenge"))
    inner, item = event.get("event"), None
    if isinstance(inner, dict) and inner.get("type") in ("reaction_added", "reaction_removed"):
        item = inner.get("item")
    if not isinstance(inner, dict) or not isinstance(item, dict) or item.get("type") != "message":
        return None
    ref = f"{_text(item, 'channel')}:{_text(item, 'ts')}"
    who, emoji = _text(inner, "user"), _text(inner, "reaction")
    if not who:  # nobody's vote would be everybody's
        return None
    return Reaction(_text(event, "event_id"), who, emoji, ref, inner["type"] == "reaction_removed")


def _text(found: dict[str, Any], name: str) -> str:
    """A short string; raises PayloadError for anything else, and for a NUL, which no database takes."""
    value = found.get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST or "\x00" in value:
        raise PayloadError(f"not a Slack event: {name} is no text that Slack sends")
    return value
