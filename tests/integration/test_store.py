"""The log, its snapshots, the projections and the outbox, on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from sidecar.domain import Delivery, Pattern, Reason, Verdict
from sidecar.errors import Conflict, Refused
from sidecar.events import (
    Decided,
    EpisodeEnded,
    EpisodeMuted,
    EpisodeSeen,
    EpisodeStarted,
    Event,
    Hides,
    SilenceAsked,
    SilenceChanged,
    SilenceEnded,
    SilenceProposed,
    SilenceReplayed,
    SilenceSettled,
    Voted,
)
from sidecar.projector import Projector
from sidecar.store import log, outbox, projections, queries, schema, tables
from sidecar.store.engine import Database, open_engine
from sidecar.store.outbox import Claimed, Settled
from sidecar.telemetry import Metrics

T0 = 1_795_000_000.0
PROJECTED = (
    tables.episodes,
    tables.incidents,
    tables.decisions,
    tables.votes,
    tables.silences,
    tables.silence_ends,
    tables.mutes,
)
PATTERN = Pattern("Flaky", "shop", "cart", "WARNING")


@pytest.fixture
async def database(database_url) -> AsyncIterator[Database]:
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


async def append(database: Database, *batches: list[Event], deliveries: tuple[Delivery, ...] = ()) -> int:
    """Each batch as a row of the log, the deliveries with the last one; returns its seq."""
    async with database.write() as connection:
        seq = await log.head(connection, 0)
        for number, events in enumerate(batches):
            box = deliveries if number == len(batches) - 1 else ()
            seq = await log.append(connection, 0, seq, T0, events, box)
    return seq


def started(name: str, at: float = T0, **labels: str) -> EpisodeStarted:
    return EpisodeStarted(at, f"{name}-1", name, at, {"alertname": "Flaky", **labels}, {"summary": 'a "quoted" ü'}, "g")


def decided(name: str, at: float = T0, incident: str = "i-1", **more: Any) -> Decided:
    reasons = (Reason("routing", "because “it” is so"),)
    return Decided(at, f"{name}-1", incident, Verdict.NOTIFY, "WARNING", reasons, **more)


def voted(name: str, kind: str, at: float = T0, who: str = "ada", **more: Any) -> Voted:
    return Voted(at, who, kind, f"{name}-1", "i-1", (name, "Flaky", "", "cart", "shop", "WARNING"), **more)


async def contents(database: Database, only: Any = None) -> dict[str, list[dict[str, Any]]]:
    """The projected tables, in the order of their keys."""
    found = {}
    async with database.read() as connection:
        for table in PROJECTED if only is None else (only,):
            rows = (await connection.execute(select(table).order_by(*table.primary_key))).mappings()
            found[table.name] = [dict(row) for row in rows]
    return found


async def project_all(database: Database, rows: int = 1000) -> int:
    total = 0
    while taken := await projections.project(database, 0, rows):
        total += taken
    return total


# -------------------------------------------------------------------------------------------------------------- the log


async def test_rows_get_consecutive_numbers_and_come_back_in_order(database):
    """What was appended is what is read, event by event."""
    batches = [[started("a")], [EpisodeSeen(T0 + 1, "a-1", "a", T0)], [EpisodeEnded(T0 + 2, "a-1", "a", T0 + 2)]]
    assert await append(database, *batches) == 3
    async with database.read() as connection:
        assert await log.tail(connection, 0, 0) == list(enumerate(batches, 1))
        assert [seq for seq, _ in await log.tail(connection, 0, 1)] == [2, 3]
        assert [seq for seq, _ in await log.tail(connection, 0, 0, limit=2)] == [1, 2]
        assert await log.head(connection, 0) == 3
        assert await queries.count_log(connection) == 3
    assert [seq async for seq, _ in log.all_after(database, 0, 1)] == [2, 3]


async def test_a_writer_that_is_behind_conflicts_and_leaves_nothing(database):
    """Compare-and-set on the head: neither its row nor its deliveries are there."""
    await append(database, [started("a")])
    for head in (0, 2):
        with pytest.raises(Conflict):
            async with database.one_statement() as connection:
                await log.append(connection, 0, head, T0, [started("b")], [delivery("k")])
    async with database.read() as connection:
        assert await queries.count_log(connection) == 1
        assert await outbox.depths(connection) == {}


async def test_racing_writers_never_share_a_number(database):
    """Twenty at once on the same head: one wins, the others conflict."""

    async def write(number: int) -> int | None:
        try:
            async with database.one_statement() as connection:
                return await log.append(connection, 0, 0, T0, [started(f"f{number}")], [delivery(f"k{number}")])
        except Conflict:
            return None

    won = [seq for seq in await asyncio.gather(*(write(n) for n in range(20))) if seq is not None]
    assert won == [1]
    async with database.read() as connection:
        assert await outbox.depths(connection) == {"waiting": 1}


async def test_the_lock_makes_writers_wait_for_each_other(database):
    """Head, fold and append under the lock never conflict."""

    async def write(number: int) -> int:
        async with log.locked(database, 0) as connection:
            head = await log.head(connection, 0)
            return await log.append(connection, 0, head, T0, [started(f"f{number}")], [])

    assert sorted(await asyncio.gather(*(write(n) for n in range(8)))) == list(range(1, 9))


async def test_a_transaction_that_raises_leaves_nothing(database):
    """Log row and outbox rows are rolled back together."""

    async def fail() -> None:
        async with database.write() as connection:
            await log.append(connection, 0, 0, T0, [started("a")], [delivery("k")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with database.read() as connection:
        assert await log.head(connection, 0) == 0
        assert await outbox.depths(connection) == {}


async def test_the_newest_snapshot_of_this_layout_counts_and_two_are_kept(database):
    """One before it, in case the newest is damaged."""
    assert await log.newest_snapshot(database, 0, 1) is None
    for seq in (5, 9, 12, 12):
        await log.save_snapshot(database, 0, seq, 1, T0, f"state {seq}".encode())
    assert await log.newest_snapshot(database, 0, 1) == b"state 12"
    assert await log.newest_snapshot(database, 0, 2) is None
    async with database.read() as connection:
        kept = (await connection.execute(select(tables.snapshots.c.seq))).scalars().all()
    assert sorted(kept) == [9, 12]


async def test_what_no_database_takes_is_refused(postgres_url):
    """A NUL in a text is the batch's fault, not the connection's: Refused, so that the poison is looked for."""
    found = Database(open_engine(postgres_url))
    await schema.upgrade(found)
    with pytest.raises(Refused):
        async with found.write() as connection:
            await queries.mark_seen(connection, "a\x00b", T0)
    await found.close()


# ------------------------------------------------------------------------------------------------------ the projections


async def test_an_episode_as_people_see_it(database):
    """Started, sent again twice, ended: one row, with its decision and its incident."""
    again = [EpisodeSeen(T0 + n, "a-1", "a", T0) for n in (10, 20)]
    more = {
        "tell": ("default",),
        "score": 0.25,
        "observation": struct.pack("<2f", 1.0, -2.5),
        "model": "m",
        "marks": ("shadow",),
    }
    await append(
        database, [started("a", domain="x"), decided("a", **more)], again, [EpisodeEnded(T0 + 30, "a-1", "a", T0 + 25)]
    )
    assert await project_all(database) == 3
    async with database.read() as connection:
        view = await queries.incident_view(connection, "i-1")
    assert view is not None
    assert (view.firing, view.resolved, view.opened_at) == (0, 1, T0)
    (row,) = view.episodes
    assert (row.episode, row.incident, row.times, row.ended_at, row.last_seen) == ("a-1", "i-1", 3, T0 + 25, T0 + 30)
    assert row.labels == {"alertname": "Flaky", "domain": "x"}
    assert row.annotations == {"summary": 'a "quoted" ü'}
    (made,) = view.decisions["a-1"]
    assert (made.verdict, made.score, made.observation, made.marks) == ("notify", 0.25, (1.0, -2.5), ["shadow"])
    assert made.reasons == [("routing", "because “it” is so")]
    assert await project_all(database) == 0


async def test_people_look_up_episodes_by_any_word(database):
    """An id, a fingerprint, an incident or an alertname; an unknown word finds nothing."""
    await append(database, [started("a"), decided("a", incident="i-a-1")])
    await project_all(database)
    async with database.read() as connection:
        for word in ("a-1", "a", "i-a-1", "Flaky"):
            assert [row.episode for row in await queries.look_up(connection, word)] == ["a-1"], word
        assert await queries.look_up(connection, "nothing") == []


VOTES = {
    "a vote": (["+false_positive"], ("false_positive", False)),
    "taken back": (["+false_positive", "-false_positive"], ("false_positive", True)),
    "changed": (["+false_positive", "+useful"], ("useful", False)),
    "another kind is taken back": (["+useful", "-false_positive"], ("useful", False)),
    "the older reaction is taken off": (["+false_positive", "+useful", "-false_positive"], ("useful", False)),
    "the newer reaction is taken off": (["+false_positive", "+useful", "-useful"], ("useful", True)),
    "taken back and given again": (["+useful", "-useful", "+useful"], ("useful", False)),
    "what is not there is taken back": (["-useful"], None),
    "taken back before it was given": (["-useful", "+false_positive"], ("false_positive", False)),
    "all at once": (["+useful", "-false_positive", "+false_positive", "-useful"], ("false_positive", False)),
}


@pytest.mark.parametrize("rows", [1, 2, 100])
async def test_votes_end_as_they_were_given(database, rows):
    """One vote per person per episode, the newest; a retraction takes back only its own kind, however rows are grouped."""
    for number in range(len(max((steps for steps, _ in VOTES.values()), key=len))):
        batch = [
            voted(name, steps[number][1:], T0 + number, retracted=steps[number][0] == "-")
            for name, (steps, _) in VOTES.items()
            if number < len(steps)
        ]
        await append(database, batch)
    await project_all(database, rows)
    found = {row["episode"]: (row["kind"], bool(row["retracted"])) for row in (await contents(database))["votes"]}
    assert found == {f"{name}-1": ends for name, (_, ends) in VOTES.items() if ends is not None}


async def test_a_vote_and_a_retraction_of_another_kind_in_one_row(database):
    """One log row of a busy moment holds both, and another person's."""
    await append(
        database,
        [
            voted("a", "useful"),
            voted("a", "false_positive", retracted=True),
            voted("a", "useful", who="grace"),
            voted("a", "useful", who="grace", retracted=True),
        ],
    )
    await project_all(database)
    votes = (await contents(database))["votes"]
    assert [(row["who"], row["kind"], bool(row["retracted"])) for row in votes] == [
        ("ada", "useful", False),
        ("grace", "useful", True),
    ]


