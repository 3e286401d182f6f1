"""What is made of a history before it is recorded: its file, its order, and firings out of Prometheus's samples."""

from __future__ import annotations

import gzip
import json

import pytest

from sidecar.errors import SidecarError
from sidecar.history import Firings, HistoryAlert, Series, Tally, changes, read_history
from sidecar.intake.webhook import fingerprint_of

STEP = 60.0


def line(start: str = "2026-11-22T03:00:00Z", end: str = "2026-11-22T03:05:00Z", **more: object) -> str:
    return json.dumps({"labels": {"alertname": "A"}, "startsAt": start, "endsAt": end, **more})


def old(start: float, end: float, truth=None, **labels: str) -> HistoryAlert:
    return HistoryAlert({"alertname": "A", **labels}, start, end, {}, truth)


def test_a_file_without_line_ends_does_not_fill_the_memory(tmp_path, monkeypatch):
    """It is read up to a bound, and then it is no history."""
    monkeypatch.setattr("sidecar.history.LONGEST_LINE", 200)
    path = tmp_path / "history.jsonl"
    path.write_text(line() + "\n" + " " * 10_000)
    with pytest.raises(SidecarError, match="line 2: longer than"):
        read_history(path)


def told(alerts, horizon: float = float("inf"), voted_after: float | None = None):
    """(time, what, service) of each change, and the tally."""
    tally = Tally()
    made = []
    for change in changes(alerts, tally, horizon, voted_after):
        what = change.truth or ("begins" if change.begins else "ends")
        made.append((change.at, what, change.alert.labels.get("service", "")))
    return made, tally


# --------------------------------------------------------------------------------------------------------------- the file


def test_a_plain_and_a_compressed_file_are_the_same(tmp_path):
    """The name's ending says which it is, and nothing of a line is lost."""
    text = line(truth="fp", annotations={"value": "1"}, incident="x") + "\n" + line("2026-11-22T04:00:00+01:00") + "\n"
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))

    plain = read_history(tmp_path / "a.jsonl")

    assert plain == read_history(tmp_path / "a.jsonl.gz")
    assert [one.starts_at for one in plain] == [1_795_316_400.0, 1_795_316_400.0]
    assert (plain[0].truth, plain[0].annotations, plain[0].incident) == ("fp", {"value": "1"}, "x")


def test_a_time_without_a_zone_is_utc(tmp_path):
    """Whatever the machine's own zone is."""
    (tmp_path / "a.jsonl").write_text(line("2026-11-22T03:00:00"))

    assert read_history(tmp_path / "a.jsonl")[0].starts_at == 1_795_316_400.0


def test_what_no_database_takes_becomes_readable(tmp_path):
    """NUL and lone surrogates, as in a webhook."""
    (tmp_path / "a.jsonl").write_text(
        '{"labels": {"a": "\\u0000\\ud800"}, "startsAt": "2026-11-22", "endsAt": "2026-11-22"}'
    )

    assert read_history(tmp_path / "a.jsonl")[0].labels == {"a": "��"}


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        ("", "truncated"),
        ('{"labels": {}}', "startsAt"),
        (line("yesterday"), "yesterday"),
        (line("0001-01-01T00:00:00Z"), "leave out what has no end yet"),
        (line(end="0001-01-01T00:00:00Z"), "leave out what has no end yet"),
        (line(truth="maybe"), "maybe"),
        ('{"labels": {"a": 1}}', "Expected `str`"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, second, why):
    """With its number, and what is wrong with it."""
    (tmp_path / "a.jsonl").write_text(f"{line()}\n{second}\n")

    with pytest.raises(SidecarError, match=r"line 2: .*" + why.replace("`", ".")):
        read_history(tmp_path / "a.jsonl")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """One that is not there, one that is not compressed, and one that was cut."""
    whole = gzip.compress("\n".join(line() for _ in range(100)).encode())
    (tmp_path / "plain.gz").write_text(line())
    (tmp_path / "cut.gz").write_bytes(whole[:-20])

    for name, why in (("none.jsonl", "No such file"), ("plain.gz", "gzip"), ("cut.gz", "ended before")):
        with pytest.raises(SidecarError, match=rf"{name} cannot be read.*{why}"):
            read_history(tmp_path / name)


# ------------------------------------------------------------------------------------------------------------ the changes


def test_a_history_is_told_in_the_order_of_time():
    """Ends between the beginnings, and an end before a beginning at the same time."""
    made, tally = told([old(10, 100, service="a"), old(20, 50, service="b"), old(50, 60, service="c")])

    assert made == [
        (10, "begins", "a"), (20, "begins", "b"), (50, "ends", "b"), (50, "begins", "c"), (60, "ends", "c"), (100, "ends", "a"),
    ]  # fmt: skip
    assert (tally.alerts, tally.joined) == (3, 0)


