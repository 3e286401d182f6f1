"""Statistics from the first day: `sidecar import` reads a history file, `sidecar backfill` asks Prometheus."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from math import expm1
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from tqdm import tqdm

from models.records import DAY
from models.statistics import Keys
from sidecar.arrival import FORGET_SECONDS
from sidecar.config import Config
from sidecar.config.durations import parse_duration
from sidecar.config.problems import Wrong
from sidecar.config.secrets import from_environment
from sidecar.decider import restore
from sidecar.domain import episode_id
from sidecar.errors import SidecarError, StoreError
from sidecar.historian import RULE, Historian, project
from sidecar.history import Change, Firings, Tally, changes, stream_history
from sidecar.state import VERSION, State
from sidecar.store import log, queries, schema
from sidecar.store.engine import Database, check_exists, open_engine
from sidecar.watch.prometheus import Range, connected
from sidecar.why import at

SETTLED_SECONDS: Final = 300.0  # what is younger is Alertmanager's: it may be on its way here
SHARD: Final = 0
SHORTEST_STEP: Final = 1.0  # s
TOP: Final = 5
LOOKED_UP: Final = 500  # episodes asked for at once


class Backfill(Struct, frozen=True):
    """What to ask Prometheus for. Times are seconds since the epoch, the rest seconds."""

    url: str
    since: float
    until: float
    step: float = 60.0
    match: str = 'ALERTS{alertstate="firing"}'
    lookback: float = 0.0
    external: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    timeout: float = 60.0


def asked_for(options: Mapping[str, Any], now: float) -> Backfill:
    """The options of `sidecar backfill` as values. Raises SidecarError that says what to write instead."""
    if not options["prometheus"].startswith(("http://", "https://")):
        raise SidecarError(f"--prometheus {options['prometheus']!r} is no URL: write http://127.0.0.1:9090")
    headers = dict(_pair("--header", text, ":") for text in map(from_environment, options["header"]))
    if options["bearer_token_file"]:
        headers["Authorization"] = f"Bearer {_secret(Path(options['bearer_token_file']))}"
    asked = Backfill(
        options["prometheus"],
        _moment("--since", options["since"], now),
        _moment("--until", options["until"], now),
        seconds("--step", options["step"]),
        options["match"],
        seconds("--lookback", options["lookback"]),
        dict(_pair("--external-label", text, "=") for text in options["external_label"]),
        headers,
        seconds("--timeout", options["timeout"]),
    )
    if asked.step < SHORTEST_STEP or asked.timeout <= 0:
        raise SidecarError(f"--step has to be {SHORTEST_STEP:g} s or longer, and --timeout more than nothing")
    if asked.since >= min(asked.until, now) or asked.since < 0:
        raise SidecarError("--since has to be before --until, and before now")
    return asked


def seconds(name: str, text: str) -> float:
    """The value of an option, such as 90d. Raises SidecarError that says what to write."""
    try:
        return parse_duration(text)
    except Wrong as error:
        raise SidecarError(f"{name}: {error}: {error.hint}") from None


def _moment(name: str, text: str, now: float) -> float:
    """An age as "90d", "now", or a time, which is UTC unless it says otherwise."""
    if text == "now":
        return now
    try:
        return now - parse_duration(text)
    except Wrong:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise SidecarError(f"{name} {text!r}: write an age, such as 90d, or a time, such as 2026-11-22T03:00") from None
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp()


def _pair(name: str, text: str, between: str) -> tuple[str, str]:
    left, found, right = text.partition(between)
    if not found or not left.strip() or "\n" in text or "\r" in text:
        raise SidecarError(f"{name}: write NAME{between}VALUE")  # not what was written: it may be a secret
    return left.strip(), right.strip()


def _secret(path: Path) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SidecarError(f"--bearer-token-file {path} cannot be read: {why}") from None
    if not secret or not secret.isprintable():
        raise SidecarError(f"--bearer-token-file {path}: one line with the token is needed")
    return secret


async def import_file(
    config: Config,
    path: Path,
    *,
    voter: str,
    voted_after: float | None,
    dry: bool,
    clock: Callable[[], float] = time.time,
) -> str:
    """Record a history file and return what was done, for people.

    `voter` says what its labels say, `voted_after` seconds after an alert has ended; None: nobody does.

    Raises SidecarError, before anything is written, when the file is wrong or begins before what the store knows.
    """
    horizon = clock() - SETTLED_SECONDS
    async with _historian(config, voter, dry) as (historian, database):
        tally = Tally()
        survey = await _survey(path, horizon, historian.seen, database, tally)
        if survey.new:
            _refuse_what_is_open(historian.state)
        with tqdm(total=survey.new, unit=" alerts", disable=None) as bar:
            for change in changes(stream_history(path), Tally(), horizon, voted_after):
                await historian.take(change)
                if change.begins and _is_new(change, historian):
                    bar.update()
        await historian.finish()
    return _told(historian, tally, survey.known, dry, clock())


class _Survey(Struct):
    known: int = 0  # episodes that are there already
    new: int = 0


async def _survey(path: Path, horizon: float, seen: float | None, database: Database | None, tally: Tally) -> _Survey:
    """Read the whole file once, so that nothing is written of one that cannot be imported whole."""
    survey, old = _Survey(), []
    for change in changes(stream_history(path), tally, horizon):
        if not change.begins:
            continue
        if seen is None or change.at > seen:
            survey.new += 1
            continue
        survey.known += 1
        old.append(change)
        if len(old) >= LOOKED_UP:
            await _refuse_what_is_older(path, old, seen, database)
            old.clear()
    if seen is not None and old:
        await _refuse_what_is_older(path, old, seen, database)
    return survey


async def _refuse_what_is_older(path: Path, old: list[Change], seen: float, database: Database | None) -> None:
    """Time never runs backwards in the statistics: what is not after `seen` has to be there already."""
    names = [episode_id(change.alert.fingerprint, change.alert.starts_at) for change in old]
    known: set[str] = set()
    if database is not None:
        async with database.read() as connection:
            known = await queries.known_among(connection, names)
    strange = [change for change, name in zip(old, names, strict=True) if name not in known]
    if strange:
        raise SidecarError(
            f"{path} has alerts from {at(strange[0].at)} on that the store does not know, and the newest thing that it "
            f"knows happened {at(seen)}: time never runs backwards in the statistics. Import the oldest history first, "
            "into a store that nothing was sent to yet (another store.url); several files can be one: cat them in order. Nothing "
            "was written"
        )


def _is_new(change: Change, historian: Historian) -> bool:
    return historian.seen is None or change.at > historian.seen


def _refuse_what_is_open(state: State) -> None:
    """History would end, behind people's back, what they were told of or what waits to be told."""
    told = 0
    for episode in state.episodes.values():
        incident = state.incidents.get(episode.incident)
        told += episode.ended_at is None and incident is not None and incident.first_told is not None
    if told or state.holds:
        raise SidecarError(
            f"{told} alerts that people were told of still fire as far as the store knows, and {len(state.holds)} are held: "
            "history cannot be added before they have ended. Import into a store that nothing was sent to yet"
        )


