"""The command line of training: run, export, backtest, prior, list, promote, rollback, nab."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from models.prior import BUNDLED, PriorError
from models.prior import load as load_prior
from sidecar.config import Config, load
from sidecar.config.durations import parse_duration
from sidecar.errors import ConfigError, SidecarError, StoreError
from sidecar.rules.base import guarded
from sidecar.scoring import bundled_prior
from sidecar.store import training as stored
from sidecar.store.engine import Database, check_exists, open_engine
from training import promote

if TYPE_CHECKING:
    from training.source import Given

EXAMPLES = """examples:
  python -m training run --config sidecar.yml              train, prove, promote
  python -m training run --config sidecar.yml --dry-run    the same, and change nothing
  python -m training run --config sidecar.yml --html report.html --json report.json
  python -m training export /mnt/votes --config sidecar.yml    what there is to learn from, as Parquet files
  python -m training run --engine dask --data /mnt/votes --scheduler tcp://scheduler:8786
  python -m training backtest history.jsonl.gz --out decisions.jsonl
  python -m training prior ours-*.jsonl.gz --out prior/    what to begin with, from labelled histories of your own
  python -m training list --config sidecar.yml
  python -m training promote fp-20261123-1a2b3c4d --config sidecar.yml
  python -m training rollback --config sidecar.yml         back to the model before this one
  python -m training nab NAB/ --json nab.json              the streaming detector on the Numenta Anomaly Benchmark

