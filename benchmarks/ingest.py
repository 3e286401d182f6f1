"""Alerts per second with the ack after COMMIT on Postgres, the whole product in the path, beside a yardstick.

    python -m benchmarks.ingest [--yardstick "python durable_prototype.py {port}"] [--rounds 3] [--seconds 4]

The server has one core, Postgres and the client the other. Rounds are interleaved (ours, the yardstick, ours, ...), so
that the ratio holds on a noisy machine; medians are shown. A yardstick is any command that serves `POST /webhook` on the
port it is given; `{port}` and `{dsn}` are filled in, and DSN is in its environment. Nothing here depends on one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks.load import Load, closed_loop
from tests.servers import Postgres, free_port

SIZES = (1, 10, 64, 500)
CONNECTIONS = {1: 64, 10: 32, 64: 16, 500: 8}
SERVER_CORE, OTHER_CORE = 0, 1


def _cpu(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server pinned to its core, ended by the process that was started."""
    with log.open("ab") as output:
        pinned = ["taskset", "-c", str(SERVER_CORE), *command]
        process = subprocess.Popen(pinned, env=environment, stdout=output, stderr=output)
    try:
        _wait(port, process, log)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    import socket

    for _ in range(300):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(1.0)
                return
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text()[-3000:]}")


def sidecar(url: str, port: int, place: Path) -> tuple[list[str], dict[str, str]]:
    config = place / f"sidecar-{port}.yml"
    settings = {
        "mode": "ladder",
        "server": {"listen": f"127.0.0.1:{port}"},
        "store": {"url": url},
        "receivers": [{"name": "default", "log_configs": [{"path": "/dev/null"}]}],
        "training": {"nightly": False},
    }
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "sidecar", "serve", "--config", str(config), "--log-level", "ERROR"]
    return command, dict(os.environ)


def yardstick(template: str, url: str, port: int) -> tuple[list[str], dict[str, str]]:
    command = shlex.split(template.replace("{port}", str(port)).replace("{dsn}", url))
    return command, {**os.environ, "DSN": url}


def measure(name: str, size: int, url: str, options: argparse.Namespace, place: Path) -> tuple[Load, float]:
    """One round: a server from its start to its end. Returns what the client saw, and CPU microseconds per alert."""
    port = free_port()
    made = sidecar(url, port, place) if name == "sidecar" else yardstick(options.yardstick, url, port)
    with serving(made[0], port, made[1], place / f"{name}.log") as process:
        asyncio.run(closed_loop(port, size, options.warm, CONNECTIONS[size]))
        before = _cpu(process.pid)
        load = asyncio.run(closed_loop(port, size, options.seconds, CONNECTIONS[size]))
        spent = _cpu(process.pid) - before
    if set(load.statuses) - {200}:
        print(f"  {name} at {size}: statuses {dict(load.statuses)}", file=sys.stderr)
    return load, spent / max(1, load.sent * size) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--yardstick", default="", help="a command that serves POST /webhook on {port}, storing in {dsn}"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warm", type=float, default=1.0)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    options = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE % (os.cpu_count() or 1)})  # the client, and Postgres, which it starts
    names = ["sidecar", *(["yardstick"] if options.yardstick else [])]
    print(
        f"{'alerts per webhook':>20}{'sidecar/s':>12}{'p99 ms':>9}{'us/alert':>10}{'yardstick/s':>13}{'us/alert':>10}{'ratio':>8}"
    )
    with Postgres() as postgres, tempfile.TemporaryDirectory() as place:
        for size in options.sizes:
            seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
            for _ in range(options.rounds):
                for name in names:
                    with postgres.database() as url:
                        load, spent = measure(name, size, url, options, Path(place))
                    seen[name].append((load.sent * size / load.seconds, load.quantile(0.99) * 1e3, spent))
            _print(size, seen)


def _print(size: int, seen: dict[str, list[tuple[float, float, float]]]) -> None:
    middle = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in seen.items()}
    ours, theirs = middle["sidecar"], middle.get("yardstick")
    line = f"{size:>20}{ours[0]:>12,.0f}{ours[1]:>9.1f}{ours[2]:>10.1f}"
    if theirs is not None:
        ratio = statistics.median(a[0] / b[0] for a, b in zip(seen["sidecar"], seen["yardstick"], strict=True))
        line += f"{theirs[0]:>13,.0f}{theirs[2]:>10.1f}{ratio:>8.2f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