@pytest.mark.parametrize("rows", [1, 100])
async def test_a_silence_that_is_asked_for_again_waits_again(database, rows):
    """The settlement of the first one does not count for the second."""
    asked = SilenceAsked(T0, PATTERN, T0 + 60, "false_positive", "five", ("a-1",))
    settled = SilenceSettled(T0 + 1, PATTERN, "active", "id-1")
    await append(database, [asked], [settled])
    await project_all(database, rows)
    (row,) = (await contents(database))["silences"]
    assert (row["state"], row["silence_id"]) == ("active", "id-1")
    await append(database, [replace(settled, outcome="ended")], [replace(asked, at=T0 + 99, ends_at=T0 + 999)])
    await project_all(database, rows)
    (row,) = (await contents(database))["silences"]
    assert (row["state"], row["silence_id"], row["ends_at"]) == ("asked", "", T0 + 999)


def random_log(seed: int) -> list[list[Event]]:
    """Rows of everything that is projected, with a clock that sometimes goes back."""
    draw, at, rows = random.Random(seed), T0, []
    for _ in range(100):
        events: list[Event] = []
        for _ in range(draw.randrange(1, 6)):
            at += draw.choice([0.0, 1.0, 30.0, -5.0])
            name, who = f"f{draw.randrange(4)}", draw.choice(["ada", "grace"])
            kind, flag = draw.choice(["useful", "false_positive", "ack"]), draw.random() < 0.4
            incident = f"i-{draw.randrange(3)}"
            events.append(
                draw.choice(
                    [
                        started(name, at),
                        EpisodeSeen(at, f"{name}-1", name, at),
                        EpisodeEnded(at, f"{name}-1", name, at - 1),
                        decided(name, at, incident, tell=("default",) if flag else ()),
                        voted(name, kind, at, who, retracted=flag, comment=f"{at}"),
                        SilenceAsked(at, PATTERN, at + 60, "false_positive", f"{at}", (name,)),
                        SilenceSettled(at, PATTERN, draw.choice(["active", "failed", "ended"]), f"id-{at}"),
                        SilenceProposed(at, PATTERN, (("a", "b"),), at + 60, "mark", (name,)),
                        SilenceReplayed(at, PATTERN, "mark", Hides(at, draw.randrange(9)), draw.choice(["", "real"])),
                        SilenceChanged(at, PATTERN, f"id-{at}", draw.choice(["active", "theirs"]), at + 70, f"{at}"),
                        SilenceEnded(
                            at, PATTERN, draw.choice(["", f"id-{at}"]), f"{at}", 3, draw.choice(["revoked", "votes"])
                        ),
                        EpisodeMuted(at, f"{name}-1", name, f"id-{draw.randrange(3)}", who, at + 60),
                    ]
                )
            )
        rows.append(events)
    return rows


