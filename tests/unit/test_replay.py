"""Alertmanager's part in a replay, and what the scoreboard counts."""

from __future__ import annotations

import gzip
import json

import pytest

from sidecar.config import Config
from sidecar.errors import SidecarError
from sidecar.replay import Groups, HistoryAlert, Result, read_history, written
from sidecar.scoreboard import score, stock, table

CONFIG = Config.model_validate({})
WAIT, INTERVAL, REPEAT = 30.0, 300.0, 4 * 3600.0  # of alerts that belong to no domain


def alert(start: float, end: float, truth=None, incident=None, **labels: str) -> HistoryAlert:
    named = {"alertname": "A", "severity": "warning", "instance": "i"} | labels
    return HistoryAlert(named, start, end, {}, truth, incident)


def flushes(*alerts: HistoryAlert):
    return [(f.at, f.firing, f.cleared) for f in Groups(list(alerts), CONFIG).flushes()]


def test_a_new_group_waits_and_then_says_what_fires_and_what_cleared():
    assert flushes(alert(0, 100)) == [(WAIT, (0,), ()), (WAIT + INTERVAL, (), (0,))]


def test_an_alert_that_clears_before_the_first_flush_is_never_sent():
    assert flushes(alert(0, 20)) == []


def test_a_later_alert_of_the_group_waits_for_the_interval():
    said = flushes(alert(0, 1000), alert(60, 1000, instance="j"))
    assert said[:2] == [(WAIT, (0,), ()), (WAIT + INTERVAL, (0, 1), ())]


def test_a_group_that_only_goes_on_is_repeated_after_the_repeat_interval():
    said = flushes(alert(0, REPEAT + 1000))
    assert [at for at, firing, _ in said if firing] == [WAIT, WAIT + REPEAT]


def test_groups_are_apart_by_alertname_namespace_service_and_severity():
    said = flushes(alert(0, 100), alert(0, 100, severity="critical"))
    assert sorted(f for _, firing, _ in said for f in firing) == [0, 1]
    assert len([1 for _, firing, _ in said if firing]) == 2


def test_the_scoreboard_counts_interruptions_and_incidents_not_alerts():
    history = [
        alert(0, 60, "fp"),
        alert(0, 60, "tp", "x"),
        alert(10, 60, "tp", "x"),
        alert(0, 60, "tp", "y"),
        alert(0, 60),
    ]
    told = [
        Result(0, delivered_at=30.0, notification="a"),
        Result(1, delivered_at=40.0, notification="b"),
        Result(2, delivered_at=2000.0, notification="b"),
        Result(3),
        Result(4, delivered_at=30.0, notification="c"),
    ]
    board = score(history, told)
    assert (board.alerts, board.interruptions, board.false_interruptions) == (4, 2, 1)
    assert (board.incidents, board.told, board.lost, board.in_time) == (2, 1, 1, 1)
    assert board.delay_median == 40.0


def test_what_is_added_an_hour_after_the_first_message_tells_nobody():
    history = [alert(0, 60, "fp"), alert(4000, 4060, "tp", "x")]
    told = [Result(0, delivered_at=30.0, notification="a"), Result(1, delivered_at=4030.0, notification="a")]
    assert score(history, told).lost == 1


def test_stock_alertmanager_tells_every_alert_of_a_flush_in_one_message():
    history = [alert(0, 600, "fp"), alert(0, 600, "fp", instance="j")]
    board = score(history, stock(history, CONFIG))
    assert (board.interruptions, board.false_interruptions) == (1, 1)
    assert "stock Alertmanager" in table(board, board)


def test_a_history_is_read_plain_or_gzipped_and_its_errors_name_the_line(tmp_path):
    line = json.dumps(
        {"labels": {"alertname": "A"}, "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T00:01:00Z"}
    )
    (tmp_path / "h.jsonl").write_text(line + "\n")
    (tmp_path / "h.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    for name in ("h.jsonl", "h.jsonl.gz"):
        (read,) = read_history(tmp_path / name)
        assert read.ends_at - read.starts_at == 60
    (tmp_path / "bad.jsonl").write_text(line + '\n{"labels": 3}\n')
    with pytest.raises(SidecarError, match=r"bad\.jsonl, line 2"):
        read_history(tmp_path / "bad.jsonl")


def test_results_are_written_as_the_backtest_contract_has_it():
    (line,) = written([Result(0, 0.5, "notify", 1_600_000_000.0, "m#1")])
    assert json.loads(line) == {
        "n": 0,
        "score": 0.5,
        "verdict": "notify",
        "delivered_at": "2020-09-13T12:26:40Z",
        "notification": "m#1",
    }
