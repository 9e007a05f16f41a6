"""`research-agent migrate`: bring a database to this version. Safe to run again, and by several processes at once."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config

import migrations
from app.graph_store import open_graph_store
from core.db import plain_url
from core.queue import open_queue

# An arbitrary constant: whoever holds this advisory lock is migrating.
LOCK = 7_316_402


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for a database, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


async def migrate(url: str) -> None:
    """Install or upgrade our tables, LangGraph's checkpoints and Procrastinate's queue."""
    async with await psycopg.AsyncConnection.connect(plain_url(url), autocommit=True) as lock:
        await lock.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        command.upgrade(alembic_config(url), "head")
        async with open_graph_store(url) as saver:
            await saver.setup()
        queue = open_queue(url)
        async with queue.open_async():
            known = await lock.execute("SELECT to_regclass('procrastinate_jobs')")
            if (await known.fetchone() or (None,))[0] is None:
                await queue.schema_manager.apply_schema_async()
