"""Every kind of damage that a promoted model or a certificate can have, in the store of one running server."""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
import re
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from models.artifact import MAX_BYTES, MAX_OTHER_BYTES, Trained, pack, write
from sidecar import champion
from sidecar.store import tables
from sidecar.store import training as stored
from tests.acceptance.world import alert, webhook, within
from tests.integration.running import Running, running
from tests.servers import Postgres
from tests.unit.models.conftest import trained  # noqa: F401 - a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "a signing key"
REFUSED = "sidecar_models_refused_total"
Files = dict[str, str]
Change = Callable[[Files], Files | str]
numbers = count(1)


# ------------------------------------------------------------------------------------------- what is damaged, and how


def put(name: str, text: str) -> Change:
    return lambda files: {**files, name: text}


def gone(name: str) -> Change:
    return lambda files: {other: text for other, text in files.items() if other != name}


def edited(name: str, pattern: str, new: str) -> Change:
    """The first match of a pattern replaced."""

    def change(files: Files) -> Files:
        text, times = re.subn(pattern, lambda _: new, files[name], count=1, flags=re.MULTILINE)
        assert times == 1
        return {**files, name: text}

    return change


def signed(change: Change, key: str = KEY) -> Change:
    """The damage as a training run itself would have made it: hashes and signature are right."""

    def whole(files: Files) -> Files:
        found = change(files)
        assert isinstance(found, dict)
        try:
            manifest = json.loads(found["manifest.json"])
            for name in ("model.txt", "calibration.json"):
                manifest["sha256"][name] = hashlib.sha256(found[name].encode()).hexdigest()
            found["manifest.json"] = json.dumps(manifest)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass  # the manifest is what is damaged
        made = hmac.new(key.encode(), found["manifest.json"].encode(), hashlib.sha256).hexdigest()
        return {**found, "signature": made}

    return whole


def model(pattern: str, new: str) -> Change:
    """Another model text, well signed, with the lengths that its header gives of its trees put right."""

    def change(files: Files) -> Files:
        found = edited("model.txt", pattern, new)(files)
        assert isinstance(found, dict)
        body = found["model.txt"].partition("\nend of trees\n")[0] + "\n"
        sizes = " ".join(str(len(tree)) for tree in re.split(r"^(?=Tree=)", body, flags=re.MULTILINE)[1:])
        return edited("model.txt", "^tree_sizes=.*$", f"tree_sizes={sizes}")(found)

    return signed(change)


def manifest(**values: Any) -> Change:
    def change(files: Files) -> Files:
        return {**files, "manifest.json": json.dumps(json.loads(files["manifest.json"]) | values)}

    return signed(change)


def golden(change: Callable[[dict[str, Any]], object]) -> Change:
    def damage(files: Files) -> Files:
        found = json.loads(files["manifest.json"])
        change(found["golden"])
        return {**files, "manifest.json": json.dumps(found)}

    return signed(damage)


def flipped(files: Files) -> Files:
    """One bit, in a leaf of a tree."""
    place = files["model.txt"].index("leaf_value=") + 14
    text = files["model.txt"]
    return {**files, "model.txt": text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]}


def zip_bomb() -> str:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.txt", b"\0" * 30_000_000)
    return packed.getvalue().decode("latin-1")


