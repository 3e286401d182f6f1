from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from models import artifact
from models.artifact import FILES, ArtifactError, pack, read, try_out, unpack, version_of, write
from models.scorers import LightGBMScorer

KEY = b"a key for tests"


def rewrite(folder: Path, change, key: bytes = KEY) -> None:
    """Changes texts and signs again, as a damaged training run would."""
    texts = pack(folder)
    change(texts)
    manifest = json.loads(texts["manifest.json"])
    for name in ("model.txt", "calibration.json"):
        manifest["sha256"][name] = hashlib.sha256(texts[name].encode()).hexdigest()
    texts["manifest.json"] = json.dumps(manifest)
    texts["signature"] = artifact._sign(texts["manifest.json"].encode(), key)
    for name, text in texts.items():
        (folder / name).write_text(text)


def edit_manifest(**values):
    def change(texts):
        texts["manifest.json"] = json.dumps(json.loads(texts["manifest.json"]) | values)

    return change


def edit(name, old, new):
    def change(texts):
        assert old in texts[name]
        texts[name] = texts[name].replace(old, new, 1)

    return change


def flip(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 0x04
    (folder / name).write_bytes(bytes(content))


def cut(folder: Path, name: str, count: int) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-count])


DAMAGE = {
    "truncated model": lambda folder: cut(folder, "model.txt", 200),
    "truncated manifest": lambda folder: cut(folder, "manifest.json", 10),
    "empty model": lambda folder: (folder / "model.txt").write_bytes(b""),
    "bit flipped in the model": lambda folder: flip(folder, "model.txt"),
    "bit flipped in the calibration": lambda folder: flip(folder, "calibration.json"),
    "bit flipped in the manifest": lambda folder: flip(folder, "manifest.json"),
    "missing manifest": lambda folder: (folder / "manifest.json").unlink(),
    "missing model": lambda folder: (folder / "model.txt").unlink(),
    "bad signature": lambda folder: (folder / "signature").write_text("0" * 64),
    "signed by another": lambda folder: rewrite(folder, lambda _: None, b"another key"),
    "garbage": lambda folder: [(folder / name).write_bytes(bytes(range(256)) * 9) for name in FILES],
    "not text, well signed": lambda folder: (folder / "model.txt").write_bytes(b"\xff\xfe\x00"),
    "a folder for a file": lambda folder: ((folder / "model.txt").unlink(), (folder / "model.txt").mkdir()),
    "other features": lambda folder: rewrite(folder, edit_manifest(features=["a", "b"])),
    "other format": lambda folder: rewrite(folder, edit_manifest(format=99)),
    "no golden rows": lambda folder: rewrite(folder, edit_manifest(golden={"rows": [], "scores": []})),
    "golden rows too short": lambda folder: rewrite(folder, edit_manifest(golden={"rows": [[1.0]], "scores": [0.5]})),
    "a version that is a path": lambda folder: rewrite(folder, edit_manifest(version="../../etc/passwd")),
    "huge leaf count": lambda folder: rewrite(folder, edit("model.txt", "num_leaves=", "num_leaves=20000000000")),
    "another number of features": lambda folder: rewrite(
        folder, edit("model.txt", "max_feature_idx=", "max_feature_idx=9")
    ),
    "well signed, model cut": lambda folder: rewrite(folder, lambda t: t.update({"model.txt": t["model.txt"][:900]})),
    "well signed, empty model": lambda folder: rewrite(folder, lambda texts: texts.update({"model.txt": ""})),
    "well signed, thresholds gone": lambda folder: rewrite(
        folder, edit("model.txt", "\nthreshold=", "\nthreshold=x y z ")
    ),
    "well signed, features out of range": lambda folder: rewrite(
        folder, edit("model.txt", "\nsplit_feature=", "\nsplit_feature=999999 99999 ")
    ),
    "well signed, children out of range": lambda folder: rewrite(
        folder, edit("model.txt", "\nleft_child=", "\nleft_child=99999999 888888 ")
    ),
    "another offset": lambda folder: rewrite(folder, edit("calibration.json", "-0.5", "-0.6")),
    "a falling calibration": lambda folder: rewrite(folder, edit("calibration.json", "2.0", "-2.0")),
    "a calibration of NaN": lambda folder: rewrite(folder, edit("calibration.json", "-0.5", "NaN")),
}


@pytest.fixture
def folder(tmp_path: Path, trained) -> Path:
    write(tmp_path / "model", trained, KEY)
    return tmp_path / "model"


def test_what_is_written_reads_back(folder, trained):
    """Version, text and calibration survive, it can be tried out, and scores as when it was trained."""
    found = read(folder, KEY)
    assert found.version == version_of(trained)
    assert found.version.startswith("fp-20260922-")
    assert (found.model, found.slope, found.offset) == (trained.model, 2.0, -0.5)
    assert found.manifest["signed"] is True
    try_out(folder, KEY, 60.0)
    golden = found.manifest["golden"]
    assert LightGBMScorer(found).score([tuple(row) for row in golden["rows"]]) == golden["scores"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_and_this_process_lives(folder, damage):
    """Whatever is damaged, trying it out says so and harms nobody."""
    DAMAGE[damage](folder)
    with pytest.raises(ArtifactError) as caught:
        try_out(folder, KEY, 60.0)
    assert str(caught.value)


def test_only_the_right_key_opens(folder, trained, tmp_path):
    """Unsigned and signed are told apart; unsigned says so in its manifest."""
    for key in (None, b"other"):
        with pytest.raises(ArtifactError, match="signature"):
            read(folder, key)
    write(tmp_path / "unsigned", trained, None)
    assert read(tmp_path / "unsigned", None).manifest["signed"] is False
    with pytest.raises(ArtifactError, match="signature"):
        read(tmp_path / "unsigned", KEY)


def test_a_trial_that_hangs_is_given_up(folder):
    """No answer in time is an answer."""
    with pytest.raises(ArtifactError, match="no answer"):
        try_out(folder, KEY, 0.001)


def test_pack_and_unpack_are_inverse(folder, tmp_path):
    """A folder travels through the store as texts, replaces what was there, and leaves nothing else behind."""
    target = tmp_path / "copies" / "model"
    unpack(pack(folder), target)
    unpack(pack(folder), target)
    assert pack(target) == pack(folder)
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_unpack_takes_the_files_of_an_artifact_only(folder, tmp_path):
    """A name from the store cannot leave the folder."""
    for files in ({}, pack(folder) | {"../evil": "x"}):
        with pytest.raises(ArtifactError, match="has the files"):
            unpack(files, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_the_version_is_of_the_content(trained):
    """The same model has the same version; another offset, model or data has another."""
    assert version_of(trained) == version_of(replace(trained, metrics={}))
    others = [replace(trained, offset=0.0), replace(trained, model="x"), replace(trained, data_hash="1" * 64)]
    assert len({version_of(each) for each in (trained, *others)}) == 4
