"""arXiv's Atom API: search, and works by id.

The API answers malformed queries with a feed of one entry titled 'Error', and now and then with an empty page in the
middle of a result: the first is a failure, the second is asked for once more. Code is read from comments and abstracts.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from agents.survey.dedupe import make_work
from agents.survey.sources.atom import parse_xml
from agents.survey.sources.http import Answer, Fetcher, Request
from agents.survey.sources.json_values import text_of
from agents.survey.text import arxiv_id, doi, github_repositories, normalize_title, query_text
from core.errors import SourceError
from core.ports import Page
from core.types.work import Provenance, Repository, Work, WorkIds

PAGE_SIZE = 100
BATCH = 100
_ATOM = "{http://www.w3.org/2005/Atom}"
_OPEN = "{http://a9.com/-/spec/opensearch/1.1/}"
_ARXIV = "{http://arxiv.org/schemas/atom}"
_SURVEY = re.compile(r"\b(survey|review|overview|sok|taxonomy)\b|综 述")


def is_survey_title(title: str) -> bool:
    """Return whether a title announces a survey."""
    return bool(_SURVEY.search(normalize_title(title)))


class ArxivSource:
    """arXiv behind the port of literature sources."""

    name = "arxiv"

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def search(self, query: str, page: int = 0) -> Page:
        """Return one page of works whose record holds the query as a phrase."""
        phrase = query_text(query)
        params = {
            "search_query": f'all:"{phrase}"',
            "start": str(page * PAGE_SIZE),
            "max_results": str(PAGE_SIZE),
            "sortBy": "relevance",
        }
        return await self._page(params, Provenance(source=self.name, query=query, page=page))

    async def by_ids(self, ids: Sequence[str]) -> Page:
        """Return the works with these arXiv ids, at most 100 of them; it knows no DOIs."""
        own = [i for i in ids if not doi(i)]
        if not own:
            return Page(works=())
        wanted = ",".join(own[:BATCH])
        params = {"id_list": wanted, "start": "0", "max_results": str(BATCH)}
        return await self._page(params, Provenance(source=self.name, query=f"ids:{wanted}"))

    async def by_title(self, title: str) -> Page:
        """Return the works that have these words as their title."""
        phrase = query_text(title)
        params = {"search_query": f'ti:"{phrase}"', "start": "0", "max_results": "5"}
        page = await self._page(params, Provenance(source=self.name, query=f"title:{title}"))
        same = tuple(w for w in page.works if normalize_title(w.title) == normalize_title(title))
        return page.model_copy(update={"works": same, "next_page": None})

    async def _page(self, params: dict[str, str], asked: Provenance) -> Page:
        answer, root = await self._feed(params)
        total = _number(root, f"{_OPEN}totalResults")
        start = _number(root, f"{_OPEN}startIndex")
        entries = root.findall(f"{_ATOM}entry")
        if not entries and start < total:
            answer, root = await self._feed({**params, "again": "1"})
            entries = root.findall(f"{_ATOM}entry")
        works = tuple(w for w in (_work(entry, asked) for entry in entries) if w is not None)
        more = bool(entries) and start + len(entries) < total
        return Page(works=works, next_page=asked.page + 1 if more else None, total=total, cached=answer.cached)

    async def _feed(self, params: dict[str, str]) -> tuple[Answer, Element]:
        answer = await self._fetcher.ask(Request("arxiv", "/api/query", params, check=parse_xml))
        root = parse_xml(answer.body)
        if root.tag != f"{_ATOM}feed":
            raise SourceError(f"arXiv answered with <{root.tag}>, not a feed.")
        first = root.find(f"{_ATOM}entry")
        if first is not None and (first.findtext(f"{_ATOM}title") or "").strip() == "Error":
            raise SourceError(f"arXiv refused the query: {(first.findtext(f'{_ATOM}summary') or '').strip()[:200]}")
        return answer, root


def _work(entry: Element, asked: Provenance) -> Work | None:
    title = text_of(entry.findtext(f"{_ATOM}title"))
    where = urlsplit((entry.findtext(f"{_ATOM}id") or "").strip()).path
    number = arxiv_id(where)
    if not title or not number:
        return None
    summary = text_of(entry.findtext(f"{_ATOM}summary"))
    comment = entry.findtext(f"{_ARXIV}comment") or ""
    published = entry.findtext(f"{_ATOM}published") or ""
    code = github_repositories(f"{comment} {summary}")
    return make_work(
        title,
        WorkIds(arxiv=number, doi=doi(entry.findtext(f"{_ARXIV}doi"))),
        authors=tuple(n for n in (text_of(a.findtext(f"{_ATOM}name")) for a in entry.findall(f"{_ATOM}author")) if n),
        year=int(published[:4]) if published[:4].isdigit() else None,
        venue=entry.findtext(f"{_ARXIV}journal_ref"),
        abstract="" if normalize_title(summary) == normalize_title(title) else summary,
        url=f"https://arxiv.org/abs/{number}",
        repositories=tuple(Repository(url=url, official=True) for url in code),
        is_survey=is_survey_title(title),
        provenance=(asked,),
    )


def _number(root: Element, name: str) -> int:
    text = (root.findtext(name) or "").strip()
    return int(text) if text.isdigit() else 0
