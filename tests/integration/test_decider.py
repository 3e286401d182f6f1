"""The loop that decides, on real databases: what it promises when replicas race, batches are poisoned and commits fail."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import text

from sidecar.config import Config
from sidecar.decider import Decider, Work, restore
from sidecar.domain import Alert, Received
from sidecar.errors import Disconnected, Refused, StoreError
from sidecar.events import Voted
from sidecar.intake.webhook import fingerprint_of
from sidecar.state import VERSION, State, keys_of
from sidecar.store import log, projections, schema
from sidecar.store.engine import Connection, Database, open_engine
from tests.servers import Postgres, Process, _postgres_user
from tests.unit.stories import NOON, Fixed

APART = {"fuzzy_match": {"enabled": False}, "temporal_correlation": {"enabled": False}}
CONFIG = Config.model_validate(
    {"folding": {"labels": [], "group": False}, "deduplication": {"strategies": APART}, "storm": {"enabled": False}}
)


class Clock:
    """A second passes whenever it is read."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def fired(name: str, at: float = NOON, **changes: Any) -> Received:
    labels = {"alertname": "HighLatency", "severity": "warning", "pod": name}
    return (
        Received(Alert(fingerprint_of(labels), labels, {}, at, None), "", "", at)
        if not changes
        else Received(
            Alert(
                **{
                    "fingerprint": fingerprint_of(labels),
                    "labels": labels,
                    "annotations": {},
                    "starts_at": at,
                    "ends_at": None,
                }
                | changes
            )
        )
    )


def work(*names: str) -> Work:
    return Work(tuple(fired(name) for name in names))


def ended(name: str, at: float = NOON + 300) -> Work:
    return Work((fired(name, ends_at=at),))


def vote(name: str, kind: str = "false_positive") -> Work:
    one = fired(name).alert
    episode = f"{one.fingerprint}-{int(NOON * 1000)}"
    return Work(
        votes=(Voted(NOON + 60, "ada", kind, episode, f"i-{episode}", tuple(keys_of(one.fingerprint, one.labels))),)
    )


class Odd(dict[str, str]):
    """Labels that make the plan fail."""

    def get(self, *_: object) -> str:
        raise RuntimeError("a defect")


def poison(name: str = "poison") -> Work:
    return Work((fired(name, labels=Odd()),))


@pytest.fixture
async def database(database_url) -> AsyncIterator[Database]:
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


def make(database: Database, state: State | None = None, scoring: Any = None, **how: Any) -> Decider:
    return Decider(database, state or State(), scoring or Fixed(0.1), lambda: CONFIG, Clock(), **how)


@asynccontextmanager
async def running(*deciders: Decider) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(decider.run()) for decider in deciders]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def restored(database: Database) -> bytes:
    return (await restore(database, 0, VERSION)).dump()


async def rows(database: Database, query: str) -> list[Any]:
    while await projections.project(database, 0):
        pass
    async with database.read() as connection:
        return list(await connection.execute(text(query)))


# ------------------------------------------------------------------------------------------------------------ the state


async def test_the_state_restored_is_the_state_in_memory(database):
    """From the log alone, and from a snapshot with the log after it: the same bytes."""
    decider = make(database)
    async with running(decider):
        for n in range(5):
            await decider.submit(work(f"a{n}", f"b{n}"))
        await decider.submit(ended("a1"))
        assert await restored(database) == decider.state.dump()
        await log.save_snapshot(database, 0, decider.state.seq, VERSION, NOON, decider.state.dump())
        await asyncio.gather(decider.submit(vote("a2")), decider.submit(work("c")), decider.submit(ended("b2")))
        await decider.submit(Work(sweep_before=NOON - 60))
    assert await restored(database) == decider.state.dump()
    assert decider.state.seq >= 7


