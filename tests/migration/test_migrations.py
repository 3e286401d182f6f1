"""The migrations lead to the schema the code describes, and back."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from sidecar.store import schema
from sidecar.store.engine import Database, open_engine
from sidecar.store.tables import metadata


async def on_connection(url: str, work):
    """`work(connection)` in one transaction, on a database opened as the sidecar opens it."""
    database = Database(open_engine(url))
    try:
        async with database.write() as connection:
            return await connection.run_sync(work)
    finally:
        await database.close()


async def upgrade(url: str, revision: str = "head") -> None:
    database = Database(open_engine(url))
    try:
        await schema.upgrade(database, revision)
    finally:
        await database.close()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def differences(connection: Connection) -> list:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return compare_metadata(context, metadata)


async def test_upgrade_gives_the_schema_the_code_describes(database_url):
    """After all migrations, nothing is left that alembic would still change."""
    await upgrade(database_url)

    assert await on_connection(database_url, tables) == set(metadata.tables)
    assert await on_connection(database_url, differences) == []


async def test_a_second_upgrade_changes_nothing(database_url):
    """A database that is up to date keeps its rows and its revision."""
    await upgrade(database_url)
    await on_connection(
        database_url, lambda c: c.exec_driver_sql("INSERT INTO shards (shard, head, projected) VALUES (7, 3, 2)")
    )

    await upgrade(database_url)

    rows = await on_connection(
        database_url, lambda c: c.exec_driver_sql("SELECT head, projected FROM shards WHERE shard = 7").all()
    )
    assert [tuple(row) for row in rows] == [(3, 2)]


async def test_downgrade_takes_everything_back_and_upgrade_returns(database_url):
    """From head to base, no table is left; from there, head can be reached again."""
    await upgrade(database_url)

    await on_connection(database_url, lambda c: schema.downgrade(c, "base"))
    assert await on_connection(database_url, tables) == set()

    await upgrade(database_url)
    assert await on_connection(database_url, differences) == []


async def test_every_single_step_can_be_taken_and_taken_back(database_url):
    """One revision at a time, up and down."""
    script = ScriptDirectory.from_config(schema.alembic_config())
    steps = [revision.revision for revision in reversed(list(script.walk_revisions()))]
    assert steps

    for step in steps:
        await upgrade(database_url, step)
        await on_connection(database_url, lambda c: schema.downgrade(c, "-1"))
        await upgrade(database_url, step)

    assert await on_connection(database_url, differences) == []


async def test_two_replicas_that_start_together_migrate_once(postgres_url):
    """The second waits for the first, and finds the work done."""
    import asyncio

    await asyncio.gather(*(upgrade(postgres_url) for _ in range(4)))

    assert await on_connection(postgres_url, tables) == set(metadata.tables)