async def test_the_tables_do_not_depend_on_the_size_of_the_pieces(database):
    """Row by row, in odd pieces or all at once: the same tables."""
    found = []
    opening = [started(f"f{n}") for n in range(4)]
    await append(database, opening, *random_log(1))
    for rows in (1, 7, 10_000):
        async with database.write() as connection:
            for table in PROJECTED:
                await connection.execute(table.delete())
            await connection.execute(tables.shards.update().values(projected=0))
        await project_all(database, rows)
        found.append(await contents(database))
    assert all(found[0].values())
    for name in found[0]:
        assert found[1][name] == found[0][name], name
        assert found[2][name] == found[0][name], name


async def test_projecting_twice_changes_nothing(database):
    """The position is written with the rows; two projectors at once take each row once."""
    await append(database, [started("a"), decided("a")], *[[EpisodeSeen(T0 + n, "a-1", "a", T0)] for n in range(30)])
    await asyncio.gather(*(project_all(database, 3) for _ in range(4)))
    (row,) = (await contents(database))["episodes"]
    assert row["times"] == 31
    assert await projections.behind(database, 0) == (31, 31)


async def test_a_row_that_the_tables_cannot_take_is_passed_over(postgres_url):
    """Loudly, by the metric; those before and after it are there, and another replica's progress is never skipped."""
    found = Database(open_engine(postgres_url))
    await schema.upgrade(found)
    await append(found, [started("a")], [started("b", domain="\x00")], [started("c")])
    metrics = Metrics()
    projector = Projector(found, metrics, lambda: False)
    while await projector.step():
        pass
    assert [row["episode"] for row in (await contents(found))["episodes"]] == ["a-1", "c-1"]
    assert metrics.skipped._value.get() == 1
    assert await projections.skip(found, 0, 1) == 0
    assert await projections.behind(found, 0) == (3, 3)
    await found.close()


