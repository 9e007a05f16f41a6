"""A small world, a server over it, and a fetcher that may contact nothing else."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from agents.survey.sources.disk_cache import DirectoryCache
from agents.survey.sources.http import Fetcher, RequestBudget
from agents.survey.sources.settings import SourceSettings
from tests.fakes.literature_server import LiteratureServer, serve
from tests.fakes.literature_world import World, build_world
from tests.fakes.small_world import write_lists

Connect = Callable[..., AbstractAsyncContextManager[Fetcher]]


def settings_for(url: str, **changes: object) -> SourceSettings:
    return SourceSettings(
        arxiv_url=f"{url}/arxiv",
        semantic_scholar_url=f"{url}/semantic_scholar",
        openalex_url=f"{url}/openalex",
        github_url=f"{url}/github",
        hub_url=f"{url}/hub",
        **{"seconds_between": {}, "back_off_s": 0.01, "timeout_s": 2.0, **changes},
    )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(write_lists(tmp_path_factory.mktemp("lists")))


@pytest.fixture
def server(world: World) -> Iterator[LiteratureServer]:
    with serve(world) as running:
        yield running


@pytest.fixture
def connect_to(tmp_path: Path) -> Connect:
    """Give a function that opens a fetcher to a server; all fetchers of a test share one cache."""

    @contextlib.asynccontextmanager
    async def opened(server: LiteratureServer, limit: int = 5000, **changes: object) -> AsyncIterator[Fetcher]:
        cache = DirectoryCache(tmp_path / "cache")
        async with Fetcher(settings_for(server.url, **changes), cache, RequestBudget(limit)) as fetcher:
            yield fetcher

    return opened