exit codes: 0 done or promoted, 3 refused by the gate (the model in service stays), 2 wrong usage or configuration,
1 the database, the folder or the cluster could not be used
"""
PROMOTED, FAILED, USAGE, REFUSED = 0, 1, 2, 3

Command = Callable[[argparse.Namespace, Config, Database], Awaitable[int]]


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(argv)
    if options.storeless is not None:
        code: int = options.storeless(options)
        return code
    command: Command = options.command
    try:
        config = load(options.config)
    except ConfigError as error:
        print(f"{options.config} is wrong:\n{error}", file=sys.stderr)
        return USAGE
    try:
        return asyncio.run(_with_database(command, options, config))
    except SidecarError as error:
        where = "the database: " if isinstance(error, StoreError) else ""
        print(f"training: {where}{error}", file=sys.stderr)
        return FAILED


async def _with_database(command: Command, options: argparse.Namespace, config: Config) -> int:
    check_exists(config.store.url)
    database = Database(open_engine(config.store.url))
    try:
        return await command(options, config, database)
    finally:
        await database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Learns from votes which alerts are false positives.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.add_argument("--config", default="sidecar.yml", metavar="FILE", help="default: sidecar.yml")
        made.set_defaults(command=command, storeless=None)
        return made

    run = add("run", _run, "train on the stored votes, and promote what passes the gate")
    run.add_argument("--dry-run", action="store_true", help="train and report, store and promote nothing")
    run.add_argument("--json", type=_file, metavar="FILE", help="write the report there as JSON too")
    run.add_argument("--html", type=_file, metavar="FILE", help="write a page with plots and every miss, in one file")
    run.add_argument("--seed", type=int, default=1, help="the same data and seed give the same model; default: 1")
    run.add_argument("--search", action="store_true", help="try a small grid of settings; takes some times as long")
    run.add_argument("--data", type=Path, metavar="DIR", help="learn from what `export` wrote, not from the store")
    about = "dask: two processes of this machine, or the workers of --scheduler; needs the extra [cluster]"
    run.add_argument("--engine", choices=("local", "dask"), default="local", help=about)
    about = "of a running Dask scheduler, as tcp://host:8786; its workers must see --data too"
    run.add_argument("--scheduler", metavar="ADDRESS", help=about)
    about = "write what there is to learn from into a new folder of Parquet files, in the order of time"
    add("export", _export, about).add_argument("folder", type=Path, metavar="DIR", help="made by it")
    _add_backtest(commands)
    _add_prior(commands)
    add("list", _list, "what was trained, newest first")
    add("promote", _promote, "let a stored version serve").add_argument("version", metavar="VERSION")
    add("rollback", _rollback, "let the model before this one serve again")
    about = "run the streaming anomaly detector on a checkout of the Numenta Anomaly Benchmark, and score it"
    nab = commands.add_parser("nab", help=about, description=about)
    nab.add_argument("folder", type=Path, metavar="DIR", help="it has data/*/*.csv and labels/combined_windows.json")
    nab.add_argument("--json", type=Path, metavar="FILE", help="write the scores there as JSON too")
    nab.add_argument("--jobs", type=_count, default=-1, metavar="N", help="processes; default: one per core")
    nab.set_defaults(storeless=_nab)
    return parser


def _add_backtest(commands: Any) -> None:
    about = "replay a labelled history through the real pipeline, with nightly training, and write every decision"
    made = commands.add_parser("backtest", help=about, description=about)
    made.add_argument(
        "history", type=Path, metavar="HISTORY", help="JSON lines, plain or gzipped: labels, startsAt, ..."
    )
    made.add_argument("--out", type=Path, required=True, metavar="FILE", help="one line per line of HISTORY")
    made.add_argument("--config", metavar="FILE", help="default: what an empty file means")
    made.add_argument("--mode", choices=("shadow", "ladder", "auto"), help="instead of the configuration's")
    made.add_argument("--feedback-on", choices=("all", "delivered"), default="all", help="which alerts people answer")
    made.add_argument("--feedback-share", type=_share, default=1.0, metavar="SHARE", help="of them that are answered")
    made.add_argument("--feedback-delay", type=parse_duration, default=3600.0, metavar="TIME", help="after its end; 1h")
    made.add_argument(
        "--feedback-flipped", type=_share, default=0.0, metavar="SHARE", help="of the answers that are wrong"
    )
    made.add_argument("--seed", type=int, default=1)
    about = "the prior to begin with; default: the bundled one, without what it learned from this very history"
    made.add_argument("--prior", type=Path, metavar="FOLDER", help=about)
    made.set_defaults(storeless=_backtest)


def _add_prior(commands: Any) -> None:
    about = "learn from labelled histories what is known before the first vote, and say how it does on each left out"
    made = commands.add_parser("prior", help=about, description=about)
    made.add_argument(
        "histories", type=Path, nargs="+", metavar="HISTORY", help="at least three, as `backtest` takes them"
    )
    made.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="what is there of it is replaced")
    made.add_argument("--seed", type=int, default=1, help="the same histories and seed give the same files; default: 1")
    made.set_defaults(storeless=_prior)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is no share: write a number from 0 to 1")
    return value


def _backtest(options: argparse.Namespace) -> int:
    from sidecar.replay import Answers, read_history, written  # noqa: PLC0415 -- as below
    from sidecar.scoreboard import score, stock, table  # noqa: PLC0415
    from training.backtest import backtest  # noqa: PLC0415 -- the other commands need no LightGBM
    from training.prior import identities  # noqa: PLC0415

    try:
        config = Config.model_validate({}) if options.config is None else load(options.config)
        history = read_history(options.history)
        prior = load_prior(options.prior or BUNDLED, identities(history))
    except ConfigError as error:
        print(f"{options.config} is wrong:\n{error}", file=sys.stderr)
        return USAGE
    except (SidecarError, PriorError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return USAGE
    if options.mode:
        config = config.model_copy(update={"mode": options.mode})
    answers = Answers(
        told_only=options.feedback_on == "delivered", delay=options.feedback_delay, share=options.feedback_share,
        flipped=options.feedback_flipped, seed=options.seed,
    )  # fmt: skip
    with tqdm(total=len(history), unit=" alerts", disable=None) as bar:
        results, night = backtest(history, config, answers, bar.update, options.seed, prior)
    with options.out.open("wb") as out:
        out.writelines(written(results))
    print(table(score(history, stock(history, config)), score(history, results)))
    print(night.summary())
    return PROMOTED


def _prior(options: argparse.Namespace) -> int:
    from sidecar.replay import read_history  # noqa: PLC0415 -- as below
    from training import prior  # noqa: PLC0415 -- the other commands need no LightGBM

    lessons = []
    try:
        for path in options.histories:
            history = read_history(path)
            with tqdm(total=len(history), desc=path.name, unit=" alerts", disable=None) as bar:
                lessons.append(prior.observe(prior.name_of(path), history, bar.update))
        with tqdm(total=len(lessons) + 1, desc="fit", unit=" models", disable=None) as bar:
            texts, manifest = prior.learn(lessons, options.seed, bar.update)
        prior.write(options.out, texts, manifest)
    except (SidecarError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return USAGE
    print(prior.render(manifest), end="")
    return PROMOTED


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _nab(options: argparse.Namespace) -> int:
    from training import nab  # noqa: PLC0415 -- the other commands need neither numpy nor joblib

    try:
        corpus, profiles = nab.read_corpus(options.folder), nab.read_profiles(options.folder)
    except nab.BadCorpus as error:
        print(f"training: {error}\n\n{nab.LAYOUT}", file=sys.stderr)
        return USAGE
    report = nab.run(corpus, profiles, options.jobs)
    print(nab.render(report), end="")
    if options.json is not None:
        options.json.write_text(json.dumps(nab.as_json(report), indent=1) + "\n", encoding="utf-8")
    return PROMOTED


def _file(text: str) -> Path:
    """A file that can be written later: known before a long run, not after it."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: name a file in a folder that exists")
    return path


