"""What the API's process holds: the stores of one database and the queue. Opened once, closed with the process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from core.artifacts import ArtifactStore
from core.db import Database
from core.jobs import JobStore
from core.journal import JournalReader
from core.queue import Queue, open_queue
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings


@dataclass(frozen=True)
class Services:
    """The readers and writers that the endpoints use."""

    settings: Settings
    db: Database
    runs: RunStore
    journal: JournalReader
    records: RunRecords
    jobs: JobStore
    artifacts: ArtifactStore


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Give the services on the settings' database; raise OperatorError when none is set."""
    url = settings.required_database_url()
    async with AsyncExitStack() as stack:
        db = Database(url)
        stack.push_async_callback(db.close)
        queue = open_queue(url)
        await stack.enter_async_context(queue.open_async())
        yield Services(
            settings=settings,
            db=db,
            runs=RunStore(db, Queue(queue)),
            journal=JournalReader(db),
            records=RunRecords(db),
            jobs=JobStore(db),
            artifacts=ArtifactStore(db, settings.artifact_dir),
        )