class Pickled:
    """What would make a file, were it ever loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


TRAP = Path("/tmp/sidecar-test-a-pickle-was-loaded")
NESTED = "[" * 200_000

DAMAGE: dict[str, tuple[Change, str]] = {  # the damage, and what the log says of it
    "model cut": (lambda files: {**files, "model.txt": files["model.txt"][:-300]}, "not what manifest.json describes"),
    "a bit flipped in a tree": (flipped, "not what manifest.json describes"),
    "model empty": (put("model.txt", ""), "not what manifest.json describes"),
    "model binary": (put("model.txt", bytes(range(256)).decode("latin-1") * 9), "not what manifest.json describes"),
    "calibration changed": (put("calibration.json", '{"slope": 9.0, "offset": 0.0}'), "not what manifest.json describes"),
    "model missing": (gone("model.txt"), "has the files"),
    "calibration missing": (gone("calibration.json"), "has the files"),
    "manifest missing": (gone("manifest.json"), "has the files"),
    "signature missing": (gone("signature"), "has the files"),
    "signature empty": (put("signature", ""), "signature"),
    "signature wrong": (put("signature", "0" * 64), "signature"),
    "signature no text": (put("signature", "\u00e9\u4e00"), "signature"),
    "signed with another key": (signed(lambda files: files, "another"), "signature"),
    "manifest changed": (edited("manifest.json", '"format": 1', '"format": 2'), "signature"),
    "a path out of the folder": (lambda files: {**files, "../../evil": "x"}, "has the files"),
    "an absolute path": (lambda files: {**files, "/tmp/evil": "x"}, "has the files"),
    "a manifest of megabytes": (signed(put("manifest.json", "9" * (MAX_OTHER_BYTES + 1))), "larger than"),
    "a model beyond the limit": (lambda files: {**files, "model.txt": "9" * (MAX_BYTES + 1)}, "larger than"),
    "stored files are no JSON": (lambda _: '{"model.txt": "tre', "cannot be read"),
    "stored files are a list": (lambda _: '["model.txt"]', "cannot be read"),
    "stored files are numbers": (lambda _: '{"model.txt": 1}', "cannot be read"),
    "stored files are nested": (lambda _: '{"model.txt":' + NESTED, "cannot be read"),
    "stored files have half a character": (lambda files: json.dumps({**files, "model.txt": "\ud800"}), "cannot be read"),
    "manifest no JSON": (signed(put("manifest.json", "{'format': 1}")), "not JSON"),
    "manifest nested": (signed(put("manifest.json", NESTED)), "not JSON"),
    "manifest a list": (signed(put("manifest.json", "[]")), "not a JSON object"),
    "manifest without a key": (signed(edited("manifest.json", '"version"', '"vision"')), "version is missing"),
    "manifest without hashes": (signed(edited("manifest.json", '"sha256"', '"md5"')), "sha256 is missing"),
    "manifest of wrong types": (manifest(golden=[1]), "golden is missing or of the wrong type"),
    "made at no time": (manifest(created_at="today"), "created_at"),
    "another format": (manifest(format=99), "format 99"),
    "other features": (manifest(features_version="0" * 64), "other features"),
    "another version than stored": (manifest(version="fp-20200101-00000000"), "stored as"),
    "a version that is a path": (manifest(version="../../etc/passwd"), "is no version"),
    "no golden rows": (manifest(golden={"rows": [], "scores": []}), "no golden rows"),
    "golden scores differ": (golden(lambda found: found["scores"].__setitem__(0, 0.123)), "a golden row scored"),
    "golden rows too narrow": (golden(lambda found: found["rows"][0].pop()), "not a list of numbers"),
    "golden rows too few": (golden(lambda found: found["rows"].pop()), "not as many scores"),
    "golden NaN": (golden(lambda found: found["scores"].__setitem__(0, float("nan"))), "not a list of numbers"),
    "golden beyond a float": (golden(lambda found: found["rows"][0].__setitem__(0, 10**400)), "not a list of numbers"),
    "slope NaN": (signed(put("calibration.json", '{"slope": NaN, "offset": 0.0}')), "slope"),
    "slope infinite": (signed(put("calibration.json", '{"slope": 1e999, "offset": 0.0}')), "slope"),
    "slope falling": (signed(put("calibration.json", '{"slope": -1.0, "offset": 0.0}')), "slope"),
    "offset a word": (signed(put("calibration.json", '{"slope": 1.0, "offset": "0"}')), "slope"),
    "calibration empty": (signed(put("calibration.json", "{}")), "slope"),
    "a zip bomb for a model": (signed(put("model.txt", zip_bomb())), "no LightGBM model"),
    "a pickle for a model": (
        signed(put("model.txt", pickle.dumps(Pickled(str(TRAP)), 0).decode())), "no LightGBM model"
    ),
    "well signed, model cut": (signed(lambda files: {**files, "model.txt": files["model.txt"][:1500]}), "not a whole one"),
    "another objective": (model("^objective=.*$", "objective=lambdarank"), "objective"),
    "more classes": (model("^num_class=1$", "num_class=3"), "more than one class"),
    "another number of features": (model("^max_feature_idx=.*$", "max_feature_idx=7"), "number of features"),
    "a tree too few": (signed(edited("model.txt", r"^Tree=1\n(.+\n)+", "")), "tree_sizes"),
    "lengths that lie": (signed(edited("model.txt", "^tree_sizes=", "tree_sizes=9")), "not as many or as long"),
    "a huge leaf count": (model("^num_leaves=", "num_leaves=20000"), "tree 0"),
    "a leaf that is no number": (model("^leaf_value=[^ ]+", "leaf_value=nan"), "no finite value"),
    "a feature out of range": (model(r"^split_feature=\d+", "split_feature=999999"), "a feature that is not there"),
    "a branch out of range": (model(r"^left_child=-?\d+", "left_child=99999"), "lead nowhere"),
    "branches in a circle": (model(r"^left_child=-?\d+", "left_child=0"), "lead"),
    "a kind of decision unknown": (model(r"^decision_type=\d+", "decision_type=3"), "of a kind"),
    "it kills the process that loads it": (model("^shrinkage=1$", "shrinkage=x"), "the process that tried it ended"),
    "the library refuses it": (model("^feature_infos=.*$", "feature_infos=a b"), "the process that tried it ended"),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the server


@pytest_asyncio.fixture(params=["sqlite", "postgres"], scope="module", loop_scope="module")
async def sidecar(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    trained: Trained,  # noqa: F811
) -> AsyncIterator[Running]:
    """One server for all of them, with a good model in service that it looks after often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(champion, "LOOK_SECONDS", 0.05)
        settings = {"training": {"nightly": False, "signing_key": KEY}}
        if request.param == "sqlite":
            async with running(f"sqlite:///{tmp_path_factory.mktemp('store') / 'sidecar.db'}", **settings) as started:
                await serve_good(started, trained, tmp_path_factory.mktemp("first"))
                yield started
            return
        postgres: Postgres = request.getfixturevalue("postgres")
        with postgres.database() as url:
            async with running(url, **settings) as started:
                await serve_good(started, trained, tmp_path_factory.mktemp("first"))
                yield started


