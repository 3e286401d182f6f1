"""Asks a sidecar that serves, by its API: for the command line."""

from __future__ import annotations

from typing import Any, Final

import aiohttp
import msgspec

from sidecar.errors import SidecarError

TIMEOUT: Final = 15.0  # s; a commit takes milliseconds, a database that is coming back longer


async def ask(url: str, method: str, path: str, secret: str = "", body: Any = None) -> Any:
    """The JSON that it answers. Raises SidecarError with its own words when it refuses, or does not answer."""
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    data = None if body is None else msgspec.json.encode(body)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.request(method, f"{url.rstrip('/')}{path}", data=data, headers=headers) as answer,
        ):
            status, text = answer.status, await answer.read()
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        why = str(error) or f"no answer within {TIMEOUT:.0f} s"
        raise SidecarError(f"{url} cannot be asked: {why}. Give --url, or start `sidecar serve`") from None
    found = _decoded(text)
    if status == 401:
        raise SidecarError(f"{url} refuses the secret: it wants its server.api_secret; give --config or --secret-file")
    if status >= 300:
        said: str | None = found.get("error") if isinstance(found, dict) else None
        raise SidecarError(said or f"{url} answered {status}: is it a sidecar?")
    return found


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