# ----------------------------------------------------------------------------------------------------------- the outbox


def delivery(
    key: str, kind: str = "notify", incident: str = "i-1", receiver: str = "default", at: float = T0
) -> Delivery:
    return Delivery(key, receiver, incident, kind, at)  # type: ignore[arg-type]


async def put(database: Database, *many: Delivery) -> int:
    return await append(database, [], deliveries=many)


async def claim(
    database: Database, now: float = T0, target: str = "default", limit: int = 10, holder: str = "me"
) -> list[Claimed]:
    return await outbox.claim(database, target, now, 60.0, holder, limit)


async def settle(database: Database, row: Claimed, state: str, at: float = T0, **more: Any) -> None:
    words = {"sent": "sent", "waiting": "retry", "dead": "rejected"}
    async with database.write() as connection:
        await outbox.settle(connection, [Settled(row, state, at, words[state], **more)])


async def states(database: Database) -> dict[str, str]:
    async with database.read() as connection:
        rows = await outbox.listing(connection, ("waiting", "leased", "sent", "merged", "dead"), 100)
    return {row["dedup_key"]: row["state"] for row in rows}


async def test_a_dedup_key_is_there_once(database):
    """Within one row of the log and between two."""
    await put(database, delivery("k"), delivery("k", receiver="other"))
    await put(database, delivery("k", "update"))
    assert await states(database) == {"k": "waiting"}
    (row,) = await claim(database)
    assert (row.kind, row.seq) == ("notify", 1)


