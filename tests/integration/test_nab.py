"""`python -m training nab` on a tiny benchmark of its own making."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from training import nab
from training.__main__ import main
from training.sweep import PROFILES

START = datetime(2014, 4, 1)  # noqa: DTZ001 -- as the benchmark writes it
SPIKE, LENGTH = 900, 1200


def stamp(n: int) -> str:
    return str(START + timedelta(minutes=5 * n))


def write_series(folder: Path, name: str, *, spike: bool) -> None:
    draw = random.Random(name)
    values = [draw.gauss(10.0, 1.0) for _ in range(LENGTH)]
    if spike:
        values[SPIKE] += 40.0
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("timestamp,value\n" + "".join(f"{stamp(n)},{value}\n" for n, value in enumerate(values)))


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two files: one with a spike in the middle of its window, one without anything."""
    write_series(tmp_path, "spiky/one.csv", spike=True)
    write_series(tmp_path, "calm/two.csv", spike=False)
    window = [f"{stamp(SPIKE - 60)}.000000", f"{stamp(SPIKE + 59)}.000000"]
    write_labels(tmp_path, {"spiky/one.csv": [window], "calm/two.csv": []})
    return tmp_path


def write_labels(folder: Path, labels: object) -> None:
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(labels))


def test_the_command_scores_a_checkout(corpus, tmp_path, capsys):
    """The table has every profile and category, and the JSON the same numbers."""
    target = tmp_path / "report.json"
    assert main(["nab", str(corpus), "--json", str(target), "--jobs", "1"]) == 0
    shown, report = capsys.readouterr().out, json.loads(target.read_text())
    assert "2 files, 2,400 points, " in shown
    assert set(report["profiles"]) == set(PROFILES)
    standard = report["profiles"]["standard"]
    assert standard["found"] == standard["windows"] == 1
    assert standard["categories"]["calm"]["score"] is None
    assert 90.0 < standard["score"] < 93.5  # the spike is in the middle of the window: 0.86 of 1, after a miss of -1
    assert f"{standard['score']:.2f}" in shown
    assert report["microseconds_per_point"] > 0.0


def test_two_processes_find_the_same(corpus):
    """The order and the number of processes change nothing."""
    series = nab.read_corpus(corpus)
    one, two = (nab.run(series, dict(PROFILES), jobs).profiles for jobs in (1, 2))
    assert one == two


def test_the_checkouts_profiles_win(corpus):
    """config/profiles.json replaces the documented profiles."""
    costs = {"tpWeight": 1.0, "fpWeight": 0.5, "fnWeight": 3.0, "tnWeight": 1.0}
    (corpus / "config").mkdir()
    (corpus / "config" / "profiles.json").write_text(json.dumps({"ours": {"CostMatrix": costs}}))
    found = nab.read_profiles(corpus)
    assert {name: (p.tp, p.fp, p.fn) for name, p in found.items()} == {"ours": (1.0, 0.5, 3.0)}


def test_a_window_is_read_as_points(corpus):
    """Both ends belong to it, and the benchmark's microseconds do not matter."""
    assert [series.windows for series in nab.read_corpus(corpus)] == [[], [(SPIKE - 60, SPIKE + 59)]]


def test_an_empty_value_is_no_number(corpus):
    """It is read as NaN, keeps its place and scores 0."""
    path = corpus / "data" / "calm" / "two.csv"
    lines = path.read_text().splitlines()
    lines[500] = lines[500].split(",")[0] + ","
    path.write_text("\n".join(lines) + "\n")
    calm = nab.read_corpus(corpus)[0]
    scored, _ = nab.detect(calm)
    assert len(scored.scores) == LENGTH
    assert scored.scores[499] == 0.0


def drop_labels(folder: Path) -> None:
    (folder / "labels" / "combined_windows.json").unlink()


def drop_data(folder: Path) -> None:
    for path in folder.glob("data/*/*.csv"):
        path.unlink()


def drop_one(folder: Path) -> None:
    (folder / "data" / "calm" / "two.csv").unlink()


def more_data(folder: Path) -> None:
    write_series(folder, "calm/three.csv", spike=False)


def spoil(text: str, encoding: str = "utf-8"):
    def change(folder: Path) -> None:
        (folder / "data" / "calm" / "two.csv").write_text(text, encoding)

    return change


def label(windows: object):
    return lambda folder: write_labels(folder, {"spiky/one.csv": windows, "calm/two.csv": []})


def profile(text: str):
    def change(folder: Path) -> None:
        (folder / "config").mkdir()
        (folder / "config" / "profiles.json").write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_labels, "combined_windows.json"),
        (drop_data, "there is no data/*/*.csv"),
        (drop_one, "not in data/: calm/two.csv"),
        (more_data, "says nothing of calm/three.csv"),
        (spoil("time,value\n1,2\n"), "must name the columns timestamp,value"),
        (spoil(""), "must name the columns timestamp,value"),
        (spoil("timestamp,value\nyesterday,2\n"), "two.csv, line 2: "),
        (spoil("timestamp,value\n2014-04-01 00:00:00,much\n"), "two.csv, line 2: "),
        (spoil("timestamp,value\n2014-04-01 00:00:00\n"), "two.csv, line 2: "),
        (spoil("timestamp,value\n"), "there is no point in it"),
        (spoil("timestamp,value\n2014-04-01,\xff\n", "latin-1"), "can't decode byte 0xff"),
        (label("all of it"), "no list of windows"),
        (label([["2014-04-04 00:00:00"]]), "is no [first, last]"),
        (label([[1, 2]]), "is no [first, last]"),
        (label([["2020-01-01 00:00:00", "2020-01-02 00:00:00"]]), "there is no point in"),
        (lambda folder: write_labels(folder, []), "has to be a JSON object"),
        (profile("{"), "profiles.json: "),
        (profile("{}"), "there is no profile in it"),
        (profile('{"standard": {"CostMatrix": {"tpWeight": 1}}}'), "needs tpWeight, fpWeight and fnWeight"),
    ],
)
def test_a_bad_checkout_is_explained(corpus, capsys, change, said):
    """The exit code is 2, and the message says what is wrong and what the layout is."""
    change(corpus)
    assert main(["nab", str(corpus), "--jobs", "1"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "labels/combined_windows.json    {" in told


def test_a_folder_that_is_not_there_is_explained(tmp_path, capsys):
    """It needs no configuration file to say so."""
    assert main(["nab", str(tmp_path / "nowhere")]) == 2
    assert "data/<category>/<name>.csv" in capsys.readouterr().err


def test_jobs_has_to_be_a_number_above_0(corpus, capsys):
    """0 processes is a mistake of the command line."""
    with pytest.raises(SystemExit):
        main(["nab", str(corpus), "--jobs", "0"])
    assert "at least 1" in capsys.readouterr().err