async def test_a_snapshot_taken_while_a_batch_is_on_its_way_holds_only_what_is_committed(database):
    """Planned ahead is not committed: the snapshot and the log after it give the same state."""
    slow = Gate(database)
    decider = make(slow)
    async with running(decider):
        await decider.submit(work("a"))
        slow.shut()
        later = asyncio.create_task(decider.submit(work("b")))
        await slow.waited()
        body = decider.state.dump()
        assert State.load(body).seq == 1
        assert State.load(body).dump() == await restored(database)
        slow.open()
        assert await later == 2
    await log.save_snapshot(database, 0, 1, VERSION, NOON, body)
    assert await restored(database) == decider.state.dump()


async def test_stopping_loses_nothing_that_is_on_its_way(database):
    """The batch that is being written is answered, what waits is drained, and the state is what the log says."""
    slow = Gate(database)
    decider = make(slow)
    task = asyncio.create_task(decider.run())
    await decider.submit(work("a"))
    slow.shut()
    first = asyncio.create_task(decider.submit(work("b")))
    await slow.waited()
    second = asyncio.create_task(decider.submit(work("c")))
    await asyncio.sleep(0)
    task.cancel()
    slow.open()
    with suppress(asyncio.CancelledError):
        await task
    await decider.drain()
    assert await asyncio.wait_for(asyncio.gather(first, second), 10) == [2, 3]
    assert await restored(database) == decider.state.dump()


# ------------------------------------------------------------------------------------------------------------- replicas


async def test_two_replicas_with_the_same_groups_decide_each_once(database_url):
    """100 groups sent to both at the same time: one NOTIFY each in the decisions, one row each in the outbox."""
    databases = [Database(open_engine(database_url)) for _ in range(2)]
    await schema.upgrade(databases[0])
    deciders = [make(one) for one in databases]
    groups = [work(f"pod-{n}") for n in range(100)]
    async with running(*deciders):
        await asyncio.gather(*(decider.submit(group) for group in groups for decider in deciders))
    decided = await rows(databases[0], "SELECT episode, verdict FROM decisions")
    assert Counter(verdict for _, verdict in decided) == {"notify": 100}
    assert len({episode for episode, _ in decided}) == 100
    boxed = await rows(databases[0], "SELECT dedup_key FROM outbox WHERE kind = 'notify'")
    assert len(boxed) == 100
    for one in databases:
        await one.close()


async def test_a_replica_that_was_away_equals_one_that_stayed(database):
    """It folds what the others wrote before it decides, and what it decided is the same."""
    stayed, away = make(database), make(database)
    async with running(stayed, away):
        await away.submit(work("first"))
        for n in range(6):
            await stayed.submit(work(f"s{n}"))
        await stayed.submit(vote("s1"))
        assert away.state.seq == 1
        assert await away.submit(work("s2", "last")) == 9
        assert away.state.dump() == await restored(database)
        await stayed.submit(work("s3"))
        assert stayed.state.dump() == await restored(database)
    notified = await rows(database, "SELECT episode FROM decisions WHERE verdict = 'notify'")
    assert len(notified) == len(set(notified)) == 8


async def test_replicas_that_take_turns_agree(database):
    """Ten rounds of both at once end in one state."""
    one, other = make(database), make(database)
    async with running(one, other):
        for n in range(10):
            await asyncio.gather(one.submit(work(f"a{n}", "both")), other.submit(work(f"b{n}", "both")))
        await one.submit(vote("both"))
        await other.submit(vote("a1"))
        await one.submit(vote("b1"))
    assert one.state.dump() == await restored(database)


# -------------------------------------------------------------------------------------------------------------- batches


async def test_submits_at_once_are_answered_in_order(database):
    """Fifty callers share commits, whichever is planned on top of which."""
    decider = make(database)
    answers: list[tuple[int, int]] = []

    async def submit(number: int) -> None:
        answers.append((number, await decider.submit(work(f"p{number}"))))

    async with running(decider):
        await asyncio.gather(*(submit(number) for number in range(50)))
        assert [number for number, _ in answers] == list(range(50))
        seqs = [seq for _, seq in answers]
        assert seqs == sorted(seqs)
        assert seqs[-1] == decider.state.seq <= 50
    assert len(await rows(database, "SELECT * FROM episodes")) == 50
    assert await restored(database) == decider.state.dump()


