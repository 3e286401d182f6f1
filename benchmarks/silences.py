"""How long the replay of a silence takes over a history of a million episodes.

python -m benchmarks.silences                          # SQLite, in a temporary folder
python -m benchmarks.silences postgresql://...         # an empty Postgres database
python -m benchmarks.silences --episodes 100000
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from sidecar.store import schema, silences
from sidecar.store.engine import Database, open_engine

T0 = 1_795_000_000.0
DAY = 86400.0
PATTERNS = ("Rare", "Usual", "Flood")  # of 1,000,000 episodes: 100, 10,000 and all the others
SERIES = {
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < :count) SELECT n FROM s) AS s",
    "postgresql": "generate_series(0, :count - 1) AS s(n)",
}
NAME = "CASE WHEN n % 10000 = 0 THEN 'Rare' WHEN n % 100 = 1 THEN 'Usual' ELSE 'Flood' END"
EPISODES = """INSERT INTO episodes (episode, shard, fingerprint, starts_at, ended_at, first_seen, last_seen, times, alertname,
 labels, annotations, group_key, generator_url, external_url, incident, named, namespace, service, spelled)
SELECT 'e' || n, 0, 'f' || (n % 5000), :t0 - (n % 2500000), :t0, :t0, :t0, 1, {name},
 '{{"alertname": "' || {name} || '", "namespace": "shop", "service": "cart", "severity": "warning", "pod": "p-' || n || '"}}',
 '{{}}', '', '', '', 'i' || (n / 2), {name}, 'shop', 'cart', 'warning' FROM {series}"""
DECISIONS = """INSERT INTO decisions (shard, seq, n, at, episode, incident, verdict, severity, reasons, receivers, model,
 observation, propensity, marks) SELECT 0, n, 0, :t0, 'e' || n, 'i' || (n / 2), 'notify', 'WARNING', '[]', '[]', '', '', 1, '[]'
FROM {series}"""
VOTES = """INSERT INTO votes (episode, who, kind, at, source, retracted, comment)
SELECT 'e' || n, 'ada', CASE WHEN n % 7 = 0 THEN 'useful' ELSE 'false_positive' END, :t0, 'api', false, '' FROM {series}
WHERE n % 10 < 2"""


async def fill(database: Database, count: int) -> None:
    series = SERIES["sqlite" if database.sqlite else "postgresql"]
    for statement in (EPISODES, DECISIONS, VOTES):
        async with database.write() as connection:
            if not database.sqlite:
                await connection.execute(text("SET LOCAL statement_timeout = 0"))
            values = {"count": count, "t0": T0}
            await connection.execute(text(statement.format(series=series, name=NAME)), values)


async def measure(url: str, count: int) -> None:
    database = Database(open_engine(url))
    await schema.upgrade(database)
    began = time.perf_counter()
    await fill(database, count)
    print(f"{count:,} episodes written in {time.perf_counter() - began:.0f} s")
    for name in PATTERNS:
        matchers = (("alertname", name), ("namespace", "shop"), ("service", "cart"), ("severity", "warning"))
        began = time.perf_counter()
        async with database.read() as connection:
            found = await silences.replay(connection, matchers, T0 - 30 * DAY, None)
        took = time.perf_counter() - began
        print(
            f"{name:6} {found.episodes:9,} episodes, {found.real:7,} real, {found.told:9,} told: {took * 1000:8.0f} ms"
        )
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--episodes", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options.url or f"sqlite:///{Path(folder) / 'sidecar.db'}", options.episodes))


if __name__ == "__main__":
    main()
