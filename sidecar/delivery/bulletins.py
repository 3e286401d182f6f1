"""Bulletins as they are sent: made of the tables once, kept, and given the ways to answer that their channel has."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sidecar.bulletin import Bulletin, Item
from sidecar.config import Config
from sidecar.delivery.digest import digest_of, ending_of, review_of
from sidecar.domain import Message
from sidecar.events import DigestDue, ReviewDue, SilenceEnded
from sidecar.links import links_to
from sidecar.store import digests, outbox, silences
from sidecar.store.digests import Span
from sidecar.store.engine import Database

_ABOUT: Final = msgspec.json.Decoder(DigestDue | ReviewDue | SilenceEnded)


async def bulletin_of(database: Database, row: outbox.Claimed, config: Config, now: float) -> Bulletin:
    """What an outbox row of kind "digest" says. The first to ask decides it: every channel of a receiver says the same."""
    async with database.read() as connection:
        found = await digests.stored(connection, row.incident)
        made = await _made(connection, row, config) if found is None else found
    if found is None:
        async with database.write() as connection:
            await digests.save(connection, made, now)
            made = await digests.stored(connection, row.incident) or made
    return made


async def _made(connection: Any, row: outbox.Claimed, config: Config) -> Bulletin:
    about, receiver = _ABOUT.decode(row.body), row.receiver.split("/", maxsplit=1)[0]
    if isinstance(about, DigestDue):
        span = Span(about.since, about.until, about.of, row.shard, about.after, row.seq)
        kept, folded = await digests.kept_back(connection, span), await digests.folded(connection, span)
        return digest_of(row.incident, about, kept, folded, config)
    rows = await silences.every(connection)
    if isinstance(about, SilenceEnded):
        known = next((one for one in rows if one.pattern == about.pattern), None)
        return ending_of(row.incident, receiver, about, known)
    return review_of(row.incident, about, rows, await silences.ends(connection, about.since, about.until), config)


def answerable(bulletin: Bulletin, channel: str, block: Any, config: Config) -> Bulletin:
    """The bulletin with the links of its lines, and how to answer by this channel."""
    if not any(item.episodes for item in bulletin.items):
        return bulletin
    base, key = config.server.external_url, config.link_key
    items = tuple(_linked(item, n, bulletin, base, key) for n, item in enumerate(bulletin.items))
    foot = []
    if channel == "slack" and getattr(block, "has_token", False) and config.slack.signing_secret is not None:
        foot.append("React 👎 noise or 👍 real: it counts for everything above that you have not answered yet.")
    if items and items[0].links:
        foot.append("Each line has links to answer by; nothing is counted before you press the button there.")
    if not foot:
        foot.append(f'To answer all: POST /api/v2/feedback with "incident": "{bulletin.incident}"')
    return replace(bulletin, items=items, foot=(*bulletin.foot, *foot))


def _linked(item: Item, line: int, bulletin: Bulletin, base: str, key: str) -> Item:
    if not item.episodes:
        return item
    return replace(item, links=links_to(base, key, bulletin.incident, line, bulletin.receiver, bulletin.until))


def tappable(message: Message, receiver: str, config: Config) -> Message:
    """An ordinary message with links to answer by, for a channel that takes no reactions."""
    if message.status != "firing":
        return message
    base, key = config.server.external_url, config.link_key
    links = links_to(base, key, message.incident, -1, receiver, message.started_at)
    return replace(message, links=(*links, *message.links))
