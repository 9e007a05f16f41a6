"""The queue: Procrastinate on the same PostgreSQL. Work is enqueued in the caller's transaction, an outbox for free.

An entry is done when its task returned. One whose process was stopped, killed or cut off from the database is taken up
again; the tables of runs and jobs say how often that was.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import procrastinate
from procrastinate.exceptions import ConnectorException, JobAborted
from procrastinate.jobs import Job, Status
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import DATABASE_ERRORS, database_lost, driver_connection, plain_url
from core.errors import OperatorError
from core.settings import Settings

RUNS = "runs"
JOBS = "jobs"
DRIVE_RUN = "drive_run"
DO_JOB = "do_job"

# How long a process that lost its database stays, so that entries can be given back where it is there again.
PARTING_S = 1.0

# The advisory lock of whoever adds entries.
_ENQUEUING = 0x7265_7365
_AWAY: tuple[type[Exception], ...] = (ConnectorException, OSError, *DATABASE_ERRORS)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Duty:
    """What a process does for a queue: `do` gets an entry's run id or job key.

    `abandon` is asked before an entry of a dead process is taken up again; where it returns True, its cap was reached
    and its end is recorded.
    """

    queue: str
    task: str
    do: Callable[[str], Awaitable[None]]
    abandon: Callable[[str], Awaitable[bool]]
    concurrency: int = 1
    grace_s: float = 2.0


class _GivenBack(procrastinate.BaseRetryStrategy):
    """Gives an entry back when its process is stopped, or has lost the database."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> procrastinate.RetryDecision | None:
        stopped = isinstance(exception, asyncio.CancelledError | JobAborted)
        return procrastinate.RetryDecision(retry_in={"seconds": 1}) if stopped or database_lost(exception) else None


def open_queue(url: str) -> procrastinate.App:
    """Return the queue's app on a database; tasks are declared by the processes that do them."""
    connector = procrastinate.PsycopgConnector(conninfo=plain_url(url), min_size=1, max_size=6)
    return procrastinate.App(connector=connector)


class Queue:
    """Enqueues runs and jobs, and takes up again what dead processes left."""

    def __init__(self, app: procrastinate.App) -> None:
        self.app = app

    async def enqueue_run(self, run_id: str, connection: AsyncConnection) -> None:
        """Enqueue the driving of a run; it becomes visible when the caller's transaction commits."""
        await self._defer([self._entry(RUNS, DRIVE_RUN, "run_id", run_id)], connection)

    async def enqueue_jobs(self, keys: Sequence[str], connection: AsyncConnection) -> None:
        """Enqueue workers' jobs; they become visible when the caller's transaction commits.

        Those of another run or candidate don't come in between.
        """
        await self._defer([self._entry(JOBS, DO_JOB, "key", key) for key in keys], connection)

    def _entry(self, queue: str, task: str, argument: str, value: str) -> Job:
        return self.app.configure_task(name=task, queue=queue, lock=f"{task}:{value}").make_new_job(**{argument: value})

    async def _defer(self, entries: list[Job], connection: AsyncConnection) -> None:
        if entries:
            # Until the caller's commit: entries are numbered one by one, also within one statement.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ENQUEUING})
            await self.app.job_manager.batch_defer_jobs_async(entries, await driver_connection(connection))

    async def serve(self, duty: Duty, settings: Settings) -> None:
        """Do a queue's entries until SIGTERM or SIGINT.

        Raises OperatorError when the database was lost: what was being done is in doubt then, and only a fresh process
        knows that it holds no half of it.
        """
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        @self.app.task(name=duty.task, queue=duty.queue, retry=_GivenBack())
        async def do(**arguments: str) -> None:
            try:
                await duty.do(*arguments.values())
            except DATABASE_ERRORS as error:
                if database_lost(error) and not lost.done():
                    log.warning("the database was lost: %s", error)
                    lost.set_result(None)
                raise

        tasks = {asyncio.create_task(self._work(duty, settings)), asyncio.create_task(self._rescue(duty, settings))}
        try:
            await asyncio.wait({*tasks, lost}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                await asyncio.wait(tasks, timeout=PARTING_S, return_when=asyncio.FIRST_COMPLETED)
                raise OperatorError("The database was lost.", fix="Start it, and this process again.")
            for task in tasks:
                if task.done():
                    task.result()
        except ConnectorException as error:
            raise OperatorError(f"The database was lost: {error}", fix="Start it, and this process again.") from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, duty: Duty, settings: Settings) -> None:
        await self.app.run_worker_async(
            queues=[duty.queue],
            name=f"{duty.queue}@{socket.gethostname()}",
            concurrency=duty.concurrency,
            fetch_job_polling_interval=1.0,
            update_heartbeat_interval=settings.heartbeat_s,
            stalled_worker_timeout=settings.stalled_after_s,
            shutdown_graceful_timeout=duty.grace_s,
        )

    async def rescue(self, duty: Duty, silent_s: float) -> int:
        """Enqueue again what processes silent for `silent_s` seconds left; return how many."""
        stalled = await self.app.job_manager.get_stalled_jobs(queue=duty.queue, seconds_since_heartbeat=silent_s)
        rescued = 0
        for job in stalled:
            if await duty.abandon(*map(str, job.task_kwargs.values())):
                await self.app.job_manager.finish_job(job, status=Status.FAILED, delete_job=False)
                continue
            await self.app.job_manager.retry_job(job, retry_at=datetime.now(UTC))
            rescued += 1
        if rescued:
            log.warning("took up %d stalled task(s) of queue %s again", rescued, duty.queue)
        return rescued

    async def _rescue(self, duty: Duty, settings: Settings) -> None:
        """Rescue at every half of the time after which a process counts as dead; a database that is away is awaited."""
        while True:
            try:
                await self.rescue(duty, settings.stalled_after_s)
            except _AWAY as error:
                log.warning("rescue failed, will try again: %s", error)
            await asyncio.sleep(settings.stalled_after_s / 2)
