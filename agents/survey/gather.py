"""Asking sources and taking in what they return, one question after another, each a ledger row.

A source that fails is named in the ledger and left alone after a few failures in a row; the others go on. When the
request budget is used up, questions go unanswered from then on and the survey concludes with what it has. Questions of
one step are asked side by side and taken in order, so that a run is the same every time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from agents.survey.dedupe import Found
from agents.survey.desk import Desk, Workbench
from agents.survey.ledger import Asked
from core.errors import BudgetExceededError, SourceError
from core.ports import LiteratureSource, Page
from core.types.run import Stage

CATALOGUE = "catalogue"


@dataclass(frozen=True)
class Inquiry:
    """A question to ask: how it is named, how it is put, and which capture occasion its answer belongs to."""

    asked: Asked
    put: Callable[[], Awaitable[Page]]
    occasion: str


@dataclass(frozen=True)
class Taken:
    """An answer that was taken in."""

    records: tuple[Found, ...]
    new: int
    next_page: int | None


@dataclass
class Gatherer:
    """Asks questions for one survey."""

    bench: Workbench
    desk: Desk
    exhausted: bool = False
    _failures: dict[str, int] = field(default_factory=dict)

    def works(self, source: str) -> bool:
        """Return whether a source is still asked."""
        return not self.exhausted and self._failures.get(source, 0) < self.desk.limits.failures

    async def ask_all(self, inquiries: Sequence[Inquiry]) -> list[Taken | None]:
        """Ask questions side by side and take their answers in order; None for each that was not answered."""

        async def one(inquiry: Inquiry) -> tuple[Page, float] | None:
            start = time.perf_counter()
            page = await self.guard(inquiry.asked, inquiry.put)
            return None if page is None else (page, time.perf_counter() - start)

        answers = await self.side_by_side([one(i) for i in inquiries])
        taken = [a and self._take(i, *a) for i, a in zip(inquiries, answers, strict=True)]
        if any(taken):
            note = f"{len(self.bench.pool)} works found, last asked: {inquiries[-1].asked.source}"
            await self.desk.journal.progress(Stage.SURVEY, len(self.bench.pool), 0, note)
        return taken

    async def side_by_side[T](self, questions: Sequence[Awaitable[T]]) -> list[T]:
        """Await questions that don't depend on each other, so many at a time as the limits allow."""
        slots = asyncio.Semaphore(self.desk.limits.concurrency)

        async def one(question: Awaitable[T]) -> T:
            async with slots:
                return await question

        return await asyncio.gather(*(one(q) for q in questions))

    async def guard[T](self, asked: Asked, put: Callable[[], Awaitable[T]]) -> T | None:
        """Return the answer, or None when the source fails or the budget is used up, which is then on record."""
        if not self.works(asked.source):
            return None
        try:
            answer = await put()
        except SourceError as error:
            await self._failed(asked, error)
            return None
        except BudgetExceededError as error:
            await self._exhaust(error)
            return None
        self._failures[asked.source] = 0
        return answer

    def _take(self, inquiry: Inquiry, page: Page, seconds: float) -> Taken:
        records, new = [], 0
        for work in page.works:
            record, is_new = self.bench.pool.add(work, inquiry.occasion)
            record.declared = record.declared or inquiry.asked.source == CATALOGUE
            records.append(record)
            new += is_new
        keys = [r.key for r in records]
        self.bench.ledger.answered(inquiry.asked, keys, new, cached=page.cached, seconds=seconds)
        return Taken(tuple(records), new, page.next_page)

    async def search_all(
        self,
        sources: Sequence[LiteratureSource],
        queries: Sequence[str],
        worth: Callable[[Sequence[Found]], bool],
    ) -> None:
        """Page through every query at every source until its end, the limit, or a page not worth another."""
        searches = [(s, q) for s in sources for q in (queries if s.name != CATALOGUE else ("",))]
        for page in range(self.desk.limits.pages):
            inquiries = [Inquiry(Asked(s.name, q, page), partial(s.search, q, page), s.name) for s, q in searches]
            taken = await self.ask_all(inquiries)
            searches = [
                search
                for search, answer in zip(searches, taken, strict=True)
                if answer is not None and answer.next_page is not None and worth(answer.records)
            ]
            if not searches:
                return

    async def _failed(self, asked: Asked, error: SourceError) -> None:
        self._failures[asked.source] = self._failures.get(asked.source, 0) + 1
        self.bench.ledger.noted(asked, f"failed: {error.message}")
        given_up = not self.works(asked.source)
        await self.desk.journal.event(
            "survey.source_failed",
            f"{asked.source} failed: {error.message}" + (" It is not asked again." if given_up else ""),
            stage=Stage.SURVEY,
            source=asked.source,
            query=asked.query,
            page=asked.page,
        )

    async def _exhaust(self, error: BudgetExceededError) -> None:
        if not self.exhausted:
            self.exhausted = True
            self.bench.stop_reason = "the request budget was used up"
            await self.desk.journal.event("survey.budget", error.message, stage=Stage.SURVEY)
