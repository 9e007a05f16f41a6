"""Where graphs keep their checkpoints: LangGraph's Postgres saver on the run's database."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from core.db import plain_url

# Checkpoints hold JSON-like values only; a forged one must not make us construct anything else.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")


@asynccontextmanager
async def open_graph_store(url: str) -> AsyncIterator[AsyncPostgresSaver]:
    """Give a checkpoint saver of its own; one lock serialises its operations, so each executor opens one."""
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        plain_url(url),
        min_size=1,
        max_size=4,
        open=False,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
    )
    async with pool:
        yield AsyncPostgresSaver(pool)
