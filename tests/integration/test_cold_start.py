"""History in the store: as it would have been recorded, once, never behind what the store knows, and nobody told."""

from __future__ import annotations

import gzip
import itertools
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from models.features import pack
from sidecar import pipeline
from sidecar.cold_start import import_file
from sidecar.config import Config
from sidecar.decider import restore
from sidecar.domain import Received
from sidecar.errors import SidecarError
from sidecar.events import Decided, Swept
from sidecar.historian import Historian
from sidecar.history import Change, Tally, changes, stream_history
from sidecar.intake.webhook import fingerprint_of
from sidecar.pipeline import Inputs
from sidecar.scoring import Scorers
from sidecar.state import VERSION, State
from sidecar.store import log, queries, schema, training
from sidecar.store.engine import Database, open_engine
from tests.acceptance.world import alert as sent
from tests.acceptance.world import webhook
from tests.fakes import FakeWebhook
from tests.integration.running import hooks, running

HOUR, DAY = 3600.0, 86400.0
NOON = 1_795_000_000.0
COUNT = 900  # alerts of the real history: two days of it


def configured(url: str) -> Config:
    return Config.model_validate({"store": {"url": url}})


def line(start: float, end: float, truth: str | None = None, **labels: str) -> str:
    moments = [datetime.fromtimestamp(at, UTC).isoformat() for at in (start, end)]
    named = {"alertname": "A", "severity": "warning", "instance": "i", **labels}
    return json.dumps({"labels": named, "startsAt": moments[0], "endsAt": moments[1], "truth": truth})


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Path:
    """A real history's labelled part, as a file."""
    path = tmp_path_factory.mktemp("history") / "asd.jsonl.gz"
    text = gzip.decompress((files("sidecar.demo") / "history" / "asd.jsonl.gz").read_bytes())
    labelled = [one for one in text.splitlines(keepends=True) if b'"truth":null' not in one]
    path.write_bytes(gzip.compress(b"".join(labelled[:COUNT])))
    return path


async def imported(url: str, path: Path, *, dry: bool = False, after: float | None = HOUR, now: float = NOON) -> str:
    return await import_file(configured(url), path, voter="history", voted_after=after, dry=dry, clock=lambda: now)


@asynccontextmanager
async def opened(url: str):
    database = Database(open_engine(url))
    try:
        yield database
    finally:
        await database.close()


async def stored(url: str, tables: str = "episodes decisions incidents votes outbox") -> dict[str, list[dict]]:
    """Everything in the tables but where in the log it came from."""
    from sqlalchemy import text

    found = {}
    async with opened(url) as database, database.read() as connection:
        for table in tables.split():
            rows = (await connection.execute(text(f"SELECT * FROM {table}"))).mappings()
            bare = [{name: value for name, value in row.items() if name not in ("seq", "n")} for row in rows]
            found[table] = sorted(bare, key=repr)
    return found


async def state_of(url: str) -> State:
    async with opened(url) as database:
        return await restore(database, 0, VERSION)


def replayed(path: Path) -> dict[str, bytes]:
    """What a sidecar that had been there would have observed of each episode, with the rules that serve."""
    state, config, observed = State(), configured("sqlite://"), {}
    for at, moment in itertools.groupby(changes(stream_history(path), Tally()), key=lambda change: change.at):
        received = tuple(Received(change.alert, at=at) for change in moment)
        for event in pipeline.plan(Inputs(received), state, Scorers(), config, at).events:
            if isinstance(event, Decided):
                observed.setdefault(event.episode, event.observation)
        state.commit(state.seq + 1)
    return observed


async def test_observations_are_those_of_serving(database_url, history):
    """The same alerts through the pipeline with all its rules give the same numbers, byte for byte."""
    await imported(database_url, history, after=None)

    async with opened(database_url) as database, database.read() as connection:
        rows = await training.decisions_for_training(connection)

    assert {row[0]: pack(row[5]) for row in rows} == replayed(history)
    assert len(rows) == COUNT
    assert {row[6] for row in rows} == {"cold-start"}