async def test_flights_follow_each_other(database):
    """While one batch is written the next is planned on top: each in its own row, none lost, all in order."""
    decider = make(database)
    async with running(decider):
        seqs = []
        for burst in range(10):
            waiting = [asyncio.create_task(decider.submit(work(f"{burst}-{n}", "same"))) for n in range(5)]
            await asyncio.sleep(0)
            seqs += await asyncio.gather(*waiting)
        assert seqs == sorted(seqs)
    episodes = await rows(database, "SELECT episode, times FROM episodes")
    assert len(episodes) == 51
    assert max(times for _, times in episodes) == 50
    assert await restored(database) == decider.state.dump()


async def test_nothing_to_say_is_no_row(database):
    """A tick without anything due, and a late retry: the log stays as it is."""
    decider = make(database)
    async with running(decider):
        seq = await decider.submit(work("a"))
        assert await decider.submit(Work()) == seq
        await decider.submit(ended("a"))
        assert await decider.submit(work("a")) == seq + 1


async def test_too_much_waiting_is_refused_at_once(database):
    """Alertmanager sends it again; nobody's memory is filled."""
    decider = make(database)
    decider.waiting = 200_000
    with pytest.raises(StoreError, match="waiting"):
        await decider.submit(work("a"))


@pytest.mark.parametrize("place", [0, 3, 7])
async def test_a_poisoned_member_of_a_batch_takes_no_other_with_it(database, place):
    """It is found by splitting: the others commit, and only its caller is told that it cannot be decided."""
    decider = make(database)
    works = [work(f"p{n}") for n in range(8)]
    works[place] = poison()
    waiting = [asyncio.create_task(decider.submit(one)) for one in works]
    await asyncio.sleep(0)
    async with running(decider):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [n for n, answer in enumerate(answers) if isinstance(answer, Refused)] == [place]
        assert all(isinstance(answer, int) for n, answer in enumerate(answers) if n != place)
        assert await decider.submit(work("after")) == decider.state.seq
    assert len(await rows(database, "SELECT * FROM episodes")) == 8
    assert await restored(database) == decider.state.dump()


async def test_a_scorer_that_fails_on_one_batch_member_is_found_too(database):
    """Whatever the error is."""

    class Touchy:
        certificate = None

        def score(self, rows: Sequence[tuple[float, ...]]) -> tuple[list[float | None], str]:
            if len(rows) > 1:
                raise KeyError("a defect")
            return [0.1] * len(rows), "touchy"

    decider = make(database, scoring=Touchy())
    waiting = [asyncio.create_task(decider.submit(one)) for one in (work("a"), work("b", "c"), work("d"))]
    await asyncio.sleep(0)
    async with running(decider):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, Refused, int]
    assert await restored(database) == decider.state.dump()


async def test_what_cannot_be_written_is_found_in_flight(database):
    """A lone surrogate fails while the batch is encoded, not while it is planned."""
    decider = make(database)
    odd = Work((fired("odd", annotations={"summary": "\ud800"}),))
    async with running(decider):
        await decider.submit(work("a"))
        waiting = [asyncio.create_task(decider.submit(one)) for one in (work("b"), odd, work("c"))]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, Refused, int]
    assert len(await rows(database, "SELECT * FROM episodes")) == 3
    assert await restored(database) == decider.state.dump()


# -------------------------------------------------------------------------------------------------- commits that fail


class Around:
    """A database that something happens to; everything else is as in the real one."""

    def __init__(self, real: Database) -> None:
        self.real = real
        self.sqlite = real.sqlite

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        async with self.around(), self.real.write() as connection:
            yield connection

    @asynccontextmanager
    async def one_statement(self) -> AsyncIterator[Connection]:
        async with self.around(), self.real.one_statement() as connection:
            yield connection

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        yield


class Failing(Around):
    """The next transactions fail with these errors, before anything is written or after it was committed."""

    def __init__(self, real: Database) -> None:
        super().__init__(real)
        self.before: list[StoreError] = []
        self.after: list[StoreError] = []

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        if self.before:
            raise self.before.pop(0)
        yield
        if self.after:
            raise self.after.pop(0)