def made(trained: Trained, folder: Path) -> tuple[str, Files]:  # noqa: F811
    """A good artifact that nobody has seen before."""
    version = write(folder / "artifact", replace(trained, data_hash=f"{next(numbers):064d}"), KEY.encode())
    return version, pack(folder / "artifact")


async def keep(sidecar: Running, version: str, files: str, report: str = "{}") -> float:
    """As a training run does, but with whatever texts; when it was."""
    at = float(next(numbers))
    row = {"version": version, "created_at": at, "state": "candidate", "files": files, "report": report}
    async with sidecar.parts.database.write() as connection:
        await connection.execute(tables.artifacts.insert().values(row))
    return at


async def promote(sidecar: Running, version: str, files: str, report: str = "{}") -> None:
    at = await keep(sidecar, version, files, report)
    async with sidecar.parts.database.write() as connection:
        assert await stored.promote(connection, version, at)


async def serve_good(sidecar: Running, trained: Trained, folder: Path) -> str:  # noqa: F811
    version, files = made(trained, folder)
    await promote(sidecar, version, json.dumps(files))
    await within(60, lambda: sidecar.parts.scorers.version == version, "the good model serves")
    return version


async def scored_by(sidecar: Running) -> str:
    """The version in the decision on an alert that comes now; it is answered 200, and the server is ready."""
    name = f"Alert{next(numbers)}"
    assert await sidecar.post(webhook([alert(name, instance=name, severity="WARNING")], name)) == (200, "ok")
    assert await sidecar.request("GET", "/-/ready") == (200, "ready")
    await sidecar.caught_up()
    query = "SELECT d.model FROM decisions d JOIN episodes e ON e.episode = d.episode WHERE e.alertname = :name"
    (row,) = await sidecar.rows(query, name=name)
    return str(row["model"])


