"""Signed links by which people answer with one tap: what a token says, made and read. Pure.

A token names what is answered (a digest and one of its lines, or an incident), never the alerts themselves; it is signed,
so that nobody can vote on what they were not told of. Opening a link changes nothing: mail scanners and previews open
every link. Only the button on its page votes.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from typing import Final

import msgspec
from msgspec import Struct

from sidecar.domain import FeedbackKind
from sidecar.errors import AuthError, TooOld

VALID_FOR: Final = 60 * 86400.0  # s: as long as votes on an episode count
LONGEST: Final = 2000  # characters of a token
MAC: Final = 16  # bytes of HMAC-SHA256 that are kept: 128 bits
CONTEXT: Final = b"alertmanager-sidecar answer link 1\x00"  # the key may sign other things too
SAYS: Final = {FeedbackKind.FALSE_POSITIVE: "👎 noise", FeedbackKind.USEFUL: "👍 real"}


class Answer(Struct, frozen=True, array_like=True):
    """What opening a link, and pressing its button, says."""

    kind: FeedbackKind
    about: str  # a digest's name, or an incident's
    line: int  # of the digest, from 0; -1 for an incident
    receiver: str  # to whom it was sent
    until: int  # seconds since the epoch


def sign(answer: Answer, key: str) -> str:
    """The token, fit for a URL's path."""
    said = msgspec.json.encode(answer)
    return _spelled(_mac(said, key) + said)


def read(token: str, key: str, now: float) -> Answer:
    """What a token says. Raises AuthError for one that is not ours, TooOld for one that was."""
    if not key or len(token) > LONGEST or not token.isascii():
        raise AuthError("no such link")
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (Error, ValueError):
        raise AuthError("no such link") from None
    mac, said = raw[:MAC], raw[MAC:]
    if not hmac.compare_digest(mac, _mac(said, key)) or _spelled(raw) != token:
        raise AuthError("no such link")
    answer = msgspec.json.decode(said, type=Answer)
    if answer.until < now:
        raise TooOld("this link is too old to answer by")
    return answer


def _spelled(raw: bytes) -> str:
    """The one spelling of a token: base64 has several for the same bytes."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(said: bytes, key: str) -> bytes:
    return hmac.new(key.encode("utf-8", "surrogateescape"), CONTEXT + said, hashlib.sha256).digest()[:MAC]


def links_to(base: str, key: str, about: str, line: int, receiver: str, at: float) -> tuple[tuple[str, str], ...]:
    """(text, URL) of both answers, for what was told `at`; none without a key and the sidecar's own URL."""
    if not base or not key:
        return ()
    until = int(at + VALID_FOR)
    answers = [(says, Answer(kind, about, line, receiver, until)) for kind, says in SAYS.items()]
    return tuple((says, f"{base.rstrip('/')}/v/{sign(answer, key)}") for says, answer in answers)
