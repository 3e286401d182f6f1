"""`sidecar report`, `noisy-rules` and `backtest`. Each imports what it needs, so that --help is quick."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.store.reports import Period

LIMIT: Final = 20  # rules shown
PRESENT: Final = "sidecar.yml"
EXAMPLES: Final = """examples:
  sidecar {name}                       the last 30 days
  sidecar {name} --since 7d --json     as JSON, with everything that was counted
  sidecar {name} --since 90d --until 2026-11-01
"""


TRYING: Final = """examples:
  sidecar backtest --config new.yml                         the last 30 days of the store, beside sidecar.yml
  sidecar backtest --config new.yml --against old.yml --since 14d --html comparison.html
  sidecar backtest --config new.yml --history history.jsonl.gz     a file, as `sidecar import` takes it
  sidecar backtest --config new.yml --fail-on lost          in CI: exit code 1 when a real incident would be lost
  sidecar backtest --each-rule                              what each rule of sidecar.yml is worth
  sidecar backtest --without flapping --format json

Nothing is sent and nothing is stored. Each configuration replays the same alerts, on the same clock, through the rules
that serve, with models trained at each virtual midnight from what was known then. What people said counts as answers,
and only on what that configuration tells. 60 days before --since are replayed too, to learn from, and not counted.

exit codes: 0 done, 1 --fail-on is met, 2 a configuration or the history cannot be used
"""


def add_reports(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands; `add` is of the command line."""
    report = add("report", _report, "The success metrics of a time, with their bounds")
    report.add_argument("--html", type=Path, metavar="FILE", help="write a page there, with the noisy rules")
    rules = add(
        "noisy-rules", _noisy_rules, "Which alerting rules cost most attention for least use, and what would help"
    )
    rules.add_argument("--limit", type=_count, default=LIMIT, metavar="N", help=f"rules shown; default: {LIMIT}")
    for command, name in ((report, "report"), (rules, "noisy-rules")):
        command.epilog, command.formatter_class = EXAMPLES.format(name=name), argparse.RawDescriptionHelpFormatter
        command.add_argument("--since", type=span, default="30d", metavar="TIME", help="how long; default: 30d")
        command.add_argument(
            "--until", type=_moment, metavar="TIME", help="its end, e.g. 2026-11-01T00:00; default: now"
        )
        command.add_argument("--json", action="store_true", help="print JSON instead")
    _add_backtest(add)


def _add_backtest(add: Callable[..., argparse.ArgumentParser]) -> None:
    made = add(
        "backtest", _backtest, "Try a configuration on what happened: what it saves, which incidents it would lose"
    )
    made.epilog, made.formatter_class = TRYING, argparse.RawDescriptionHelpFormatter
    about = f"the present configuration, whose store is read; default: {PRESENT}"
    made.add_argument("--against", metavar="FILE", help=about)
    when = made.add_mutually_exclusive_group()
    when.add_argument("--since", type=span, metavar="TIME", help="how much counts; default: 30d")
    when.add_argument("--history", type=Path, metavar="FILE", help="JSON lines, plain or .gz, instead of the store")
    about = "the new one without this rule; can be repeated"
    made.add_argument("--without", action="append", default=[], metavar="RULE", help=about)
    made.add_argument("--each-rule", action="store_true", help="also with each rule switched off in turn")
    made.add_argument("--fail-on", choices=("lost", "delayed"), help="exit code 1 when a real incident is; for CI")
    made.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    made.add_argument("--html", type=Path, metavar="FILE", help="write a page there")
    made.add_argument(
        "--jobs", type=_count, default=2, metavar="N", help="replays at a time, a process each; default: 2"
    )


def _backtest(options: argparse.Namespace) -> int:
    from sidecar.backtest import run

    return run(options)


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is too few, or no number: write 1 or more")
    return int(text)


def span(text: str) -> float:
    """An option's length of time in seconds. Raises argparse.ArgumentTypeError in words."""
    from sidecar.config.durations import parse_duration
    from sidecar.config.problems import Wrong

    try:
        seconds = parse_duration(text)
    except Wrong as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write e.g. 24h or 30d")
    return seconds


def _moment(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: write 2026-11-01 or 2026-11-01T08:00+01:00"
        ) from None
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp()


def _report(options: argparse.Namespace) -> int:
    from sidecar.reports import text

    period, found = _measured(options)
    if options.html is not None:
        save(options.html, page(found, _rules(period)))
    print(json.dumps(found, indent=1) if options.json else text.report(found), end="\n" if options.json else "")
    return 0


def _noisy_rules(options: argparse.Namespace) -> int:
    from sidecar.reports import text

    rows = _rules(_period(options))
    print(
        json.dumps(rows, indent=1) if options.json else text.rules(rows, options.limit),
        end="\n" if options.json else "",
    )
    return 0


def _measured(options: argparse.Namespace) -> tuple[Period, dict[str, Any]]:
    from sidecar.reports.success import success

    period = _period(options)
    return period, success(period)


def _rules(period: Period) -> list[dict[str, Any]]:
    from sidecar.reports.noise import noisy_rules

    return noisy_rules(period)


def page(found: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Both reports as one HTML file that loads nothing."""
    from sidecar.reports import text
    from sidecar.reports.page import render

    script = files("sidecar.reports").joinpath("table.js").read_text("utf-8")
    return render(
        "report.html", scripts=(script,), found=found, rows=rows, parts=text.PARTS, spell=text.spell, said=text.SAID
    )


def _period(options: argparse.Namespace) -> Period:
    """What is stored of the time asked for. Raises ConfigError, StoreError, and SidecarError without scipy."""
    if find_spec("scipy") is None:
        raise SidecarError("reports need scipy for their bounds: pip install 'alertmanager-sidecar[train]'")
    from sidecar.config import load
    from sidecar.store.engine import check_exists

    config = load(options.config)
    check_exists(config.store.url)
    until = options.until if options.until is not None else time.time()
    return asyncio.run(_read(config, until - options.since, until))


async def _read(config: Config, since: float, until: float) -> Period:
    from sidecar.store.engine import Database, open_engine
    from sidecar.store.reports import read_period

    database = Database(open_engine(config.store.url))
    try:
        async with database.read() as connection:
            return await read_period(connection, since, until)
    finally:
        await database.close()


def save(path: Path, written: str) -> None:
    """Raises SidecarError when it cannot be written."""
    try:
        path.write_text(written, encoding="utf-8")
    except OSError as error:
        raise SidecarError(f"{path} cannot be written: {error.strerror or error}") from None
    print(f"written: {path}", file=sys.stderr)
