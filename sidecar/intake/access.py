"""What every endpoint needs of a request: whether its caller may, and its body."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from typing import Any

import msgspec
from aiohttp import web
from pydantic import SecretStr

from sidecar.app_keys import Sidecar
from sidecar.errors import PayloadError


def allowed(request: web.Request, secret: SecretStr | None) -> bool:
    """Whether the request carries the secret, as Bearer token or Basic password; always, where none is configured."""
    if secret is None:
        return True
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            return False
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.get_secret_value().encode())


async def body_of(request: web.Request, sidecar: Sidecar) -> bytes:
    """Raises PayloadError for what cannot be read, TimeoutError when it does not arrive."""
    try:
        async with asyncio.timeout(sidecar.config.server.body_timeout):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        limit = sidecar.config.server.body_limit
        raise PayloadError(
            f"the body is larger than server.body_limit ({limit} bytes): raise it, or set max_alerts"
        ) from None
    except (web.HTTPException, web.RequestPayloadError, ValueError) as error:
        raise PayloadError(f"the body cannot be read: {error}") from None


def unauthorized() -> web.Response:
    return web.json_response({"error": "send server.api_secret as a Bearer token"}, status=401)


def as_json(answer: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