async def test_what_is_recorded_is_history_and_tells_nobody(database_url, tmp_path):
    """Episodes with their ends, a digest with its reason and score, a vote an hour after the end, and no message."""
    path = written(tmp_path / "a.jsonl", line(NOON - DAY, NOON - DAY + 120, "fp"), line(NOON - HOUR, NOON - HOUR + 60))

    said = await imported(database_url, path)

    assert "Recorded 2 episodes of 1 alertnames in 2 incidents" in said
    assert "1 are labelled, 100% of them false positives; 100% cleared within 5 minutes." in said
    assert "A        2 episodes, usually 1 min, 100% clear within 5 min, voted noise 100%" in said
    found = await stored(database_url)
    assert sorted(one["ended_at"] - one["starts_at"] for one in found["episodes"]) == [60, 120]
    assert found["outbox"] == []
    assert [one["told_at"] for one in found["incidents"]] == [None, None]
    for one in found["decisions"]:
        assert (one["verdict"], json.loads(one["receivers"])) == ("digest", [])
        assert json.loads(one["reasons"])[0][0] == "import"
        assert 0 < one["score"] < 1
    (vote,) = found["votes"]
    assert (vote["who"], vote["kind"], vote["source"]) == ("history", "false_positive", "history")
    assert vote["at"] == NOON - DAY + 120 + HOUR


async def test_what_fires_on_one_instance_is_one_incident(database_url, tmp_path):
    """For an hour: the ladder counts a flapping alert's incidents, not its flaps."""
    flaps = [
        line(at, at + 60, "fp", pod=str(n)) for n, at in enumerate((NOON - 9000, NOON - 8000, NOON - 6000, NOON - 5000))
    ]
    other = line(NOON - 4900, NOON - 4890, "tp", instance="j")

    await imported(database_url, written(tmp_path / "a.jsonl", *flaps, other))

    state = await state_of(database_url)
    assert len((await stored(database_url, "incidents"))["incidents"]) == 3
    assert state.judged("A", 0) == (2, 1)


async def test_without_feedback_nobody_votes(database_url, history):
    """Labels are ignored: no votes, no ballots."""
    assert "None is labelled" in await imported(database_url, history, after=None)

    assert (await stored(database_url, "votes"))["votes"] == []
    assert len((await state_of(database_url)).ballots) == 0


async def test_the_state_kept_is_that_of_the_log(database_url, history):
    """The snapshot that shortens the next start equals what the whole log folds to."""
    await imported(database_url, history)

    async with opened(database_url) as database:
        kept = await log.newest_snapshot(database, 0, VERSION)
        state = State()
        async for seq, events in log.all_after(database, 0, 0):
            for event in events:
                state.fold(event)
            state.commit(seq)

    assert kept == state.dump()
    assert state.seq > 3


async def test_a_second_time_adds_nothing(database_url, history):
    """And says how many were there."""
    await imported(database_url, history)
    before = await stored(database_url)

    said = await imported(database_url, history)

    assert f"{COUNT} episodes were there already." in said
    assert "nothing was added" in said
    assert await stored(database_url) == before


