"""The queue: Procrastinate on the same PostgreSQL. Work is enqueued in the caller's transaction, an outbox for free."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import procrastinate
from procrastinate.jobs import Job, Status
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import driver_connection, plain_url

RUNS = "runs"
JOBS = "jobs"
DRIVE_RUN = "drive_run"
DO_JOB = "do_job"

log = logging.getLogger(__name__)


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

        One statement adds them, so that those of another run or candidate don't come in between.
        """
        await self._defer([self._entry(JOBS, DO_JOB, "key", key) for key in keys], connection)

    def _entry(self, queue: str, task: str, argument: str, value: str) -> Job:
        return self.app.configure_task(name=task, queue=queue, lock=f"{task}:{value}").make_new_job(**{argument: value})

    async def _defer(self, entries: list[Job], connection: AsyncConnection) -> None:
        if entries:
            await self.app.job_manager.batch_defer_jobs_async(entries, await driver_connection(connection))

    async def rescue(self, queue: str, silent_s: float, abandon: Callable[[Job], Awaitable[bool]]) -> int:
        """Enqueue again what workers silent for `silent_s` seconds left; return how many.

        `abandon` is asked first; where it returns True the job's cap was reached and its end is recorded.
        """
        stalled = await self.app.job_manager.get_stalled_jobs(queue=queue, seconds_since_heartbeat=silent_s)
        rescued = 0
        for job in stalled:
            if await abandon(job):
                await self.app.job_manager.finish_job(job, status=Status.FAILED, delete_job=False)
                continue
            await self.app.job_manager.retry_job(job, retry_at=datetime.now(UTC))
            rescued += 1
        if rescued:
            log.warning("took up %d stalled task(s) of queue %s again", rescued, queue)
        return rescued

    async def rescue_forever(self, queue: str, silent_s: float, abandon: Callable[[Job], Awaitable[bool]]) -> None:
        """Rescue at every half of `silent_s`, until cancelled; a database that is away for a while is waited for."""
        while True:
            try:
                await self.rescue(queue, silent_s, abandon)
            except (procrastinate.exceptions.ConnectorException, OSError) as error:
                log.warning("rescue failed, will try again: %s", error)
            await asyncio.sleep(silent_s / 2)
