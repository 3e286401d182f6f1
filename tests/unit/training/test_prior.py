"""The command that makes the prior, what training makes of it, and what keeps a backtest from being judged by what the
prior has seen.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files

import numpy as np
import pytest
from msgspec import structs
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from models.artifact import read
from models.features import FEATURES
from models.prior import BUNDLED, Prior, load, verified
from models.scorers import LightGBMScorer
from sidecar.errors import SidecarError
from sidecar.replay import Answers, read_history
from tests.unit.training.history import taught
from tests.unit.training.test_backtest import config, history, write
from training import dataset, fit, prior
from training.__main__ import main
from training.backtest import backtest
from training.job import run
from training.prior import Lesson, identities

FILES = ["manifest.json", "model.txt", "sha256.txt", "without-h1.txt", "without-h2.txt", "without-h3.txt"]


def of_host(seed: int, **how):
    """A history whose servers are no other's."""
    found = history(seed, **how)
    return [
        structs.replace(one, labels={**one.labels, "instance": f"{seed}-{one.labels['instance']}"}) for one in found
    ]


@pytest.fixture(scope="module")
def lessons() -> list[Lesson]:
    return [prior.observe(f"h{seed}", of_host(seed)) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def made(lessons):
    return prior.learn(lessons, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, made):
    place = tmp_path_factory.mktemp("prior")
    prior.write(place, *made)
    return place


# --------------------------------------------------------------------------------------------------------- how it is made


def test_the_same_histories_and_seed_give_the_same_files(lessons, folder, tmp_path):
    """Byte for byte, in whatever order they are named; another seed gives another version."""
    prior.write(tmp_path, *prior.learn(lessons[::-1], 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert prior.learn(lessons, 2)[1]["version"] != load(folder).version


def test_it_learns_what_the_histories_have_in_common(folder):
    """A history that it has not seen is ranked well, and the manifest said so before."""
    unseen = prior.observe("h4", of_host(4)).data
    scores = load(folder).log_odds(unseen.x)
    assert scores[unseen.false_positive].mean() > 1.0
    assert scores[~unseen.false_positive].mean() < -1.0
    assert min(one["left_out_roc_auc"] for one in verified(folder)["histories"]) > 0.9


def test_what_was_left_out_was_left_out(lessons, made, folder):
    """Its alerts, and its part in the calibration: other labels in it change its own model nowhere."""
    data = lessons[0].data
    other = replace(lessons[0], data=replace(data, label=1.0 - data.label))
    texts, manifest = prior.learn([other, *lessons[1:]], 1)
    assert texts["without-h1.txt"] == made[0]["without-h1.txt"]
    assert texts["without-h2.txt"] != made[0]["without-h2.txt"]
    for name in ("slope", "offset"):
        assert manifest["models"]["without-h2.txt"][name] != made[1]["models"]["without-h2.txt"][name]
    assert load(folder, identities(of_host(1))).model == made[0]["without-h1.txt"]


def test_votes_leave_no_trace_in_it(lessons):
    """What people answered in the replay is its label, and no input: the votes of other alerts, the same model."""
    data = lessons[0].data
    x = data.x.copy()
    voted = [place for place, name in enumerate(FEATURES) if name.endswith(("_last_label", "_false_share", "_votes"))]
    assert x[:, voted].std() > 0
    x[:, voted] = np.random.default_rng(1).permutation(x[:, voted])
    one, two = (
        load_text(prior.fit([lesson], 1)) for lesson in (lessons[0], replace(lessons[0], data=replace(data, x=x)))
    )
    assert one.log_odds(data.x).tolist() == two.log_odds(data.x).tolist()


def load_text(text: str) -> Prior:
    return Prior("", text, 1.0, 0.0)


def test_a_long_history_weighs_as_much_as_a_short_one(lessons):
    """Each the same, in sum, and in each what is real as much as what is not."""
    short = prior.observe("short", of_host(9, days=3))
    assert short.weight.sum() == pytest.approx(lessons[0].weight.sum())
    assert len(short.data) < len(lessons[0].data)
    assert short.weight[short.data.false_positive].sum() == pytest.approx(short.weight.sum() / 2)


def test_other_files_in_the_folder_stay(folder, made, tmp_path):
    """The licence beside the bundled one is not lost when it is made again, and nothing half-written is left."""
    prior.write(tmp_path, *made)
    (tmp_path / "LICENSE.txt").write_text("MIT")
    prior.write(tmp_path, *made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LICENSE.txt", *FILES]


def test_too_few_histories_or_one_without_labels_are_refused(lessons):
    """Nothing could be left out, or nothing learned."""
    for few in (lessons[:2], [*lessons[:2], lessons[0]]):
        with pytest.raises(SidecarError, match="at least three histories of different names"):
            prior.learn(few, 1)
    real = [alert for alert in history(1, days=1) if alert.truth == "tp"]
    for one_class in (real, [structs.replace(alert, truth=None) for alert in real]):
        with pytest.raises(SidecarError, match="h has no alert with"):
            prior.observe("h", one_class)


# ------------------------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    place = tmp_path_factory.mktemp("histories")
    return [write(place / f"h{seed}.jsonl.gz", of_host(seed, days=4)) for seed in (1, 2, 3, 4)]


def test_the_command_makes_one_and_a_backtest_uses_it(paths, tmp_path, capsys):
    """On another history, on one that it has learned from, which is left out, and not on two of them at once."""
    out = tmp_path / "made"
    assert main(["prior", *map(str, paths[:3]), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert load(out).version in said
    assert "h1 (" in said
    asked = ["--out", str(tmp_path / "d.jsonl"), "--prior", str(out)]
    assert main(["backtest", str(paths[3]), *asked]) == 0
    unseen = (tmp_path / "d.jsonl").read_bytes()
    assert main(["backtest", str(paths[0]), *asked]) == 0
    both = sorted([*of_host(1, days=1), *of_host(2, days=1)], key=lambda one: one.starts_at)
    capsys.readouterr()
    assert main(["backtest", str(write(tmp_path / "both.jsonl.gz", both)), *asked]) == 2
    assert "learned from h1 and h2" in capsys.readouterr().err
    (out / "model.txt").write_text("tree\n")
    assert main(["backtest", str(paths[3]), *asked]) == 2
    assert "sha256.txt" in capsys.readouterr().err
    assert main(["backtest", str(paths[3]), *asked[:2], "--prior", str(tmp_path)]) == 2
    assert "manifest.json cannot be read" in capsys.readouterr().err
    assert main(["backtest", str(paths[3]), *asked[:2]]) == 0
    assert (tmp_path / "d.jsonl").read_bytes() != unseen, "the bundled one scores otherwise"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.jsonl", None, "cannot be read|No such file"),
        ("bad.jsonl", "{}\n", "line 1"),
        ("bad.jsonl", "", "bad has no alert with|empty|no alerts"),
        ("a name.jsonl", "{}\n", "line 1|plain name"),
    ],
)
def test_a_history_that_cannot_be_read_leaves_what_was_there(paths, tmp_path, capsys, name, content, said):
    """With the file and the line; no file is written."""
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    assert main(["prior", str(path), *map(str, paths[:2]), "--out", str(tmp_path / "made")]) == 2
    found = capsys.readouterr().err
    assert any(each in found for each in said.split("|")), found
    assert not (tmp_path / "made").exists()


def test_a_name_that_would_leave_the_folder_is_refused(tmp_path):
    """The name of a file becomes the name of another."""
    for name in ("a b.jsonl", ".hidden.jsonl", "ä.jsonl", "x" * 41 + ".jsonl"):
        with pytest.raises(SidecarError, match="plain name"):
            prior.name_of(tmp_path / name)
    assert prior.name_of(tmp_path / "asd.dev.jsonl.gz") == "asd"


def test_two_histories_are_too_few_for_the_command(paths, tmp_path, capsys):
    """It says how many it takes, and leaves what was there."""
    assert main(["prior", *map(str, paths[:2]), "--out", str(tmp_path / "made")]) == 2
    assert "at least three" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


# --------------------------------------------------------------------------------------------- what keeps a replay honest


def test_the_history_of_the_demonstration_is_left_out():
    """The bundled one has learned from it: what a replay of it gets has not."""
    with as_file(files("sidecar.demo") / "history" / "asd.jsonl.gz") as path:
        found = load(identities=identities(read_history(path)))
    assert found.model == (BUNDLED / "without-asd.txt").read_text("utf-8")
    assert load(identities=identities(history(1, days=1))).model == (BUNDLED / "model.txt").read_text("utf-8")


def test_a_backtest_scores_with_the_prior_it_is_given(folder):
    """From the first alert on, and the same way twice; without one the scores are others."""
    alerts = of_host(4, days=2)
    with_it = [backtest(alerts, config(), Answers(), prior=load(folder))[0] for _ in range(2)]
    assert with_it[0] == with_it[1]
    without = backtest(alerts, config(), Answers())[0]
    assert without[0].score != with_it[0][0].score


# ------------------------------------------------------------------------------------------------- what training makes of it


def elsewhere(count: int) -> np.ndarray:
    """Rows like none that was voted on."""
    return np.random.default_rng(1).uniform(0, 5, (count, len(FEATURES)))


def test_few_labels_leave_the_order_of_the_prior():
    """Sixty votes on two alertnames hardly change what is thought of others; without a prior little is known of them."""
    data, known, rows = dataset.build(*taught(60)[:2]), load(), elsewhere(400)
    agrees = [
        spearmanr(load_text(fit.fit(data, fit.Setup(1, one)).model).log_odds(rows), known.log_odds(rows)).statistic
        for one in (known, None)
    ]
    assert agrees[0] > 0.95
    assert agrees[0] > agrees[1] + 0.1


def test_many_labels_overrule_it(lessons):
    """A prior that learned the opposite of what people say gives way."""
    data, new = lessons[0].data, lessons[1].data
    opposite = replace(lessons[2], data=replace(lessons[2].data, label=1.0 - lessons[2].data.label))
    wrong = load_text(prior.fit([opposite], 1))
    assert roc_auc_score(new.false_positive, wrong.log_odds(new.x)) < 0.1
    found = load_text(fit.fit(data, fit.Setup(1, wrong)).model)
    assert roc_auc_score(new.false_positive, found.log_odds(new.x)) > 0.99


@pytest.mark.parametrize("count", [60, 700])
def test_the_prior_is_in_the_text_and_fits_are_deterministic(count):
    """What serves needs no file beside the model; `rounds` counts the trees that were added."""
    data, known = dataset.build(*taught(count, flipped=0.05)[:2]), load()
    one, two = (fit.fit(data, fit.Setup(1, known)) for _ in range(2))
    assert one == two
    assert one.model.count("Tree=") == known.model.count("Tree=") + one.rounds
    again = fit.again(data, one, fit.Setup(1, known))
    assert again == fit.again(data, one, fit.Setup(1, known))
    assert again.rounds == one.rounds
    assert one.model != fit.fit(data, fit.Setup(1)).model


def test_a_run_says_which_prior_it_began_with(tmp_path):
    """In its report; the artifact that it leaves serves without it."""
    rows, votes, _, at = taught(60)
    known = load()
    result = run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50, prior=known)
    assert result.promoted, result.text
    assert result.report["fit"]["prior"] == known.version
    assert LightGBMScorer(read(tmp_path / "a", None)).score([tuple(rows[0][5])])[0] > 0.0
    without = run(rows, votes, now=at, folder=tmp_path / "b", min_votes=50)
    assert without.report["fit"]["prior"] is None
    assert without.version != result.version
