"""What agents said and did in a run: a page of rows, or whole conversations."""

from datetime import datetime
from typing import Any

from app.service import Services
from core.types.base import Value
from core.types.transcript import Decider, StoredTranscript, Usage


class TranscriptRow(Value):
    """A transcript without its messages."""

    id: int
    agent: str
    decision: str
    decider: Decider
    model: str | None
    reason: str
    outcome: Any
    messages: int
    errors: tuple[str, ...]
    usage: Usage
    created_at: datetime


class TranscriptPage(Value):
    """Transcripts after a number, oldest first; `next` is the number to ask after next."""

    items: tuple[TranscriptRow, ...]
    next: int


class FullTranscriptPage(Value):
    """Transcripts in full after a number, oldest first."""

    items: tuple[StoredTranscript, ...]
    next: int


async def full_page(services: Services, run_id: str, after: int, limit: int) -> FullTranscriptPage:
    """Return a page of whole transcripts; raise NotFoundError when there is no such run."""
    await services.runs.get(run_id)
    items = tuple(await services.journal.transcripts(run_id, after, limit))
    return FullTranscriptPage(items=items, next=items[-1].id if items else after)


async def transcript_page(services: Services, run_id: str, after: int, limit: int) -> TranscriptPage:
    """Return a page of transcripts without messages; raise NotFoundError when there is no such run."""
    page = await full_page(services, run_id, after, limit)
    return TranscriptPage(items=tuple(_row(t) for t in page.items), next=page.next)


def _row(transcript: StoredTranscript) -> TranscriptRow:
    shared = set(TranscriptRow.model_fields) - {"messages"}
    return TranscriptRow(messages=len(transcript.messages), **{name: getattr(transcript, name) for name in shared})
