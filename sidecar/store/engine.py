"""Opens the database: SQLite (one serving process, nothing to install) or Postgres (production, replicas)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sidecar.errors import Disconnected, Refused, StoreError

Connection = AsyncConnection  # callers pass it on without knowing SQLAlchemy

CONNECT_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 30  # a statement that hangs longer is given up, and the webhook answered 503
LIMITS: Final = "54"  # SQLSTATE class "program limit exceeded": an index row too long, a value too large
BUSY_SECONDS: Final = 10.0  # SQLite: how long a writer waits for another process (the command line)


def open_engine(url: str) -> AsyncEngine:
    """An engine for `sqlite:///path`, `sqlite://` (memory) or `postgresql://...`; connects on first use."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False))
    options = f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c idle_in_transaction_session_timeout=60000"
    return create_async_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=6,
        max_overflow=4,
        pool_timeout=CONNECT_SECONDS,
        connect_args={"connect_timeout": CONNECT_SECONDS, "options": options, "prepare_threshold": 2},
    )


def check_exists(url: str) -> None:
    """Raises StoreError when the SQLite file that a command wants to read was never made."""
    path = make_url(url).database or ""
    if make_url(url).get_backend_name() == "sqlite" and path and not Path(path).exists():
        raise StoreError(f"there is no database yet at {path}: start `sidecar serve` first, or name another --config")


def _open_sqlite(url: str) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=4000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine.pool, "invalidate")
    def let_go(connection: Any, _record: Any, _error: Any) -> None:
        if connection is not None:  # of a cancelled task: closed with a cursor open, it would keep the write lock
            connection.rollback()

    return engine


class Database:
    """Transactions on either dialect. Driver errors leave it as `StoreError`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.sqlite = engine.dialect.name == "sqlite"
        self._autocommit = engine if self.sqlite else engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writing = asyncio.Lock()  # SQLite has one writer: waiting here is fairer than its busy loop

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One read-committed transaction that ends in COMMIT, or in ROLLBACK when the block raises."""
        try:
            if self.sqlite:
                async with self._writing, self.engine.connect() as connection:
                    await connection.exec_driver_sql("BEGIN IMMEDIATE")
                    yield connection
                    await connection.commit()
            else:
                async with self.engine.begin() as connection:
                    yield connection
        except (DBAPIError, PoolTimeout, OSError, TimeoutError) as error:
            raise _wrapped(error) from error

    @asynccontextmanager
    async def one_statement(self) -> AsyncIterator[AsyncConnection]:
        """For a writer whose one statement is its transaction: no BEGIN and COMMIT around it where there need not be."""
        if self.sqlite:
            async with self.write() as connection:
                yield connection
            return
        try:
            async with self._autocommit.connect() as connection:
                yield connection
        except (DBAPIError, PoolTimeout, OSError, TimeoutError) as error:
            raise _wrapped(error) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self.engine.connect() as connection:
                yield connection
        except (DBAPIError, PoolTimeout, OSError, TimeoutError) as error:
            raise _wrapped(error) from error

    async def clock(self) -> float | None:
        """The database's time, seconds since the epoch; None on SQLite, whose clock is ours."""
        if self.sqlite:
            return None
        async with self.read() as connection:
            return float((await connection.execute(text("SELECT extract(epoch FROM clock_timestamp())"))).scalar_one())

    async def close(self) -> None:
        await self.engine.dispose()


def _wrapped(error: Exception) -> StoreError:
    past_limit = isinstance(error, DBAPIError) and str(getattr(error.orig, "sqlstate", "")).startswith(LIMITS)
    if past_limit or isinstance(error, DataError | IntegrityError):
        return Refused(_said(error))
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Disconnected(_said(error))
    return StoreError(_said(error))


def _said(error: BaseException) -> str:
    """What went wrong, in a line, without the statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0]
