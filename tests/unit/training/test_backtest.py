"""A history through the whole pipeline without a store, prequentially."""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sidecar.config import Config
from sidecar.events import SilenceAsked, SilenceReplayed
from sidecar.replay import Answers, HistoryAlert, read_history
from training.__main__ import main
from training.backtest import backtest

START = 1_790_000_000.0 // 86400 * 86400
DAYS = 8


def history(seed: int = 1, days: int = DAYS) -> list[HistoryAlert]:
    """Flaky fires alone for a minute and is noise; Broken comes with others, lasts and is real."""
    draw, alerts = random.Random(seed), []
    for hour in range(days * 24):
        for host in range(6):
            at = START + hour * 3600 + draw.uniform(0, 3000)
            if draw.random() < 0.5:
                alerts.append(alert("Flaky", host, at, 60.0, "fp"))
            if draw.random() < 0.04:
                name = f"i{host}-{hour}"
                alerts += [
                    alert(each, host, at + n * 20, 2400.0, "tp", name) for n, each in enumerate(("Broken", "Slow"))
                ]
    return sorted(alerts, key=lambda one: one.starts_at)


def alert(name: str, host: int, at: float, lasts: float, truth: str, incident: str | None = None) -> HistoryAlert:
    labels = {
        "alertname": name,
        "severity": "warning",
        "instance": f"host-{host}",
        "service": "api",
        "namespace": "prod",
    }
    return HistoryAlert(labels, at, at + lasts, {}, truth, incident)  # type: ignore[arg-type]


def config(**more) -> Config:
    return Config.model_validate({"audit_sample": {"share": 0, "first_month": 0}, **more})


@pytest.fixture(scope="module")
def played():
    alerts = history()
    return alerts, *backtest(alerts, config(), Answers(told_only=False))


def test_it_learns_and_holds_noise_and_loses_no_incident(played):
    """Every real incident is told; of the noise of the last day most is kept back, under a proven threshold."""
    alerts, results, night = played
    assert night.promoted
    assert "proved a threshold to hold" in night.summary()
    assert "0 of them found that alertnames had drifted (0 in all), 0 that everything had" in night.summary()
    told = {one.incident for one, result in zip(alerts, results, strict=True) if result.delivered_at and one.incident}
    assert told == {one.incident for one in alerts if one.incident}
    last = START + (DAYS - 1) * 86400
    noise = [r for one, r in zip(alerts, results, strict=True) if one.truth == "fp" and one.starts_at > last]
    assert sum(result.delivered_at is None for result in noise) > len(noise) / 2
    assert {result.verdict for result in noise if result.delivered_at is None} <= {"digest", "suppress", "hold"}


def test_nobody_knows_the_future(played):
    """What happens after a moment changes no decision before it: scores, verdicts and times are the same."""
    alerts, results, _ = played
    cut = START + 5 * 86400
    kept = [one for one in alerts if one.starts_at < cut]
    later = [alert("Other", 9, cut + n * 60.0, 5.0, "tp", f"x{n}") for n in range(50)]
    again, _ = backtest([*kept, *later], config(), Answers(told_only=False))
    known = [n for n, one in enumerate(kept) if one.ends_at + 900 < cut]
    assert [again[n] for n in known] == [results[n] for n in known]


def test_the_same_seed_gives_the_same_decisions(played):
    alerts, results, _ = played
    assert backtest(alerts, config(), Answers(told_only=False))[0] == results


def test_answers_are_drawn_delayed_and_flipped():
    """A share of one half answers about half; flipped answers say the opposite; both are the same for a seed."""
    draws = [Answers(seed=3).draw(n, "answered") for n in range(2000)]
    assert 0.45 < sum(draw < 0.5 for draw in draws) / 2000 < 0.55
    assert draws != [Answers(seed=4).draw(n, "answered") for n in range(2000)]
    assert draws[:5] == [Answers(seed=3).draw(n, "answered") for n in range(5)]


def write(path: Path, alerts: list[HistoryAlert]) -> Path:
    def stamp(at: float) -> str:
        return datetime.fromtimestamp(at, UTC).isoformat()

    with gzip.open(path, "wt") as out:
        for one in alerts:
            line = {
                "labels": one.labels,
                "annotations": {},
                "startsAt": stamp(one.starts_at),
                "endsAt": stamp(one.ends_at),
            }
            out.write(json.dumps({**line, "truth": one.truth, "incident": one.incident}) + "\n")
    return path


def test_the_command_writes_a_line_per_line(tmp_path, capsys):
    """In the order of the history, with what the scoring of a backtest reads."""
    path = write(tmp_path / "h.jsonl.gz", history(days=2))
    out = tmp_path / "d.jsonl"
    assert main(["backtest", str(path), "--out", str(out), "--feedback-on", "delivered", "--feedback-delay", "2h"]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["n"] for line in lines] == list(range(len(read_history(path))))
    assert set(lines[0]) == {"n", "score", "verdict", "delivered_at", "notification"}
    assert all((line["delivered_at"] is None) == (line["notification"] is None) for line in lines)
    said = capsys.readouterr().out
    assert "stock Alertmanager" in said
    assert "nights" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--feedback-share", "2"], "share"), (["--feedback-delay", "soon"], "soon"), (["--mode", "odd"], "odd")],
)
def test_wrong_arguments_say_so(tmp_path, capsys, arguments, said):
    path = write(tmp_path / "h.jsonl.gz", history(days=1))
    with pytest.raises(SystemExit):
        main(["backtest", str(path), "--out", str(tmp_path / "d"), *arguments])
    assert said in capsys.readouterr().err


def test_a_history_that_cannot_be_read_says_where(tmp_path, capsys):
    (tmp_path / "bad.jsonl").write_text('{"labels": {}, "startsAt": "never", "endsAt": "x"}\n')
    assert main(["backtest", str(tmp_path / "bad.jsonl"), "--out", str(tmp_path / "d")]) == 2
    assert "line 1" in capsys.readouterr().err
    assert main(["backtest", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "d")]) == 2


def test_proposed_silences_are_replayed_over_what_is_known():
    """Without a store, too: the noise gets a silence, with what it would have hidden; what is real gets none."""
    found = []

    def watch(_, plan) -> None:
        found.extend(event for event in plan.events if isinstance(event, SilenceReplayed | SilenceAsked))

    alerts = history(days=3)
    settings = config(alertmanagers=[{"url": "http://127.0.0.1:9093"}], folding={"labels": [], "group": False})
    backtest(alerts, settings, Answers(told_only=False), watch=watch)
    replayed = [event for event in found if isinstance(event, SilenceReplayed)]
    asked = [event for event in found if isinstance(event, SilenceAsked)]
    assert {event.pattern.alertname for event in asked} == {"Flaky"}
    assert all(event.hides.episodes >= event.hides.noise >= 5 and not event.hides.real for event in replayed)
    assert "it would have hidden" in asked[0].comment
