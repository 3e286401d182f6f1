"""The Dask engine on a real cluster of two worker processes, and the folder of Parquet files that it reads."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from distributed import LocalCluster

from models.artifact import read
from models.features import FEATURES
from sidecar.errors import SidecarError
from sidecar.store import schema
from sidecar.store import training as stored
from sidecar.store.engine import Database, open_engine
from tests.integration.test_training import KEY, run_in_thread, store
from tests.unit.training.history import taught
from training import cluster, dataset, fit, job, partitions, source
from training.__main__ import main
from training.promote import load
from training.spread import Source, gather

NOISE = {  # what the metrics may differ by: workers draw bags of their own, as another seed would; six seeds differ by
    "log_loss": 0.01,  # 0.003
    "roc_auc": 0.01,  # 0.008
    "pr_auc": 0.03,  # 0.024
    "pr_auc_real": 0.02,  # 0.014
    "calibration_error": 0.02,  # 0.011
}


async def given(rows, votes, size):
    """As the store gives them: each row with its votes."""
    said = {row[0]: [vote for vote in votes if vote[0] == row[0]] for row in rows} if len(rows) < 500 else None
    for start in range(0, len(rows), size):
        yield [
            (*row, None, row[2], None, {"instance": f"h{n % 9}"}, True, said[row[0]] if said else [votes[start + n]])
            for n, row in enumerate(rows[start : start + size])
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """4,000 episodes in four files, with one vote in ten wrong."""
    rows, votes, _, _ = taught(4000, apart=60.0, flipped=0.1)
    made = tmp_path_factory.mktemp("shared") / "data"
    asyncio.run(partitions.write(made, given(rows, votes, 1000)))
    return made


@pytest.fixture(scope="module")
def scheduler():
    """The address of a cluster of two worker processes."""
    settings = {
        "processes": True,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.ERROR,
    }
    with LocalCluster(n_workers=2, threads_per_worker=1, **settings) as running:
        yield running.scheduler_address


def serial(folder: Path):
    """What makes the dataset of a folder without a cluster."""
    files = partitions.find(folder)
    return partial(gather, Source(tuple(files), lambda work, arguments: (work(*each) for each in arguments)))


def run_on(folder: Path, place: Path, build=None) -> job.Result:
    rows, votes = ((), ()) if build else source.read_folder(folder)
    how = {"now": 1_790_500_000.0, "folder": place, "min_votes": 50, "trial": False}
    return job.run(rows, votes, **how, **({"build": build} if build else {}))


def test_two_workers_learn_what_one_process_does(folder, scheduler, tmp_path):
    """The same data, split and certificate; the metrics are the same within noise, and the artifact loads."""
    alone = run_on(folder, tmp_path / "alone")
    with cluster.connect(partitions.find(folder), scheduler) as build:
        spread = run_on(folder, tmp_path / "spread", build)
        found = spread.proof.validation.episode.tolist()
    assert alone.promoted
    assert spread.promoted
    for name in ("split", "certificate", "audit"):
        assert spread.report[name] == alone.report[name]
    assert spread.report["data"] | {"hash": ""} == alone.report["data"] | {"hash": ""}
    assert found == alone.proof.validation.episode.tolist()
    ours, theirs = spread.report["metrics"], alone.report["metrics"]
    assert 0.1 < theirs["log_loss"] < 0.6  # neither solved nor hopeless: there is something to compare
    for name, noise in NOISE.items():
        assert ours[name] == pytest.approx(theirs[name], abs=noise), name
    assert read(tmp_path / "spread", None).version == spread.version
    assert "127.0.0.1" not in (tmp_path / "spread" / "model.txt").read_text("utf-8")


def test_both_workers_grow_one_model_and_go_on_from_another(folder, scheduler, monkeypatch):
    """LightGBM counts two machines; the losses are those of the model; trees of a base come first."""
    monkeypatch.setattr(cluster, "_NETWORK", cluster.re.compile("(?!)"))
    rows, votes = source.read_folder(folder)
    alone = dataset.build(rows, votes)
    settings = fit.parameters(len(alone), 1, 1) | fit.GRID[0]
    with cluster.connect(partitions.find(folder), scheduler) as build:
        data = build((), (), dataset.always_told)
        booster, curve = fit.boost(data, data.weight, settings, 3500, 30)
        more, after = fit.boost(data, data.weight, settings, 3500, 5, booster)
        raw = data.observe(lambda x: x[:, 0] * 2.0)
    assert "[num_machines: 2]" in booster.model_to_string()
    assert np.array_equal(raw, alone.x[:, 0] * 2.0)
    assert (len(curve), len(after), more.num_trees()) == (30, 5, 35)
    for model, losses in ((booster, curve), (more, after)):
        score = model.predict(alone.x[3500:], num_iteration=-1)
        label, weight = alone.label[3500:], alone.weight[3500:]
        mean = np.average(-(label * np.log(score) + (1 - label) * np.log(1 - score)), weights=weight)
        assert losses[-1] == pytest.approx(mean, rel=1e-6)
    same, losses = fit.boost(alone, alone.weight, settings, 3500, 30)
    assert curve[: len(losses)] == pytest.approx(losses, abs=0.01)
    assert booster.best_iteration == pytest.approx(same.best_iteration, abs=10)
    _, none = fit.boost(alone, alone.weight, settings, len(alone), 5, same)
    assert none == []


def test_the_rule_to_stop_is_lightgbms():
    """The first least loss, unless too many rounds brought nothing better."""
    assert cluster._best([3.0, 2.0, 1.0], 5) == 3
    assert cluster._best([3.0, 2.0, 2.5, 2.5, 1.0], 2) == 2
    assert cluster._best([3.0, 2.0, 2.5, 2.5, 1.0], 3) == 5
    assert cluster._best([1.0, 1.0], 5) == 1


@pytest.mark.parametrize("told", [True, False])
async def test_the_dataset_is_the_same_wherever_it_is(tmp_path, told):
    """Labels, weights, drawn chances, order and what was left out, with files in no order of time."""
    rows, votes, _, _ = taught(300)
    rows = [(*row[:7], 0.2 if n % 7 == 0 else 0.9 if n % 11 == 0 else 1.0) for n, row in enumerate(rows)]
    rows[5] = (*rows[5][:5], [1.0, 2.0], *rows[5][6:])  # of other features
    votes[6] = (*votes[6][:4], True)  # retracted
    votes.append((rows[8][0], "bob", "not_actionable", votes[8][3] + 5.0, False))
    pieces = [piece async for piece in given(rows, votes, 100)]
    pieces[1][3] = (*pieces[1][3][:12], told, pieces[1][3][13])

    async def shuffled():
        for piece in (pieces[2], pieces[0], pieces[1]):
            yield piece

    await partitions.write(tmp_path / "data", shuffled())
    alone = dataset.build(*source.read_folder(tmp_path / "data"))
    spread = serial(tmp_path / "data")(dataset.always_told)
    for part, whole in ((spread, alone), (spread.take(np.arange(20, 90)), alone.take(np.arange(20, 90)))):
        assert len(part) == len(whole)
        for name in vars(whole):
            found, wanted = getattr(part, name), getattr(whole, name)
            if isinstance(wanted, np.ndarray) and wanted.dtype == np.float64:
                assert np.allclose(found, wanted, rtol=1e-12, atol=0.0, equal_nan=True), name
            else:
                assert np.array_equal(found, wanted), name
    assert spread.content_hash() != spread.take(np.arange(1, len(spread))).content_hash()
    assert (alone.skipped, len(alone)) == (1, 298)
    assert (alone.drawn.min() < 0.5) == told


@pytest.fixture
async def database(database_url):
    found = Database(open_engine(database_url))
    await schema.upgrade(found)
    yield found
    await found.close()


@pytest.fixture
def config(database_url, tmp_path) -> str:
    path = tmp_path / "sidecar.yml"
    path.write_text(yaml.safe_dump({"store": {"url": database_url}, "training": {"min_votes": 50, "signing_key": KEY}}))
    return str(path)


async def test_what_is_exported_teaches_the_same(database, config, tmp_path, monkeypatch, capsys):
    """A folder gives the very report that the store gives, in pieces of any size; a second export into it is refused."""
    monkeypatch.setattr(partitions, "PIECE", 50)
    monkeypatch.setattr(stored, "PIECE", 20)
    await store(database, 120)
    data, reports = str(tmp_path / "data"), [tmp_path / "a.json", tmp_path / "b.json"]
    assert await run_in_thread("export", data, "--config", config) == 0
    assert "120 episodes" in capsys.readouterr().out
    assert len(list(Path(data).iterdir())) == 3
    assert await run_in_thread("export", data, "--config", config) == 1
    assert "is not empty" in capsys.readouterr().err
    assert await run_in_thread("run", "--config", config, "--dry-run", "--json", str(reports[0])) == 0
    assert await run_in_thread("run", "--config", config, "--dry-run", "--json", str(reports[1]), "--data", data) == 0
    from_store, from_folder = (json.loads(path.read_text("utf-8")) for path in reports)
    assert from_store["data"] == from_folder["data"]
    assert from_store["metrics"] == from_folder["metrics"]


async def test_the_engine_promotes_from_the_store(sqlite_url, tmp_path, capsys):
    """`--engine dask` alone exports, fits on two processes of this machine, and promotes what loads with the key."""
    database = Database(open_engine(sqlite_url))
    await schema.upgrade(database)
    await store(database, 120)
    path = tmp_path / "here.yml"
    path.write_text(yaml.safe_dump({"store": {"url": sqlite_url}, "training": {"signing_key": KEY}}))
    report = tmp_path / "report.json"
    assert await run_in_thread("run", "--config", str(path), "--engine", "dask", "--json", str(report)) == 0
    assert len(json.loads(report.read_text("utf-8"))["charts"]["drift"]) == len(FEATURES)
    async with database.read() as connection:
        version, files = await stored.champion(connection)
    await database.close()
    assert f"promoted: {version}" in capsys.readouterr().out
    assert load(files, KEY.encode()).version == version


async def test_nothing_to_learn_from_is_no_failure(tmp_path):
    """An export of no votes is a folder, and the gate refuses it in the usual words."""
    assert await partitions.write(tmp_path / "data", given([], [], 10)) == 0
    build = serial(tmp_path / "data")
    result = run_on(tmp_path / "data", tmp_path / "a", lambda _, __, guarded: build(guarded))
    assert "empty: no voted episode" in result.refused[0]


@pytest.fixture
async def place(sqlite_url, tmp_path) -> list[str]:
    """The beginning of a command line, with an empty store."""
    database = Database(open_engine(sqlite_url))
    await schema.upgrade(database)
    await database.close()
    path = tmp_path / "here.yml"
    path.write_text(yaml.safe_dump({"store": {"url": sqlite_url}}))
    return ["run", "--dry-run", "--config", str(path)]


async def test_a_running_scheduler_is_used(folder, scheduler, place, capsys):
    """Its address is all that is needed; a file that has gone bad is said in one line."""
    asked = [*place, "--engine", "dask", "--scheduler", scheduler, "--data"]
    assert await run_in_thread(*asked, str(folder)) == 0
    assert "passed the gate" in capsys.readouterr().out
    bad = shutil.copytree(folder, Path(place[-1]).parent / "bad")
    path = sorted(bad.glob("*.parquet"))[2]
    content = bytearray(path.read_bytes())
    content[200:4000] = bytes(3800)
    path.write_bytes(content)
    assert await run_in_thread(*asked, str(bad)) == 1
    said = capsys.readouterr().err
    assert "part-00002.parquet is damaged" in said
    assert "Traceback" not in said


def test_workers_that_die_end_the_run(folder, monkeypatch):
    """In one line, instead of waiting for what will never come."""
    monkeypatch.setattr(cluster, "WORKERS", 1)
    with cluster.connect(partitions.find(folder)) as build:
        data = build((), (), dataset.always_told)
        data.source.client.cluster.scheduler.allowed_failures = 0  # else it is tried three times
        with pytest.raises(cluster.ClusterError, match="failed at work"):
            data.observe(lambda _: os._exit(1))


def test_a_cluster_that_lacks_something_is_refused(folder, tmp_path, monkeypatch):
    """Without workers, with one that has not this package, and with one that does not see the folder: what to do."""
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    settings = {
        "processes": True,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.ERROR,
    }
    with LocalCluster(n_workers=0, **settings) as running:
        asked = cluster.connect(partitions.find(folder), running.scheduler_address)
        with pytest.raises(cluster.ClusterError, match="start some with `dask worker tcp://"), asked:
            pass
        monkeypatch.setattr(cluster, "CONNECT_SECONDS", 20)
        (tmp_path / "training").mkdir()
        # Found before ours, where that is installed; empty, its modules would be looked for in ours.
        (tmp_path / "training" / "__init__.py").write_text('raise ModuleNotFoundError("No module named training")')
        command = [sys.executable, "-m", "distributed.cli.dask_worker", running.scheduler_address]
        command += ["--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        elsewhere = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            asked = cluster.connect(partitions.find(folder), running.scheduler_address)
            with pytest.raises(cluster.ClusterError, match=r"cannot run this package .* install alertmanager"), asked:
                pass
        finally:
            elsewhere.terminate()
            elsewhere.wait(20)


def test_a_worker_that_does_not_see_the_folder_is_named(folder, scheduler, monkeypatch):
    """A path of one machine is no shared folder."""
    files = [path.with_name("gone.parquet") for path in partitions.find(folder)]
    asked = cluster.connect(files, scheduler)
    with pytest.raises(cluster.ClusterError, match=r"does not see .*gone\.parquet"), asked:
        pass


async def test_a_cluster_that_cannot_be_used_is_named(folder, place, capsys, monkeypatch):
    """Nobody there, no address, a wrong pair of options, or a missing package: one line that says what to do."""
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    asked = [*place, "--engine", "dask", "--data", str(folder)]
    for address in ("tcp://127.0.0.1:1", "nonsense:words"):
        assert await run_in_thread(*asked, "--scheduler", address) == 1
        said = capsys.readouterr().err
        assert f"no Dask scheduler answers at {address}" in said
        assert len(said.splitlines()) == 1
    for wrong in ([*place, "--scheduler", "tcp://127.0.0.1:1"], [*place, "--engine", "dask", "--scheduler", "x"]):
        assert await run_in_thread(*wrong) == 2
        assert "--scheduler needs --engine dask, and --data" in capsys.readouterr().err
    hinted = Path(place[-1]).with_name("hinted.yml")
    hinted.write_text(Path(place[-1]).read_text("utf-8") + "training: {implicit_evidence: true}\n", "utf-8")
    assert await run_in_thread("run", "--config", str(hinted), "--engine", "dask") == 2
    assert "learns from votes alone" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert await run_in_thread(*asked) == 1
    assert "pip install 'alertmanager-sidecar[train,cluster]'" in capsys.readouterr().err


def damaged(folder: Path, into: Path) -> list[tuple[Path, str]]:
    """Folders that cannot be used, and what must be said of each."""
    good = min(folder.glob("*.parquet"))
    table = pq.read_table(good)
    made: dict[str, list[pa.Table | bytes]] = {
        "no Parquet file that can be read": [good.read_bytes()[:-100]],
        "was not written by": [pa.table({"x": [1]})],
        "has the features older": [table.replace_schema_metadata({"layout": "1", "features": "older"})],
        "has no *.parquet file": [],
        "has an episode twice": [pa.concat_tables([table, table])],
        "in the folder more than once": [table, table],
        "no observation": [table.set_column(5, table.schema.field("observation"), [[b"abc"] * len(table)])],
        "is damaged": [table.set_column(11, table.schema.field("labels"), [["{"] * len(table)])],
    }
    for number, contents in enumerate(made.values()):
        (into / str(number)).mkdir()
        for part, content in enumerate(contents):
            path = into / str(number) / f"part-{part:05}.parquet"
            path.write_bytes(content) if isinstance(content, bytes) else pq.write_table(content, path)
    return [(into / str(number), said) for number, said in enumerate(made)]


def test_a_folder_that_cannot_be_used_is_named(folder, tmp_path):
    """Cut, foreign, of other features, empty, or with an episode twice: each is said, with what to do."""
    for place, said in [(tmp_path / "nowhere", "there is no folder"), *damaged(folder, tmp_path)]:
        with pytest.raises(partitions.BadFolder, match="xport") as failed:
            serial(place)(dataset.always_told)
        assert said in str(failed.value)


async def test_an_export_that_fails_leaves_nothing(tmp_path):
    """Neither half a folder nor litter beside it; a parent that is not there is named."""
    rows, votes, _, _ = taught(20)

    async def broken():
        async for piece in given(rows, votes, 10):
            yield piece
            raise SidecarError("the database went away")

    with pytest.raises(SidecarError, match="went away"):
        await partitions.write(tmp_path / "data", broken())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(partitions.BadFolder, match="cannot be written"):
        await partitions.write(tmp_path / "no" / "data", given(rows, votes, 10))


def test_the_engines_are_in_the_help(capsys):
    """With an example of each."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "run --engine dask --data" in capsys.readouterr().out