class Gate(Around):
    """While it is shut, transactions wait before they begin."""

    def __init__(self, real: Database) -> None:
        super().__init__(real)
        self._open, self._waiting = asyncio.Event(), asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def waited(self) -> None:
        await asyncio.wait_for(self._waiting.wait(), 10)

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        if not self._open.is_set():
            self._waiting.set()
        await self._open.wait()
        yield


async def test_a_failed_commit_leaves_no_trace(database):
    """The caller is told, the state is as it was, and the next one works."""
    failing = Failing(database)
    decider = make(failing)
    async with running(decider):
        await decider.submit(work("a"))
        before = decider.state.dump()
        failing.before = [StoreError("down"), StoreError("down")]
        with pytest.raises(StoreError, match="down"):
            await decider.submit(work("b"))
        assert decider.state.dump() == before
        assert decider.state.episodes.get(fired("b").alert.fingerprint) is None
        assert await decider.submit(work("b", "c")) == 2
        assert len(decider.state.episodes) == 3
    assert await restored(database) == decider.state.dump()


async def test_a_batch_planned_on_one_that_failed_is_planned_again(database):
    """What is said to the second caller was decided without the first one's alerts."""
    gate, failing = Gate(database), Failing(database)
    gate.real = failing  # type: ignore[assignment]
    decider = make(gate)
    async with running(decider):
        await decider.submit(work("a"))
        gate.shut()
        failing.before = [StoreError("down"), StoreError("down")]
        first = asyncio.create_task(decider.submit(work("b")))
        await gate.waited()
        second = asyncio.create_task(decider.submit(work("b", "c")))
        await asyncio.sleep(0.01)
        gate.open()
        with pytest.raises(StoreError):
            await first
        assert await second == 2
    assert Counter(await rows(database, "SELECT verdict FROM decisions")) == {("notify",): 3}
    assert await restored(database) == decider.state.dump()


async def test_a_connection_that_broke_after_the_commit_decides_nothing_twice(database):
    """Whether it was committed is seen in the log: it is folded, and the alert is a repeat."""
    failing = Failing(database)
    decider = make(failing)
    async with running(decider):
        await decider.submit(work("a"))
        failing.after = [Disconnected("the connection broke")]
        await decider.submit(work("b"))
        failing.after = [Disconnected("the connection broke")]
        await decider.submit(vote("b"))
        await decider.submit(work("c"))
    assert await restored(database) == decider.state.dump()
    decided = await rows(database, "SELECT episode FROM decisions")
    assert len(decided) == len(set(decided)) == 3
    assert len(await rows(database, "SELECT * FROM outbox WHERE kind = 'notify'")) == 3
    assert len(await rows(database, "SELECT * FROM votes")) == 1


async def test_a_connection_that_broke_before_the_commit_is_tried_again(database):
    """The caller does not notice."""
    failing = Failing(database)
    decider = make(failing)
    async with running(decider):
        failing.before = [Disconnected("the connection broke"), Disconnected("again")]
        assert await decider.submit(work("a")) == 1
    assert await restored(database) == decider.state.dump()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop."""
    with Postgres() as server:
        yield server


async def test_postgres_stops_and_comes_back(own_postgres):
    """While it is down every submit fails quickly; when it is back the next one works, and nothing is lost or double."""
    with own_postgres.database() as url:
        database = Database(open_engine(url))
        await schema.upgrade(database)
        decider = make(database)
        async with running(decider):
            await decider.submit(work("a"))
            await asyncio.to_thread(own_postgres.process.stop, signal.SIGINT)
            for name in ("b", "c"):
                with pytest.raises(StoreError):
                    await asyncio.wait_for(decider.submit(work(name)), 30)
            assert len(decider.state.episodes) == 1
            argv, folder = own_postgres.process.argv, own_postgres.folder
            own_postgres.process = Process(argv, folder / "output.log", cwd=folder, **_postgres_user())
            await asyncio.to_thread(own_postgres._wait)
            assert await decider.submit(work("b", "c")) == 2
        assert await restored(database) == decider.state.dump()
        assert len(await rows(database, "SELECT * FROM decisions")) == 3
        await database.close()
