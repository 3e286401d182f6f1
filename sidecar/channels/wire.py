"""How values look on the wire, and how a provider's answer is quoted. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

LONGEST_WAIT = 86400.0  # seconds; a Retry-After beyond a day is a provider's mistake, and would lose the message
LATEST = 253_402_300_799.0  # the last second that a four-digit year has; an alert may claim a later one
WHY_LIMIT = 300  # characters of a provider's own text that we repeat


def format_time(at: float | None) -> str:
    """RFC 3339 in UTC, to the millisecond; None is Go's zero time, as Alertmanager writes "not ended"."""
    if at is None:
        return "0001-01-01T00:00:00Z"
    text = datetime.fromtimestamp(min(at, LATEST), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text.replace(".000Z", "Z")


def encode_json(value: Any) -> bytes:
    """JSON as UTF-8. A lone surrogate, which UTF-8 cannot hold, becomes "?" rather than an error that loses a page."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_without_surrogates(value))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value


def retry_after(headers: dict[str, str], now: float) -> float | None:
    """Seconds to wait, from a Retry-After header in seconds or as an HTTP-date (RFC 9110, 10.2.3); None: not said."""
    raw = headers.get("retry-after", "").strip()
    if not raw:
        return None
    if raw.replace(".", "", 1).isdecimal():
        return min(float(raw), LONGEST_WAIT)
    try:
        return min(max(0.0, parsedate_to_datetime(raw).timestamp() - now), LONGEST_WAIT)
    except ValueError:
        return None


def quote(body: bytes) -> str:
    """A provider's own words, on one line, at most WHY_LIMIT characters."""
    text = " ".join(body[: 8 * WHY_LIMIT].decode("utf-8", "replace").split())
    return text if len(text) <= WHY_LIMIT else text[: WHY_LIMIT - 1] + "…"


def origin(url: str) -> str:
    """Scheme and host of a URL: what may be shown of one that is a secret."""
    scheme, _, rest = url.partition("://")
    host = rest.split("/")[0].split("?")[0].split("#")[0].rpartition("@")[2]
    return f"{scheme}://{host}" if host else "elsewhere"
