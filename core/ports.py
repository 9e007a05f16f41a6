"""Ports: what the agents need from the outside, as small protocols. Fakes are real implementations of them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from core.types.base import Value
from core.types.evaluation import Evaluation
from core.types.job import JobPayload, JobResult
from core.types.run import Stage
from core.types.transcript import Transcript
from core.types.work import Work


class Page(Value):
    """One page of a source's answer. `next_page` is None at the end; `total` where the source says it."""

    works: tuple[Work, ...]
    next_page: int | None = None
    total: int | None = None
    cached: bool = False


@runtime_checkable
class LiteratureSource(Protocol):
    """Where works come from. Raises SourceError when the source fails for good after bounded back-off."""

    name: str

    async def search(self, query: str, page: int = 0) -> Page:
        """Return one page of works that match a query."""
        ...


@runtime_checkable
class CitationSource(Protocol):
    """A source that knows who cites whom."""

    name: str

    async def references(self, work: Work, page: int = 0) -> Page:
        """Return works that a work cites."""
        ...

    async def citations(self, work: Work, page: int = 0) -> Page:
        """Return works that cite a work."""
        ...


class Jobs(Protocol):
    """Work for the workers, found again by its key when a node is run again."""

    async def run(self, payload: JobPayload) -> JobResult:
        """Ask for a job, or find it, and await its result; raise JobFailedError when it has none."""
        ...

    async def run_all(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        """Do the same for jobs that belong together; results come in the order of the payloads."""
        ...

    async def finished(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        """Return the results of those jobs that are done already; ask for none."""
        ...

    async def evaluations(self, ids: Sequence[str]) -> Sequence[Evaluation]:
        """Return finished evaluations by their ids."""
        ...


class Journal(Protocol):
    """Where an agent writes what it did, as it does it."""

    async def event(self, kind: str, message: str, *, stage: Stage | None = None, **data: Any) -> None:
        """Record that something happened."""
        ...

    async def transcript(self, transcript: Transcript) -> int:
        """Record a decision with all that led to it and return its number."""
        ...

    async def progress(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        """Record how far a stage is."""
        ...


class Cache(Protocol):
    """Answers of outside services, kept with an expiry so that no question is asked twice."""

    async def get(self, key: str) -> bytes | None:
        """Return a kept answer, or None when there is none or it is too old."""
        ...

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Keep an answer for some seconds."""
        ...


class Artifacts(Protocol):
    """Content-addressed files of a run."""

    async def put(self, run_id: str, name: str, data: bytes, media_type: str) -> str:
        """Store a file under a name in a run and return its digest (SHA-256, hex)."""
        ...

    async def put_file(self, run_id: str, name: str, path: Path, media_type: str) -> str:
        """Move a file into the store under a name in a run and return its digest."""
        ...

    def path_of(self, digest: str) -> Path:
        """Return where the bytes with a digest are on this machine."""
        ...

    async def get(self, run_id: str, name: str) -> bytes:
        """Return a file's bytes; raise NotFoundError when there is none."""
        ...

    async def name(self, run_id: str, name: str, digest: str, media_type: str) -> None:
        """Give a file that a worker put into the store a name in a run."""
        ...


class Texts(Protocol):
    """Sentence embeddings."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one unit vector a text."""
        ...


class EventStream(Protocol):
    """Live events of a run."""

    def follow(self, run_id: str, after: int = 0) -> AsyncIterator[Mapping[str, Any]]:
        """Yield events after an id as they come, until the run ends."""
        ...
