"""Brings a database to the schema of this version."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

import migrations
from sidecar.errors import StoreError
from sidecar.store.engine import Database

_LOCK: Final = 7_415_221  # one replica migrates, the others wait
OLDEST_SQLITE: Final = (3, 38)  # reads JSON with ->>


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


async def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate to a revision; does nothing when the database is there. Raises StoreError when it cannot."""
    try:
        async with database.engine.connect() as connection:
            if database.sqlite:
                await connection.run_sync(_check_sqlite)
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await connection.run_sync(_upgrade, revision)
            await connection.commit()
    except (DBAPIError, OSError, TimeoutError) as error:
        raise StoreError(f"the schema could not be brought to {revision}: {error}") from error


async def is_current(database: Database) -> bool:
    """Whether the database has the tables of this version; changes nothing."""
    try:
        async with database.engine.connect() as connection:
            return bool(await connection.run_sync(_current) == _head())
    except (DBAPIError, OSError, TimeoutError) as error:
        raise StoreError(f"the database cannot be reached: {error}") from error


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _check_sqlite(connection: Connection) -> None:
    version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SQLITE:
        raise StoreError(f"SQLite {version} is too old: 3.38 or newer is needed, or Postgres (store.url)")


def _upgrade(connection: Connection, revision: str) -> None:
    if MigrationContext.configure(connection).get_current_revision() == _head() and revision == "head":
        return
    command.upgrade(alembic_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    command.downgrade(alembic_config(connection), revision)


def _head() -> str | None:
    return ScriptDirectory.from_config(alembic_config()).get_current_head()
