"""What all tests share: a real PostgreSQL, made once a session, and a clean database where a test asks for one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from app.migrate import migrate
from core.db import Database
from core.embedded_postgres import EmbeddedPostgres
from core.queue import Queue, open_queue

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first, so that no process works on alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a migrated database on a server of our own."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        asyncio.run(migrate(server.url))
        yield server.url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """Give the database, emptied of runs, jobs and answers."""
    database = Database(database_url)
    async with database.transaction() as tx:
        await tx.execute(text("TRUNCATE runs, answers, procrastinate_jobs CASCADE"))
    yield database
    await database.close()


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    """Give the queue on that database."""
    app = open_queue(database_url)
    async with app.open_async():
        yield Queue(app)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of shared data, or skip."""
    if not SHARED.is_dir():
        pytest.skip("needs the data beside the checkout (../shared), which is not here")
    return SHARED
