"""Alertmanager webhooks, every one of them new, and a closed-loop client that sends them. Loopback only.

Realistic bodies: 8 labels and 3 annotations an alert, groups of any size, one in five alerts resolved. A template is
made once per group size and its serial numbers are filled in per request, so that the client costs little and no server
sees the same alert twice: scoring the same rows again and again flatters by more than two times.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from dataclasses import dataclass

NAMES = ("HighErrorRate", "PodCrashLooping", "NodeDiskFull", "HighLatencyP99", "TargetDown", "CPUThrottlingHigh")
SPACES = ("payments", "checkout", "search", "infra", "monitoring", "auth")
SERIAL = "SERIAL__"  # eight characters: the body's length does not depend on the number


def _alert(draw: random.Random, n: int) -> dict:
    name, space = draw.choice(NAMES), draw.choice(SPACES)
    instance = f"10.{draw.randrange(255)}.{draw.randrange(255)}.{draw.randrange(255)}:9100"
    pod = f"{space}-api-{SERIAL}-{n:03x}"
    return {
        "status": "firing" if draw.random() < 0.8 else "resolved",
        "labels": {
            "alertname": name,
            "severity": draw.choice(("critical", "warning", "informational")),
            "namespace": space,
            "service": f"{space}-api",
            "instance": instance,
            "pod": pod,
            "team": draw.choice(("sre", "payments", "platform")),
            "cluster": f"eu-west-1-prod-{draw.randrange(4)}",
        },
        "annotations": {
            "summary": f"{name} on {instance} in {space}",
            "description": f"{name} has been firing for {draw.randrange(5, 60)} minutes on pod {pod}; the current value "
            f"is {draw.random() * 100:.4f}, above the threshold of 80%.",
            "runbook_url": f"https://runbooks.example.com/{space}/{name}",
        },
        "startsAt": f"2026-11-23T06:{draw.randrange(60):02d}:{draw.randrange(60):02d}.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": f"http://prometheus.example.com:9090/graph?g0.expr=rate%28http_requests_total%5B5m%5D%29&g0.tab=1&id={n}",
        "fingerprint": f"{SERIAL}{n:04x}{draw.randrange(1 << 16):04x}",
    }


def template(size: int, seed: int) -> bytes:
    """A webhook of `size` alerts with SERIAL where the number goes."""
    draw = random.Random(seed)
    alerts = [_alert(draw, n) for n in range(size)]
    body = {
        "version": "4",
        "groupKey": f'{{}}/{{team=~"sre|payments"}}:{{namespace="x", seed="{SERIAL}"}}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "sidecar",
        "groupLabels": {"namespace": "x"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com:9093",
        "alerts": alerts,
    }
    return json.dumps(body, separators=(",", ":")).encode()


@dataclass
class Load:
    """What a run saw; latencies in seconds, sorted."""

    sent: int
    seconds: float
    statuses: Counter[int]
    latencies: list[float]

    def quantile(self, q: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(q * len(self.latencies)))] if self.latencies else 0.0


class _Client(asyncio.Protocol):
    """One keep-alive connection: a request at a time, and the status of its answer."""

    def __init__(self) -> None:
        self.buffer = b""
        self.answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        self.buffer = b""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(599)


_serial = itertools.count(random.SystemRandom().randrange(1 << 24) * 16)


async def closed_loop(port: int, size: int, seconds: float, connections: int, path: str = "/webhook") -> Load:
    """`connections` clients that each send the next webhook when the last one was answered."""
    templates = [template(size, seed).split(SERIAL.encode()) for seed in range(8)]
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    began = time.perf_counter()

    async def client(n: int) -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(_Client, "127.0.0.1", port)
        while time.perf_counter() - began < seconds:
            number = f"{next(_serial) & 0xFFFFFFFF:08x}".encode()
            body = number.join(templates[n % len(templates)])
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            protocol.answer = loop.create_future()
            sent = time.perf_counter()
            transport.write(head.encode() + body)
            statuses[await protocol.answer] += 1
            latencies.append(time.perf_counter() - sent)
            n += 1
        transport.close()

    await asyncio.gather(*(client(n) for n in range(connections)))
    return Load(sum(statuses.values()), time.perf_counter() - began, statuses, sorted(latencies))