def test_a_truth_is_said_some_time_after_the_end():
    """Never before a person could have said it; without feedback never."""
    history = [old(10, 100, "fp", service="a"), old(500, 600, service="b")]

    assert (460, "fp", "a") in told(history, voted_after=360)[0]
    assert [what for _, what, _ in told(history)[0]] == ["begins", "ends", "begins", "ends"]


def test_overlapping_firings_of_one_label_set_are_one():
    """Real if one of them was, and as long as the longest; what begins as it ends is another."""
    overlapping = [old(10, 100, "fp"), old(50, 300, "tp"), old(60, 70, "fp"), old(300, 310)]

    made, tally = told(overlapping, voted_after=0)

    assert made == [(10, "begins", ""), (300, "ends", ""), (300, "tp", ""), (300, "begins", ""), (310, "ends", "")]
    assert tally.joined == 2


def test_an_alert_without_length_ends_after_it_begins():
    """Twice at the same time it is still one."""
    made, _ = told([old(10, 10), old(10, 10)])

    assert made == [(10, "begins", ""), (10.001, "ends", "")]


def test_nothing_is_said_of_what_is_after_the_horizon():
    """What fires is cut there, and so is what would be said of it; what begins later is left out."""
    made, tally = told([old(10, 500, "fp", service="a"), old(200, 300, service="b")], horizon=100, voted_after=360)

    assert made == [(10, "begins", "a"), (100, "ends", "a"), (100, "fp", "a")]
    assert (tally.cut, tally.late) == (1, 1)


def test_a_history_out_of_order_is_refused():
    """It says which alert, and what to do."""
    with pytest.raises(SidecarError, match="alert 2 begins before the one above it: sort"):
        told([old(10, 20), old(9, 20)])


def test_an_empty_label_is_no_label():
    """As in Alertmanager: the fingerprints are equal."""
    first = next(changes([old(1, 2, service="")], Tally())).alert

    assert first.labels == {"alertname": "A"}
    assert first.fingerprint == fingerprint_of({"alertname": "A"})


# ------------------------------------------------------------------------------------------------------------ the firings


def series(*times: float, **labels: str) -> Series:
    return Series({"__name__": "ALERTS", "alertstate": "firing", "alertname": "A", **labels}, list(times))


def seen(firings: Firings, *windows: tuple[float, list[Series]]):
    made = [change for upto, found in windows for change in firings.take(found, upto)]
    made += firings.finish(windows[-1][0])
    assert [change.at for change in made] == sorted(change.at for change in made)
    return [(change.at, "begins" if change.begins else "ends") for change in made]


def test_samples_become_firings():
    """A firing ends a step after its last sample, when more than one and a half steps pass without another."""
    found = seen(Firings(STEP, 0, {}), (1200.0, [series(60, 120, 180, 600, 660)]))

    assert found == [(60, "begins"), (240, "ends"), (600, "begins"), (720, "ends")]


def test_a_lookback_bridges_a_gap():
    """What is missing for as long is still firing."""
    found = seen(Firings(STEP, 400, {}), (6000.0, [series(60, 120, 180, 600, 660)]))

    assert found == [(60, "begins"), (720, "ends")]


def test_a_window_does_not_end_a_firing():
    """It goes on in the next one, or ends where it stopped."""
    firings = Firings(STEP, 0, {})

    found = seen(firings, (600.0, [series(540, 600)]), (1200.0, [series(660, 720)]), (1800.0, []))

    assert found == [(540, "begins"), (780, "ends")]
    assert firings.tally.cut == 0


def test_what_still_fires_is_cut_at_the_end():
    """And counted."""
    firings = Firings(STEP, 0, {})

    assert seen(firings, (600.0, [series(540, 600)])) == [(540, "begins"), (600, "ends")]
    assert firings.tally.cut == 1


def test_labels_are_those_that_alertmanager_sees():
    """Without the metric's own, with Prometheus's external ones where the alert has none of that name."""
    begun = Firings(STEP, 0, {"cluster": "eu", "service": "none"}).take([series(60, service="api")], 600)[0]

    assert begun.alert.labels == {"alertname": "A", "service": "api", "cluster": "eu"}
    assert begun.alert.fingerprint == fingerprint_of(begun.alert.labels)


def test_what_is_only_pending_did_not_fire():
    """However wide the selector is."""
    pending = Series({"__name__": "ALERTS", "alertname": "A", "alertstate": "pending"}, [60.0])

    assert Firings(STEP, 0, {}).take([pending], 600) == []


def test_a_firing_that_an_earlier_run_began_goes_on():
    """It has no second beginning, and ends under the name it began with."""
    name = fingerprint_of({"alertname": "A"})
    firings = Firings(STEP, 0, {}, {name: 60.0, "0123456789abcdef": 120.0}, since=300.0)

    made = firings.take([series(360, 420)], 900.0)

    assert [(change.at, change.alert.fingerprint, change.alert.starts_at) for change in made] == [
        (360, "0123456789abcdef", 120),
        (480, name, 60),
    ]
    assert not any(change.begins for change in made)
