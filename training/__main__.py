"""The command line of training: run, list, promote, rollback."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from sidecar.config import Config, load
from sidecar.errors import ConfigError, SidecarError, StoreError
from sidecar.store import training as stored
from sidecar.store.engine import Database, check_exists, open_engine
from training import promote

EXAMPLES = """examples:
  python -m training run --config sidecar.yml              train, prove, promote
  python -m training run --config sidecar.yml --dry-run    the same, and change nothing
  python -m training run --config sidecar.yml --html report.html --json report.json
  python -m training list --config sidecar.yml
  python -m training promote fp-20261123-1a2b3c4d --config sidecar.yml
  python -m training rollback --config sidecar.yml         back to the model before this one

exit codes: 0 done or promoted, 3 refused by the gate (the model in service stays), 2 wrong usage or configuration,
1 the database could not be reached
"""
PROMOTED, FAILED, USAGE, REFUSED = 0, 1, 2, 3

Command = Callable[[argparse.Namespace, Config, Database], Awaitable[int]]


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        config = load(options.config)
    except ConfigError as error:
        print(f"{options.config} is wrong:\n{error}", file=sys.stderr)
        return USAGE
    try:
        return asyncio.run(_with_database(options, config))
    except SidecarError as error:
        where = "the database: " if isinstance(error, StoreError) else ""
        print(f"training: {where}{error}", file=sys.stderr)
        return FAILED


async def _with_database(options: argparse.Namespace, config: Config) -> int:
    check_exists(config.store.url)
    database = Database(open_engine(config.store.url))
    command: Command = options.command
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
        made.set_defaults(command=command)
        return made

    run = add("run", _run, "train on the stored votes, and promote what passes the gate")
    run.add_argument("--dry-run", action="store_true", help="train and report, store and promote nothing")
    run.add_argument("--json", type=_file, metavar="FILE", help="write the report there as JSON too")
    run.add_argument("--html", type=_file, metavar="FILE", help="write a page with plots and every miss, in one file")
    run.add_argument("--seed", type=int, default=1, help="the same data and seed give the same model; default: 1")
    run.add_argument("--search", action="store_true", help="try a small grid of settings; takes some times as long")
    add("list", _list, "what was trained, newest first")
    add("promote", _promote, "let a stored version serve").add_argument("version", metavar="VERSION")
    add("rollback", _rollback, "let the model before this one serve again")
    return parser


def _file(text: str) -> Path:
    """A file that can be written later: known before a long run, not after it."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: name a file in a folder that exists")
    return path


async def _run(options: argparse.Namespace, config: Config, database: Database) -> int:
    from training import findings, job  # noqa: PLC0415 -- the other commands need no numpy

    now = time.time()
    secret = config.training.signing_key
    key = None if secret is None else secret.get_secret_value().encode()
    known = await promote.gather(database, key)
    with tempfile.TemporaryDirectory(prefix="sidecar-training-") as place:
        folder = Path(place) / "artifact"
        with tqdm(total=len(job.STEPS), unit="step", disable=None, leave=False) as bar:

            def show(step: str) -> None:
                bar.set_description(step)
                bar.update(1)

            result = job.run(
                known.rows,
                known.votes,
                now=now,
                folder=folder,
                min_votes=config.training.min_votes,
                miss_budget=config.training.miss_budget,
                key=key,
                champion=known.champion,
                seed=options.seed,
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
