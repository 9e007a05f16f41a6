"""What every literature source promises, tested on each against a server that speaks its real format, with faults."""

from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest

from agents.survey.sources.arxiv import ArxivSource
from agents.survey.sources.http import Fetcher
from agents.survey.sources.hub import HubSource
from agents.survey.sources.openalex import OpenAlexSource
from agents.survey.sources.semantic_scholar import SemanticScholarSource
from agents.survey.text import normalize_title
from core.errors import BudgetExceededError, SourceError
from core.ports import CitationSource, LiteratureSource, Page
from core.types.work import Work
from tests.agents.survey.conftest import Connect
from tests.fakes.literature_server import Faults, LiteratureServer, serve
from tests.fakes.literature_world import World

ROUGH = Faults(limited=0.5, broken=0.3, truncated=0.3)


async def all_pages(source: LiteratureSource, query: str) -> list[Work]:
    works: list[Work] = []
    page: int | None = 0
    while page is not None:
        answer = await source.search(query, page)
        works += answer.works
        page = answer.next_page
    return works


async def paged(edges: Callable[[Work, int], Awaitable[Page]], work: Work) -> list[Work]:
    works: list[Work] = []
    page: int | None = 0
    while page is not None:
        answer = await edges(work, page)
        works += answer.works
        page = answer.next_page
    return works


