"""Act two: the sidecar serves on loopback, and live alerts travel to a printed message, a vote, and another decision.

With an Alertmanager on the PATH they go Prometheus' API -> Alertmanager -> sidecar; without, the act posts the webhooks
that Alertmanager would have posted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from sidecar.alertmanager_config import render
from sidecar.config import load
from sidecar.intake.webhook import fingerprint_of
from sidecar.store import outbox, queries
from sidecar.store.engine import Database, open_engine
from sidecar.why import tell

BINARIES: Final = ("alertmanager", "prometheus-alertmanager")
INSTALL: Final = "apt-get install -y prometheus-alertmanager   (or https://prometheus.io/download/#alertmanager)"
PATIENCE: Final = 40.0  # s for each thing that is waited for
NOISY: Final = {"alertname": "DiskLatencyHigh", "severity": "warning", "namespace": "storage", "service": "objects"}
REAL: Final = {"alertname": "CheckoutDown", "severity": "critical", "namespace": "shop", "service": "checkout"}
QUICK: Final = {
    "group_by": ["alertname", "instance"],
    "group_wait": "1s",
    "group_interval": "2s",
    "repeat_interval": "4h",
}


class Lost(Exception):
    """Something that should have happened did not."""


def play(*, leave: bool) -> int:
    """Play the act; returns how many things went wrong. Stays up until Ctrl-C unless `leave`."""
    with tempfile.TemporaryDirectory(prefix="sidecar-demo-") as place:
        try:
            return asyncio.run(_play(Path(place), leave=leave))
        except KeyboardInterrupt:
            return 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def find_alertmanager() -> str | None:
    return next((path for name in BINARIES if (path := shutil.which(name))), None)


class Stage:
    """What is running, and how to talk to it."""

    def __init__(self, place: Path, session: aiohttp.ClientSession, binary: str | None) -> None:
        self.place = place
        self.session = session
        self.binary = binary
        self.url = f"http://127.0.0.1:{free_port()}"
        self.alertmanager = f"http://127.0.0.1:{free_port()}"
        self.config = place / "sidecar.yml"
        self.started: dict[str, str] = {}  # startsAt by fingerprint
        self.database = Database(open_engine(f"sqlite:///{place / 'sidecar.db'}"))

    def write_config(self) -> None:
        settings: dict[str, Any] = {
            "mode": "auto",
            "audit_sample": {"share": 0, "first_month": 0},  # a demonstration has no luck to count on
            "server": {"listen": self.url.removeprefix("http://")},
            "store": {"url": f"sqlite:///{self.place / 'sidecar.db'}"},
            "receivers": [{"name": "default", "log_configs": [{}]}],
            "domains": {"demo": {"matchers": ['alertname=~".+"']}},
            "grouping": {"demo": QUICK},
            # What people see over days happens within seconds here: each is an incident of its own all the same.
            "deduplication": {
                "strategies": {"fuzzy_match": {"enabled": False}, "temporal_correlation": {"enabled": False}}
            },
            "training": {"nightly": False},
        }
        if self.binary:
            settings["alertmanagers"] = [{"url": self.alertmanager}]
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))

    async def start(self, stack: AsyncExitStack) -> None:
        command = [sys.executable, "-m", "sidecar", "serve", "--config", str(self.config)]
        _spawn(stack, command, self.place / "sidecar.log", shows=True)
        await until("the sidecar to be ready", lambda: self.answers(f"{self.url}/-/ready"))
        if self.binary:
            (self.place / "alertmanager.yml").write_text(render(load(self.config), self.url))
            command = [
                self.binary,
                f"--config.file={self.place / 'alertmanager.yml'}",
                f"--storage.path={self.place / 'alertmanager'}",
                f"--web.listen-address={self.alertmanager.removeprefix('http://')}",
                "--cluster.listen-address=",
            ]
            _spawn(stack, command, self.place / "alertmanager.log", shows=False)
            await until("Alertmanager to be ready", lambda: self.answers(f"{self.alertmanager}/-/ready"))

    async def answers(self, url: str) -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self.session.get(url) as answer:
                return answer.status == 200
        return False

    async def fire(self, labels: dict[str, str], summary: str, *, resolved: bool = False) -> None:
        """An alert as Prometheus would send it; without Alertmanager, the webhook that it would send."""
        now = datetime.now(UTC)
        start = self.started.setdefault(fingerprint_of(labels), now.isoformat())
        alert: dict[str, Any] = {"labels": labels, "annotations": {"summary": summary}, "startsAt": start}
        if self.binary:
            alert["endsAt"] = (now if resolved else now + timedelta(hours=1)).isoformat()
            await self._post(f"{self.alertmanager}/api/v2/alerts", [alert])
            return
        status = "resolved" if resolved else "firing"
        alert |= {
            "status": status,
            "endsAt": now.isoformat() if resolved else "0001-01-01T00:00:00Z",
        }
        key = f"{{}}:{{alertname={labels['alertname']}, instance={labels['instance']}}}"
        await self._post(f"{self.url}/webhook", {"version": "4", "groupKey": key, "status": status, "alerts": [alert]})

    async def vote(self, episode: str, who: str) -> None:
        said = {"who": who, "kind": "false_positive", "episodes": [episode]}
        await self._post(f"{self.url}/api/v2/feedback", said)

    async def _post(self, url: str, body: Any) -> None:
        async with self.session.post(url, json=body) as answer:
            if answer.status >= 300:
                raise Lost(f"{url} answered {answer.status}: {await answer.text()}")

    async def episodes(self, alertname: str) -> list[queries.EpisodeRow]:
        async with self.database.read() as connection:
            return await queries.look_up(connection, alertname, limit=50)

    async def told(self, alertname: str, kind: str) -> int:
        """How many messages of a kind about an alert were accepted."""
        rows = await self.episodes(alertname)
        count = 0
        async with self.database.read() as connection:
            for row in rows:
                sent = await queries.deliveries_of(connection, row.incident)
                count += sum(one["kind"] == kind and one["state"] == "sent" for one in sent)
        return count


def _spawn(stack: AsyncExitStack, command: list[str], log: Path, *, shows: bool) -> None:
    """Start a process that the act ends; its standard output is shown or goes to its log."""
    file = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(command, stdout=None if shows else file, stderr=file, start_new_session=True)  # noqa: S603 - ours

    def end() -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()

    stack.callback(end)


async def until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds. Raises Lost when it does not in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if await holds():
            return
        await asyncio.sleep(0.2)
    raise Lost(f"waited {PATIENCE:.0f} s in vain for {what}")


def _say(text: str) -> None:
    print(f"\n--- {text}\n", flush=True)


async def _play(place: Path, *, leave: bool) -> int:
    binary = find_alertmanager()
    print(
        "\nAct two. The sidecar serves on loopback, with SQLite and a receiver that prints what people would read.\n"
        "It runs in mode auto, where scores and votes decide at once; your own starts in shadow mode."
    )
    if binary is None:
        print(
            f"No Alertmanager is on the PATH, so the act posts its webhooks itself. To see it with a real one:\n  {INSTALL}"
        )
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        stage = Stage(place, session, binary)

        stack.push_async_callback(stage.database.close)
        stage.write_config()
        try:
            await stage.start(stack)
            await _story(stage)
            problems = await _account(stage)
        except Lost as error:
            log = (place / "sidecar.log").read_text(errors="replace")[-2000:]
            print(f"\nLOST: {error}\n{log}", file=sys.stderr)
            return 1
        if not leave:
            await _stay(stage)
    return problems


async def _story(stage: Stage) -> None:
    by = f"Prometheus' API of {os.path.basename(stage.binary)}" if stage.binary else "a webhook"  # noqa: PTH119 - a name
    _say(f"A critical alert arrives by {by}: it is told, whatever any score says.")
    critical = {**REAL, "instance": "shop-1"}
    await stage.fire(critical, "checkout answers nothing but errors")
    await until("the critical alert to be told", lambda: _told(stage, "CheckoutDown", "notify", 1))

    _say("A noisy alert fires on five machines. Each is told, with its score; each time somebody says: noise.")
    for n in range(1, 6):
        await stage.fire({**NOISY, "instance": f"store-{n}"}, f"disk latency of store-{n} is above 20 ms")
        await until(f"message {n} of the noisy alert", lambda n=n: _told(stage, "DiskLatencyHigh", "notify", n))  # type: ignore[misc]
        newest = (await stage.episodes("DiskLatencyHigh"))[0]
        await stage.vote(newest.episode, "ada" if n % 2 else "grace")
        print(f"    👎 on {newest.episode}", flush=True)
        await stage.fire({**NOISY, "instance": f"store-{n}"}, "cleared", resolved=True)

    _say("The same alert on a sixth machine. The decision has changed (and the fifth clears in silence):")
    await _changed(stage)
    _say("The critical alert clears.")
    await stage.fire(critical, "checkout answers nothing but errors", resolved=True)
    await until("the resolve of the critical alert", lambda: _told(stage, "CheckoutDown", "resolve", 1))


async def _changed(stage: Stage) -> None:
    sixth = {**NOISY, "instance": "store-6"}
    if stage.binary:
        await until("the silence in Alertmanager", lambda: _silenced(stage))
        async with stage.session.get(f"{stage.alertmanager}/api/v2/silences") as answer:
            (silence,) = [one for one in await answer.json() if one["status"]["state"] == "active"]
        matchers = ", ".join(f"{one['name']}={one['value']}" for one in silence["matchers"])
        print(f"    Alertmanager now has a silence by {silence['createdBy']} until {silence['endsAt']}\n    {matchers}\n"
              f"    {silence['comment']}")  # fmt: skip
        await stage.fire(sixth, "disk latency of store-6 is above 20 ms")
        await until("Alertmanager to silence the sixth", lambda: _suppressed_upstream(stage))
        print("\n    The sixth alert is in Alertmanager, silenced: nobody was interrupted.")
        return
    await stage.fire(sixth, "disk latency of store-6 is above 20 ms")
    await until("a decision on the sixth", lambda: _seen(stage, "store-6"))
    newest = next(row for row in await stage.episodes("DiskLatencyHigh") if row.labels["instance"] == "store-6")
    text = await tell(stage.database, newest.episode)
    if "SUPPRESS" not in text:
        raise Lost(f"the sixth was not suppressed:\n{text}")
    print("\n".join("    " + line for line in text.splitlines()))


async def _told(stage: Stage, alertname: str, kind: str, count: int) -> bool:
    return await stage.told(alertname, kind) >= count


async def _seen(stage: Stage, instance: str) -> bool:
    return any(row.labels["instance"] == instance for row in await stage.episodes("DiskLatencyHigh"))


async def _silenced(stage: Stage) -> bool:
    async with stage.session.get(f"{stage.alertmanager}/api/v2/silences") as answer:
        return any(one["status"]["state"] == "active" for one in await answer.json())


async def _suppressed_upstream(stage: Stage) -> bool:
    async with stage.session.get(f"{stage.alertmanager}/api/v2/alerts?active=false&silenced=true") as answer:
        return any(
            one["labels"]["instance"] == "store-6" and one["status"]["silencedBy"] for one in await answer.json()
        )


async def _account(stage: Stage) -> int:
    """What is left undone: dead letters, waiting rows, poison."""
    async with stage.database.read() as connection:
        depths = await outbox.depths(connection)
        poison = len(await queries.quarantined(connection))
    left = sum(depths.values()) + poison
    _say("Nothing lost: no dead letters, nothing waiting, nothing set aside."
         if not left else f"Left undone: {depths}, {poison} set aside")  # fmt: skip
    return left


async def _stay(stage: Stage) -> None:
    where = f"Alertmanager: {stage.alertmanager}   " if stage.binary else ""
    print(f"{where}Sidecar: {stage.url}/metrics   Configuration: {stage.config}\nTry:  sidecar why CheckoutDown --config "
          f"{stage.config}\nCtrl-C ends it.", flush=True)  # fmt: skip
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
