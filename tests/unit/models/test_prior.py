"""The bundled prior: verified before it loads, the same everywhere, and never enough to keep anything back."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.features import FEATURES, vector
from models.prior import (
    BUNDLED,
    FORMAT,
    HASHES,
    INPUTS,
    MANIFEST,
    MAX_BYTES,
    MODEL,
    Prior,
    PriorError,
    alerts_hash,
    hash_lines,
    load,
    verified,
)
from models.scorers import UNPROVEN_LIMIT, ColdStart
from models.statistics import Statistics
from sidecar.scoring import Scorers, bundled_prior
from tests.servers import ROOT
from tests.unit.models.events import KEYS, START
from tests.unit.stories import World

CONFIDENT = 0.85
BEHAVIOURS = (-50.0, -3.0, -0.5, 0.0, 0.5, 3.0, 50.0)
LEVELS = ("fingerprint", "pattern", "name")
KNOWN = {  # name: (servers, hash of theirs)
    "asd": (7, "e076e8b769a9e905"),
    "js2": (18, "5199820ede4f5cf8"),
    "js3": (18, "839063ee4d508dc4"),
    "smd": (5, "cb0e7351dbd2097e"),
}
TEXTS = [MODEL, *(f"without-{name}.txt" for name in ("asd", "js2", "js3", "smd"))]


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "prior"))


@pytest.fixture
def bundled_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that the server takes for the bundled one."""
    monkeypatch.setattr("sidecar.scoring.bundled", lambda: load(folder))
    return folder


class Says(Prior):
    """A prior that says the same of everything."""

    def __init__(self, behaviour: float) -> None:
        self.version, self._behaviour = "prior-says", behaviour

    def log_odds(self, rows):
        return np.full(len(rows), self._behaviour)


def some_rows(count: int) -> list[tuple[float, ...]]:
    draw = random.Random(3)
    return [tuple(draw.choice([-1.0, 0.0, 1.0, draw.uniform(0, 50)]) for _ in FEATURES) for _ in range(count)]


def cold(behaviour: float, votes: dict[str, tuple[float, float]]) -> float:
    """The cold start's score where the prior says this, with (false, real) votes on each level."""
    known = dict(zip(FEATURES, vector(Statistics(), KEYS[0], {}, START), strict=True))
    for level, (false, real) in votes.items():
        if false + real:
            known |= {f"{level}_false_share": false / (false + real), f"{level}_votes": false + real}
    return ColdStart(Says(behaviour)).score([tuple(known[name] for name in FEATURES)])[0]


# ------------------------------------------------------------------------------------------------------------ what it sees


@pytest.mark.parametrize("name", TEXTS)
def test_its_trees_split_by_behaviour_and_nothing_else(name):
    """Neither names nor votes, a clock or the size of the installation: no split looks at them."""
    assert not [
        name for name in INPUTS if re.search("label|false_share|votes|hour_|weekday|^all_|anomaly_of_all", name)
    ]
    splits = re.findall(r"^split_feature=(.+)$", (BUNDLED / name).read_text(), re.MULTILINE)
    used = {FEATURES[int(place)] for line in splits for place in line.split()}
    assert len(used) > 10
    assert used <= set(INPUTS)


def test_what_it_does_not_look_at_changes_nothing(prior):
    """Whatever votes, clock and size are, the log-odds are the same."""
    others = [place for place, name in enumerate(FEATURES) if name not in INPUTS]
    wild = [tuple(7.0 if place in others else value for place, value in enumerate(row)) for row in some_rows(50)]
    assert prior.log_odds(wild).tolist() == prior.log_odds(some_rows(50)).tolist()
    assert len(set(prior.log_odds(wild).tolist())) > 10


@pytest.mark.parametrize("name", TEXTS)
def test_it_stays_small(name):
    """At most a hundred trees of eight leaves: that bounds what an alert costs."""
    leaves = [int(count) for count in re.findall(r"^num_leaves=(\d+)$", (BUNDLED / name).read_text(), re.MULTILINE)]
    assert 0 < len(leaves) <= 100
    assert max(leaves) <= 8


def test_it_is_the_same_alone_in_a_batch_and_loaded_again(prior):
    """Bit for bit: two replicas that see other batches say the same."""
    asked = some_rows(70)
    found = prior.log_odds(asked).tolist()
    assert found == [prior.log_odds([one])[0] for one in asked] == load().log_odds(asked).tolist()


def test_nothing_asked_is_nothing_said():
    """An empty batch asks no model."""
    assert Scorers(prior=Says(0.0)).score([]) == ([], "cold-start")


# --------------------------------------------------------------------------------------------- where training goes on from


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -1.25), (2.5, 3.0), (1e-3, 0.0)])
def test_a_booster_says_the_scaled_log_odds(prior, slope, offset):
    """Exactly, as a model of LightGBM's own, which its text keeps; the prior itself stays as it is."""
    import lightgbm

    before = prior.log_odds(some_rows(200))
    made = prior.booster(slope, offset)
    wanted = pytest.approx(slope * before + offset, abs=1e-9)
    rows = np.array(some_rows(200))
    assert made.predict(rows, raw_score=True) == wanted
    assert lightgbm.Booster(model_str=made.model_to_string()).predict(rows, raw_score=True) == wanted
    assert prior.log_odds(some_rows(200)).tolist() == before.tolist()


