from __future__ import annotations

import json

import pytest

from models.artifact import pack, read
from models.features import vector
from models.scorers import LightGBMScorer
from tests.unit.training.history import keys, taught
from training import charts, fit, page
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


def since(rows, votes, seconds: float):
    """The same, so much later, as other episodes."""
    moved = [(f"l{row[0]}", f"l{row[1]}", row[2] + seconds, *row[3:]) for row in rows]
    return moved, [(f"l{vote[0]}", *vote[1:3], vote[3] + seconds, *vote[4:]) for vote in votes]


def test_the_gate_keeps_a_better_champion(tmp_path, trained):
    """What it knows of its time is lost, here since observations are: on what is newer, what would have been made then
    is worse.
    """
    _, folder, _, end = trained
    rows, votes, _, _ = taught(200)
    later, voted = since(*taught(200, seed=2)[:2], end - rows[0][2] + 7200.0)
    blind = [(*row[:5], [0.0] * len(row[5]), *row[6:]) for row in rows]
    now, champion = later[-1][2] + 7200.0, read(folder, None)

    def again(past):
        return run([*past, *later], [*votes, *voted], now=now, folder=tmp_path / "a", min_votes=50, champion=champion)

    worse, equal = again(blind), again(rows)
    assert not worse.promoted
    assert worse.refused[0].startswith("worse than the champion on the newest episodes")
    assert worse.report["champion"]["episodes"] == 201, "the last of the old ones was voted on after the run"
    assert equal.promoted, equal.text
    assert abs(equal.report["champion"]["behind"]["log_loss"]) < 0.02


def test_nothing_new_is_no_comparison(tmp_path, trained):
    """A champion that has learned from all there is can neither win nor lose on it."""
    _, folder, _, at = trained
    rows, votes, _, _ = taught(200, seed=2)
    result = run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50, champion=read(folder, None))
    assert result.report["champion"] is None


def test_beside_a_champion_nobody_knows_what_came_after_it(tmp_path, trained, monkeypatch):
    """Hints without a vote, too: of what was acknowledged since, and of the incidents that the two are compared on."""
    _, folder, _, end = trained
    rows, votes, _, _ = taught(200)
    later, voted = since(*taught(200, seed=2)[:2], end - rows[0][2] + 7200.0)
    said = [(vote[0], "ada", "ack" if n % 3 == 0 else vote[2], *vote[3:]) for n, vote in enumerate([*votes, *voted])]
    made = []
    for name in ("again", "then"):
        real = getattr(fit, name)
        monkeypatch.setattr(fit, name, lambda *given, real=real: (made.append(given[2]), real(*given))[1])
    champion = read(folder, None)
    now = later[-1][2] + 7200.0
    run([*rows, *later], said, now=now, folder=tmp_path / "a", min_votes=50, champion=champion, hinted=True)
    everything, then = (setup.hints for setup in made)
    assert 0 < len(then) < len(everything)
    assert then.known_at.max() <= champion.manifest["created_at"] < everything.known_at.max()


def test_labels_that_are_not_believed_prove_nothing(tmp_path):
    """A refusal for another reason leaves the certificate; contradicting labels give none."""
    rows, votes, _, at = taught(600, flipped=0.4)
    assert "certificate" not in run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50).report
    noise = [vote for vote in taught(600)[1] if vote[2] == "false_positive"]
    refused = run(rows, noise, now=at, folder=tmp_path / "a", min_votes=50)
    assert "one class" in refused.refused[0]
    assert "certificate" in refused.report


def test_a_signed_artifact_needs_its_key(tmp_path):
    """With a key the manifest says signed, and reads with that key only."""
    rows, votes, _, at = taught(60)
    result = run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50, key=b"k")
    assert read(tmp_path / "a", b"k").version == result.version
    assert read(tmp_path / "a", b"k").manifest["signed"] is True


def test_after_a_quiet_week_a_model_is_made_and_reported(tmp_path):
    """With noise alone among the newest it is trained, calibrated and promoted; the report leaves out what needs both."""
    rows, votes, _, at = taught(1000)
    quiet = {row[0] for n, row in enumerate(rows) if n >= 600 and row[4] != "Flaky"}
    rows, votes = [row for row in rows if row[0] not in quiet], [vote for vote in votes if vote[0] not in quiet]
    result = run(rows, votes, now=at + 60.0, folder=tmp_path / "artifact", min_votes=50)
    assert (result.promoted, result.refused) == (True, [])
    assert result.report["metrics"]["real"] == 0
    assert "roc_auc" not in result.report["metrics"]
    assert result.report["metrics"]["calibration_error"] < 0.1
    drawn = charts.charts(result.proof, threshold=0.85, importance=result.report["importance"])
    assert result.version in page.render(result.report, drawn)
