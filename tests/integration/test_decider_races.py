"""Two replicas on one real database that race on what goes beyond alerts: moves, incidents that settle, windows, ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from sidecar.config import Config
from sidecar.decider import Decider, Work
from sidecar.domain import Alert, Received
from sidecar.events import EpisodeEnded, Regrouped, WindowOpened
from sidecar.intake.webhook import fingerprint_of
from sidecar.state import State
from sidecar.store import schema
from sidecar.store.engine import Database, open_engine
from sidecar.store.log import decode
from tests.integration.test_decider import restored, rows, running
from tests.unit.stories import NOON, Fixed

APART = {"folding": {"labels": [], "group": False}, "storm": {"min_incidents": 2, "factor": 1, "quiet": "1m"}}
CONFIG = Config.model_validate(APART)
QUIET = Config.model_validate({"folding": APART["folding"]})


class Clock:
    """Both replicas read the same: the database's."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Pair:
    """Two replicas, each with a pool of its own."""

    def __init__(self, databases: list[Database], clock: Clock, config: Config) -> None:
        self.clock = clock
        self.deciders = [Decider(one, State(), Fixed(0.1), lambda: config, clock) for one in databases]

    async def both(self, *works: Work) -> None:
        """Everything to both at once."""
        await asyncio.gather(*(decider.submit(work) for work in works for decider in self.deciders))

    @property
    def first(self) -> Decider:
        return self.deciders[0]


def alert(name: str, ends_at: float | None = None) -> Work:
    labels = {"alertname": name, "severity": "warning", "pod": name}
    return Work((Received(Alert(fingerprint_of(labels), labels, {}, NOON - 60, ends_at), "", "", NOON),))


@pytest.fixture
async def databases(database_url) -> AsyncIterator[list[Database]]:
    found = [Database(open_engine(database_url)) for _ in range(2)]
    await schema.upgrade(found[0])
    yield found
    for one in found:
        await one.close()


async def sent(databases: list[Database], kind: str) -> list[str]:
    return [incident for (incident,) in await rows(databases[0], f"SELECT incident FROM outbox WHERE kind = '{kind}'")]


async def incident_of(pair: Pair, name: str) -> str:
    """Where an alert is, for a replica that has folded everything."""
    await pair.first.submit(Work())
    return pair.first.state.episodes[alert(name).received[0].alert.fingerprint].incident


async def test_a_merge_that_two_replicas_take_in_at_once_moves_each_alert_once(databases):
    """One move, one resolve of the incident it leaves; the same request told twice changes nothing."""
    pair = Pair(databases, Clock(), QUIET)
    async with running(*pair.deciders):
        await pair.both(alert("Alpha"), alert("Omega"))
        await pair.first.catch_up()
        first, other = await incident_of(pair, "Alpha"), await incident_of(pair, "Omega")
        pairs = (("Alpha\x1f\x1f", "Omega\x1f\x1f"),)
        asked = Regrouped(NOON + 1, "ada", first, other, together=True, episodes=(first[2:],), pairs=pairs)
        await pair.both(Work(asks=(asked,)))
    decided = await rows(databases[0], "SELECT episode, incident FROM decisions WHERE verdict = 'fold'")
    assert [tuple(row) for row in decided] == [(first[2:], other)]
    assert await sent(databases, "resolve") == [first]
    assert max((one.state for one in pair.deciders), key=lambda state: state.seq).dump() == await restored(databases[0])


async def test_a_storm_that_settles_is_closed_once(databases):
    """Both replicas' clocks come to its end at the same moment: one closes it, and people are told once."""
    clock = Clock()
    pair = Pair(databases, clock, CONFIG)
    names = [f"Sturm{chr(65 + n) * 5}" for n in range(6)]
    async with running(*pair.deciders):
        await pair.first.submit(Work(tuple(one for name in names for one in alert(name).received)))
        ends = [alert(name, NOON + 5).received[0] for name in names]
        clock.now += 10
        await pair.both(Work(tuple(ends)))
        assert await sent(databases, "resolve") == []
        for decider in pair.deciders:
            await decider.catch_up()
        clock.now += 3600
        await pair.both(Work(), Work(), Work())
    resolved = Counter(await sent(databases, "resolve"))
    assert len(resolved) == 1
    assert set(resolved.values()) == {1}
    assert max((one.state for one in pair.deciders), key=lambda state: state.seq).dump() == await restored(databases[0])


async def test_an_end_that_both_watchers_saw_is_one_end(databases):
    """And the webhook that says it, too, comes to nothing."""
    pair = Pair(databases, Clock(), QUIET)
    async with running(*pair.deciders):
        await pair.both(alert("Alpha"))
        name = await incident_of(pair, "Alpha")
        gone = EpisodeEnded(NOON + 5, name[2:], name[2:].rpartition("-")[0], NOON + 5)
        await pair.both(Work(asks=(gone,)), alert("Alpha", NOON + 4))
    assert await sent(databases, "resolve") == [name]
    assert max((one.state for one in pair.deciders), key=lambda state: state.seq).dump() == await restored(databases[0])


async def test_a_window_that_two_owners_open_at_once_is_that_of_the_first(databases):
    """What it covers waits, for both replicas; when its lease is over, what still fires is told once."""
    clock = Clock()
    pair = Pair(databases, clock, QUIET)
    opened = [
        Work(asks=(WindowOpened(NOON, "deploy", who, ("alertname=Alpha",), ("WARNING",), NOON + 60),))
        for who in ("ci", "ada")
    ]
    async with running(*pair.deciders):
        await asyncio.gather(*(decider.submit(one) for decider, one in zip(pair.deciders, opened, strict=True)))
        await pair.both(alert("Alpha"))
        assert await sent(databases, "notify") == []
        events = [
            one for (body,) in await rows(databases[0], "SELECT body FROM log ORDER BY seq") for one in decode(body)
        ]
        first = next(event.owner for event in events if isinstance(event, WindowOpened))
        assert State.load(await restored(databases[0])).windows["deploy"].owner == first
        clock.now += 120
        await pair.both(Work(), Work())
    assert len(await sent(databases, "notify")) == 1
    assert max((one.state for one in pair.deciders), key=lambda state: state.seq).dump() == await restored(databases[0])
