"""What happened in a run: events, transcripts and progress, written as they come. It is the agents' `Journal` port."""

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select

from core.db import Database
from core.errors import NotFoundError
from core.runs import RunStore
from core.tables import events, transcripts
from core.types.run import Event, Spent, Stage, StageProgress
from core.types.transcript import StoredTranscript, Transcript

log = logging.getLogger(__name__)


class RunJournal:
    """Writes one run's journal."""

    def __init__(self, db: Database, run_id: str) -> None:
        self._db = db
        self._runs = RunStore(db)
        self.run_id = run_id

    async def event(self, kind: str, message: str, *, stage: Stage | None = None, **data: Any) -> None:
        """Record that something happened."""
        log.info("%s %s: %s", self.run_id, kind, message)
        values = {"run_id": self.run_id, "kind": kind, "message": message, "data": data}
        async with self._db.transaction() as tx:
            await tx.execute(insert(events).values(**values, stage=stage.value if stage else None))

    async def transcript(self, transcript: Transcript) -> int:
        """Record a decision with all that led to it, and its cost; return its number."""
        usage = transcript.usage
        async with self._db.transaction() as tx:
            made = await tx.execute(
                insert(transcripts)
                .values(
                    run_id=self.run_id,
                    agent=transcript.agent,
                    decider=transcript.decider.value,
                    body=transcript.model_dump(mode="json"),
                )
                .returning(transcripts.c.id)
            )
            number = int(made.scalar_one())
        if usage.calls:
            tokens = usage.prompt_tokens + usage.completion_tokens
            await self._runs.spend(self.run_id, Spent(llm_usd=usage.cost_usd, llm_tokens=tokens))
        return number

    async def progress(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        """Record how far a stage is."""
        await self._runs.set_progress(self.run_id, stage, StageProgress(done=done, total=total, note=note))


class JournalReader:
    """Reads what was written."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def events(self, run_id: str, after: int, limit: int) -> Sequence[Event]:
        """Return events after an id, oldest first."""
        query = select(events).where(events.c.run_id == run_id, events.c.id > after).order_by(events.c.id).limit(limit)
        async with self._db.transaction() as tx:
            rows = (await tx.execute(query)).mappings().all()
        return [Event.model_validate(dict(r)) for r in rows]

    async def sandbox_events(self, run_id: str, sandbox: str, after: int, limit: int) -> Sequence[Event]:
        """Return what happened in one sandbox after an id, oldest first."""
        own = events.c.data["sandbox"].astext == sandbox
        query = (
            select(events).where(events.c.run_id == run_id, own, events.c.id > after).order_by(events.c.id).limit(limit)
        )
        async with self._db.transaction() as tx:
            rows = (await tx.execute(query)).mappings().all()
        return [Event.model_validate(dict(r)) for r in rows]

    async def recent_events(self, run_id: str, limit: int) -> Sequence[Event]:
        """Return the last events, newest first."""
        query = select(events).where(events.c.run_id == run_id).order_by(events.c.id.desc()).limit(limit)
        async with self._db.transaction() as tx:
            rows = (await tx.execute(query)).mappings().all()
        return [Event.model_validate(dict(r)) for r in rows]

    async def transcripts(self, run_id: str, after: int, limit: int) -> Sequence[StoredTranscript]:
        """Return transcripts after an id, oldest first."""
        query = (
            select(transcripts)
            .where(transcripts.c.run_id == run_id, transcripts.c.id > after)
            .order_by(transcripts.c.id)
            .limit(limit)
        )
        async with self._db.transaction() as tx:
            rows = (await tx.execute(query)).mappings().all()
        return [_stored(dict(r)) for r in rows]

    async def transcript(self, run_id: str, transcript_id: int) -> StoredTranscript:
        """Return one transcript; raise NotFoundError when the run has none with this id."""
        query = select(transcripts).where(transcripts.c.run_id == run_id, transcripts.c.id == transcript_id)
        async with self._db.transaction() as tx:
            row = (await tx.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"Run {run_id!r} has no transcript {transcript_id}.")
        return _stored(dict(row))


def _stored(row: dict[str, Any]) -> StoredTranscript:
    return StoredTranscript.model_validate(
        {**row["body"], "id": row["id"], "run_id": row["run_id"], "created_at": row["created_at"]}
    )
