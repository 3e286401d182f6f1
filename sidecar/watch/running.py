"""Asks a sidecar that serves, by its API: for the command line."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from sidecar.errors import SidecarError

T = TypeVar("T")
TIMEOUT: Final = 15.0  # s; a commit takes milliseconds, a database that is coming back longer


class _Refusal(msgspec.Struct):
    error: str = ""


async def ask(url: str, method: str, path: str, kind: type[T], secret: str = "", body: Any = None) -> T:
    """What it answers. Raises SidecarError with its own words when it refuses, and when it answers nothing or else."""
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    data = None if body is None else msgspec.json.encode(body)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.request(
                method, f"{url.rstrip('/')}{path}", data=data, headers=headers, allow_redirects=False
            ) as answer,
        ):
            status, text = answer.status, await answer.read()
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        why = str(error) or f"no answer within {TIMEOUT:.0f} s"
        raise SidecarError(f"{url} cannot be asked: {why}. Give --url, or start `sidecar serve`") from None
    if status == 401:
        raise SidecarError(f"{url} refuses the secret: it wants its server.api_secret; give --config or --secret-file")
    if status >= 300:
        raise SidecarError(_said(text) or f"{url} answered {status}: is it a sidecar? Give its address with --url")
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"its answer cannot be read ({error})"
        raise SidecarError(f"{url} is no sidecar of this version: {why}. Give its address with --url") from None


def _said(text: bytes) -> str:
    """Its own words; empty without any."""
    try:
        return msgspec.json.decode(text, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
