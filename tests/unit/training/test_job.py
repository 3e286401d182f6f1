from __future__ import annotations

import json

import pytest

from models.artifact import pack, read
from models.features import vector
from models.scorers import LightGBMScorer
from tests.unit.training.history import keys, taught
from training.job import STEPS, run


def test_it_learns_what_people_said(trained):
    """A small history is enough to tell its noise from its trouble, and new arrivals of both."""
    result, folder, statistics, at = trained
    assert result.promoted
    assert result.refused == []
    scorer = LightGBMScorer(read(folder, None))
    noise, real = scorer.score([vector(statistics, keys(name, 999), {}, at + 900) for name in ("Flaky", "Broken")])
    assert noise > 0.85
    assert real < 0.5
    assert scorer.version == result.version


def test_the_report_is_json_and_text(trained):
    """Both hold the version and the numbers it was judged by."""
    result, *_ = trained
    assert json.loads(json.dumps(result.report, allow_nan=False)) == result.report
    assert result.version in result.text
    assert result.report["metrics"]["roc_auc"] > 0.9
    assert "99% of real" in result.text


def test_sixty_votes_can_promote(tmp_path):
    """Thirty false of one alertname and thirty real of another, voted on within minutes."""
    rows, votes, _, at = taught(60, apart=1.0)
    result = run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50)
    assert result.promoted, result.text


def test_the_same_history_and_seed_give_the_same_artifact(tmp_path, trained):
    """Text for text, and against itself as champion nothing is worse."""
    result, folder, _, at = trained
    rows, votes, _, _ = taught(200)
    again = run(rows, votes, now=at + 60.0, folder=tmp_path / "a", min_votes=50, champion=read(folder, None))
    assert again.version == result.version
    assert again.refused == []
    assert pack(tmp_path / "a")["model.txt"] == pack(folder)["model.txt"]


def test_progress_names_every_step(tmp_path):
    """Each step is announced once, in order."""
    rows, votes, _, at = taught(60)
    steps: list[str] = []
    run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50, progress=steps.append)
    assert tuple(steps) == STEPS


def test_the_gate_refuses_nothing_to_learn_from(tmp_path):
    """Empty, too few, one class only: each with its reason, and no artifact."""
    rows, votes, _, at = taught(60)
    noise = [vote for vote in votes if vote[2] == "false_positive"] * 3
    cases = (([], [], "empty"), (rows, votes[:20], "too few"), (rows, noise, "one class"))
    for given, said, reason in cases:
        result = run(given, said, now=at, folder=tmp_path / "a", min_votes=21)
        assert not result.promoted
        assert result.version is None
        assert reason in result.refused[0]
        assert reason in result.text
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("flipped", [0.3, 0.5])
def test_the_gate_refuses_poison(tmp_path, flipped):
    """A third of the votes saying the opposite does not reach the server."""
    rows, votes, _, at = taught(600, flipped=flipped)
    result = run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50)
    assert not result.promoted
    assert "poisoned" in result.refused[0]


def test_the_gate_keeps_a_better_champion(tmp_path, trained):
    """A history that teaches less than the champion knows replaces nothing."""
    _, folder, _, _ = trained
    rows, votes, _, at = taught(200, seed=2)
    blind = [(*row[:5], [0.0] * len(row[5]), *row[6:]) if n < 160 else row for n, row in enumerate(rows)]
    result = run(blind, votes, now=at, folder=tmp_path / "a", min_votes=50, champion=read(folder, None))
    assert not result.promoted
    assert any("champion" in reason for reason in result.refused)


def test_a_signed_artifact_needs_its_key(tmp_path):
    """With a key the manifest says signed, and reads with that key only."""
    rows, votes, _, at = taught(60)
    result = run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50, key=b"k")
    assert read(tmp_path / "a", b"k").version == result.version
    assert read(tmp_path / "a", b"k").manifest["signed"] is True
