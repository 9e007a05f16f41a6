"""Asking sources and taking in what they return: the page loop, one question after another, each a ledger row.

A source that fails is named in the ledger and left alone after a few failures in a row; the others go on. What sources
answer is data: works enter the pool by their ids and titles, nothing else is interpreted here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agents.survey.dedupe import Found
from agents.survey.desk import Desk, Workbench
from agents.survey.ledger import Asked
from core.errors import SourceError
from core.ports import LiteratureSource, Page
from core.types.run import Stage

CATALOGUE = "catalogue"


@dataclass
class Gatherer:
    """Asks questions for one survey."""

    bench: Workbench
    desk: Desk

    def __post_init__(self) -> None:
        self._failures: dict[str, int] = {}

    def works(self, source: str) -> bool:
        """Return whether a source is still asked."""
        return self._failures.get(source, 0) < self.desk.limits.failures

    async def ask(self, asked: Asked, question: Callable[[], Awaitable[Page]], occasion: str) -> list[Found] | None:
        """Ask one question and pool the answer; None when the source failed. Return also sets `next_page`."""
        page = await self.page(asked, question)
        return None if page is None else self.take(asked, page, occasion)

    async def page(self, asked: Asked, question: Callable[[], Awaitable[Page]]) -> Page | None:
        """Ask one question; record a failure and return None when the source fails for good."""
        if not self.works(asked.source):
            return None
        start = time.perf_counter()
        try:
            page = await question()
        except SourceError as error:
            await self._failed(asked, error)
            return None
        self._failures[asked.source] = 0
        self._seconds = time.perf_counter() - start
        return page

    def take(self, asked: Asked, page: Page, occasion: str) -> list[Found]:
        """Pool the works of an answer and record the question."""
        records, new = [], 0
        for work in page.works:
            record, is_new = self.bench.pool.add(work, occasion)
            record.declared = record.declared or asked.source == CATALOGUE
            records.append(record)
            new += is_new
        keys = [r.key for r in records]
        self.bench.ledger.answered(asked, keys, new, cached=page.cached, seconds=self._seconds)
        return records

    async def search(
        self, source: LiteratureSource, query: str, pages: int, worth: Callable[[Sequence[Found]], bool]
    ) -> None:
        """Page through a query's answers until they end, the limit, or a page that is not worth the next one."""
        number: int | None = 0
        for _ in range(pages):
            if number is None:
                return
            asked = Asked(source.name, query, number)
            page = await self.page(asked, _search(source, query, number))
            if page is None:
                return
            records = self.take(asked, page, source.name)
            number = page.next_page if worth(records) else None

    async def search_all(
        self,
        sources: Sequence[LiteratureSource],
        queries: Sequence[str],
        worth: Callable[[Sequence[Found]], bool],
    ) -> None:
        """Ask every source every query; sources work side by side, each asks one question at a time."""

        async def one_source(source: LiteratureSource) -> None:
            for query in queries if source.name != CATALOGUE else ("",):
                if self.works(source.name):
                    await self.search(source, query, self.desk.limits.pages, worth)

        async with asyncio.TaskGroup() as group:
            for source in sources:
                group.create_task(one_source(source))

    async def _failed(self, asked: Asked, error: SourceError) -> None:
        self._failures[asked.source] = self._failures.get(asked.source, 0) + 1
        self.bench.ledger.noted(asked, f"failed: {error.message}")
        self.bench.ledger.failed[asked.source] = error.message
        given_up = not self.works(asked.source)
        await self.desk.journal.event(
            "survey.source_failed",
            f"{asked.source} failed: {error.message}" + (" It is not asked again." if given_up else ""),
            stage=Stage.SURVEY,
            source=asked.source,
            query=asked.query,
            page=asked.page,
        )


def _search(source: LiteratureSource, query: str, number: int) -> Callable[[], Awaitable[Page]]:
    return lambda: source.search(query, number)