async def test_messages_of_one_incident_and_receiver_leave_in_their_order(database):
    """The next one waits until the one before it is settled; other incidents and receivers do not wait."""
    await put(database, delivery("a1"), delivery("b1", incident="i-2"), delivery("a1-other", receiver="other"))
    await put(database, delivery("a2", "raise"), delivery("a3", "resolve"))
    assert [row.dedup_key for row in await claim(database)] == ["a1", "b1"]
    assert await claim(database) == []
    assert [row.dedup_key for row in await claim(database, target="other")] == ["a1-other"]
    await settle(database, (await claimed(database, "a1")), "waiting", next_at=T0 + 5)
    assert await claim(database, T0 + 4) == []
    (first,) = await claim(database, T0 + 5)
    assert (first.dedup_key, first.attempts) == ("a1", 1)
    await settle(database, first, "sent")
    (second,) = await claim(database, T0 + 5)
    assert second.dedup_key == "a2"
    await settle(database, second, "dead", why="no")
    assert [row.dedup_key for row in await claim(database, T0 + 5)] == ["a3"]


async def claimed(database: Database, key: str) -> Claimed:
    """A row as its holder has it."""
    columns = [tables.outbox.c[name] for name in Claimed.__struct_fields__]
    async with database.read() as connection:
        return Claimed(*(await connection.execute(select(*columns).where(tables.outbox.c.dedup_key == key))).one())


async def test_the_oldest_come_first_and_no_more_than_asked_for(database):
    """By when they were received."""
    await put(database, *(delivery(f"k{n}", incident=f"i-{n}", at=T0 - n) for n in range(5)))
    assert [row.dedup_key for row in await claim(database, limit=2)] == ["k4", "k3"]
    assert [row.dedup_key for row in await claim(database, limit=9)] == ["k2", "k1", "k0"]


async def test_a_lease_that_ran_out_is_anyones(database):
    """Whoever died with it."""
    await put(database, delivery("k"))
    assert len(await claim(database)) == 1
    assert await claim(database, T0 + 59) == []
    async with database.read() as connection:
        assert await outbox.due_targets(connection, T0 + 59) == []
        assert await outbox.due_targets(connection, T0 + 60) == ["default"]
    assert len(await claim(database, T0 + 60, holder="you")) == 1


async def test_a_late_failure_does_not_undo_what_another_sent(database):
    """Its lease was taken over: only whoever holds the lease may have it sent again; what was sent is sent."""
    await put(database, delivery("k"))
    (mine,) = await claim(database)
    (yours,) = await claim(database, T0 + 61, holder="you")
    await settle(database, mine, "waiting", T0 + 62, why="timed out")
    assert await states(database) == {"k": "leased"}
    await settle(database, yours, "sent", T0 + 63)
    await settle(database, mine, "dead", T0 + 64, why="refused")
    assert await states(database) == {"k": "sent"}


async def test_a_late_success_counts_whoever_holds_the_lease(database):
    """It was sent: nobody sends it again."""
    await put(database, delivery("k"))
    (mine,) = await claim(database)
    (yours,) = await claim(database, T0 + 61, holder="you")
    await settle(database, mine, "sent", T0 + 62, ref="C1:1")
    await settle(database, yours, "waiting", T0 + 63, why="timed out")
    assert await states(database) == {"k": "sent"}


async def test_racing_workers_claim_each_row_once(database):
    """Replicas share the outbox."""
    await put(database, *(delivery(f"k{n}", incident=f"i-{n}") for n in range(40)))
    taken = await asyncio.gather(*(claim(database, limit=10, holder=f"w{n}") for n in range(6)))
    keys = [row.dedup_key for rows in taken for row in rows]
    assert len(keys) == len(set(keys))
    rest = await claim(database, limit=100)
    assert len(keys) + len(rest) == 40


