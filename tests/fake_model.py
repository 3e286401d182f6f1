"""A team's own model behind HTTP: answers what POST /classify or POST /anomaly would, from a list of values.

async with FakeModel() as model:
    settings = {"models": [model.settings(timeout="100ms")]}
    model.value = 0.97                         # what it says of every alert; `body` says something else altogether
    model.delay = 1.0                          # seconds until it answers
    model.fail(always=503)                     # as every fake
    model.asked                                # the alerts of each request
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.fakes import Fake, Recorded


class FakeModel(Fake):
    path = "/classify"

    def __init__(self, key: str = "false_positive_probability", value: float | None = 0.5, token: str = "") -> None:
        super().__init__()
        self.key, self.value, self.token = key, value, token
        self.version = "theirs-7"
        self.delay = 0.0
        self.body: bytes | None = None
        self.headers: dict[str, str] = {}

    @property
    def asked(self) -> list[list[dict[str, Any]]]:
        return [record.json["alerts"] for record in self.requests]

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Its entry under `ml_anomaly_detection.models`."""
        kind = "time-series-anomaly" if self.key == "anomaly_score" else "binary-classifier"
        given = {"name": f"their-{kind}", "type": kind, "provider": "http", "endpoint": self.url, "auto_suppress": True}
        return given | ({"bearer_token": self.token} if self.token else {}) | changes

    async def answer(self, record: Recorded) -> web.Response:
        if self.token and record.headers.get("authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        await asyncio.sleep(self.delay)
        if self.body is not None:
            return web.Response(body=self.body, headers=self.headers)
        results = [
            {"model": self.version, self.key: self.value, "fingerprint": one["fingerprint"]}
            for one in record.json["alerts"]
        ]
        return web.Response(body=json.dumps({"results": results}).encode(), content_type="application/json")