@asynccontextmanager
async def _historian(config: Config, voter: str, dry: bool) -> AsyncIterator[tuple[Historian, Database | None]]:
    """On the store as it is; one that is not there is made, except by a dry run."""
    database = Database(open_engine(config.store.url)) if not dry or _exists(config.store.url) else None
    try:
        if database is not None and not dry:
            await schema.upgrade(database)
        there = database is not None and (not dry or await schema.is_current(database))
        if database is None or not there:
            yield Historian(None, State(), None, config, voter, SHARD), None
            return
        if not dry:
            await project(database, SHARD)
        state = await restore(database, SHARD, VERSION)
        seen = await log.newest(database, SHARD)
        yield Historian(None if dry else database, state, seen, config, voter, SHARD), database
    finally:
        if database is not None:
            await database.close()


def _exists(url: str) -> bool:
    try:
        check_exists(url)
    except StoreError:
        return False
    return True


# ------------------------------------------------------------------------------------------------------------- Prometheus


async def backfill(config: Config, asked: Backfill, *, dry: bool, clock: Callable[[], float] = time.time) -> str:
    """Record what Prometheus has of `ALERTS` and return what was done, for people. Goes on where an earlier one stopped.

    Raises SidecarError when Prometheus does not answer: what is written stays, and the next run goes on after it.
    """
    until = min(asked.until, clock() - SETTLED_SECONDS) // asked.step * asked.step
    async with _historian(config, RULE, dry) as (historian, database):
        since = await _begin(asked, historian, database)
        if since > until:
            note = f", and the store has it up to {at(historian.seen)}" if historian.seen is not None else ""
            return f"There is nothing to ask for between {at(asked.since)} and {at(until)}{note}.\n"
        _refuse_what_is_open(historian.state)
        open_now = {name: one.starts_at for name, one in historian.state.episodes.items() if one.ended_at is None}
        firings = Firings(asked.step, asked.lookback, asked.external, open_now, historian.seen or 0.0)
        await _read(asked, Range(asked.match, since, until, asked.step), firings, historian)
        await historian.finish()
    told = _told(historian, firings.tally, 0, dry, clock())
    return told if historian.recorded.episodes else told + f"Nothing fired: {asked.match}, since {at(since)}.\n"


