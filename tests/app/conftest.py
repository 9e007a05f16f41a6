"""A real server on loopback for the tests of the API and the UI."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn

from app.api.application import create_app
from core.artifacts import ArtifactStore
from core.db import Database
from core.queue import Queue
from core.settings import Settings
from tests.app.sample import Sampled, sample_run

TOKEN = "a-token-for-tests"


@dataclass(frozen=True)
class Api:
    """A running API and a client that bears its token."""

    url: str
    settings: Settings
    http: httpx.AsyncClient

    def stranger(self, **arguments: object) -> httpx.AsyncClient:
        """Return a client without the token."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
async def server(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, Settings]]:
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("state"), database_url=database_url, token=TOKEN, max_body_bytes=50_000,
        heartbeat_s=0.1, stalled_after_s=5,
    )  # fmt: skip
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(settings), log_config=None, ws="none", proxy_headers=False, timeout_graceful_shutdown=1
    )
    running = uvicorn.Server(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener)
        task = asyncio.create_task(running._serve(sockets=[listener]))
        while not running.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", settings
        running.should_exit = True
        await task


@pytest.fixture
async def api(server: tuple[str, Settings], db: Database) -> AsyncIterator[Api]:
    url, settings = server
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        yield Api(url, settings, http)


@pytest.fixture
async def sampled(api: Api, db: Database, queue: Queue) -> Sampled:
    return await sample_run(db, queue, ArtifactStore(db, api.settings.artifact_dir))
