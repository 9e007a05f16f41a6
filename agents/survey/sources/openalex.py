"""OpenAlex: search, works by DOI, references and citations.

Since 2026 cursor paging needs a key; without one the numbered pages serve, as far as their ten thousand results. A page
number of the port is turned into a cursor by walking the earlier pages, whose answers are in the cache.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agents.survey.dedupe import make_work
from agents.survey.sources.arxiv import is_survey_title
from agents.survey.sources.http import Answer, Fetcher, Request
from agents.survey.sources.json_values import count_of, list_of, mapping_of, text_of
from agents.survey.text import arxiv_id, doi, github_repositories, normalize_title, query_text
from core.errors import SourceError
from core.ports import Page
from core.types.work import Provenance, Repository, Work, WorkIds

PAGE_SIZE = 100
BATCH = 50
REACH = 10_000
_SELECT = (
    "id,doi,display_name,publication_year,authorships,primary_location,locations,type,cited_by_count,"
    "referenced_works,abstract_inverted_index"
)


class OpenAlexSource:
    """OpenAlex behind the ports of literature, citation and resolving sources."""

    name = "openalex"

    def __init__(self, fetcher: Fetcher, key: str | None = None) -> None:
        self._fetcher = fetcher
        self._secret = {"api_key": key} if key else {}
        self._cursors: dict[tuple[str, int], str] = {}
        self._references: dict[str, tuple[str, ...]] = {}

    async def search(self, query: str, page: int = 0) -> Page:
        """Return one page of works by relevance."""
        asked = Provenance(source=self.name, query=query, page=page)
        return await self._listing({"search": query_text(query)}, asked)

    async def references(self, work: Work, page: int = 0) -> Page:
        """Return works that a work cites, fetched by their ids a batch at a time."""
        asked = Provenance(source=self.name, query=f"references:{work.key}", page=page)
        ids = await self._cited(work)
        batch = ids[page * BATCH : (page + 1) * BATCH]
        if not batch:
            return Page(works=())
        found = await self._listing({"filter": f"openalex:{'|'.join(batch)}"}, asked.model_copy(update={"page": 0}))
        return found.model_copy(update={"next_page": page + 1 if len(ids) > (page + 1) * BATCH else None})

    async def citations(self, work: Work, page: int = 0) -> Page:
        """Return works that cite a work."""
        if not work.ids.openalex:
            return Page(works=())
        asked = Provenance(source=self.name, query=f"citations:{work.key}", page=page)
        return await self._listing({"filter": f"cites:{work.ids.openalex}"}, asked)

    async def by_ids(self, ids: Sequence[str]) -> Page:
        """Return the works with these arXiv ids or DOIs, at most 50 of them."""
        # A comma or a bar within a DOI would end it in a filter.
        known = [i for i in ids[:BATCH] if not set(i) & set(",|")]
        wanted = "|".join(i if doi(i) else f"10.48550/arxiv.{i}" for i in known)
        asked = Provenance(source=self.name, query=f"{len(ids)} ids")
        return (await self._listing({"filter": f"doi:{wanted}"}, asked)).model_copy(update={"next_page": None})

    async def by_title(self, title: str) -> Page:
        """Return the works whose title is this."""
        asked = Provenance(source=self.name, query=f"title:{title}")
        page = await self._listing({"filter": f"title.search:{query_text(title)}"}, asked)
        same = tuple(w for w in page.works if normalize_title(w.title) == normalize_title(title))
        return page.model_copy(update={"works": same, "next_page": None})

    async def _listing(self, params: Mapping[str, str], asked: Provenance) -> Page:
        answer = await self._numbered(params, asked.page)
        if answer is None:
            return Page(works=())
        body = answer.json()
        meta, rows = _meta(body), list_of(body.get("results"))
        works = tuple(w for w in (self._work(row, asked) for row in rows) if w is not None)
        count = meta.get("count")
        total = count if isinstance(count, int) else None
        if self._secret:
            more = bool(rows) and isinstance(meta.get("next_cursor"), str)
        else:
            more = bool(rows) and (asked.page + 1) * PAGE_SIZE < min(total or 0, REACH)
        next_page = asked.page + 1 if more else None
        return Page(works=works, next_page=next_page, total=total, cached=answer.cached)

    async def _numbered(self, params: Mapping[str, str], page: int) -> Answer | None:
        """Return the answer that holds a page; None when the listing ends before."""
        base = {**params, "per-page": str(PAGE_SIZE), "select": _SELECT}
        if not self._secret:
            return await self._get({**base, "page": str(page + 1)})
        listing = str(sorted(params.items()))
        cursor = self._cursors.get((listing, page), "*")
        first = page if (listing, page) in self._cursors else 0
        for number in range(first, page + 1):
            answer = await self._get({**base, "cursor": cursor})
            following = _meta(answer.json()).get("next_cursor")
            if number == page:
                if isinstance(following, str):
                    self._cursors[listing, page + 1] = following
                return answer
            if not isinstance(following, str):
                return None
            cursor = following
        return None

    async def _get(self, params: Mapping[str, str]) -> Answer:
        return await self._fetcher.ask(Request(self.name, "/works", params, secret_params=self._secret))

    async def _cited(self, work: Work) -> tuple[str, ...]:
        own = work.ids.openalex
        if not own:
            return ()
        if own not in self._references:
            await self._listing({"filter": f"openalex:{own}"}, Provenance(source=self.name, query=f"id:{own}"))
        return self._references.get(own, ())

    def _work(self, row: Any, asked: Provenance) -> Work | None:
        if not isinstance(row, dict) or not text_of(row.get("display_name")) or not text_of(row.get("id")):
            return None
        own = text_of(row["id"]).rsplit("/", 1)[-1]
        cited = row.get("referenced_works")
        if isinstance(cited, list):
            self._references[own] = tuple(text_of(c).rsplit("/", 1)[-1] for c in cited if text_of(c))
        landing = [text_of(mapping_of(p).get("landing_page_url")) for p in list_of(row.get("locations"))]
        preprint = _arxiv_of((text_of(row.get("doi")), *landing))
        abstract = _abstract(row.get("abstract_inverted_index"))
        return make_work(
            text_of(row["display_name"]),
            WorkIds(arxiv=preprint, doi=doi(text_of(row.get("doi"))), openalex=own),
            authors=_authors(row.get("authorships")),
            year=count_of(row.get("publication_year")),
            venue=_venue(row.get("primary_location")),
            abstract=abstract,
            url=landing[0] if landing and landing[0] else text_of(row.get("doi")) or text_of(row["id"]),
            repositories=tuple(Repository(url=url, official=True) for url in github_repositories(abstract)),
            is_survey=text_of(row.get("type")) == "review" or is_survey_title(row["display_name"]),
            citations=count_of(row.get("cited_by_count")),
            provenance=(asked,),
        )


def _arxiv_of(urls: Sequence[str]) -> str | None:
    return next((i for i in (arxiv_id(u) for u in urls if "arxiv" in u.lower()) if i), None)


def _abstract(index: Any) -> str:
    """Return an abstract from its inverted index of word to positions."""
    placed = [
        (at, word) for word, places in mapping_of(index).items() for at in list_of(places) if count_of(at) is not None
    ]
    return " ".join(word for _, word in sorted(placed))


def _authors(value: Any) -> tuple[str, ...]:
    authors = (mapping_of(mapping_of(a).get("author")) for a in list_of(value))
    return tuple(n for n in (text_of(a.get("display_name")) for a in authors) if n)


def _venue(location: Any) -> str | None:
    return text_of(mapping_of(mapping_of(location).get("source")).get("display_name")) or None


def _meta(body: Any) -> dict[str, Any]:
    meta = body.get("meta") if isinstance(body, dict) else None
    if not isinstance(meta, dict):
        raise SourceError("OpenAlex answered in an unknown form.")
    return meta
