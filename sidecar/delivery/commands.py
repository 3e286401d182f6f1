"""`sidecar digest`: what the next digest would say. Imports what it needs, so that --help is quick."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sidecar.errors import SidecarError
from sidecar.reports.commands import span

if TYPE_CHECKING:
    from sidecar.bulletin import Bulletin
    from sidecar.config import Config

EXAMPLES: Final = """examples:
  sidecar digest                                  of the default receiver, over the last 24 hours
  sidecar digest --receiver oncall --since 7d     of another one, over a week
  sidecar digest --json                           as a webhook would get it

nothing is sent, and the next digest comes when it would have come
"""


def add_digest(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command; `add` is of the command line."""
    command = add("digest", _digest, "Print what the next digest would say: what was kept back from people")
    command.epilog, command.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    command.add_argument("--receiver", metavar="NAME", help="whose; default: the default receiver")
    command.add_argument("--since", type=span, default="24h", metavar="TIME", help="how long; default: 24h")
    command.add_argument("--json", action="store_true", help="print JSON instead")


def _digest(options: argparse.Namespace) -> int:
    from sidecar.channels.log import bulletin_text
    from sidecar.channels.webhook import spelled_out
    from sidecar.channels.wire import encode_json
    from sidecar.config import load

    config = load(options.config)
    receiver = options.receiver or config.default
    if config.receiver(receiver) is None:
        raise SidecarError(f"there is no receiver {receiver!r} in {options.config}: give --receiver one that is there")
    if receiver not in config.digesting:
        raise SidecarError(f"{receiver} takes no digest: what is kept back from it is in that of {config.default}")
    made = asyncio.run(preview(config, receiver, options.since, time.time()))
    print(
        encode_json(spelled_out(made)).decode() if options.json else bulletin_text(made),
        end="\n" if options.json else "",
    )
    return 0


async def preview(config: Config, receiver: str, since: float, now: float) -> Bulletin:
    """The digest of a receiver over the last `since` seconds. Raises StoreError, and SidecarError for another version's."""
    from sidecar.delivery.digest import digest_of
    from sidecar.events import DigestDue
    from sidecar.store import digests, schema
    from sidecar.store.digests import Span
    from sidecar.store.engine import Database, check_exists, open_engine

    names = ["", *(one.name for one in config.receivers)]
    of = tuple(name for name in names if receiver in config.digest.takes(name, config.digesting, config.default))
    due = DigestDue(now, receiver, now - since, now, of)
    check_exists(config.store.url)
    database = Database(open_engine(config.store.url))
    try:
        if not await schema.is_current(database):
            raise SidecarError("the database is of another version: start this version's `sidecar serve` first")
        async with database.read() as connection:
            span = Span(due.since, due.until, of)
            kept, folded = await digests.kept_back(connection, span), await digests.folded(connection, span)
    finally:
        await database.close()
    return digest_of(f"digest-{receiver}-preview", due, kept, folded, config)
