"""Real servers on free loopback ports, each in a folder of its own, stopped by the process that was started.

    with Postgres() as postgres:                       # one per test session
        with postgres.database() as url: ...           # one per test
    async with Alertmanager(config_text) as alertmanager:  # stock; its URL is known before it starts
        await alertmanager.post([{"labels": {...}}])
        alertmanager.amtool("silence", "query")
    async with Prometheus(rules, alertmanager.address, targets={"job": "127.0.0.1:1234"}): ...
    async with SidecarProcess(config) as sidecar:      # `sidecar serve` as people run it
        await sidecar.run("quarantine")                # any command, on the same configuration
        sidecar.kill(); await sidecar.start()          # a crash and what comes after it

A program that is missing fails the test with the package that has it: nothing is skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import psycopg
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 60.0  # a machine that runs two test workers on one core is slow
STOP_SECONDS = 30.0
PACKAGES = {
    "postgres": "postgresql",
    "initdb": "postgresql",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "chromium": "chromium",
}


def find_program(*names: str) -> str:
    """The first of these programs that is installed; the test fails, naming the package, when none is."""
    places = [os.environ.get("PATH", ""), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]
    for name in names:
        found = shutil.which(name, path=os.pathsep.join(places))
        if found:
            return found
    package = PACKAGES[names[-1]]
    pytest.fail(f"{names[-1]} is not installed: this test needs it. Run: apt-get install -y {package}", pytrace=False)


def free_port() -> int:
    """A loopback port nobody listens on, below the range that outgoing connections take theirs from."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0)
    ports = range(12_000 + worker % 8 * 2_000, 14_000 + worker % 8 * 2_000)
    for port in random.sample(ports, len(ports)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {ports.start} and {ports.stop}")


class Process:
    """A child process whose output is kept in a file."""

    def __init__(self, argv: Sequence[str], log: Path, **how: Any) -> None:
        self.argv, self.log = list(argv), log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL, **how)

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def send(self, number: int) -> None:
        if self.running:
            self.popen.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, insist after a while; its exit status."""
        self.send(number)
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """As a crash does: SIGKILL."""
        self.send(signal.SIGKILL)
        return self.popen.wait(STOP_SECONDS)

    def died(self) -> AssertionError:
        return AssertionError(f"{self.argv[0]} did not become ready:\n{self.output[-4000:]}")


class HttpServer:
    """What Alertmanager, Prometheus and the sidecar have in common: a folder, a port and `/-/ready`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sidecar-test-"))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.process: Process | None = None

    def command(self) -> list[str]:
        """How it is started."""
        raise AssertionError(f"{type(self).__name__} says how it is started")

    async def start(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.process = Process(self.command(), self.folder / "output.log", cwd=self.folder, env=environment)
        end = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while not await self._ready(session):
                if not self.process.running or time.monotonic() > end:
                    raise self.process.died()
                await asyncio.sleep(0.05)
        return self

    async def _ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/-/ready") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    @property
    def output(self) -> str:
        return self.process.output if self.process else ""

    def kill(self) -> None:
        if self.process:
            self.process.kill()

    async def stop(self) -> int:
        """SIGTERM; its exit status. Off the event loop, since the fakes it may still be talking to run there."""
        return await asyncio.to_thread(self.process.stop) if self.process else 0

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def request(self, method: str, path: str, **how: Any) -> tuple[int, str]:
        """Status and body."""
        how.setdefault("allow_redirects", False)  # a redirect would eat a webhook
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.request(method, self.url + path, **how) as answer,
        ):
            return answer.status, await answer.text()

    async def get(self, path: str) -> Any:
        """The JSON at a path."""
        status, text = await self.request("GET", path)
        assert status == 200, f"{path}: {status} {text[:500]}"
        return json.loads(text)


# ------------------------------------------------------------------------------------------------------------- Postgres


