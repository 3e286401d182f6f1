"""The command line. Each command imports what it needs, so that --help is quick."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sidecar
from sidecar.delivery.commands import add_digest
from sidecar.deployment import add_window
from sidecar.errors import ConfigError, SidecarError
from sidecar.reports.commands import add_reports
from sidecar.silencing import add_silences

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.store.engine import Database

EXAMPLES = """examples:
  sidecar demo                                             see it work, on data that comes with it
  sidecar check-config --config sidecar.yml                every mistake at once, with what to write instead
  sidecar render-alertmanager --config sidecar.yml --url http://sidecar:9095 > alertmanager.yml
  sidecar import history.jsonl.gz --dry-run
  sidecar backfill --prometheus http://127.0.0.1:9090 --since 90d
  sidecar serve --config sidecar.yml
  sidecar route-test domain=artemis severity=CRITICAL --at 2026-11-22T03:00
  sidecar why HighLatency
  sidecar outbox --dead
  sidecar backtest --config new.yml                        a new configuration on what happened, beside the present one
  sidecar window run --name deploy --match 'namespace="shop"' -- make deploy
  sidecar digest --receiver oncall --since 24h
  sidecar silences preview HighLatency
  sidecar report --since 30d --html report.html
  sidecar noisy-rules
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options) or 0)
    except ConfigError as error:
        print(f"{getattr(options, 'config', 'the configuration')} is wrong:\n{error}", file=sys.stderr)
        return 2
    except SidecarError as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `sidecar config-schema | head`
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sidecar",
        description=sidecar.__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=sidecar.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int | None], about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--config", default="sidecar.yml", metavar="FILE", help="default: sidecar.yml")
        command.set_defaults(run=run)
        return command

    serve = add("serve", _serve, "Serve until SIGTERM: webhooks in, notifications out")
    serve.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    serve.add_argument("--log-format", default="json", choices=["json", "text"])
    _add_config_commands(add)
    _add_history_commands(add)
    why = add("why", _why, "The whole story of one alert")
    why.add_argument("episode", metavar="EPISODE", help="an episode id, a fingerprint, an incident or an alertname")
    box = add("outbox", _outbox, "What waits to be sent, and the dead letters")
    box.add_argument("--dead", action="store_true", help="only dead letters")
    box.add_argument(
        "--replay", nargs="*", metavar="KEY", help="send these dead letters again; without KEY all of them"
    )
    box.add_argument("--limit", type=int, default=50)
    add_reports(add)
    add_window(add)
    add_digest(add)
    add_silences(add)
    add("quarantine", _quarantine, "Alerts that could not be read or decided")
    demo = add("demo", _demo, "Replay a real alert history, then serve on loopback and show live alerts")
    demo.add_argument("--exit", action="store_true", help="end by itself; non-zero if anything was lost")
    demo.add_argument("--act", choices=["1", "2", "both"], default="both")
    return parser


def _add_config_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    add("check-config", _check_config, "Check a configuration: every mistake at once, and what has no effect yet")
    add("config-schema", _config_schema, "Print the configuration's JSON Schema, for editors")
    render = add("render-alertmanager", _render, "Print a stock Alertmanager config that routes everything here")
    render.add_argument("--url", default="", help="where Alertmanager reaches the sidecar, e.g. http://sidecar:9095")
    render.add_argument(
        "--direct-critical", action="store_true", help="also route CRITICAL alerts past the sidecar, to the fallback"
    )
    route = add("route-test", _route_test, "Print who would be told of an alert with these labels, and by which rule")
    route.add_argument("labels", nargs="+", metavar="LABEL=VALUE")
    route.add_argument("--at", default=None, metavar="TIME", help="e.g. 2026-11-22T03:00; UTC unless it says otherwise")


IMPORT_EXAMPLES = """examples:
  sidecar import history.jsonl.gz --dry-run      what it would record
  sidecar import history.jsonl.gz                its labels count as votes of one person, `history`
  sidecar import history.jsonl --no-feedback     as if nobody had ever said what was noise

one JSON object per line, plain or gzipped, in the order of startsAt; annotations and truth may be absent:
  {"labels": {"alertname": "DiskFull", "severity": "warning", "instance": "db-1"}, "annotations": {},
   "startsAt": "2026-11-22T03:00:00Z", "endsAt": "2026-11-22T03:05:00Z", "truth": "fp"}
"""
BACKFILL_EXAMPLES = """examples:
  sidecar backfill --prometheus http://127.0.0.1:9090 --since 90d --dry-run
  sidecar backfill --prometheus http://127.0.0.1:9090 --since 90d --external-label cluster=eu-1
  sidecar backfill --prometheus https://mimir.example.org/prometheus --since 2026-09-01 \\
    --header 'X-Scope-OrgID: team' --header 'Authorization: Bearer ${TOKEN}'

run it again when it was interrupted: it goes on after what is recorded
"""


