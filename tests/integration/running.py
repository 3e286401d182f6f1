"""A whole sidecar inside the test's process, on a database of its own, behind a real loopback socket.

async with running(database_url, receivers=hooks(fake)) as sidecar:
    status, text = await sidecar.post(webhook([alert("HighErrorRate")]))
    await sidecar.caught_up()
    await sidecar.rows("SELECT * FROM decisions")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import text

from sidecar.app import make_app
from sidecar.app_keys import SIDECAR, Sidecar
from sidecar.config import Config
from tests.fakes import Fake

QUICK = {"rates": {"webhook": 1000}, "max_backoff": "1s"}


def hooks(*fakes: Fake, names: Sequence[str] = ("default", "second", "third")) -> list[dict[str, Any]]:
    """A receiver with a webhook for each fake."""
    made = zip(names, fakes, strict=False)
    return [{"name": name, "webhook_configs": [{"url": fake.url, "timeout": 5.0}]} for name, fake in made]


@dataclass
class Running:
    """What a test needs of it; `parts` are the wired objects."""

    client: TestClient[web.Request, web.Application]
    parts: Sidecar

    @property
    def url(self) -> str:
        return f"http://{self.client.host}:{self.client.port}"

    async def post(self, body: bytes, path: str = "/webhook", **how: Any) -> tuple[int, str]:
        """Status and text of the answer to a webhook."""
        return await self.request("POST", path, data=body, **how)

    async def request(self, method: str, path: str, **how: Any) -> tuple[int, str]:
        how.setdefault("allow_redirects", False)
        async with self.client.session.request(method, self.url + path, **how) as answer:
            return answer.status, await answer.text()

    async def caught_up(self) -> None:
        """Until the tables hold all that was answered."""
        assert await self.parts.projector.reached(self.parts.decider.state.seq, 20)

    async def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        async with self.parts.database.read() as connection:
            return [dict(row) for row in (await connection.execute(text(query), values)).mappings()]

    async def count(self, query: str, **values: Any) -> int:
        """The one number that a query finds."""
        return int(next(iter((await self.rows(query, **values))[0].values())))

    async def metric(self, sample: str) -> float:
        """The value of one sample as /metrics prints it; 0 when it is not there."""
        _, shown = await self.request("GET", "/metrics")
        values = {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in shown.splitlines())
            if not name.startswith("#") and name
        }
        return values.get(sample, 0.0)

    async def vote(self, episode: str, kind: str = "false_positive", **more: Any) -> tuple[int, str]:
        body = {"who": "ada", "kind": kind, "episodes": [episode], **more}
        return await self.request("POST", "/api/v2/feedback", json=body)


def configured(url: str, **changes: Any) -> Config:
    """A configuration on this database; nothing of it waits long."""
    return Config.model_validate({"store": {"url": url}, "delivery": QUICK, "training": {"nightly": False}, **changes})


@asynccontextmanager
async def running(url: str, *, path: str | None = None, **changes: Any) -> AsyncIterator[Running]:
    """A sidecar that serves until the block ends; `path` is the file that it reads its configuration again from."""
    async with served(make_app(configured(url, **changes), path)) as client:
        yield Running(client, client.app[SIDECAR])


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    async with TestClient(TestServer(app)) as client:
        yield client
