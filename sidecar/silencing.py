"""`sidecar silences`: what ours are and what they hid, what one would have hidden, and how to end one."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.store.engine import Database
    from sidecar.store.silences import SilenceRow

EXAMPLES: Final = """examples:
  sidecar silences                                          every silence of ours, why, and what it hid
  sidecar silences --json                                   the same for programs
  sidecar silences preview HighLatency                      what a silence of this alertname would have hidden
  sidecar silences preview alertname=HighLatency namespace=shop severity=warning --since 7d
  sidecar silences end HighLatency                          by alertname, by matchers, or by its id

a matcher is exact, as those of the sidecar are; an empty value (service=) matches alerts without that label.
what is ended by hand is not silenced again for as long as votes count (auto_silence_patterns.window).
"""
MATCHER: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_.:/-]*)=(?![~=])"?(.*?)"?')
CAN_END: Final = frozenset({"asked", "active"})


def add_silences(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command; `add` is of the command line."""
    command = add("silences", _run, "Silences of ours: what they hid; what one would have hidden; end one")
    command.epilog, command.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    command.add_argument("action", nargs="?", choices=["list", "preview", "end"], default="list", help="default: list")
    command.add_argument(
        "words", nargs="*", metavar="WORD", help="an alertname, matchers NAME=VALUE, or a silence's id"
    )
    command.add_argument("--since", default="30d", metavar="TIME", help="how far `preview` looks back; default: 30d")
    command.add_argument("--json", action="store_true", help="print JSON instead")


def _run(options: argparse.Namespace) -> int:
    from sidecar.config import load

    config = load(options.config)
    if options.action != "list" and not options.words:
        raise SidecarError(f"`silences {options.action}` needs an alertname, matchers NAME=VALUE, or a silence's id")
    if options.action == "list" and options.words:
        raise SidecarError(f"`silences list` lists all of them: did you mean `silences preview {options.words[0]}`?")
    work: dict[str, Callable[[Database], Awaitable[tuple[Any, str]]]] = {
        "list": listed,
        "preview": lambda database: preview(database, config, matchers_in(options.words), _seconds(options.since)),
        "end": lambda database: end(database, config, options.words),
    }
    found, text = asyncio.run(_on_store(config, work[options.action]))
    print(json.dumps(found, indent=1) if options.json else text)
    return 0


async def _on_store(config: Config, work: Callable[[Database], Awaitable[Any]]) -> Any:
    from sidecar.store import schema
    from sidecar.store.engine import Database, check_exists, open_engine

    check_exists(config.store.url)
    database = Database(open_engine(config.store.url))
    try:
        if not await schema.is_current(database):
            raise SidecarError("the database is of another version: start this version's `sidecar serve` first")
        return await work(database)
    finally:
        await database.close()


def _seconds(text: str) -> float:
    from sidecar.config.durations import parse_duration
    from sidecar.config.problems import Wrong

    try:
        seconds = parse_duration(text)
    except Wrong as error:
        raise SidecarError(f"--since: {error}") from None
    if not isinstance(seconds, int | float) or seconds <= 0:
        raise SidecarError(f"--since {text!r} is no time: write e.g. 30d")
    return float(seconds)


def matchers_in(words: Sequence[str]) -> list[tuple[str, str]]:
    """Exact matchers; a word without `=` is an alertname. Raises SidecarError for what is no exact matcher."""
    found: dict[str, str] = {}
    for word in words:
        if not word.isprintable():
            raise SidecarError(f"{word!r} has a character in it that no terminal shows: write the matcher by hand")
        match = MATCHER.fullmatch(word if "=" in word else f"alertname={word}")
        if match is None or "!=" in word or "!~" in word:
            raise SidecarError(f"{word!r} is no exact matcher: write NAME=VALUE, e.g. alertname=HighLatency")
        if match[1] in found:
            raise SidecarError(f"{match[1]} is given twice: one exact value each")
        found[match[1]] = match[2]
    return sorted(found.items())


# ------------------------------------------------------------------------------------------------------------------- list


async def listed(database: Database) -> tuple[list[dict[str, Any]], str]:
    """Every silence of ours, as data and as text."""
    from sidecar.store import silences

    async with database.read() as connection:
        rows = await silences.every(connection)
    found = [{**msgspec.to_builtins(row), "pattern": row.pattern._asdict()} for row in rows]
    text = "\n\n".join(_told(row) for row in rows)
    return found, text or "there are none: five incidents of one pattern voted noise, none real, make the first"


