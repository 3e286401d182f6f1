"""What the training job reads and writes: stored observations, votes, and artifacts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import exists, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.store.queries import seen_by
from sidecar.store.tables import artifacts, decisions, episodes, votes

PIECE: Final = 500  # episodes per query: databases take so many parameters and no more
EXPORT_SECONDS: Final = 3600
CHAMPION, RETIRED, REFUSED = "champion", "retired", "refused"


async def decisions_for_training(connection: AsyncConnection) -> list[tuple[Any, ...]]:
    """The first decision with an observation on each episode, in the order of time.

    Rows: (episode, incident, at, severity, alertname, observation, model, propensity, score, started, ended, labels, told).
    """
    return [_decided(row) for row in await connection.execute(_first_decisions())]


async def pieces_for_training(
    connection: AsyncConnection, beside: AsyncConnection, size: int
) -> AsyncIterator[list[tuple[Any, ...]]]:
    """The same, each with its votes at the end, `size` at a time: never all in memory.

    `beside` is another connection, which looks up the votes while the first is being read.
    """
    if connection.dialect.name == "postgresql":  # the order of millions takes longer than a statement of the server may
        await connection.execute(text(f"SET LOCAL statement_timeout = {EXPORT_SECONDS * 1000}"))
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    query = _first_decisions()
    async with connection.stream(query.execution_options(yield_per=size)) as result:
        async for piece in result.partitions(size):
            said = await _votes_on(beside, [row[0] for row in piece])
            yield [(*_decided(row), said[row[0]]) for row in piece]


async def _votes_on(connection: AsyncConnection, names: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in names}
    for start in range(0, len(names), PIECE):
        query = _votes().where(votes.c.episode.in_(names[start : start + PIECE]))
        for row in await connection.execute(query):
            found[row[0]].append(tuple(row))
    return found


def _first_decisions() -> Any:
    place = func.row_number().over(partition_by=decisions.c.episode, order_by=(decisions.c.seq, decisions.c.n))
    seen = select(decisions, place.label("place")).where(decisions.c.observation != "")
    first, later = seen.subquery(), decisions.alias("later")
    return (
        select(
            first.c.episode,
            first.c.incident,
            first.c.at,
            first.c.severity,
            episodes.c.alertname,
            first.c.observation,
            first.c.model,
            first.c.propensity,
            first.c.score,
            episodes.c.starts_at,
            episodes.c.ended_at,
            episodes.c.labels,
            exists().where(later.c.episode == first.c.episode, later.c.verdict.in_(("notify", "fold"))),
        )
        .join(episodes, episodes.c.episode == first.c.episode)
        .where(first.c.place == 1)
        .order_by(first.c.at, first.c.episode)
    )


def _decided(row: Any) -> tuple[Any, ...]:
    return (*row[:5], seen_by(row[5]), *row[6:11], msgspec.json.decode(row[11], type=dict[str, str]), bool(row[12]))


async def votes_for_training(connection: AsyncConnection) -> list[tuple[Any, ...]]:
    """Rows: (episode, who, kind, at, retracted)."""
    return [tuple(row) for row in await connection.execute(_votes())]


def _votes() -> Any:
    return select(votes.c.episode, votes.c.who, votes.c.kind, votes.c.at, votes.c.retracted).order_by(votes.c.at)


async def save_artifact(
    connection: AsyncConnection, version: str, files: dict[str, str], report: dict[str, Any], state: str, at: float
) -> None:
    """Keep an artifact and its report; of a version that is there already, only the report is renewed: what it proves may
    be for another configuration.
    """
    known = (await connection.execute(select(artifacts.c.version).where(artifacts.c.version == version))).scalar()
    if known is None:
        row = {"version": version, "created_at": at, "state": state, "files": _json(files), "report": _json(report)}
        await connection.execute(artifacts.insert().values(row))
        return
    renewed = update(artifacts).where(artifacts.c.version == version)
    await connection.execute(renewed.values(created_at=at, report=_json(report)))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def promote(connection: AsyncConnection, version: str, at: float) -> bool:
    """Make it the champion; False when there is no such version."""
    known = (await connection.execute(select(artifacts.c.files).where(artifacts.c.version == version))).scalar()
    if known is None or known == "{}":
        return False
    await connection.execute(update(artifacts).where(artifacts.c.state == CHAMPION).values(state=RETIRED))
    changed = update(artifacts).where(artifacts.c.version == version).values(state=CHAMPION, promoted_at=at)
    await connection.execute(changed)
    return True


async def rollback(connection: AsyncConnection, at: float) -> str | None:
    """Put the champion before this one back; returns its version, None when there was none."""
    before = select(artifacts.c.version).where(artifacts.c.state == RETIRED, artifacts.c.promoted_at.is_not(None))
    version = (await connection.execute(before.order_by(artifacts.c.promoted_at.desc()).limit(1))).scalar()
    if version is not None:
        await promote(connection, version, at)
    return version


async def newest_report(connection: AsyncConnection) -> tuple[float, dict[str, Any]] | None:
    """(when, report) of the newest training run, promoted or refused; None before the first."""
    query = select(artifacts.c.created_at, artifacts.c.report).order_by(artifacts.c.created_at.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return None if row is None else (float(row[0]), msgspec.json.decode(row[1]))


async def champion_version(connection: AsyncConnection) -> str | None:
    return (await connection.execute(select(artifacts.c.version).where(artifacts.c.state == CHAMPION))).scalar()


async def champion(connection: AsyncConnection) -> tuple[str, dict[str, str]] | None:
    """(version, files) of the champion."""
    query = select(artifacts.c.version, artifacts.c.files).where(artifacts.c.state == CHAMPION)
    row = (await connection.execute(query)).first()
    return None if row is None else (row.version, msgspec.json.decode(row.files, type=dict[str, str]))


async def newest_artifact_at(connection: AsyncConnection) -> float | None:
    """When a run last left an artifact, refused ones included."""
    newest: float | None = (await connection.execute(select(func.max(artifacts.c.created_at)))).scalar()
    return newest


async def list_artifacts(connection: AsyncConnection) -> list[dict[str, Any]]:
    """Version, state, times and report of every artifact, newest first."""
    columns = (
        artifacts.c.version,
        artifacts.c.state,
        artifacts.c.created_at,
        artifacts.c.promoted_at,
        artifacts.c.report,
    )
    query = select(*columns).order_by(artifacts.c.created_at.desc())
    rows = (await connection.execute(query)).mappings()
    return [{**row, "report": msgspec.json.decode(row["report"])} for row in rows]