async def refused(sidecar: Running, promoting: Callable[[], Any]) -> str:
    """What the log says of what is promoted."""
    before = await sidecar.metric(REFUSED)
    with capture_logs() as logs:
        await promoting()

        async def counted() -> bool:
            return await sidecar.metric(REFUSED) > before

        await within(60, counted, "it is refused")
    assert await sidecar.metric(REFUSED) == before + 1
    (why,) = [line["why"] for line in logs if line["event"] in ("model_refused", "certificate_refused")]
    return str(why)


@pytest.mark.parametrize("kind", DAMAGE)
async def test_a_damaged_model_leaves_the_server_up_on_the_one_before(sidecar, trained, tmp_path, kind):  # noqa: F811
    """It is refused with the reason, once, and the next alert is scored by the model that served before."""
    serving = sidecar.parts.scorers.version
    change, reason = DAMAGE[kind]
    version, files = made(trained, tmp_path)
    damaged = change(files)
    text = damaged if isinstance(damaged, str) else json.dumps(damaged)
    why = await refused(sidecar, lambda: promote(sidecar, version, text))
    assert reason in why
    assert await scored_by(sidecar) == serving
    assert not TRAP.exists()
    assert not (tmp_path / "evil").exists()


async def test_after_damage_a_good_model_is_taken_up(sidecar, trained, tmp_path):  # noqa: F811
    """Nothing that was refused stands in the way of the next one."""
    for kind in ("it kills the process that loads it", "stored files are nested", "golden beyond a float"):
        version, files = made(trained, tmp_path / kind)
        damaged = DAMAGE[kind][0](files)
        text = damaged if isinstance(damaged, str) else json.dumps(damaged)
        await refused(sidecar, lambda version=version, text=text: promote(sidecar, version, text))
    version = await serve_good(sidecar, trained, tmp_path)
    assert await scored_by(sidecar) == version


PROVEN = {"at": 1.0, "hold": {"threshold": 0.9}, "suppress": {}}
CERTIFICATES: dict[str, tuple[str, str]] = {
    "cut": ('{"certificate": {"at": 1', "cannot be read"),
    "no object": ("5", "not a JSON object"),
    "nested": ('{"certificate":' + NESTED, "cannot be read"),
    "a number": ('{"certificate": 7}', "Expected"),
    "a grant of nothing": (json.dumps({"certificate": {**PROVEN, "hold": None}}), "Expected"),
    "a word for a threshold": (json.dumps({"certificate": {**PROVEN, "hold": {"threshold": "0.9"}}}), "Expected"),
    "a threshold below every score": (
        json.dumps({"certificate": {**PROVEN, "hold": {"threshold": -3.0}}}), "no threshold"
    ),
    "a threshold beyond a float": ('{"certificate": {"at": 1, "hold": {"threshold": 1e999}}}', "cannot be read"),
    "from the future": (json.dumps({"certificate": {**PROVEN, "at": 9e12}}), "newer than its run"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_a_damaged_certificate_allows_nothing_and_its_model_serves(sidecar, trained, tmp_path, kind):  # noqa: F811
    """What an older one allowed is taken back, with the reason; the good model that came with it is taken up."""
    report, reason = CERTIFICATES[kind]
    await keep(sidecar, f"refused-{next(numbers)}", "{}", json.dumps({"certificate": PROVEN}))
    await within(60, lambda: sidecar.parts.scorers.certificate)
    assert await sidecar.metric('sidecar_certified_threshold{kind="hold"}') == 0.9
    version, files = made(trained, tmp_path)
    why = await refused(sidecar, lambda: promote(sidecar, version, json.dumps(files), report))
    assert reason in why
    assert sidecar.parts.scorers.certificate is None
    assert await sidecar.metric('sidecar_certified_threshold{kind="hold"}') == 2
    await within(60, lambda: sidecar.parts.scorers.version == version)
    assert await scored_by(sidecar) == version
