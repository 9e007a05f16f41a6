"""The worker: takes merge and evaluation jobs from the queue, one at a time, and does each in a child process.

`python -m worker.main`. It knows runs only through the job table: it stops a job whose run was cancelled or whose
attempt was overtaken, and ends one that takes too long.
"""

import asyncio
import logging
import socket
import sys
import time
from dataclasses import dataclass

from core.db import DATABASE_ERRORS, Database, database_lost
from core.errors import JobFailedError, RunCancelledError
from core.jobs import JobStore
from core.queue import DO_JOB, JOBS, Duty, Queue, open_queue
from core.runs import RunStore
from core.settings import Settings
from core.types.job import JobPayload, JobResult
from core.types.run import Spent
from worker.child import Child, Failure, Progress
from worker.device import device_name

TICK_S = 1.0
PERFORM = "worker.perform:make_perform"

log = logging.getLogger(__name__)


@dataclass
class Worker:
    """Does jobs of one database, one at a time."""

    settings: Settings
    jobs: JobStore
    runs: RunStore
    child: Child
    name: str
    device: str

    async def do(self, key: str) -> None:
        """Do a job and keep its result or the reason why there is none; a lost attempt leaves no trace."""
        claimed = await self.jobs.claim(key, self.name, self.device)
        if claimed is None:
            return
        payload, attempt = claimed
        log.info("job %s (%s), attempt %d", key, payload.kind.value, attempt)
        started = time.monotonic()
        try:
            result = await self._compute(key, attempt, payload)
        except RunCancelledError:
            await self.jobs.cancel(key, attempt)
        except JobFailedError as error:
            await self.jobs.fail(key, attempt, error.message)
        else:
            if await self._keep(key, attempt, result) and self.device.startswith("cuda"):
                await self.runs.spend(key.split(":", maxsplit=1)[0], Spent(gpu_s=time.monotonic() - started))

    async def _keep(self, key: str, attempt: int, result: JobResult) -> bool:
        """Keep a result; return whether it counts."""
        try:
            return await self.jobs.succeed(key, attempt, result)
        except DATABASE_ERRORS as error:
            if database_lost(error):
                raise
            log.exception("the result of %s can't be kept", key)
            await self.jobs.fail(key, attempt, f"The result can't be kept ({type(error).__name__}).")
            return False

    async def _compute(self, key: str, attempt: int, payload: JobPayload) -> JobResult:
        """Return the result; raise JobFailedError or RunCancelledError, the child killed where it was still at it."""
        deadline = time.monotonic() + self.settings.job_timeout_s
        self.child.send(payload)
        while True:
            if not await self.jobs.wanted(key, attempt):
                self.child.kill()
                raise RunCancelledError
            if time.monotonic() > deadline:
                self.child.kill()
                raise JobFailedError(f"The job took longer than {self.settings.job_timeout_s:g} s.")
            try:
                answer = await asyncio.to_thread(self.child.receive, TICK_S)
            except EOFError:
                reason = self.child.how_it_died()
                self.child.kill()
                raise JobFailedError(f"{reason[0].upper()}{reason[1:]}.") from None
            match answer:
                case None:
                    continue
                case Progress(done, total):
                    await self.jobs.progress(key, attempt, done, total)
                case Failure(message):
                    raise JobFailedError(message)
                case _:
                    return answer

    async def abandon(self, key: str) -> bool:
        """Fail a job whose workers died too often; return whether nothing more is to be done for it."""
        return await self.jobs.abandon(key, self.settings.job_attempts)


async def run_worker(settings: Settings) -> None:
    """Do jobs until SIGTERM or SIGINT."""
    url = settings.required_database_url()
    db, app = Database(url), open_queue(url)
    device = device_name(settings.device)
    host = socket.gethostname()
    worker = Worker(settings, JobStore(db), RunStore(db), Child(PERFORM, settings), f"worker@{host}", device)

    duty = Duty(JOBS, DO_JOB, worker.do, worker.abandon)
    async with app.open_async():
        try:
            await Queue(app).serve(duty, settings)
        finally:
            worker.child.kill()
            await db.close()


def main() -> None:
    """Start a worker with the environment's settings."""
    settings = Settings()
    logging.basicConfig(level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(run_worker(settings))


if __name__ == "__main__":
    main()
