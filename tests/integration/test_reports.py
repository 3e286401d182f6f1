"""The reports on a real store: what they read of a served incident, the commands, and the gauges."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from sidecar.__main__ import main
from sidecar.domain import Pattern as Rule
from sidecar.domain import Reason, Verdict
from sidecar.events import Decided, EpisodeEnded, EpisodeStarted, Event, SilenceAsked, SilenceSettled, Voted
from sidecar.reports.hourly import measure_once
from sidecar.store import log, projections, reports, schema
from sidecar.store.engine import Database, open_engine
from sidecar.telemetry import Metrics
from tests.acceptance.world import alert, webhook, within
from tests.fakes import FakeSlack
from tests.integration.running import running

T0 = 1_795_000_000.0
MARK = "shadow: would have been suppressed"


@pytest.fixture
async def database(database_url) -> AsyncIterator[Database]:
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


@pytest.fixture
def config(database_url, tmp_path) -> Path:
    path = tmp_path / "sidecar.yml"
    path.write_text(yaml.safe_dump({"store": {"url": database_url}}))
    return path


def started(name: str, at: float = T0, **labels: str) -> EpisodeStarted:
    known = {"alertname": "Flaky", "instance": "db-1", "severity": "warn", **labels}
    return EpisodeStarted(at, name, name, at, known, {"value": "12.5", "threshold": "ten"})


def decided(name: str, verdict: Verdict, incident: str, at: float = T0, **more) -> Decided:
    tell = ("default",) if verdict is Verdict.NOTIFY else ()
    reasons = (Reason("routing", "because"),)
    return Decided(at, name, incident, verdict, "WARNING", reasons, tell=tell, receivers=("default",), **more)


def voted(name: str, kind: str, at: float, *, who: str = "ada", retracted: bool = False) -> Voted:
    return Voted(at, who, kind, name, "i", (), retracted=retracted)


async def store(database: Database, *events: Event, at: float = T0) -> None:
    async with database.write() as connection:
        await log.append(connection, 0, await log.head(connection, 0), at, events, ())
    while await projections.project(database, 0):
        pass


async def read(database: Database, since: float = T0 - 10, until: float = T0 + 1e6) -> reports.Period:
    async with database.read() as connection:
        return await reports.read_period(connection, since, until)


async def test_what_was_decided_is_read_per_episode(database):
    """All decisions on an episode count: one that was held and then told interrupts; times outside stay out."""
    pattern = Rule("Flaky", "", "", "WARNING")
    await store(
        database,
        started("old", T0 - 99), decided("old", Verdict.NOTIFY, "i-old", T0 - 99),
        started("a"), decided("a", Verdict.HOLD, "i"), decided("a", Verdict.NOTIFY, "i", marks=(MARK,)),
        started("b"), decided("b", Verdict.FOLD, "i"), EpisodeEnded(T0 + 60, "b", "b", T0 + 60),
        started("c", severity="critical"), decided("c", Verdict.SUPPRESS, "i-c"),
        SilenceAsked(T0, pattern, T0 + 1, "false_positive", "", ("a",)), SilenceSettled(T0, pattern, "active", "s"),
    )  # fmt: skip
    period = await read(database)

    seen = {one.episode: (one.interrupts, one.folds, one.marked, one.told) for one in period.episodes}
    assert seen == {
        "a": (True, False, True, True), "b": (False, True, False, True), "c": (False, False, False, False),
    }  # fmt: skip
    a, b, c = period.episodes
    assert (a.alertname, a.instance, a.severity, a.value, a.threshold) == ("Flaky", "db-1", "WARNING", 12.5, None)
    assert (a.ended_at, b.lasted, c.severity) == (None, 60.0, "CRITICAL")
    assert period.told_at == {"i": T0, "i-c": None}
    assert period.silences == 1


async def test_an_ack_is_remembered_when_the_same_person_votes_again(database):
    """The table of votes keeps the newest alone, so acks come from the log; one that is taken back is none."""
    await store(database, started("a"), decided("a", Verdict.NOTIFY, "i"))
    await store(
        database,
        voted("a", "ack", T0 + 60), voted("a", "useful", T0 + 600),
        voted("a", "ack", T0 + 30, who="bob"), voted("a", "ack", T0 + 40, who="bob", retracted=True),
    )  # fmt: skip
    period = await read(database)

    assert period.acknowledged == {"i": [T0 + 60]}
    assert ("a", "ada", "useful", T0 + 600, False) in period.votes


async def test_a_served_incident_is_in_the_report(database_url):
    """An alert that was posted, told in Slack and acknowledged by API: what the report counts of it."""
    began = time.time()
    async with FakeSlack() as slack:
        block = {"api_url": slack.url, "bot_token": slack.token, "channel": "#alerts"}
        receivers = [{"name": "default", "slack_configs": [block]}]
        async with running(database_url, receivers=receivers) as sidecar:
            assert await sidecar.post(webhook([alert("HighErrorRate", pod="p", severity="WARNING")])) == (200, "ok")
            await within(20, lambda: sidecar.count("SELECT count(*) FROM outbox WHERE state = 'sent'"))
            episode = (await sidecar.rows("SELECT episode FROM episodes"))[0]["episode"]
            assert (await sidecar.vote(episode, "ack"))[0] == 200
            await sidecar.caught_up()
            period = await read(sidecar.parts.database, began - 5, time.time() + 5)

    (message,) = period.messages
    assert (message.kind, message.state) == ("notify", "sent")
    assert 0 <= message.settled_at - message.received_at < 20
    assert period.attempts == {"sent": 1}
    ((incident, (acknowledged,)),) = period.acknowledged.items()
    assert incident == message.incident
    assert acknowledged >= message.settled_at


async def run(*words: str) -> int:
    """The command line starts a loop of its own."""
    return await asyncio.to_thread(main, list(words))


async def fill(database: Database) -> None:
    """Eight short false alarms that told people, and a real one that lasted."""
    for number in range(8):
        name, at = f"n{number}", T0 + 3600 * number
        await store(
            database, started(name, at), decided(name, Verdict.NOTIFY, f"i{number}", at),
            EpisodeEnded(at + 50, name, name, at + 50), voted(name, "false_positive", at + 99), at=at,
        )  # fmt: skip
    await store(database, started("r"), decided("r", Verdict.NOTIFY, "ir"), voted("r", "useful", T0 + 99))


async def test_the_commands_print_tables_and_json_and_a_page(database, config, tmp_path, capsys):
    """The same numbers each time, from the store, for the time that was asked for."""
    await fill(database)
    when = ("--config", str(config), "--since", "30d", "--until", "2026-11-30")
    page = tmp_path / "report.html"
    assert await run("report", *when, "--html", str(page)) == 0
    assert "11.1 %" in capsys.readouterr().out  # one useful of nine
    assert "Add 1m to its" in page.read_text("utf-8")
    assert await run("report", *when, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["episodes"] == 9
    assert found["feedback"][2]["hits"] == 1
    assert await run("noisy-rules", *when) == 0
    assert "8 of 8 false interruptions would not have been" in " ".join(capsys.readouterr().out.split())
    assert await run("noisy-rules", *when, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["alertname"], row["false"]["hits"], row["real_incidents"]) == ("Flaky", 8, 1)
    assert await run("noisy-rules", "--config", str(config), "--until", "2020-01-01") == 0
    assert "no alert came in this time" in capsys.readouterr().out


async def test_gauges_are_measured_by_the_command(database, config):
    """One run sets them, with when; a database that is gone leaves them, and says why."""
    await fill(database)
    metrics = Metrics()
    path = config.with_name("other.yml")
    path.write_text(yaml.safe_dump({"store": {"url": f"sqlite:///{config.with_name('none.db')}"}}))
    with pytest.raises(ValueError, match=r"there is no database yet"):
        await measure_once(str(path), metrics, lambda: T0)
    assert metrics.registry.get_sample_value("sidecar_report_last_success_timestamp_seconds") == 0

    await measure_once(str(config), metrics, lambda: T0)
    assert metrics.registry.get_sample_value("sidecar_report_last_success_timestamp_seconds") == T0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "month"], "is not a duration"),
        (["--until", "now"], "is not a time"),
        (["--since", "0"], "is no time"),
    ],
)
def test_wrong_times_are_refused_with_what_to_write(words, said, capsys):
    """Before anything is read."""
    with pytest.raises(SystemExit):
        main(["report", *words])
    assert said in capsys.readouterr().err


async def test_a_page_that_cannot_be_written_is_an_error(database, config, tmp_path, capsys):
    """Exit code 1 and the place."""
    await fill(database)
    assert await run("report", "--config", str(config), "--html", str(tmp_path / "no" / "report.html")) == 1
    assert "cannot be written" in capsys.readouterr().err


async def test_the_first_decision_says_what_the_audit_sample_did(database):
    """Drawn, not drawn and told later, or not open to it; by instance, else by fingerprint."""
    await store(
        database,
        *(started(name) for name in ("drawn", "held", "plain")), started("bare", instance=""),
        decided("drawn", Verdict.NOTIFY, "i1", propensity=0.05), decided("plain", Verdict.NOTIFY, "i3"),
        decided("held", Verdict.HOLD, "i2", propensity=0.95), decided("bare", Verdict.SUPPRESS, "i4", propensity=0.9),
    )  # fmt: skip
    await store(database, decided("held", Verdict.NOTIFY, "i2", at=T0 + 600), at=T0 + 600)
    found = {one.episode: one for one in (await read(database)).episodes}

    assert {name: (one.drawn, round(one.chance, 6), one.told) for name, one in found.items()} == {
        "drawn": (True, 0.05, True), "held": (False, 0.05, True), "plain": (False, 1.0, True), "bare": (False, 0.1, False),
    }  # fmt: skip
    assert (found["held"].decided_at, found["held"].where, found["bare"].where) == (T0, "db-1", "bare")