async def _run(options: argparse.Namespace, config: Config, database: Database) -> int:
    from training import source  # noqa: PLC0415 -- the other commands need no numpy

    wrong = _wrong(options, config)
    if wrong:
        print(f"training: {wrong}", file=sys.stderr)
        return USAGE
    async with source.given(database, options.data, options.engine, options.scheduler) as given:
        return await _train(options, config, database, given)


def _wrong(options: argparse.Namespace, config: Config) -> str:
    """Which options do not go together; empty when all is well."""
    if options.scheduler is not None and (options.engine != "dask" or options.data is None):
        return "--scheduler needs --engine dask, and --data DIR that its workers see too"
    if options.engine == "dask" and config.training.implicit_evidence:
        return "--engine dask learns from votes alone: turn training.implicit_evidence off, or use --engine local"
    return ""


async def _train(options: argparse.Namespace, config: Config, database: Database, given: Given) -> int:
    from training import findings, floors, job  # noqa: PLC0415 -- as above

    now = time.time()
    secret = config.training.signing_key
    key = None if secret is None else secret.get_secret_value().encode()
    champion = await promote.champion(database, key)
    with tempfile.TemporaryDirectory(prefix="sidecar-training-") as place:
        folder = Path(place) / "artifact"
        with tqdm(total=len(job.STEPS), unit="step", disable=None, leave=False) as bar:

            def show(step: str) -> None:
                bar.set_description(step)
                bar.update(1)

            result = job.run(
                given.rows,
                given.votes,
                now=now,
                folder=folder,
                min_votes=config.training.min_votes,
                miss_budget=config.training.miss_budget,
                floor=config.confidence_threshold,
                holds=config.holding.max,
                tune=floors.tuning(config),
                hinted=config.training.implicit_evidence,
                guarded=partial(guarded, config=_shareable(config)),
                build=given.build,
                key=key,
                champion=champion,
                seed=options.seed,
                prior=bundled_prior(lambda why: print(f"without the bundled prior: {why}", file=sys.stderr)),
                search=options.search,
                progress=show,
            )
        if not options.dry_run:
            async with database.write() as connection:
                await promote.keep(connection, result, folder, now)
    print(result.text, end="")
    if result.promoted:
        print("nothing stored: a dry run" if options.dry_run else f"promoted: {result.version}")
    await findings.write(database, config, result, options.html, options.json)
    return PROMOTED if result.promoted else REFUSED


def _shareable(config: Config) -> Config:
    """What the guard reads and no secret: it goes to the workers of a cluster."""
    return Config.model_validate({}).model_copy(update={"guard": config.guard})


async def _export(options: argparse.Namespace, _: Config, database: Database) -> int:
    from training import source  # noqa: PLC0415 -- as above

    count = await source.export(database, options.folder)
    print(f"{count} episodes in {options.folder}")
    return PROMOTED


async def _list(_: argparse.Namespace, __: Config, database: Database) -> int:
    async with database.read() as connection:
        found = await stored.list_artifacts(connection)
    for row in found:
        made = datetime.fromtimestamp(row["created_at"], UTC)
        why = "; ".join(row["report"].get("refused", []))
        print(f"{row['version']:<28} {row['state']:<10} {made:%Y-%m-%d %H:%M}Z  {why}".rstrip())
    if not found:
        print("nothing was trained yet")
    return PROMOTED


async def _promote(options: argparse.Namespace, _: Config, database: Database) -> int:
    async with database.write() as connection:
        done = await stored.promote(connection, options.version, time.time())
    if not done:
        print(f"training: there is no model {options.version}: see `python -m training list`", file=sys.stderr)
        return USAGE
    print(f"{options.version} serves within seconds")
    return PROMOTED


async def _rollback(_: argparse.Namespace, __: Config, database: Database) -> int:
    async with database.write() as connection:
        version = await stored.rollback(connection, time.time())
    if version is None:
        print("training: there is no model before this one", file=sys.stderr)
        return USAGE
    print(f"{version} serves within seconds")
    return PROMOTED


if __name__ == "__main__":
    sys.exit(main())