async def _begin(asked: Backfill, historian: Historian, database: Database | None) -> float:
    """The first moment to ask for: a multiple of the step, so that two runs see the same beginnings."""
    seen, since = historian.seen, asked.since
    if seen is not None and since <= seen:
        rule = ""
        if database is not None:
            async with database.read() as connection:
                rule = await queries.newest_rule(connection)
        if rule != RULE:
            raise SidecarError(
                f"the store has recorded alerts up to {at(seen)}, and time never runs backwards in the statistics: history "
                "has to begin after that (--since), or go into a store that nothing was sent to yet (another store.url). "
                "Nothing was written"
            )
        since = seen
    steps = since // asked.step
    return (steps + 1) * asked.step if seen is not None or steps * asked.step < since else steps * asked.step


async def _read(asked: Backfill, span: Range, firings: Firings, historian: Historian) -> None:
    async with connected(asked.url, asked.headers, asked.timeout, _say) as prometheus:
        before = span.start
        with tqdm(total=(span.end - span.start) / DAY, unit=" days", disable=None) as bar:
            async for upto, series in prometheus.windows(span):
                for change in firings.take(series, upto):
                    await historian.take(change)
                bar.update((upto - before) / DAY)
                before = upto
    for change in firings.finish(span.end):
        await historian.take(change)


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


# ------------------------------------------------------------------------------------------------------------ the summary


def _told(historian: Historian, tally: Tally, known: int, dry: bool, now: float) -> str:
    """What was done, and what the statistics now say."""
    done = historian.recorded
    lines = []
    if known:
        lines.append(f"{known:,} episodes were there already.")
    if not done.episodes:
        return "\n".join([*lines, "Nothing is new: nothing was added.", *_left_out(tally)]) + "\n"
    lines.append(
        f"{'Would record' if dry else 'Recorded'} {done.episodes:,} episodes of {len(done.names):,} alertnames in "
        f"{done.incidents:,} incidents, from {at(done.first)} to {at(done.last)}."
    )
    lines.append(_shares(done.noise, done.real, done.quick, done.ended))
    lines += _left_out(tally)
    lines += ["", f"What the statistics {'would then' if dry else 'now'} say of the {TOP} most frequent alertnames:"]
    width = max(len(name) for name, _ in done.names.most_common(TOP))
    for name, count in done.names.most_common(TOP):
        lines.append(f"  {name:{width}}  {count:>7,} episodes{_of(name, historian.state)}")
    if done.last is not None and now - done.last > FORGET_SECONDS:
        days = FORGET_SECONDS / DAY
        lines += ["", f"The history is over {days:.0f} days old: serving forgets what has been idle for as long."]
    return "\n".join(lines) + "\n"


def _shares(noise: int, real: int, quick: int, ended: int) -> str:
    judged = noise + real
    labelled = (
        f"{judged:,} are labelled, {noise / judged:.0%} of them false positives" if judged else "None is labelled"
    )
    return f"{labelled}; {quick / ended:.0%} cleared within 5 minutes." if ended else f"{labelled}."


def _left_out(tally: Tally) -> list[str]:
    said = (
        (tally.joined, "began while their like fired, and are one episode with it"),
        (tally.cut, "had not ended, and are recorded as if they had"),
        (tally.late, f"began in the last {SETTLED_SECONDS / 60:.0f} minutes or later, and are left to Alertmanager"),
    )
    return [f"{count:,} {words}." for count, words in said if count]


def _of(name: str, state: State) -> str:
    """What the records of an alertname say: see `models.records.Series`."""
    series = state.statistics.look(Keys("", name, "", "", "", ""))[1]
    if series is None or series[5] < 0:
        return ""
    votes = series[7]
    said = f", voted noise {votes[2]:.0%}" if votes is not None else ""
    return f", usually {expm1(series[5]) / 60:.0f} min, {series[6]:.0%} clear within 5 min{said}"


__all__ = ["Backfill", "asked_for", "backfill", "import_file", "seconds"]
