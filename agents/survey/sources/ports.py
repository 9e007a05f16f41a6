"""What the survey asks of outside services beyond searching and citations."""

from collections.abc import Sequence
from typing import Protocol

from core.ports import Page
from core.types.base import Value
from core.types.work import Repository, Work


class ListedWork(Value):
    """One entry of a curated list: its title, where it points, its code, and the headings above it."""

    title: str
    url: str | None = None
    arxiv: str | None = None
    doi: str | None = None
    code: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()


class ListCandidate(Value):
    """A repository that may be a curated list."""

    full_name: str
    url: str
    description: str = ""
    stars: int | None = None


class RepositoryHit(Value):
    """A repository that a search found, with what is said of it."""

    repository: Repository
    full_name: str
    description: str = ""


class Resolver(Protocol):
    """A source that returns works by their ids, many at a time."""

    name: str

    async def by_ids(self, ids: Sequence[str]) -> Page:
        """Return the works that the source holds of these arXiv ids and DOIs."""
        ...

    async def by_title(self, title: str) -> Page:
        """Return the works whose title is this, none or few."""
        ...


class ListHost(Protocol):
    """Where curated lists live."""

    name: str

    async def lists(self, query: str) -> Sequence[ListCandidate]:
        """Return repositories that may be curated lists on a topic."""
        ...

    async def readme(self, full_name: str) -> str:
        """Return a repository's README, or nothing where there is none."""
        ...


class CodeHost(Protocol):
    """Where code lives."""

    name: str

    async def verify(self, repository: Repository) -> Repository:
        """Return a repository with its licence, stars, last commit and whether it still exists."""
        ...

    async def repositories(self, query: str) -> Sequence[RepositoryHit]:
        """Return repositories that a search finds."""
        ...

    async def readme(self, full_name: str) -> str:
        """Return a repository's README, or nothing where there is none."""
        ...


class PaperHub(Protocol):
    """Where papers are tied to models and repositories."""

    name: str

    async def repositories_of(self, work: Work) -> Sequence[Repository]:
        """Return the repositories that the hub ties to a paper."""
        ...

    async def models_of(self, work: Work) -> Sequence[str]:
        """Return the models whose cards name a paper."""
        ...