async def test_waiting_updates_become_one(database):
    """One message says the latest state; what interrupts is not merged, nor is another receiver's."""
    await put(database, delivery("u1", "update"))
    await put(database, delivery("u2", "update"), delivery("other", "update", receiver="other"))
    await put(database, delivery("r", "raise"))
    await put(database, delivery("u3", "update"))
    (row,) = await claim(database)
    assert await outbox.merge_updates(database, row, T0) == 4
    assert await states(database) == {
        "u1": "leased",
        "u2": "merged",
        "u3": "merged",
        "other": "waiting",
        "r": "waiting",
    }
    await settle(database, row, "sent")
    assert [row.dedup_key for row in await claim(database)] == ["r"]


async def test_attempts_and_references_are_kept(database):
    """Every attempt for people, the newest reference for the next message; a NUL of a provider stops nothing."""
    await put(database, delivery("k"))
    (row,) = await claim(database)
    await settle(database, row, "waiting", T0 + 1, why="HTTP 503: a\x00b", next_at=T0 + 2)
    (row,) = await claim(database, T0 + 2)
    await settle(database, row, "sent", T0 + 3, ref="C1:17.5", took=0.5)
    async with database.read() as connection:
        made = await queries.deliveries_of(connection, "i-1")
        assert [(one["n"], one["outcome"], one["why"]) for one in made] == [
            (1, "retry", "HTTP 503: a\ufffdb"),
            (2, "sent", ""),
        ]
        assert await outbox.ref_of(connection, "i-1", "default") == "C1:17.5"
        assert await outbox.ref_of(connection, "i-1", "other") == ""
        assert await outbox.incident_at(connection, "C1:17.5") == "i-1"
        assert await outbox.incident_at(connection, "C1:0") is None
        assert await queries.receivers_of(connection, "i-1") == [("default", "C1:17.5")]


async def test_dead_letters_are_listed_and_replayed(database):
    """One by its key, or all; as if they had come now, so that a failure does not end them at once."""
    await put(database, *(delivery(f"k{n}", incident=f"i-{n}") for n in range(3)))
    for row in await claim(database):
        await settle(database, row, "dead", T0 + 1, why="HTTP 400: no")
    async with database.read() as connection:
        assert await outbox.depths(connection) == {"dead": 3}
        listed = await outbox.listing(connection, ("dead",), 2)
    assert [row["why"] for row in listed] == ["HTTP 400: no"] * 2
    later = T0 + 7 * 86400
    async with database.write() as connection:
        assert await outbox.replay(connection, ["k1", "unknown"], later) == 1
        assert await outbox.replay(connection, ["k1"], later) == 0
    (row,) = await claim(database, later)
    assert (row.dedup_key, row.received_at) == ("k1", later)
    async with database.write() as connection:
        assert await outbox.replay(connection, [], later) == 2
    assert len(await claim(database, later)) == 2


# -------------------------------------------------------------------------------------------------------- the quarantine


async def test_the_same_poison_is_kept_once_and_counted(database):
    """Its raw bytes, whatever they are, and why."""
    for at in (T0, T0 + 60):
        async with database.write() as connection:
            await queries.set_aside(connection, "id-1", at, "it is odd", b"\x00\xff\xed\xa0\x80")
    async with database.read() as connection:
        (row,) = await queries.quarantined(connection)
    assert (bytes(row["body"]), row["times"], row["at"], row["why"]) == (
        b"\x00\xff\xed\xa0\x80",
        2,
        T0 + 60,
        "it is odd",
    )


async def test_an_event_of_a_provider_is_seen_once(database):
    """Marking it again changes nothing."""
    async with database.write() as connection:
        assert not await queries.was_seen(connection, "Ev1")
        await queries.mark_seen(connection, "Ev1", T0)
        await queries.mark_seen(connection, "Ev1", T0 + 1)
        assert await queries.was_seen(connection, "Ev1")


async def test_a_cancelled_transaction_gives_the_lock_back(database):
    """A sidecar that stops cancels whoever is writing: the snapshot that follows must not wait for it."""

    async def write() -> None:
        async with database.write() as connection:
            for _ in range(5):
                await connection.execute(select(tables.shards.c.head))
            await connection.execute(tables.shards.update().values(projected=0))

    for number in range(40):
        task = asyncio.create_task(write())
        await asyncio.sleep(number / 10_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5), database.write() as connection:
            written = await connection.execute(tables.shards.update().values(projected=0))
        assert written.rowcount == 1