async def test_an_interrupted_import_goes_on(database_url, history, tmp_path, monkeypatch):
    """What was written stays; the whole is that of an import that was not interrupted."""
    whole = f"sqlite:///{tmp_path / 'whole.db'}"
    await imported(whole, history)
    append, calls = log.append, 0

    async def dying(*arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError("the machine went down")
        return await append(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", dying)
        with pytest.raises(SidecarError, match="the machine went down"):
            await imported(database_url, history)
    assert 0 < len((await stored(database_url, "episodes"))["episodes"]) < COUNT

    said = await imported(database_url, history)

    assert "were there already" in said
    there, expected = await stored(database_url), await stored(whole)
    assert there == expected
    assert (await state_of(database_url)).statistics.dump() == (await state_of(whole)).statistics.dump()


async def test_older_history_is_refused(database_url, tmp_path):
    """Time never runs backwards: nothing of it is written, and it is said why."""
    await imported(database_url, written(tmp_path / "a.jsonl", line(NOON - HOUR, NOON - HOUR + 60)))
    before = await stored(database_url)
    older = written(tmp_path / "b.jsonl", line(NOON - DAY, NOON - DAY + 60), line(NOON - 900, NOON - 800))

    with pytest.raises(SidecarError, match="time never runs backwards"):
        await imported(database_url, older)

    assert await stored(database_url) == before


async def test_a_longer_history_of_the_same_adds_what_is_new(database_url, tmp_path):
    """What is there is passed over, also what the first time was cut because it fired still."""
    first, second = line(NOON - HOUR, NOON - HOUR + 60, "fp"), line(NOON - 700, NOON + 100, "tp", instance="j")
    await imported(database_url, written(tmp_path / "a.jsonl", first, second), after=0.0)
    third = line(NOON + 500, NOON + 560, "fp")

    said = await imported(database_url, written(tmp_path / "a.jsonl", first, second, third), after=0.0, now=NOON + DAY)

    assert "2 episodes were there already" in said
    assert "Recorded 1 episodes" in said
    found = await stored(database_url)
    assert sorted(one["ended_at"] for one in found["episodes"]) == [NOON - HOUR + 60, NOON - 300, NOON + 560]
    assert len(found["votes"]) == 3


async def test_a_dry_run_changes_nothing(database_url, history, tmp_path):
    """It says the same, and leaves a store as it is, or unmade."""
    empty = await imported(database_url, history, dry=True)
    assert "Would record 900 episodes" in empty
    if database_url.startswith("sqlite"):
        assert not Path(database_url.removeprefix("sqlite:///")).exists()
    else:
        async with opened(database_url) as database:
            assert not await schema.is_current(database)

    said = await imported(database_url, history)
    assert empty.replace("Would record", "Recorded").replace("would then", "now") == said
    before = await stored(database_url)
    assert "nothing was added" in await imported(database_url, history, dry=True)
    assert await stored(database_url) == before


async def test_a_bad_line_at_the_end_writes_nothing(database_url, tmp_path):
    """The whole file is read before anything of it is recorded."""
    path = written(tmp_path / "a.jsonl", line(NOON - HOUR, NOON - 1800), "{")

    with pytest.raises(SidecarError, match="line 2"):
        await imported(database_url, path)

    assert (await stored(database_url))["episodes"] == []


async def test_months_are_forgotten_and_what_fires_for_months_is_not(database_url, tmp_path):
    """Idle keys leave the memory as they do in serving; an alert that fires for 100 days begins and ends once."""
    always = line(NOON - 150 * DAY, NOON - 50 * DAY, alertname="Always")
    gone = line(NOON - 149 * DAY, NOON - 149 * DAY + 60, alertname="Gone")
    daily = [line(NOON - n * DAY, NOON - n * DAY + 60, alertname="Daily") for n in range(148, 1, -1)]

    await imported(database_url, written(tmp_path / "a.jsonl", always, gone, *daily))

    state = await state_of(database_url)
    names = {episode.keys.alertname for episode in state.episodes.values()}
    assert names == {"Always", "Daily"}
    found = (await stored(database_url, "episodes"))["episodes"]
    assert [one["ended_at"] - one["starts_at"] for one in found if one["alertname"] == "Always"] == [100 * DAY]
    assert sum(one["alertname"] == "Gone" for one in found) == 1


# ------------------------------------------------------------------------------------------------- with a running sidecar


async def taken(historian: Historian, made: list[Change]) -> None:
    for change in made:
        await historian.take(change)


async def test_a_running_sidecar_takes_history_in(database_url, history):
    """It decides its next alert with what was imported, and tells it."""
    async with FakeWebhook() as fake, running(database_url, receivers=hooks(fake)) as sidecar:
        before = sidecar.parts.decider.state.seq
        await imported(database_url, history)
        status, _ = await sidecar.post(webhook([sent("m03_High", severity="warning", instance="omi-1")]))

        assert status == 200
        await fake.wait_for(1)
        state = sidecar.parts.decider.state
        assert state.seq > before + 3
        assert state.statistics.dump()["names"]
        await sidecar.caught_up()
        assert await sidecar.count("SELECT count(*) FROM episodes") == COUNT + 1


async def test_a_live_alert_ends_an_import_and_is_not_lost(database_url, history):
    """History never goes behind what is newer; what was written before it stays, and the log folds as it should."""
    async with FakeWebhook() as fake, running(database_url, receivers=hooks(fake)) as sidecar:
        parts = sidecar.parts
        historian = Historian(parts.database, await restore(parts.database, 0, VERSION), None, parts.config, "history")
        made = list(changes(stream_history(history), Tally()))
        await taken(historian, made[: len(made) // 2])
        written_before = historian.state.seq
        assert written_before > 0
        assert (await sidecar.post(webhook([sent("Live")])))[0] == 200

        with pytest.raises(SidecarError, match="recorded something newer meanwhile"):
            await taken(historian, made[len(made) // 2 :])

        await fake.wait_for(1)
        await sidecar.caught_up()
        assert await sidecar.count("SELECT count(*) FROM episodes WHERE alertname = 'Live'") == 1
        assert (await restore(parts.database, 0, VERSION)).dump() == parts.decider.state.dump()


async def test_an_idle_sidecars_sweep_does_not_end_an_import(database_url, history):
    """That keys are forgotten is nothing newer: it is folded, and the batch decided again."""
    async with opened(database_url) as database:
        await schema.upgrade(database)
        historian = Historian(database, State(), None, configured(database_url), "history")
        made = list(changes(stream_history(history), Tally()))
        await taken(historian, made[: len(made) // 2])
        async with log.locked(database, 0) as connection:
            await log.append(connection, 0, historian.state.seq, NOON, [Swept(NOON, 0.0)], ())
        await taken(historian, made[len(made) // 2 :])
        await historian.finish()

        assert historian.recorded.episodes == COUNT
        assert (await restore(database, 0, VERSION)).dump() == historian.state.dump()
        assert await log.newest(database, 0) < NOON
        async with database.read() as connection:
            assert await queries.newest_rule(connection) == "import"


async def test_what_fires_still_is_told_when_alertmanager_sends_it(database_url, tmp_path):
    """History that was cut hides nothing: the first webhook of the same firing notifies."""
    now = datetime.now(UTC).timestamp()
    labels = {"alertname": "DiskFull", "severity": "warning", "instance": "db-1"}
    path = written(tmp_path / "a.jsonl", line(now - HOUR, now + HOUR, **labels))
    said = await imported(database_url, path, now=now)
    assert "1 had not ended, and are recorded as if they had." in said

    async with FakeWebhook() as fake, running(database_url, receivers=hooks(fake)) as sidecar:
        alert = sent("DiskFull", ago=HOUR, severity="warning", instance="db-1")
        body = json.loads(webhook([alert]))
        body["alerts"][0]["fingerprint"] = fingerprint_of(labels)
        assert (await sidecar.post(json.dumps(body).encode()))[0] == 200

        await fake.wait_for(1)
        assert fake.requests[0].json["status"] == "firing"


async def test_history_is_not_added_behind_an_open_incident(database_url, tmp_path):
    """What people were told of, and fires still, is not ended by history."""
    now = datetime.now(UTC).timestamp()
    async with FakeWebhook() as fake, running(database_url, receivers=hooks(fake)) as sidecar:
        assert (await sidecar.post(webhook([sent("Live")])))[0] == 200
        await fake.wait_for(1)
    path = written(tmp_path / "a.jsonl", line(now + HOUR, now + 2 * HOUR))

    with pytest.raises(SidecarError, match="1 alerts that people were told of still fire"):
        await imported(database_url, path, now=now + DAY)
