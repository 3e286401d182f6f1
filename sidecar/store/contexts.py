"""What was measured around the starts of episodes: once per episode and query, never changed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.context import Measured
from sidecar.store.outbox import inserting_once
from sidecar.store.tables import contexts


async def save(connection: AsyncConnection, found: Sequence[Measured]) -> None:
    """Keep them; what is there already stays as it is."""
    rows = [msgspec.structs.asdict(one) for one in found]
    for row in rows:
        row |= {name: value.replace("\x00", "\ufffd") for name, value in row.items() if isinstance(value, str)}
    if rows:
        await connection.execute(inserting_once(connection, contexts), rows)


async def of(connection: AsyncConnection, episodes: Sequence[str]) -> dict[str, list[Measured]]:
    """What is known of these episodes, by name of the query."""
    query = select(contexts).where(contexts.c.episode.in_(episodes)).order_by(contexts.c.episode, contexts.c.name)
    found: dict[str, list[Measured]] = {}
    for row in (await connection.execute(query)).mappings():
        values = {name: row[name] for name in Measured.__struct_fields__}
        found.setdefault(row["episode"], []).append(msgspec.convert(values, Measured))
    return found