# ---------------------------------------------------------------------------------------------------- what it has learned


def test_it_is_what_the_four_histories_gave():
    """Whose alerts it has, by hashes, is written beside it, with a model that has left out each."""
    manifest = verified(BUNDLED)
    found = {one["name"]: one for one in manifest["histories"]}
    assert sorted(found) == ["asd", "js2", "js3", "smd"]
    assert sorted(manifest["models"]) == sorted(TEXTS)
    assert [found[name]["left_out"] for name in sorted(found)] == TEXTS[1:]
    assert {name: (len(one["alerts_of"]), alerts_hash(one["alerts_of"])) for name, one in found.items()} == KNOWN
    assert min(one["left_out_roc_auc"] for one in found.values()) > 0.5
    seen = [each for one in found.values() for each in one["alerts_of"]]
    assert len(seen) == len(set(seen)), "no server is in two of them"


def test_every_file_is_in_the_package_with_its_licence():
    """What pyproject.toml lets into a wheel covers the folder, and the histories' licence is beside the models."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    names = sorted(path.name for path in BUNDLED.iterdir())
    assert names == sorted(["LICENSE.txt", "README.md", MANIFEST, HASHES, *TEXTS])
    patterns = settings["package-data"]["*"]
    assert [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)] == []
    assert "models*" in settings["packages"]["find"]["include"]


def known_to(folder: Path, **identities: list[str]) -> Path:
    """The folder, with these identities as those of its histories."""

    def change(manifest: dict[str, Any]) -> None:
        for one in manifest["histories"]:
            one["alerts_of"] += [alerts_hash([each]) for each in identities.get(one["name"], [])]

    return rewritten(folder, change)


def test_a_replay_gets_the_model_that_has_not_learned_from_it(folder):
    """One alert of a server that it knows is enough; of others it is the model of all histories."""
    known_to(folder, asd=["prod/a", "prod/b"], smd=["prod/c"])
    for identities, name in (
        ({"prod/a"}, "without-asd.txt"),
        ({"prod/b", "prod/new"}, "without-asd.txt"),
        ({"prod/c"}, "without-smd.txt"),
        ({"prod/new"}, MODEL),
        (set(), MODEL),
    ):
        assert load(folder, identities).model == (folder / name).read_text("utf-8")


def test_a_replay_of_two_of_its_histories_is_an_error(folder):
    """It has no model that has left out both, and says which two."""
    known_to(folder, asd=["prod/a"], smd=["prod/c"])
    with pytest.raises(PriorError, match="learned from asd and smd"):
        load(folder, {"prod/a", "prod/c"})


# ---------------------------------------------------------------------------------------------------------------- damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def fill(path: Path) -> None:
    path.write_bytes(b"\0" * (MAX_BYTES + 1))


@pytest.mark.parametrize("damage", [flip, cut, fill, Path.unlink], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", [MODEL, "without-js2.txt", MANIFEST, HASHES])
def test_a_damaged_file_is_never_loaded(bundled_folder, monkeypatch, name, damage):
    """LightGBM is not even asked: a damaged text could end the process. The server starts without it, and says why."""
    damage(bundled_folder / name)
    monkeypatch.setattr(Prior, "__init__", lambda *_: pytest.fail("it was loaded"))
    said: list[str] = []
    assert bundled_prior(said.append) is None
    assert len(said) == 1
    expected = {fill: "larger", Path.unlink: "cannot be read"}.get(damage, f"{HASHES} says|manifest.json is not")
    assert re.search(expected, said[0])
    world = World()
    world.scoring = Scorers(prior=None)  # type: ignore[assignment]
    assert world.fire().scored.score is not None


def rewritten(folder: Path, change) -> Path:
    """With another manifest, and hashes that hold."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    named = [name for name in (*manifest["models"], MANIFEST) if (folder / name).exists()]
    (folder / HASHES).write_text(hash_lines({name: (folder / name).read_bytes() for name in named}))
    return folder


def about(**more: Any):
    """A change of what the manifest says of the model."""
    return lambda manifest: manifest["models"][MODEL].update(more)