def _told(row: SilenceRow) -> str:
    from sidecar.rules.repeated_false_positive import told
    from sidecar.why import at

    until = f"until {at(row.ends_at)}" if row.state in (*CAN_END, "theirs") else f"since {at(row.asked_at)}"
    lines = [f"{row.state:9} {until} UTC  {spell(row.matchers)}  {row.silence_id}".rstrip()]
    if row.why:
        lines.append(f"  why:      {row.why}")
    lines.append(f"  evidence: {len(row.evidence)} episode(s) voted noise: {', '.join(row.evidence[-5:])}")
    if row.hides is not None:
        lines.append(f"  replayed: {told(row.hides, row.asked_at)}")
    lines.append(f"  it hid:   {row.hidden} episode(s)")
    return "\n".join(lines)


def spell(matchers: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{name}={value}" for name, value in matchers)


# ---------------------------------------------------------------------------------------------------------------- preview


async def preview(
    database: Database, config: Config, matchers: list[tuple[str, str]], back: float
) -> tuple[dict[str, Any], str]:
    """What a silence with these matchers would have hidden in the last `back` seconds of stored history."""
    from sidecar.delivery.rehearsal import objections
    from sidecar.store import silences

    now, guard = time.time(), config.guard
    covers = guard.covers if guard.never_suppress.matchers else None
    async with database.read() as connection:
        hides = await silences.replay(connection, matchers, now - back, covers)
        hits = await silences.listed(connection, matchers, now - back)
    against = list(objections(hides))
    found = {"matchers": dict(matchers), **msgspec.to_builtins(hides), "against": against}
    return {**found, "newest": [msgspec.to_builtins(hit) for hit in hits]}, _previewed(
        matchers, hides, hits, against, now
    )


def _previewed(matchers: Any, hides: Any, hits: Any, against: list[str], now: float) -> str:
    from sidecar.rules.base import moment
    from sidecar.why import at

    of_them = f"of them {hides.noise} voted noise, {hides.real} real, {hides.unanswered} unanswered"
    hid = f"this would have hidden {hides.episodes} episodes in {hides.incidents} incidents, {of_them}"
    lines = [f"{spell(matchers)}: on your last {moment(now - hides.since)} {hid}; people were told of {hides.told}."]
    lines += [f"against it: {why}" for why in against]
    lines += [
        f"  {at(hit.starts_at)}  {hit.vote:10}  {hit.episode}  {spell(sorted(hit.labels.items()))}" for hit in hits
    ]
    if hides.episodes > len(hits):
        lines.append(f"  ... and {hides.episodes - len(hits)} more")
    return "\n".join(lines)


# -------------------------------------------------------------------------------------------------------------------- end


async def end(database: Database, config: Config, words: Sequence[str]) -> tuple[dict[str, Any], str]:
    """End a silence of ours: recorded at once, and expired in Alertmanager by whoever serves. Raises SidecarError."""
    from sidecar.domain import SilenceRequest
    from sidecar.events import SilenceEnded
    from sidecar.rules.base import silence_delivery
    from sidecar.store import log, silences

    async with database.read() as connection:
        row = _meant(await silences.every(connection), words)
    now = await database.clock() or time.time()
    why = "a person ended it with `sidecar silences end`"
    event = SilenceEnded(now, row.pattern, row.silence_id, why, row.hidden, "revoked")
    matchers, name = tuple(row.matchers), config.silences.created_by
    request = SilenceRequest(row.pattern, matchers, row.ends_at, name, why, end=True, silence_id=row.silence_id)
    async with log.locked(database, 0) as connection:
        head = await log.head(connection, 0)
        await log.append(connection, 0, head, now, [event], [silence_delivery(request, now)])
    found = {"pattern": row.pattern._asdict(), "silence_id": row.silence_id, "hidden": row.hidden}
    text = f"{spell(row.matchers)}: it ends in Alertmanager as soon as `sidecar serve` has told it; it hid {row.hidden} episode(s)"
    return found, text


def _meant(rows: list[SilenceRow], words: Sequence[str]) -> SilenceRow:
    standing = [row for row in rows if row.state in (*CAN_END, "theirs")]
    found = [row for row in standing if len(words) == 1 and row.silence_id == words[0]]
    if not found:
        wanted = set(matchers_in(words))
        found = [row for row in standing if wanted <= set(row.matchers)]
    if not found:
        raise SidecarError(f"no silence of ours stands for {' '.join(words)}: see `sidecar silences`")
    if len(found) > 1:
        several = "; ".join(f"{spell(row.matchers)} ({row.silence_id})" for row in found)
        raise SidecarError(f"several stand for {' '.join(words)}: give the id of one, of {several}")
    if found[0].state == "theirs":
        raise SidecarError(f"a person changed it, so it is theirs: amtool silence expire {found[0].silence_id}")
    return found[0]