def _postgres_user() -> dict[str, Any]:
    """Postgres refuses to run as root: there it runs as `postgres`, or `nobody` where that user does not exist."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Postgres:
    """A Postgres server with fsync on; `database()` makes a fresh one in it and drops it after."""

    def __enter__(self) -> Self:
        initdb, postgres = find_program("initdb"), find_program("postgres")
        who = _postgres_user()
        self.folder = Path(tempfile.mkdtemp(prefix="sidecar-postgres-"))
        if who:
            os.chown(self.folder, who["user"], who["group"])
        self.port, data = free_port(), self.folder / "data"
        made = [initdb, "--pgdata", str(data), "--username=sidecar", "--auth=trust", "--encoding=UTF8", "--no-locale"]
        subprocess.run([*made, "--no-sync"], check=True, capture_output=True, cwd=self.folder, **who)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = self.folder / "output.log"
        self.process = Process([postgres, "-D", str(data), *options], log, cwd=self.folder, **who)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if not self.process.running or time.monotonic() > end:
                    raise self.process.died() from None
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.process.stop(signal.SIGINT)  # "fast shutdown": open connections are cut
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://sidecar@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield self.url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


# ----------------------------------------------------------------------------------------- Alertmanager and Prometheus


class Alertmanager(HttpServer):
    """A stock Alertmanager. With `cluster` it gossips with `peers` (their `cluster_address`); else it stands alone."""

    def __init__(self, config: str = "", *, cluster: bool = False, peers: Sequence[str] = ()) -> None:
        super().__init__()
        self.cluster_address = f"127.0.0.1:{free_port()}" if cluster else ""
        self._peers = tuple(peers)
        self.configure(config)

    def configure(self, config: str) -> None:
        """Write its configuration, which it reads when it starts."""
        (self.folder / "alertmanager.yml").write_text(config, "utf-8")

    def command(self) -> list[str]:
        gossip = ["--cluster.listen-address="]
        if self.cluster_address:
            gossip = [
                f"--cluster.listen-address={self.cluster_address}",
                f"--cluster.advertise-address={self.cluster_address}",  # found by itself only on private networks
                "--cluster.peer-timeout=2s",  # how long the second peer waits for the first; 15 s by default
                "--cluster.gossip-interval=50ms",
                "--cluster.settle-timeout=5s",
                *(f"--cluster.peer={peer}" for peer in self._peers),
            ]
        return [
            find_program("alertmanager", "prometheus-alertmanager"),
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            *gossip,
        ]

    async def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Send alerts as Prometheus does."""
        status, text = await self.request("POST", "/api/v2/alerts", json=list(alerts))
        assert status == 200, f"{status} {text}"

    def amtool(self, *words: str) -> str:
        """What amtool prints."""
        return amtool(*words, f"--alertmanager.url={self.url}")


def amtool(*words: str) -> str:
    """What amtool prints; it has to succeed."""
    done = subprocess.run([find_program("amtool"), *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"amtool {' '.join(words)}:\n{done.stdout}{done.stderr}"
    return done.stdout


class Prometheus(HttpServer):
    """A stock Prometheus that scrapes `targets` (job name to host:port) and evaluates `rules` every second.

    `external` are its external labels.
    """

    def __init__(
        self,
        rules: list[dict[str, Any]],
        alertmanager: str,
        targets: Mapping[str, str],
        external: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        config = {
            "global": {
                "scrape_interval": "1s",
                "evaluation_interval": "1s",
                "external_labels": dict(external or {}),
            },
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
        groups = {"groups": [{"name": "test", "rules": rules}]}
        (self.folder / "rules.yml").write_text(yaml.safe_dump(groups), "utf-8")

    def command(self) -> list[str]:
        return [
            find_program("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
        ]


# -------------------------------------------------------------------------------------------------------------- Sidecar


class SidecarProcess(HttpServer):
    """`sidecar serve` in a process of its own. `config` is the file's content; listen and, when absent, store are set.

    After `kill()` or `stop()`, `start()` serves the same configuration, port and database again.
    """

    def __init__(self, config: Mapping[str, Any], *, store: str = "") -> None:
        super().__init__()
        self.store = store or f"sqlite:///{self.folder / 'sidecar.db'}"
        self.path = self.folder / "sidecar.yml"
        self.configure(config)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration; what runs reads it at its next start or reload."""
        server = {"listen": self.address, **config.get("server", {})}
        store = {"url": self.store, **config.get("store", {})}
        text = yaml.safe_dump({**config, "server": server, "store": store}, sort_keys=False)
        self.path.write_text(text, "utf-8")

    def command(self) -> list[str]:
        return [*self._python("sidecar"), "serve", "--config", str(self.path), "--log-format", "text"]

    @staticmethod
    def _python(module: str) -> list[str]:
        return [sys.executable, "-m", module]

    async def run(self, *words: str, module: str = "sidecar", timeout: float = 120.0) -> str:
        """What a command prints, on this configuration; it has to succeed."""
        argv = [*self._python(module), *words, "--config", str(self.path)]
        how = {"cwd": self.folder, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "timeout": timeout}
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False, **how)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    async def metric(self, sample: str) -> float:
        """The value of one sample as /metrics prints it, e.g. 'sidecar_up{a="b"}'; 0 when it is not there."""
        _, text = await self.request("GET", "/metrics")
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0
