"""What a cache of answers promises, tested on the database's and the directory's."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.survey.sources.disk_cache import DirectoryCache
from core.answers import AnswerCache
from core.db import Database
from core.ports import Cache

Open = Callable[[], Cache]


@pytest.fixture(params=["database", "directory"])
def opened(request: pytest.FixtureRequest, db: Database, tmp_path: Path) -> Open:
    """Give a function that opens the same cache anew, as another process would."""
    return (lambda: AnswerCache(db)) if request.param == "database" else (lambda: DirectoryCache(tmp_path))


async def test_an_answer_is_found_again_byte_for_byte(opened: Open) -> None:
    value = bytes(range(256)) * 300
    assert await opened().get("a question") is None
    await opened().put("a question", value, 60)
    assert await opened().get("a question") == value
    assert await opened().get("another") is None


async def test_the_last_answer_stands(opened: Open) -> None:
    await opened().put("q", b"old", 60)
    await opened().put("q", b"new", 60)
    assert await opened().get("q") == b"new"


async def test_an_answer_expires(opened: Open) -> None:
    await opened().put("q", b"short-lived", 0.05)
    await asyncio.sleep(0.2)
    assert await opened().get("q") is None


async def test_old_answers_are_forgotten(db: Database) -> None:
    cache = AnswerCache(db)
    await cache.put("old", b"x", -1)
    await cache.put("young", b"y", 60)
    assert await cache.prune() == 1
    assert await cache.get("young") == b"y"
