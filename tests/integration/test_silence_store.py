"""Silences over the stored history, on SQLite and on Postgres: what matchers would have hidden, what ours hid, how they end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from sidecar.__main__ import main
from sidecar.config import Config
from sidecar.domain import Pattern, Reason, Verdict
from sidecar.errors import SidecarError
from sidecar.events import (
    Decided,
    EpisodeMuted,
    EpisodeStarted,
    Hides,
    SilenceAsked,
    SilenceChanged,
    SilenceEnded,
    SilenceProposed,
    SilenceReplayed,
    SilenceSettled,
    Voted,
)
from sidecar.silencing import end, listed, matchers_in, preview
from sidecar.store import log, projections, schema, silences
from sidecar.store.engine import Database, open_engine

T0 = 1_795_000_000.0
DAY = 86400.0
PATTERN = Pattern("Flaky", "shop", "cart", "WARNING")
MATCHERS = (("alertname", "Flaky"), ("namespace", "shop"), ("service", "cart"), ("severity", "warning"))
LABELS = {"alertname": "Flaky", "namespace": "shop", "service": "cart", "severity": "warning"}
CONFIG = Config.model_validate({"silences": {"created_by": "us"}})


@pytest.fixture
async def database(database_url) -> AsyncIterator[Database]:
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


async def record(database: Database, *events) -> None:
    """One row of the log, and the tables made of it."""
    async with database.write() as connection:
        await log.append(connection, 0, await log.head(connection, 0), T0, list(events), [])
    while await projections.project(database, 0):
        pass


def episode(name: str, at: float = T0, incident: str = "", verdict: Verdict = Verdict.NOTIFY, **labels: str) -> list:
    reasons = (Reason("routing", "because it is so"),)
    given = {label: value for label, value in (LABELS | labels).items() if value}
    return [
        EpisodeStarted(at, f"{name}-1", name, at, given, {}, "g"),
        Decided(at, f"{name}-1", incident or f"i-{name}", verdict, "WARNING", reasons),
    ]


def vote(name: str, kind: str = "false_positive", who: str = "ada", **more) -> Voted:
    return Voted(T0 + 1, who, kind, f"{name}-1", f"i-{name}", (name, "Flaky", "", "cart", "shop", "WARNING"), **more)


async def replayed(database: Database, *matchers, since: float = T0 - 30 * DAY, covers=None) -> Hides:
    async with database.read() as connection:
        return await silences.replay(connection, matchers or MATCHERS, since, covers)


async def test_what_matchers_would_have_hidden_is_counted(database):
    """Episodes, incidents and what people said of them; a dispute counts as real, a vote taken back not at all."""
    await record(
        database,
        *episode("a"), *episode("b"), *episode("c", incident="i-a"), *episode("d", verdict=Verdict.SUPPRESS),
        *episode("e"), *episode("f"), *episode("old", at=T0 - 31 * DAY),
        vote("a"), vote("b"), vote("b", "useful", "grace"), vote("c", "ack"), vote("e", "useful"),
        vote("f", "useful"), vote("f", "useful", retracted=True), vote("old", "useful"),
    )  # fmt: skip
    found = await replayed(database)
    assert (found.episodes, found.incidents, found.noise, found.real, found.unanswered) == (6, 5, 1, 2, 3)
    assert found.told == 5
    assert set(found.sample[:2]) == {"b-1", "e-1"}
    assert (await replayed(database, since=T0 - 40 * DAY)).real == 3


async def test_matchers_are_exact(database):
    """Letter by letter, an absent label as an empty value, any label, and values longer than the index keeps."""
    long = "x" * 300
    await record(
        database,
        *episode("a"), *episode("b", severity="WARNING"), *episode("c", service=""), *episode("d", namespace=long + "1"),
        *episode("e", namespace=long + "2"), *episode("f", pod="p-1"), *episode("g", alertname="Flakyx"),
    )  # fmt: skip
    assert (await replayed(database)).episodes == 2
    assert (await replayed(database, ("alertname", "Flaky"))).episodes == 6
    assert (await replayed(database, ("alertname", "Flaky"), ("service", ""))).episodes == 1
    assert (await replayed(database, ("namespace", long + "1"))).sample == ("d-1",)
    assert (await replayed(database, *MATCHERS, ("pod", "p-1"))).sample == ("f-1",)
    assert (await replayed(database, *MATCHERS, ("pod", ""))).sample == ("a-1",)
    assert (await replayed(database, ("alertname", "nothing"))).episodes == 0


async def test_what_the_guard_covers_is_counted(database):
    """By the labels of each instance."""
    await record(database, *episode("a"), *episode("b", team="payments"), *episode("c"))
    found = await replayed(database, covers=lambda labels: labels.get("team") == "payments")
    assert (found.guarded, found.sample[0]) == (1, "b-1")


asked = SilenceAsked(T0, PATTERN, T0 + DAY, "false_positive", "five", ("a-1",), MATCHERS, "us")
ended = SilenceEnded(T0 + 60, PATTERN, "s1", "because", 2, "votes")


async def test_a_silence_goes_through_its_states(database):
    """Proposed, replayed, asked for, active, ended; what it hid is counted by episode."""

    async def row():
        async with database.read() as connection:
            (found,) = await silences.every(connection)
        return found

    await record(database, SilenceProposed(T0 - 2, PATTERN, MATCHERS, T0 + DAY, "mark", ("a-1",)))
    assert ((await row()).state, (await row()).matchers) == ("proposed", list(MATCHERS))
    await record(database, SilenceReplayed(T0 - 1, PATTERN, "mark", Hides(T0, 7, 6, 5)))
    assert ((await row()).state, (await row()).hides) == ("replayed", Hides(T0, 7, 6, 5))
    await record(database, asked, SilenceSettled(T0 + 1, PATTERN, "active", "s1"))
    assert ((await row()).state, (await row()).silence_id, (await row()).hidden) == ("active", "s1", 0)
    muted = EpisodeMuted(T0 + 2, "b-1", "b", "s1", "us", T0 + DAY)
    await record(database, muted, muted, replace(muted, episode="c-1"), replace(muted, silence_id="other"))
    assert (await row()).hidden == 2
    await record(database, ended, SilenceSettled(T0 + 61, PATTERN, "active", "s1"))
    assert ((await row()).state, (await row()).why) == ("ended", "because")
    async with database.read() as connection:
        (found,) = await silences.ends(connection, T0, T0 + 100)
    assert (found["cause"], found["hidden"], json.loads(found["pattern"])) == ("votes", 2, list(PATTERN))


async def test_a_refusal_and_an_edit_keep_their_reason(database):
    """For `sidecar silences`."""
    await record(database, SilenceProposed(T0, PATTERN, MATCHERS, T0 + DAY, "mark", ("a-1",)))
    await record(database, SilenceReplayed(T0, PATTERN, "mark", Hides(T0), "one real episode"))
    assert "refused" in (await listed(database))[1]
    assert "one real episode" in (await listed(database))[1]
    await record(database, asked, SilenceChanged(T0 + 1, PATTERN, "s2", "theirs", T0 + 9, "ada edited it"))
    ((found,), text) = await listed(database)
    assert (found["state"], found["silence_id"], found["ends_at"]) == ("theirs", "s2", T0 + 9)
    assert "ada edited it" in text
    with pytest.raises(SidecarError, match="amtool silence expire s2"):
        await end(database, CONFIG, ["Flaky"])


@pytest.mark.parametrize("words", [["s1"], ["Flaky"], ["alertname=Flaky", 'namespace="shop"']])
async def test_the_command_ends_one(database, words):
    """By its id, its alertname or its matchers: an event in the log, and the DELETE in the outbox."""
    await record(database, asked, SilenceSettled(T0 + 1, PATTERN, "active", "s1"))
    found, _ = await end(database, CONFIG, words)
    assert found["silence_id"] == "s1"
    async with database.read() as connection:
        (_, (event,)) = (await log.tail(connection, 0, 1))[0]
    assert (type(event), event.cause) == (SilenceEnded, "revoked")
    while await projections.project(database, 0):
        pass
    assert (await listed(database))[0][0]["state"] == "revoked"
    with pytest.raises(SidecarError, match="no silence of ours stands"):
        await end(database, CONFIG, words)


async def test_the_command_asks_which_one(database):
    """Two that match: the ids are named."""
    other = PATTERN._replace(service="web")
    matchers = tuple((name, "web" if name == "service" else value) for name, value in MATCHERS)
    await record(database, asked, replace(asked, pattern=other, matchers=matchers))
    with pytest.raises(SidecarError, match="several stand"):
        await end(database, CONFIG, ["Flaky"])
    assert (await end(database, CONFIG, ["Flaky", "service=web"]))[0]["pattern"]["service"] == "web"


async def test_a_preview_lists_what_it_would_have_hidden(database):
    """With what speaks against it."""
    await record(database, *episode("a"), *episode("b"), vote("b", "useful"), vote("a"))
    found, text = await preview(database, CONFIG, matchers_in(["Flaky"]), 10 * 365 * DAY)
    assert (found["episodes"], found["real"], found["newest"][0]["vote"]) == (2, 1, "real")
    assert "2 episodes in 2 incidents, of them 1 voted noise, 1 real, 0 unanswered" in text
    assert "against it: it would have hidden 1 episodes that people called real: b-1" in text


@pytest.mark.parametrize("word", ["a=~b", "a!=b", "=b", "a!~b", "{a=b}"])
def test_only_exact_matchers_are_taken(word):
    """With what to write instead."""
    with pytest.raises(SidecarError, match="write NAME=VALUE"):
        matchers_in([word])


@pytest.mark.parametrize("word", ["a=\udcff", "a=\x00", "a\x1fb"])
def test_what_no_label_holds_is_no_matcher(word):
    """Bytes of a terminal that are no text, and signs that nobody sees."""
    with pytest.raises(SidecarError, match="no terminal shows"):
        matchers_in([word])


@pytest.mark.parametrize("command", [["digest"], ["silences"], ["backtest", "--each-rule"]])
def test_a_store_of_another_version(command, tmp_path, capsys, monkeypatch):
    """An empty file is one; the sentence says what makes it current."""
    (tmp_path / "sidecar.db").touch()
    config = tmp_path / "sidecar.yml"
    config.write_text(f'store: {{url: "sqlite:///{tmp_path / "sidecar.db"}"}}')
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--config", str(config)]) > 0
    assert "another version: start this version's `sidecar serve` first" in capsys.readouterr().err


def test_a_label_is_given_once():
    """Two exact values match nothing."""
    with pytest.raises(SidecarError, match="twice"):
        matchers_in(["Flaky", "alertname=Other"])
