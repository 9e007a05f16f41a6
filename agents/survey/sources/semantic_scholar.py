"""Semantic Scholar's Graph API: search, batches by id, titles, references and citations.

Without a key it answers 429 often; the fetcher waits as told. Publishers withhold some reference lists: then `data` is
null, and the page is empty, not an error.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from agents.survey.dedupe import make_work
from agents.survey.sources.arxiv import is_survey_title
from agents.survey.sources.http import Answer, Fetcher, Request
from agents.survey.sources.json_values import count_of, list_of, mapping_of, text_of
from agents.survey.text import arxiv_id, doi, github_repositories, normalize_title, query_text
from core.errors import SourceError
from core.ports import Page
from core.types.work import Provenance, Repository, Work, WorkIds

PAGE_SIZE = 100
EDGES = 500
BATCH = 500
REACH = 1000  # offset + limit of a relevance search may not go beyond
_FIELDS = "paperId,externalIds,title,abstract,year,venue,authors.name,citationCount,publicationTypes,url"
_FOUND = frozenset({200, 404})


class SemanticScholarSource:
    """Semantic Scholar behind the ports of literature, citation and resolving sources."""

    name = "semantic_scholar"

    def __init__(self, fetcher: Fetcher, key: str | None = None) -> None:
        self._fetcher = fetcher
        self._secrets = {"x-api-key": key} if key else {}

    async def search(self, query: str, page: int = 0) -> Page:
        """Return one page of works by relevance; the API shows the first thousand."""
        start = page * PAGE_SIZE
        if start + PAGE_SIZE > REACH:
            return Page(works=())
        params = {"query": query_text(query), "offset": str(start), "limit": str(PAGE_SIZE), "fields": _FIELDS}
        answer = await self._get("/graph/v1/paper/search", params)
        body = _mapping(answer.json())
        asked = Provenance(source=self.name, query=query, page=page)
        more = isinstance(body.get("next"), int) and body["next"] + PAGE_SIZE <= REACH
        return _page(list_of(body.get("data")), asked, answer, next_page=page + 1 if more else None).model_copy(
            update={"total": count_of(body.get("total"))}
        )

    async def references(self, work: Work, page: int = 0) -> Page:
        """Return works that a work cites."""
        return await self._edges(work, "references", "citedPaper", page)

    async def citations(self, work: Work, page: int = 0) -> Page:
        """Return works that cite a work."""
        return await self._edges(work, "citations", "citingPaper", page)

    async def by_ids(self, ids: Sequence[str]) -> Page:
        """Return the works with these arXiv ids or DOIs, at most 500 of them."""
        wanted = [f"DOI:{i}" if doi(i) else f"ARXIV:{i}" for i in ids[:BATCH]]
        request = Request(
            self.name, "/graph/v1/paper/batch", {"fields": _FIELDS}, body={"ids": wanted}, secrets=self._secrets
        )
        answer = await self._fetcher.ask(request)
        rows = answer.json()
        return _page(list_of(rows), Provenance(source=self.name, query=f"{len(wanted)} ids"), answer)

    async def by_title(self, title: str) -> Page:
        """Return the work whose title is this, or none."""
        params = {"query": query_text(title), "fields": _FIELDS}
        answer = await self._get("/graph/v1/paper/search/match", params, accepted=_FOUND)
        rows = list_of(_mapping(answer.json()).get("data")) if answer.status == 200 else []
        page = _page(rows, Provenance(source=self.name, query=f"title:{title}"), answer)
        same = tuple(w for w in page.works if normalize_title(w.title) == normalize_title(title))
        return page.model_copy(update={"works": same})

    async def _edges(self, work: Work, kind: str, end: str, page: int) -> Page:
        paper = paper_id(work)
        asked = Provenance(source=self.name, query=f"{kind}:{work.key}", page=page)
        if paper is None:
            return Page(works=())
        params = {"fields": _FIELDS, "offset": str(page * EDGES), "limit": str(EDGES)}
        answer = await self._get(f"/graph/v1/paper/{quote(paper, safe=':')}/{kind}", params, accepted=_FOUND)
        body = _mapping(answer.json()) if answer.status == 200 else {}
        rows = [mapping_of(row).get(end) for row in list_of(body.get("data"))]
        return _page(rows, asked, answer, next_page=page + 1 if isinstance(body.get("next"), int) else None)

    async def _get(self, path: str, params: Mapping[str, str], accepted: frozenset[int] = frozenset({200})) -> Answer:
        return await self._fetcher.ask(Request(self.name, path, params, secrets=self._secrets, accepted=accepted))


def paper_id(work: Work) -> str | None:
    """Return the best id by which the API knows a work."""
    ids = work.ids
    if ids.s2:
        return ids.s2
    if ids.arxiv:
        return f"ARXIV:{ids.arxiv}"
    return f"DOI:{ids.doi}" if ids.doi else None


def _page(rows: Sequence[Any], asked: Provenance, answer: Answer, next_page: int | None = None) -> Page:
    works = tuple(w for w in (_work(row, asked) for row in rows) if w is not None)
    return Page(works=works, next_page=next_page, cached=answer.cached)


def _work(row: Any, asked: Provenance) -> Work | None:
    """Return the work of one row, or None for a row without title and id, as malformed and withheld rows are."""
    title = text_of(mapping_of(row).get("title"))
    if not title:
        return None
    external = mapping_of(row.get("externalIds"))
    paper = text_of(row.get("paperId")) or None
    ids = WorkIds(arxiv=arxiv_id(text_of(external.get("ArXiv"))), doi=doi(text_of(external.get("DOI"))), s2=paper)
    if not any((ids.arxiv, ids.doi, ids.s2)):
        return None
    abstract = text_of(row.get("abstract"))
    return make_work(
        title,
        ids,
        authors=tuple(n for n in (text_of(mapping_of(a).get("name")) for a in list_of(row.get("authors"))) if n),
        year=count_of(row.get("year")),
        venue=text_of(row.get("venue")) or None,
        abstract=abstract,
        url=text_of(row.get("url")) or None,
        repositories=tuple(Repository(url=url, official=True) for url in github_repositories(abstract)),
        is_survey="Review" in list_of(row.get("publicationTypes")) or is_survey_title(title),
        citations=count_of(row.get("citationCount")),
        provenance=(asked,),
    )


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SourceError("Semantic Scholar answered in an unknown form.")
    return value
