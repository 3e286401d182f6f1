"""`sidecar backtest`: the command, on a history file and on what a real store has."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sidecar.__main__ import main
from sidecar.events import EpisodeEnded, EpisodeStarted, Event, Voted
from sidecar.intake.webhook import fingerprint_of
from sidecar.store import log, projections, schema
from sidecar.store.engine import Database, open_engine
from tests.unit.training.test_backtest import write
from tests.unit.training.test_compare import alert
from training.past import stored_history
from training.trial import switchable

HOUR, DAY = 3600.0, 86400.0
QUIET = {"audit_sample": {"share": 0, "first_month": 0}}
TELLS = {"always": {"schedule": "* * * * *", "routes": {"WARNING": ["default"], "INFO": ["default"]}}}
NO_INFO = {"always": {"schedule": "* * * * *", "routes": {"WARNING": ["default"], "INFO": []}}}

COUNT = {
    "type": "object",
    "required": [
        "interruptions", "false_interruptions", "real_interruptions", "unlabelled_interruptions", "alerts_told",
        "alerts_per_notification",
    ],
}  # fmt: skip
SIDE = {
    "type": "object",
    "required": ["name", *COUNT["required"], "receivers", "severities", "real_incidents", "shadow"],
    "properties": {
        "receivers": {"additionalProperties": COUNT},
        "severities": {"additionalProperties": COUNT},
        "real_incidents": {"required": ["all", "told", "in_time", "lost", "late"]},
    },
}
CASES = {
    "type": "array",
    "items": {
        "required": [
            "alertname",
            "where",
            "severity",
            "began",
            "told_by_present",
            "told_by_new",
            "delay",
            "rule",
            "reason",
        ]
    },
}
COMPARED: dict[str, Any] = {
    "type": "object",
    "required": [
        "since", "until", "alerts", "labelled", "unlabelled", "verdict", "present", "new", "difference", "lost", "delayed",
    ],
    "properties": {
        "present": SIDE, "new": SIDE, "lost": CASES, "delayed": CASES,
        "difference": {
            "required": ["interruptions", "interruptions_saved_share", "false_interruptions_saved", "receivers", "severities"]
        },
    },
}  # fmt: skip


def settings(path: Path, **more: Any) -> str:
    path.write_text(yaml.safe_dump(QUIET | {"mode": "ladder"} | more))
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def history(folder: Path) -> str:
    """One real incident in INFO, one false alarm in INFO, one real incident in WARNING."""
    alerts = [
        alert(0, "tp", severity="info"),
        alert(2, "fp", severity="info", instance="db-2"),
        alert(4, "tp", instance="db-3"),
    ]
    return str(write(folder / "history.jsonl.gz", alerts))


def test_a_lost_incident_is_listed_and_fails_ci(folder, capsys):
    """Exit code 1 when CI asks for it, the verdict in a line, the incident with its rule, and the same as a page."""
    new = settings(folder / "new.yml", time_based_routing=NO_INFO)
    given = ("backtest", "--config", new, "--history", history(folder), "--html", str(folder / "page.html"))

    assert main([*given, "--fail-on", "lost"]) == 1
    said = capsys.readouterr().out
    assert "the defaults" in said  # there is no sidecar.yml
    assert "verdict: would have interrupted 67% less (1 times, not 3); 1 real incident lost, 0 delayed" in said
    assert "QueueStuck on db-1: nobody would have been told" in said
    assert "routing: " in said
    page = (folder / "page.html").read_text("utf-8")
    assert "QueueStuck on db-1: nobody would have been told" in page
    assert "1 real incident lost" in page


def test_without_fail_on_a_lost_incident_is_only_told(folder, capsys):
    """Exit code 0, and JSON of a known shape; with --each-rule every rule has its row."""
    settings(folder / "sidecar.yml", time_based_routing=TELLS)
    new = settings(folder / "new.yml", time_based_routing=NO_INFO)

    assert (
        main(
            [
                "backtest",
                "--config",
                new,
                "--history",
                history(folder),
                "--each-rule",
                "--format",
                "json",
                "--jobs",
                "1",
            ]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, COMPARED)
    assert (found["alerts"], found["labelled"], len(found["lost"]), found["delayed"]) == (3, 3, 1, [])
    assert found["present"]["name"] == "sidecar.yml"
    assert found["difference"]["false_interruptions_saved"] == 1
    assert found["difference"]["severities"] == {"INFO": 2, "WARNING": 0}
    assert [row["rule"] for row in found["without_rule"]] == list(switchable())
    assert all(row["real_incidents"]["lost"] == 1 for row in found["without_rule"])
    for row in found["without_rule"]:
        jsonschema.validate(row, SIDE)


def test_each_rule_of_the_present_configuration(folder, capsys):
    """One file and no other to compare it with: the table alone, with all rules on first."""
    settings(folder / "sidecar.yml")
    assert main(["backtest", "--history", history(folder), "--each-rule", "--fail-on", "delayed", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "verdict" not in said
    assert [line.split("  ")[0] for line in said.splitlines() if line.startswith(("all rules", "without"))] == [
        "all rules on", *(f"without {rule}" for rule in switchable()),
    ]  # fmt: skip


def test_a_shadow_is_judged_as_the_ladder_it_tries(folder, capsys):
    """It tells everything; what it would have done is reported, and is what --fail-on asks about."""
    window = {"name": "night work", "schedule": "0 4 * * *", "suppress": ["WARNING"]}
    new = settings(folder / "new.yml", mode="shadow", time_based_routing={"maintenance_windows": [window]})
    given = ("backtest", "--config", new, "--history", history(folder), "--fail-on", "delayed", "--jobs", "1")

    assert main([*given]) == 1
    said = capsys.readouterr().out
    assert "would have interrupted as often (3 times); 0 real incidents lost, 0 delayed\n" in said
    assert (
        "verdict, as mode ladder: would have interrupted as often (3 times); 0 real incidents lost, 1 delayed" in said
    )
    assert "1  held by maintenance_windows" in said
    assert main([*given, "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found["as_ladder"], COMPARED)
    assert (found["delayed"], len(found["as_ladder"]["delayed"])) == ([], 1)
    assert found["new"]["shadow"] == {"hold by maintenance_windows": 1}


def test_without_labels_nothing_is_proven(folder, capsys):
    """Interruptions are shown all the same."""
    path = write(folder / "history.jsonl", [alert(0, None, severity="info")])  # its name says plain, so it is unpacked
    plain = folder / "plain.jsonl.gz"
    path.rename(plain)
    new = settings(folder / "new.yml", time_based_routing=NO_INFO)
    assert main(["backtest", "--config", new, "--history", str(plain), "--fail-on", "delayed", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "would have interrupted 100% less (0 times, not 1); no alert is labelled, so nothing is proven" in said


# ----------------------------------------------------------------------------------------------------- what is said of errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--config", "bad.yml", "--history", "h.gz"), "mode: must be one of"),
        (("--config", "new.yml"), "there is no sidecar.yml: name the present configuration, --against FILE"),
        (("--config", "new.yml", "--against", "none.yml"), "there is no none.yml"),
        (("--config", "new.yml", "--against", "bad.yml"), "bad.yml: 1 mistake"),
        (("--config", "new.yml", "--against", "new.yml"), "is the present configuration: name a new one"),
        (("--config", "new.yml", "--history", "none.jsonl"), "none.jsonl cannot be read"),
        (("--config", "new.yml", "--history", "empty.jsonl"), "empty.jsonl has no alert"),
        (("--config", "new.yml", "--history", "broken.jsonl"), "broken.jsonl, line 1"),
        (("--config", "new.yml", "--without", "guard"), "guard cannot be switched off: it is what keeps CRITICAL"),
        (("--config", "new.yml", "--without", "gard"), "there is no rule 'gard': write one of"),
        (("--config", "new.yml", "--html", "nowhere/page.html"), "cannot be written"),
    ],
)
def test_what_cannot_be_used_is_said_in_words(folder, capsys, words, said):
    """Exit code 2, one sentence, and no traceback."""
    settings(folder / "new.yml")
    (folder / "bad.yml").write_text("mode: autp\n")
    (folder / "empty.jsonl").write_text("")
    (folder / "broken.jsonl").write_text("{]\n")

    assert main(["backtest", *words]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "month"), "is not a duration"),
        (("--since", "30d", "--history", "x"), "not allowed with"),
        (("--jobs", "0"), "write 1 or more"),
        (("--fail-on", "something"), "invalid choice"),
    ],
)
def test_wrong_options_are_refused(folder, capsys, words, said):
    """Before anything is read."""
    with pytest.raises(SystemExit):
        main(["backtest", *words])
    assert said in capsys.readouterr().err


def test_without_the_packages_that_train_it_says_what_to_install(folder, capsys, monkeypatch):
    """The extra by its name."""
    monkeypatch.setattr("sidecar.backtest.find_spec", lambda _: None)
    assert main(["backtest", "--config", settings(folder / "new.yml")]) == 2
    assert "pip install 'alertmanager-sidecar[train]'" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------- the store


@pytest.fixture
async def database(database_url):
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


def episode(name: str, at: float, lasts: float | None = HOUR, **labels: str) -> list[Event]:
    known = {"alertname": "QueueStuck", "severity": "info", "instance": name, **labels}
    fingerprint = fingerprint_of(known)
    began = EpisodeStarted(at, f"{fingerprint}-{int(at * 1000)}", fingerprint, at, known, {"value": "3"})
    ended = [] if lasts is None else [EpisodeEnded(at + lasts, began.episode, fingerprint, at + lasts)]
    return [began, *ended]


def vote(began: EpisodeStarted, kind: str, who: str = "ada", after: float = 2 * HOUR, **more: Any) -> Voted:
    return Voted(began.at + after, who, kind, began.episode, "i", (), **more)


async def store(database: Database, events: list[Event], at: float) -> None:
    async with database.write() as connection:
        await log.append(connection, 0, await log.head(connection, 0), at, events, ())
    while await projections.project(database, 0):
        pass


async def fill(database: Database, now: float) -> dict[str, list[Event]]:
    made = {
        "ancient": episode("db-0", now - 200 * DAY),
        "older": episode("db-1", now - 40 * DAY),
        "real": episode("db-2", now - 10 * DAY),
        "noise": episode("db-3", now - 9 * DAY),
        "disputed": episode("db-4", now - 8 * DAY),
        "back": episode("db-5", now - 7 * DAY),
        "fires": episode("db-6", now - HOUR, None),
    }
    votes = [
        vote(made["older"][0], "useful"), vote(made["real"][0], "useful"), vote(made["noise"][0], "false_positive"),
        vote(made["disputed"][0], "useful"), vote(made["disputed"][0], "false_positive", "bob", after=3 * HOUR),
        vote(made["back"][0], "useful"), vote(made["back"][0], "useful", retracted=True), vote(made["fires"][0], "ack"),
    ]  # fmt: skip
    await store(database, [event for events in made.values() for event in events] + votes, now)
    return made


async def test_the_stored_history_has_labels_as_people_gave_them(database):
    """Votes are its truth, a dispute is real, what was taken back or only acknowledged is nothing; when they said so
    counts; what fires still ends now, and what is too old is left out.
    """
    now = time.time()
    await fill(database, now)
    counts: list[int] = []
    found = await stored_history(database, now - 30 * DAY, now, counts.append, counts.append)

    assert counts == [6] + [1] * 6
    assert {one.labels["instance"]: one.truth for one in found} == {
        "db-1": "tp", "db-2": "tp", "db-3": "fp", "db-4": "tp", "db-5": None, "db-6": None,
    }  # fmt: skip
    times = {one.labels["instance"]: one for one in found}
    assert times["db-4"].answered_at == pytest.approx(times["db-4"].starts_at + 3 * HOUR)
    assert (times["db-5"].answered_at, times["db-6"].ends_at, times["db-2"].annotations) == (None, now, {"value": "3"})
    assert [one.starts_at for one in found] == sorted(one.starts_at for one in found)


async def test_the_stored_history_is_tried(database, database_url, folder, capsys):
    """The store is the present configuration's; only what began since then counts, and an empty time is said."""
    await fill(database, time.time())
    settings(folder / "sidecar.yml", store={"url": database_url})
    new = settings(folder / "new.yml", time_based_routing=NO_INFO)
    given = ("backtest", "--config", new, "--format", "json", "--fail-on", "lost", "--jobs", "1", "--since")

    assert await asyncio.to_thread(main, [*given, "30d"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["alerts"], found["labelled"]) == (5, 3)
    assert (found["present"]["interruptions"], found["new"]["interruptions"]) == (5, 0)
    assert [case["where"] for case in found["lost"]] == ["db-2", "db-4"]
    assert await asyncio.to_thread(main, [*given, "1m"]) == 2
    assert "the store has no alert since" in capsys.readouterr().err


async def test_a_store_that_is_not_there_is_said(folder, capsys):
    """Nothing is created by trying."""
    settings(folder / "sidecar.yml", store={"url": f"sqlite:///{folder / 'none.db'}"})
    new = settings(folder / "new.yml")
    assert await asyncio.to_thread(main, ["backtest", "--config", new]) == 2
    assert "there is no database yet" in capsys.readouterr().err
    assert not (folder / "none.db").exists()
