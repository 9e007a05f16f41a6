"""The model hub: paper search, the repository a paper page names, and models whose cards cite a paper."""

from collections.abc import Sequence
from typing import Any

from agents.survey.dedupe import make_work
from agents.survey.sources.arxiv import is_survey_title
from agents.survey.sources.http import Fetcher, Request
from agents.survey.sources.json_values import list_of, mapping_of, text_of
from agents.survey.text import arxiv_id, github_repositories, query_text
from core.errors import SourceError
from core.ports import Page
from core.types.work import Provenance, Repository, Work, WorkIds

SEARCH_SIZE = 100
_ANSWERS = frozenset({200, 404})


class HubSource:
    """The hub behind the ports of literature and of papers."""

    name = "hub"

    def __init__(self, fetcher: Fetcher, token: str | None = None) -> None:
        self._fetcher = fetcher
        self._secrets = {"Authorization": f"Bearer {token}"} if token else {}

    async def search(self, query: str, page: int = 0) -> Page:
        """Return the papers that a search finds; the API has one page."""
        if page:
            return Page(works=())
        params = {"q": query_text(query), "limit": str(SEARCH_SIZE)}
        answer = await self._fetcher.ask(Request(self.name, "/api/papers/search", params, secrets=self._secrets))
        rows = answer.json()
        if not isinstance(rows, list):
            raise SourceError("The hub answered a search in an unknown form.")
        asked = Provenance(source=self.name, query=query)
        works = (_work(row.get("paper", row), asked) for row in rows if isinstance(row, dict))
        return Page(works=tuple(w for w in works if w is not None), cached=answer.cached)

    async def repositories_of(self, work: Work) -> Sequence[Repository]:
        """Return the repository that a paper's page names, which its authors set."""
        paper = await self._get(f"/api/papers/{work.ids.arxiv}") if work.ids.arxiv else None
        return _code(paper) if isinstance(paper, dict) else ()

    async def models_of(self, work: Work) -> Sequence[str]:
        """Return models whose cards name a paper, the most downloaded first."""
        if not work.ids.arxiv:
            return ()
        params = {"filter": f"arxiv:{work.ids.arxiv}", "sort": "downloads", "limit": "10"}
        rows = await self._get("/api/models", params)
        ids = [row.get("id") or row.get("modelId") for row in rows or () if isinstance(row, dict)]
        return tuple(i for i in ids if isinstance(i, str))

    async def _get(self, path: str, params: dict[str, str] | None = None) -> Any:
        answer = await self._fetcher.ask(
            Request(self.name, path, params or {}, secrets=self._secrets, accepted=_ANSWERS)
        )
        return answer.json() if answer.status == 200 else None


def _work(paper: Any, asked: Provenance) -> Work | None:
    title = text_of(mapping_of(paper).get("title"))
    number = arxiv_id(text_of(mapping_of(paper).get("id")))
    if not title or number is None:
        return None
    names = (text_of(mapping_of(a).get("name")) for a in list_of(paper.get("authors")))
    published = text_of(paper.get("publishedAt"))
    return make_work(
        title,
        WorkIds(arxiv=number),
        authors=tuple(n for n in names if n),
        year=int(published[:4]) if published[:4].isdigit() else None,
        abstract=text_of(paper.get("summary")),
        url=f"https://arxiv.org/abs/{number}",
        repositories=_code(paper),
        is_survey=is_survey_title(title),
        provenance=(asked,),
    )


def _code(paper: dict[str, Any]) -> tuple[Repository, ...]:
    urls = github_repositories(text_of(paper.get("githubRepo")))
    return tuple(Repository(url=url, official=True) for url in urls[:1])