def _add_history_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    past = add("import", _import, "Record a file of older alerts, so that statistics and votes begin with them")
    past.add_argument("file", metavar="FILE", help="JSON lines, plain or .gz")
    past.add_argument("--voter", default="history", metavar="NAME", help="who says what `truth` says; default: history")
    past.add_argument(
        "--voted-after", default="1h", metavar="TIME", help="from the end of an alert until they say it; default: 1h"
    )
    past.add_argument("--no-feedback", action="store_true", help="ignore `truth`: nobody votes")
    fill = add("backfill", _backfill, "Record the alerts that Prometheus remembers, from its metric ALERTS")
    fill.add_argument("--prometheus", required=True, metavar="URL", help="e.g. http://127.0.0.1:9090")
    fill.add_argument("--since", required=True, metavar="AGE", help="e.g. 90d ago, or a time: 2026-09-01T00:00; UTC")
    fill.add_argument("--until", default="now", metavar="AGE", help="as --since; default: now, less five minutes")
    fill.add_argument("--step", default="60s", metavar="TIME", help="between samples; default: 60s")
    fill.add_argument("--lookback", default="0s", metavar="TIME", help="longer gaps that end no firing; default: 0s")
    fill.add_argument("--match", default='ALERTS{alertstate="firing"}', metavar="SELECTOR", help="which series")
    fill.add_argument(
        "--external-label", action="append", default=[], metavar="NAME=VALUE", help="Prometheus's external_labels"
    )
    fill.add_argument(
        "--header", action="append", default=[], metavar="NAME:VALUE", help="${NAME} comes from the environment"
    )
    fill.add_argument("--bearer-token-file", metavar="FILE", help="a file with the token that Prometheus asks for")
    fill.add_argument("--timeout", default="60s", metavar="TIME", help="of one request; default: 60s")
    for command, examples in ((past, IMPORT_EXAMPLES), (fill, BACKFILL_EXAMPLES)):
        command.add_argument("--dry-run", action="store_true", help="read everything, write nothing")
        command.epilog, command.formatter_class = examples, argparse.RawDescriptionHelpFormatter


def _load(options: argparse.Namespace) -> Config:
    from sidecar.config import load

    return load(options.config)


def _serve(options: argparse.Namespace) -> int:
    from sidecar.app import serve
    from sidecar.telemetry import configure_logging

    config = _load(options)
    configure_logging(options.log_level, json=options.log_format == "json")
    serve(config, options.config)
    return 0


def _import(options: argparse.Namespace) -> int:
    from pathlib import Path

    from sidecar.cold_start import import_file, seconds

    if not options.voter.strip() or len(options.voter) > 200 or "\x00" in options.voter:
        raise SidecarError("--voter needs 1 to 200 characters")
    after = None if options.no_feedback else seconds("--voted-after", options.voted_after)
    told = import_file(_load(options), Path(options.file), voter=options.voter, voted_after=after, dry=options.dry_run)
    print(asyncio.run(told), end="")
    return 0


def _backfill(options: argparse.Namespace) -> int:
    import time

    from sidecar.cold_start import asked_for, backfill

    asked = asked_for(vars(options), time.time())
    print(asyncio.run(backfill(_load(options), asked, dry=options.dry_run)), end="")
    return 0


def _check_config(options: argparse.Namespace) -> int:
    from sidecar.config.describe import check

    code, text = check(options.config)
    print(text, file=sys.stderr if code else sys.stdout)
    return code


def _config_schema(_: argparse.Namespace) -> int:
    import json

    from sidecar.config.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _render(options: argparse.Namespace) -> int:
    from sidecar.alertmanager_config import render

    config = _load(options)
    url = options.url or config.server.external_url or f"http://{config.server.listen}"
    print(render(config, url, direct_critical=options.direct_critical), end="")
    return 0


