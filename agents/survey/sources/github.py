"""GitHub: repository search, READMEs, and what became of a repository.

A renamed repository answers 301 and is 'moved'; a deleted or private one answers 404 and is 'gone'. The last commit is
the time of the last push to any branch. READMEs are hostile text; they are returned as text and never rendered here.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from agents.survey.sources.http import Fetcher, Request
from agents.survey.sources.json_values import count_of, mapping_of, text_of
from agents.survey.sources.ports import ListCandidate, RepositoryHit
from agents.survey.text import github_repositories
from core.errors import SourceError
from core.types.work import Repository, RepositoryStatus

SEARCH_SIZE = 30
LIST_PAGES = 3
_ANSWERS = frozenset({200, 404, 451})
_NO_LICENCE = frozenset({"", "NOASSERTION"})


class GitHubSource:
    """GitHub behind the ports of lists and code."""

    name = "github"

    def __init__(self, fetcher: Fetcher, token: str | None = None) -> None:
        self._fetcher = fetcher
        self._secrets = {"Authorization": f"Bearer {token}"} if token else {}

    async def lists(self, query: str) -> Sequence[ListCandidate]:
        """Return repositories that may be curated lists on a topic, the most starred first."""
        rows: list[Mapping[str, Any]] = []
        for page in range(1, LIST_PAGES + 1):
            found = await self._search(f"awesome {query} in:name,description,readme", sort="stars", page=page)
            rows += found
            if len(found) < SEARCH_SIZE:
                break
        return tuple(
            ListCandidate(
                full_name=text_of(row.get("full_name")),
                url=text_of(row.get("html_url")),
                description=text_of(row.get("description")),
                stars=count_of(row.get("stargazers_count")),
            )
            for row in rows
        )

    async def repositories(self, query: str) -> Sequence[RepositoryHit]:
        """Return repositories whose name, description or README holds the query."""
        rows = await self._search(f"{query} in:name,description,readme")
        return tuple(
            RepositoryHit(
                repository=_repository(row, RepositoryStatus.EXISTS, None),
                full_name=text_of(row.get("full_name")),
                description=text_of(row.get("description")),
            )
            for row in rows
        )

    async def readme(self, full_name: str) -> str:
        """Return a repository's README, or nothing where there is none."""
        answer = await self._fetcher.ask(self._request(f"/repos/{quote(full_name)}/readme", accepted=_ANSWERS))
        if answer.status != 200:
            return ""
        body = answer.json()
        content = body.get("content") if isinstance(body, dict) else None
        if not isinstance(content, str):
            raise SourceError(f"GitHub sent no content for the README of {full_name}.")
        try:
            return base64.b64decode(content).decode("utf-8", errors="replace")
        except binascii.Error as error:
            raise SourceError(f"The README of {full_name} is not base64.") from error

    async def verify(self, repository: Repository) -> Repository:
        """Return a repository with its licence, stars, last push and whether it exists, moved or is gone."""
        names = github_repositories(repository.url)
        if not names:
            return repository
        full_name = names[0].removeprefix("https://github.com/")
        answer = await self._fetcher.ask(self._request(f"/repos/{quote(full_name)}", accepted=_ANSWERS))
        if answer.status != 200:
            return repository.evolve(status=RepositoryStatus.GONE)
        row = answer.json()
        if not isinstance(row, dict):
            raise SourceError(f"GitHub answered in an unknown form about {full_name}.")
        moved = answer.moved or text_of(row.get("full_name")).lower() != full_name.lower()
        status = RepositoryStatus.MOVED if moved else RepositoryStatus.EXISTS
        return _repository(row, status, repository.official, repository.needs)

    async def _search(self, query: str, sort: str = "", page: int = 1) -> list[Mapping[str, Any]]:
        params = {"q": query, "per_page": str(SEARCH_SIZE), "page": str(page)} | ({"sort": sort} if sort else {})
        answer = await self._fetcher.ask(self._request("/search/repositories", params))
        body = answer.json()
        items = body.get("items") if isinstance(body, dict) else None
        if not isinstance(items, list):
            raise SourceError("GitHub answered a search in an unknown form.")
        return [row for row in items if isinstance(row, dict) and text_of(row.get("full_name"))]

    def _request(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        accepted: frozenset[int] = frozenset({200}),
    ) -> Request:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return Request(self.name, path, params or {}, headers, secrets=self._secrets, accepted=accepted)


def _repository(
    row: Mapping[str, Any], status: RepositoryStatus, official: bool | None, needs: tuple[str, ...] = ()
) -> Repository:
    spdx = text_of(mapping_of(row.get("license")).get("spdx_id"))
    language = text_of(row.get("language"))
    return Repository(
        url=f"https://github.com/{text_of(row.get('full_name'))}",
        official=official,
        licence=None if spdx in _NO_LICENCE else spdx,
        stars=count_of(row.get("stargazers_count")),
        last_commit=text_of(row.get("pushed_at"))[:10] or None,
        archived=row["archived"] if isinstance(row.get("archived"), bool) else None,
        status=status,
        needs=needs or ((language,) if language else ()),
    )
