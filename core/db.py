"""The database: one pool a process, and transactions that commit at their edge and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

DRIVER = "postgresql+psycopg"
DATABASE_ERRORS: tuple[type[Exception], ...] = (DBAPIError, psycopg.Error)
# Shut down, crashed, not up yet (PostgreSQL's Appendix A); class 08 are connections that broke.
_GONE = {"57P01", "57P02", "57P03"}


def database_lost(error: BaseException) -> bool:
    """Return whether an error says that the server is away or cut the connection: to be tried again."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return cause.sqlstate is None or cause.sqlstate.startswith("08") or cause.sqlstate in _GONE


def driver_url(url: str) -> str:
    """Return a plain PostgreSQL URL as one that names our driver."""
    scheme, rest = url.split("://", 1)
    return f"{DRIVER}://{rest}" if scheme in {"postgresql", "postgres"} else url


def plain_url(url: str) -> str:
    """Return the URL as libpq reads it."""
    return "postgresql://" + url.split("://", 1)[1]


def blocking_engine(url: str) -> Engine:
    """Return an engine for programs that are not asynchronous: migrations and searches."""
    return create_engine(driver_url(url))


class Database:
    """A pool of connections. `url` is a PostgreSQL URL, with or without the driver's name."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = plain_url(url)
        self._engine = create_async_engine(
            driver_url(url),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            connect_args={"prepare_threshold": None},
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that is committed at the end, or rolled back by any exception."""
        async with self._engine.begin() as connection:
            yield connection

    async def answers(self) -> bool:
        """Return whether the database answers."""
        try:
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


async def driver_connection(connection: AsyncConnection) -> psycopg.AsyncConnection:
    """Return the psycopg connection below, so that a library can join the transaction."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if not isinstance(driver, psycopg.AsyncConnection):
        raise TypeError("the engine does not use psycopg")
    return driver
