"""What happened, as a backtest reads it: every firing of a time, with what people said of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.store.tables import episodes, votes

PIECE: Final = 1000  # rows fetched at once
_words: Final = msgspec.json.Decoder(dict[str, str]).decode


class Firing(Struct, frozen=True):
    """One firing; times in seconds since the epoch, None while it fires."""

    episode: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    ended_at: float | None


async def count_firings(connection: AsyncConnection, since: float) -> int:
    """How many began at `since` or later."""
    query = select(func.count()).select_from(episodes).where(episodes.c.starts_at >= since)
    return int((await connection.execute(query)).scalar_one())


async def firings(connection: AsyncConnection, since: float) -> AsyncIterator[Firing]:
    """What began at `since` or later, in the order of time."""
    columns = (episodes.c.episode, episodes.c.labels, episodes.c.annotations, episodes.c.starts_at, episodes.c.ended_at)
    query = select(*columns).where(episodes.c.starts_at >= since).order_by(episodes.c.starts_at, episodes.c.episode)
    async with connection.stream(query.execution_options(yield_per=PIECE)) as result:
        async for episode, labels, annotations, starts_at, ended_at in result:
            yield Firing(episode, _words(labels), _words(annotations), starts_at, ended_at)


async def votes_since(connection: AsyncConnection, since: float) -> list[tuple[str, str, str, float, bool]]:
    """Of what began at `since` or later: (episode, who, kind, at, retracted), in the order of time."""
    query = select(votes.c.episode, votes.c.who, votes.c.kind, votes.c.at, votes.c.retracted)
    query = query.join(episodes, episodes.c.episode == votes.c.episode).where(episodes.c.starts_at >= since)
    found = await connection.execute(query.order_by(votes.c.at))
    return [(episode, who, kind, at, bool(back)) for episode, who, kind, at, back in found]
