"""A work: a paper with its ids, code and where we learned of it. Only sources make works, never a model's text."""

from enum import StrEnum

from pydantic import Field

from core.types.base import Value


class RepositoryStatus(StrEnum):
    """What became of a repository, as its host answered."""

    EXISTS = "exists"
    MOVED = "moved"
    GONE = "gone"
    UNCHECKED = "unchecked"


class Repository(Value):
    """Code for a work. `official` is None where nothing tells whose it is."""

    url: str
    official: bool | None = None
    licence: str | None = None
    stars: int | None = None
    last_commit: str | None = None
    archived: bool | None = None
    status: RepositoryStatus = RepositoryStatus.UNCHECKED
    needs: tuple[str, ...] = ()


class Provenance(Value):
    """Where a fact came from: source, the query or id asked, and the page."""

    source: str
    query: str
    page: int = 0


class WorkIds(Value):
    """Identifiers, best first. arXiv ids carry no version."""

    arxiv: str | None = None
    doi: str | None = None
    s2: str | None = None
    openalex: str | None = None


class Work(Value):
    """A paper. `key` is stable within a run: the best id, else a hash of title, first author and year."""

    key: str
    title: str = Field(min_length=1)
    authors: tuple[str, ...] = ()
    year: int | None = None
    venue: str | None = None
    abstract: str = ""
    url: str | None = None
    ids: WorkIds = WorkIds()
    repositories: tuple[Repository, ...] = ()
    categories: tuple[str, ...] = ()
    evidence: str = Field("", description="why it is in these categories")
    is_survey: bool = False
    relevance: float | None = None
    citations: int | None = None
    method: str | None = Field(None, description="stable name of the built-in method that implements it")
    pros: tuple[str, ...] = ()
    cons: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    provenance: tuple[Provenance, ...] = ()


class Screening(StrEnum):
    """Whether a found work belongs to the topic."""

    KEPT = "kept"
    DROPPED = "dropped"
    BORDERLINE = "borderline"


class LedgerRow(Value):
    """One question to one source and what came of it, so that a reader can audit and a later run continue."""

    source: str
    query: str
    page: int = 0
    found: int = 0
    new: int = 0
    kept: int = 0
    dropped: int = 0
    reason: str = ""
    cached: bool = False
    seconds: float = 0.0


class Coverage(Value):
    """How complete the list is: an estimate of the population with its interval, and what it rests on."""

    estimated_total: float | None = None
    low: float | None = None
    high: float | None = None
    method: str
    note: str = ""


class Survey(Value):
    """The outcome of a survey: kept works, borderline ones, the taxonomy, the ledger and the coverage."""

    works: tuple[Work, ...]
    borderline: tuple[Work, ...] = ()
    dropped: int = 0
    taxonomy: dict[str, str] = Field(default_factory=dict, description="category -> what belongs to it")
    ledger: tuple[LedgerRow, ...] = ()
    coverage: Coverage | None = None
    stop_reason: str = ""
    prose: tuple[str, ...] = Field((), description="paragraphs that cite works as [key]")
    model_used: str | None = None
