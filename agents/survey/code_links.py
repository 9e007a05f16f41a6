"""Code for works: what sources, lists, paper pages and searches point to, and what its host says of it now.

A repository found by search is linked only when its README names the paper by id or full title; whether a repository is
the authors' own is stated only where a source says so. READMEs are hostile text: they are searched, never followed.
"""

from collections.abc import Sequence
from functools import partial

from agents.survey.dedupe import Found
from agents.survey.desk import Sources
from agents.survey.gather import Gatherer
from agents.survey.ledger import Asked
from agents.survey.lists import read_list
from agents.survey.sources.ports import CodeHost
from agents.survey.text import normalize_title
from core.types.work import Repository, RepositoryStatus, Work

MOST_REPOSITORIES = 3
_HITS_READ = 3


async def link_code(gatherer: Gatherer, sources: Sources, kept: Sequence[Found]) -> None:
    """Put onto each kept work its repositories, verified; the most relevant works first while the budget lasts."""
    await gatherer.side_by_side([_from_hub(gatherer, sources, found) for found in kept])
    host = sources.code
    if host is None:
        return
    without = [f for f in kept if not f.work.repositories][: gatherer.desk.limits.code_searches]
    await gatherer.side_by_side([_from_search(gatherer, host, found) for found in without])
    await gatherer.side_by_side([_verify(gatherer, host, found) for found in kept])


async def _from_hub(gatherer: Gatherer, sources: Sources, found: Found) -> None:
    hub, work = sources.hub, found.work
    if hub is None or work.repositories or not work.ids.arxiv or hub.name not in {p.source for p in work.provenance}:
        return
    asked = Asked(hub.name, f"paper:{work.key}")
    named = await gatherer.guard(asked, partial(hub.repositories_of, work))
    if named is not None:
        gatherer.bench.ledger.noted(asked, f"{len(named)} repositories")
        _put(found, named)


async def _from_search(gatherer: Gatherer, host: CodeHost, found: Found) -> None:
    """Search by arXiv id, else by title, and link what names the work in its README."""
    query = f'"{found.work.ids.arxiv}"' if found.work.ids.arxiv else f'"{found.work.title}"'
    asked = Asked(host.name, f"code:{query}")
    hits = await gatherer.guard(asked, partial(host.repositories, query))
    if hits is None:
        return
    linked = []
    for hit in hits[:_HITS_READ]:
        readme = await gatherer.guard(Asked(host.name, f"readme:{hit.full_name}"), partial(host.readme, hit.full_name))
        if readme and names_work(readme, found.work) and read_list(hit.full_name, readme) is None:
            linked.append(hit.repository)
    gatherer.bench.ledger.noted(asked, f"{len(hits)} repositories, {len(linked)} name the work")
    _put(found, linked)


async def _verify(gatherer: Gatherer, host: CodeHost, found: Found) -> None:
    repositories = []
    for repository in found.work.repositories[:MOST_REPOSITORIES]:
        asked = Asked(host.name, f"repository:{repository.url}")
        checked = await gatherer.guard(asked, partial(host.verify, repository))
        if checked is not None and checked.status is not RepositoryStatus.UNCHECKED:
            gatherer.bench.ledger.noted(asked, checked.status.value)
        repositories.append(checked or repository)
    distinct = {r.url.lower(): r for r in reversed(repositories)}
    _replace(found, tuple(reversed(distinct.values())))


def names_work(readme: str, work: Work) -> bool:
    """Return whether a README names a work by its arXiv id or its full title."""
    if work.ids.arxiv and work.ids.arxiv in readme:
        return True
    title = normalize_title(work.title)
    return len(title.split()) >= 4 and title in normalize_title(readme)


def _put(found: Found, repositories: Sequence[Repository]) -> None:
    known = {r.url.lower() for r in found.work.repositories}
    new = tuple(r for r in repositories if r.url.lower() not in known)
    _replace(found, (*found.work.repositories, *new))


def _replace(found: Found, repositories: tuple[Repository, ...]) -> None:
    found.work = found.work.model_copy(update={"repositories": repositories})