def top(**more: Any):
    return lambda manifest: manifest.update(more)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (top(format=FORMAT + 1), "format"),
        (top(features=FEATURES[:-1]), "other features"),
        (top(histories=None), "not as this version reads it"),
        (top(models={"../model.txt": {}}), "no name of a model"),
        (top(models={}), "not as this version reads it"),
        (about(slope=-1.0), "calibration"),
        (about(slope=0.0), "calibration"),
        (about(offset=float("nan")), "calibration"),
        (about(slope="steep"), "not as this version reads it"),
        (about(golden=None), "not as this version reads it"),
        (about(golden={"rows": [[1.0]], "log_odds": [0.5]}), "number of features"),
        (about(golden={"rows": [list(some_rows(1)[0])], "log_odds": [40.0]}), "had log-odds 40.000000 once and has"),
        (about(golden={"rows": [list(some_rows(1)[0])], "log_odds": [float("nan")]}), "golden row"),
        (about(golden={"rows": [list(some_rows(1)[0])], "log_odds": []}), "not as this version reads it"),
        (about(golden={"rows": [list(some_rows(1)[0])]}), "not as this version reads it"),
        (about(golden={"rows": [list(some_rows(1)[0])], "log_odds": ["x"]}), "not as this version reads it"),
    ],
)
def test_another_manifest_is_refused_with_the_reason(bundled_folder, change, said):
    """Hashes that hold are not enough: it must have been made for these features, and say what it said then."""
    rewritten(bundled_folder, change)
    with pytest.raises(PriorError, match=said):
        load(bundled_folder)
    reasons: list[str] = []
    assert bundled_prior(reasons.append) is None
    assert re.search(said, reasons[0])


def test_a_text_that_lightgbm_refuses_is_a_prior_error(folder):
    """Whoever wrote hashes for it: the server starts all the same."""
    (folder / MODEL).write_text("tree\n")
    rewritten(folder, lambda _: None)
    with pytest.raises(PriorError, match="LightGBM does not take the model"):
        load(folder)


def test_a_manifest_that_is_no_object_is_refused(folder):
    (folder / MANIFEST).write_text("[]")
    with pytest.raises(PriorError, match="not as this version reads it"):
        load(folder)


def test_one_that_fails_is_counted_and_alerts_go_on():
    """Whatever it raises, the rule of thumb scores."""

    class Fails(Says):
        def log_odds(self, rows):
            raise RuntimeError(len(rows))

    failed: list[int] = []
    world = World()
    world.scoring = Scorers(lambda: failed.append(1), Fails(0.0))  # type: ignore[assignment]
    decision = world.fire()
    assert failed == [1]
    other = World()
    other.scoring = Scorers()  # type: ignore[assignment]
    assert decision.scored.score == other.fire().scored.score


# ----------------------------------------------------------------------------------------------- with votes, and without


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_alone_it_suppresses_nothing(behaviour):
    """Without votes no score comes to the limit of what is unproven, whatever the prior says."""
    assert cold(behaviour, {}) < UNPROVEN_LIMIT


def test_it_ranks_what_nobody_voted_on():
    """What it says more of is scored higher; as it does in a batch of real rows."""
    scores = [cold(behaviour, {}) for behaviour in BEHAVIOURS]
    assert scores == sorted(scores)
    assert len(set(scores[1:-1])) == len(scores) - 2
    unvoted = [
        tuple(0.0 if n.endswith("_votes") else v for n, v in zip(FEATURES, row, strict=True)) for row in some_rows(99)
    ]
    found = load()
    assert np.argsort(found.log_odds(unvoted)).tolist() == np.argsort(ColdStart(found).score(unvoted)).tolist()


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("levels", [LEVELS, LEVELS[1:], LEVELS[2:]])
def test_five_false_votes_pass_and_four_do_not(behaviour, levels):
    """Whatever the prior says."""
    assert cold(behaviour, dict.fromkeys(levels, (5.0, 0.0))) > CONFIDENT
    assert cold(behaviour, dict.fromkeys(levels, (4.0, 0.0))) < CONFIDENT


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_real_vote_caps_it(behaviour):
    """On the fingerprint, its pattern or its name: a hundred false ones do not undo it."""
    for level in LEVELS:
        votes = dict.fromkeys(LEVELS, (100.0, 0.0)) | {level: (100.0, 1.0)}
        assert cold(behaviour, votes) <= UNPROVEN_LIMIT


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_vote_moves_the_score_its_own_way(behaviour):
    """One more false vote never lowers it, one more real one never raises it, in any order and on any level."""
    amounts = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 5.0, 20.0)
    for false, real in itertools.product(amounts, amounts):
        for more in (0.05, 0.5, 1.0):
            for levels in (LEVELS, LEVELS[1:], LEVELS[2:]):
                before = cold(behaviour, dict.fromkeys(levels, (false, real)))
                assert cold(behaviour, dict.fromkeys(levels, (false + more, real))) >= before
                assert cold(behaviour, dict.fromkeys(levels, (false, real + more))) <= before
            near = {"fingerprint": (false, 0.0), "pattern": (false, 0.0), "name": (false, real)}
            assert cold(behaviour, near | {"name": (false, real + more)}) <= cold(behaviour, near)


def test_votes_outweigh_it_as_they_come():
    """What the prior can change shrinks with every vote that says the same."""
    spans = [cold(3.0, {"name": (votes, 0.0)}) - cold(-3.0, {"name": (votes, 0.0)}) for votes in (0.0, 1, 2, 3, 4, 5)]
    assert spans == sorted(spans, reverse=True)
    assert spans[0] > 0.3
    assert spans[-1] < 0.03