class LiteratureContract:
    """Subclasses say how their source is made and how many rows its pages hold here."""

    name: ClassVar[str]
    make: ClassVar[Callable[[Fetcher], LiteratureSource]]
    paged = True

    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make pages small, so that the small world has several."""
        for module in ("arxiv", "semantic_scholar", "openalex"):
            monkeypatch.setattr(f"agents.survey.sources.{module}.PAGE_SIZE", 7)

    def expected(self, world: World) -> set[str]:
        return {
            normalize_title(w.title_at(self.name))
            for w in world.works.values()
            if self.name in w.held_by and "model merging" in w.title.lower()
        }

    async def test_pages_hold_all_matching_works_once(
        self, server: LiteratureServer, connect_to: Connect, world: World
    ) -> None:
        async with connect_to(server) as fetcher:
            works = await all_pages(type(self).make(fetcher), "model merging")
        titles = [normalize_title(w.title) for w in works]
        assert set(titles) == self.expected(world)
        assert len(titles) == len(set(titles))

    async def test_works_carry_ids_and_where_they_come_from(
        self, server: LiteratureServer, connect_to: Connect, world: World
    ) -> None:
        known = {w.arxiv for w in world.works.values()}
        async with connect_to(server) as fetcher:
            page = await type(self).make(fetcher).search("model merging")
        for work in page.works:
            assert work.ids.arxiv or work.ids.doi or work.ids.s2 or work.ids.openalex
            assert work.ids.arxiv is None or work.ids.arxiv in known
            assert [p.source for p in work.provenance] == [self.name]
            assert work.authors

    async def test_faults_are_ridden_out(self, connect_to: Connect, world: World) -> None:
        with serve(world, ROUGH) as rough:
            async with connect_to(rough) as fetcher:
                works = await all_pages(type(self).make(fetcher), "model merging")
            assert any(r.status >= 400 for r in rough.log)
        assert {normalize_title(w.title) for w in works} == self.expected(world)

    async def test_malformed_rows_are_skipped(self, connect_to: Connect, world: World) -> None:
        with serve(world, Faults(malformed_rows=0.5)) as rough:
            async with connect_to(rough) as fetcher:
                works = await all_pages(type(self).make(fetcher), "model merging")
        titles = {normalize_title(w.title) for w in works}
        assert titles <= self.expected(world)
        assert titles
        if self.name != "hub":  # the hub's fake has no malformed rows
            assert titles < self.expected(world)

    async def test_an_answered_question_is_never_asked_again(
        self, server: LiteratureServer, connect_to: Connect
    ) -> None:
        async with connect_to(server) as fetcher:
            first = await all_pages(type(self).make(fetcher), "model merging")
        asked = len(server.log)
        async with connect_to(server) as fetcher:
            second = await all_pages(type(self).make(fetcher), "model merging")
            assert fetcher.budget.spent == 0
        assert len(server.log) == asked
        assert [w.key for w in first] == [w.key for w in second]

    async def test_a_page_can_be_asked_for_directly(self, server: LiteratureServer, connect_to: Connect) -> None:
        if not self.paged:
            pytest.skip("this source has one page")
        async with connect_to(server) as fetcher:
            everything = await all_pages(type(self).make(fetcher), "model merging")
            again = await type(self).make(fetcher).search("model merging", 1)
        assert [w.key for w in again.works] == [w.key for w in everything[7:14]]

    async def test_a_dead_source_is_an_error_that_names_it(self, connect_to: Connect, world: World) -> None:
        with serve(world, Faults(dead=frozenset({self.name}))) as dead:
            async with connect_to(dead, attempts=2) as fetcher:
                with pytest.raises(SourceError, match=self.name):
                    await type(self).make(fetcher).search("model merging")

    async def test_the_budget_is_kept(self, server: LiteratureServer, connect_to: Connect) -> None:
        async with connect_to(server, limit=0) as fetcher:
            with pytest.raises(BudgetExceededError, match="max_requests"):
                await type(self).make(fetcher).search("model merging")
        assert not server.log


class TestArxiv(LiteratureContract):
    name = "arxiv"
    make = ArxivSource

    async def test_an_error_feed_is_an_error(self, server: LiteratureServer, connect_to: Connect) -> None:
        async with connect_to(server) as fetcher:
            with pytest.raises(SourceError, match="refused"):
                await ArxivSource(fetcher)._page({"search_query": "nonsense("}, None)  # type: ignore[arg-type]

    async def test_code_is_read_from_comments(
        self, server: LiteratureServer, connect_to: Connect, world: World
    ) -> None:
        told = {w.arxiv: f"https://github.com/{w.repository}" for w in world.works.values() if w.comment and w.arxiv}
        async with connect_to(server) as fetcher:
            works = await all_pages(ArxivSource(fetcher), "model merging")
        read = {w.ids.arxiv: w.repositories[0].url for w in works if w.repositories}
        assert read
        assert read.items() <= told.items()


class CitationContract:
    """References and citations are those of the world, as far as the source holds them."""

    name: ClassVar[str]

    def make_citing(self, fetcher: Fetcher) -> CitationSource:
        raise NotImplementedError

    async def test_references_and_citations_are_the_worlds(
        self, server: LiteratureServer, connect_to: Connect, world: World
    ) -> None:
        held = {u: w for u, w in world.works.items() if self.name in w.held_by}
        cited = next(w for w in held.values() if len(world.citations_of(w.uid)) > 3 and len(w.references) > 3
                     and not w.references_withheld and "merging" in w.title.lower())  # fmt: skip
        async with connect_to(server) as fetcher:
            source = self.make_citing(fetcher)
            found = await source.search(cited.title_at(self.name))  # type: ignore[attr-defined]
            work = next(
                w for w in found.works if normalize_title(w.title) == normalize_title(cited.title_at(self.name))
            )
            references = await paged(source.references, work)
            citations = await paged(source.citations, work)
        expected = {normalize_title(held[u].title_at(self.name)) for u in cited.references if u in held}
        assert {normalize_title(w.title) for w in references} == expected
        citing = {normalize_title(held[u].title_at(self.name)) for u in world.citations_of(cited.uid) if u in held}
        assert {normalize_title(w.title) for w in citations} == citing

    async def test_an_unknown_work_has_none(self, server: LiteratureServer, connect_to: Connect) -> None:
        stranger = Work(key="title:x", title="Unknown to everybody")
        async with connect_to(server) as fetcher:
            source = self.make_citing(fetcher)
            assert not (await source.references(stranger)).works
            assert not (await source.citations(stranger)).works


class TestSemanticScholar(LiteratureContract, CitationContract):
    name = "semantic_scholar"
    make = SemanticScholarSource

    def make_citing(self, fetcher: Fetcher) -> CitationSource:
        return SemanticScholarSource(fetcher)

    async def test_the_key_is_sent_and_is_no_part_of_the_question(
        self, server: LiteratureServer, connect_to: Connect
    ) -> None:
        async with connect_to(server) as fetcher:
            await SemanticScholarSource(fetcher, "secret-key").search("model merging")
            await SemanticScholarSource(fetcher).search("model merging")
        assert [r.headers.get("x-api-key") for r in server.log] == ["secret-key"]


class TestOpenAlexWithKey(LiteratureContract, CitationContract):
    name = "openalex"
    make = staticmethod(lambda fetcher: OpenAlexSource(fetcher, "key"))

    def make_citing(self, fetcher: Fetcher) -> CitationSource:
        return OpenAlexSource(fetcher, "key")


class TestOpenAlexWithoutKey(LiteratureContract):
    name = "openalex"
    make = OpenAlexSource


class TestHub(LiteratureContract):
    name = "hub"
    make = HubSource
    paged = False

    def expected(self, world: World) -> set[str]:
        words = {"model", "merg"}
        return {
            normalize_title(w.title_at("hub"))
            for w in world.works.values()
            if "hub" in w.held_by and all(any(t.startswith(x) for t in w.title.lower().split()) for x in words)
        }