def _route_test(options: argparse.Namespace) -> int:
    from datetime import UTC

    from sidecar.domain import severity_of

    config = _load(options)
    wrong = [text for text in options.labels if "=" not in text]
    if wrong:
        print(f"write labels as NAME=VALUE, not {wrong[0]!r}", file=sys.stderr)
        return 2
    labels = dict(text.split("=", 1) for text in options.labels)
    try:
        when = datetime.fromisoformat(options.at) if options.at else datetime.now(UTC)
    except ValueError:
        print(f"--at {options.at!r} is not a time: write 2026-11-22T03:00 or 2026-11-22T03:00-08:00", file=sys.stderr)
        return 2
    now = when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    severity = severity_of(labels)
    route, window = config.route(severity, labels, now), config.maintenance(severity, now)
    print(f"domain:    {config.domain_of(labels) or '(none)'}\nseverity:  {severity}")
    print(f"receivers: {', '.join(route.receivers) or '(nobody now)'}\nby:        {route.rule}: {route.sentence}")
    if window is not None:
        print(f"but:       waits until the end of the maintenance window “{window[0]}”")
    elif not route.receivers:
        print(f"but:       {_told_later(config, severity, labels, now)}")
    for line in _escalation(config, severity, labels, now):
        print(line)
    for role in route.unmapped:
        print(f"note:      no receiver has the role {role!r}: {config.default} stands in")
    return 0


def _told_later(config: Config, severity: str, labels: dict[str, str], now: float) -> str:
    from sidecar.why import at

    later = config.told_from(severity, labels, now)
    if later is None:
        return "nobody is named within eight days: it is recorded, and left to the digest"
    return f"waits until {at(later)} UTC: what still fires then is told"


def _escalation(config: Config, severity: str, labels: dict[str, str], now: float) -> Iterator[str]:
    """Who is told after one another when nobody acknowledges it."""
    from sidecar.rules.base import moment
    from sidecar.why import at

    due, level = config.acknowledged_by(severity, now), 0
    if due is None:
        yield "escalates: no (severity_definitions of the file gives this severity no sla and escalation)"
        return
    told, sla = set(config.route(severity, labels, now).receivers), config.sla_of(severity)
    for step in config.escalation_steps(severity, config.domain_of(labels), due):
        if new := {receiver: role for role, receiver in step.named if receiver not in told}:
            told, level = told | set(new), level + 1
            yield f"escalates: unless acknowledged within {moment(sla * level)}, to {', '.join(new)}, {step.why}"
    yield f"escalates: after {moment(sla * (level + 1))} everybody who was told is told once more; from {at(due)} UTC on"


def _with_database(options: argparse.Namespace, work: Callable[[Database], Awaitable[Any]]) -> Any:
    from sidecar.store.engine import Database, check_exists, open_engine

    url = _load(options).store.url
    check_exists(url)

    async def run() -> Any:
        database = Database(open_engine(url))
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def _why(options: argparse.Namespace) -> int:
    from sidecar.why import tell

    print(_with_database(options, lambda database: tell(database, options.episode)), end="")
    return 0


def _outbox(options: argparse.Namespace) -> int:
    import time

    from sidecar.store import outbox
    from sidecar.why import at

    async def work(database: Database) -> None:
        if options.replay is not None:
            async with database.write() as connection:
                count = await outbox.replay(connection, options.replay, time.time())
            if count < len(options.replay):
                raise SidecarError(
                    f"{len(options.replay) - count} of these keys are no dead letters: see `sidecar outbox --dead`"
                )
            print(f"{count} dead letter(s) will be sent again")
            return
        states = ("dead",) if options.dead else (*outbox.OPEN, "dead")
        async with database.read() as connection:
            rows = await outbox.listing(connection, states, options.limit)
        for row in rows:
            why = f"  {row['why']}" if row["why"] else ""
            print(f"{at(row['received_at'])}  {row['state']:8} {row['attempts']} attempt(s)  {row['dedup_key']}{why}")
        if not rows:
            print("there are no dead letters" if options.dead else "nothing waits, and there are no dead letters")

    _with_database(options, work)
    return 0


def _quarantine(options: argparse.Namespace) -> int:
    from sidecar.store import queries
    from sidecar.why import at

    async def work(database: Database) -> None:
        async with database.read() as connection:
            rows = await queries.quarantined(connection)
        for row in rows:
            body = bytes(row["body"])[:200].decode("utf-8", "replace")
            print(f"{at(row['at'])}  {row['id'][:12]}  {row['times']} time(s)  {row['why']}\n    {body}")
        if not rows:
            print("nothing was set aside")

    _with_database(options, work)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from sidecar.demo import run

    return run(act=options.act, leave=options.exit)


if __name__ == "__main__":
    sys.exit(main())
