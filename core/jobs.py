"""Jobs in the database: asked for by a run's nodes, done by workers, found again by their key.

A job's key is its run and a hash of its payload, so that a node that is run again finds the same job and nothing is
computed twice. An attempt number fences off the late result of a worker that was given up.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Database
from core.errors import JobFailedError, RunCancelledError
from core.queue import Queue
from core.splits import check_split
from core.tables import jobs, runs
from core.types.evaluation import Evaluation, EvaluationSummary
from core.types.job import JobPayload, JobResult, JobStatus
from core.types.run import RunStatus

POLL_S = 0.4
PAYLOAD: TypeAdapter[JobPayload] = TypeAdapter(JobPayload)
RESULT: TypeAdapter[JobResult] = TypeAdapter(JobResult)


class JobClient:
    """Asks for jobs in the name of one run and awaits them. It is the `Jobs` port of the agents."""

    def __init__(self, db: Database, queue: Queue, run_id: str) -> None:
        self._db = db
        self._queue = queue
        self._run_id = run_id

    async def run(self, payload: JobPayload) -> JobResult:
        """Ask for a job, or find it, and await its result.

        Raises JobFailedError when the job failed, RunCancelledError when the run was cancelled meanwhile.
        """
        return (await self.run_all([payload]))[0]

    async def run_all(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        """Ask for jobs that belong together and await their results, in the order of the payloads.

        They are enqueued in one transaction, side by side: a worker does one candidate's slices one after the other
        and merges it once. Raises as `run` does.
        """
        async with self._db.transaction() as tx:
            asked = [await self._ask(payload, tx) for payload in payloads]
            await self._queue.enqueue_jobs([key for key, new in asked if new], tx)
        keys = [key for key, _ in asked]
        while True:
            rows = await self._states(keys)
            for payload, key in zip(payloads, keys, strict=True):
                if rows[key]["status"] == JobStatus.FAILED:
                    raise JobFailedError(f"{payload.kind.value}: {rows[key]['error']}")
            if any(r["status"] == JobStatus.CANCELLED or r["run_status"] == RunStatus.CANCELLED for r in rows.values()):
                raise RunCancelledError
            if all(r["status"] == JobStatus.SUCCEEDED for r in rows.values()):
                return [RESULT.validate_python(r) for r in await self._results(keys)]
            await asyncio.sleep(POLL_S)

    async def finished(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        """Return the results of those jobs that are done already; ask for none."""
        return await self._done([payload.key(self._run_id) for payload in payloads])

    async def evaluations(self, ids: Sequence[str]) -> Sequence[Evaluation]:
        """Return finished evaluations by their ids."""
        # An evaluation's id is its job's key, with or without the run's id before it.
        keys = [i if i.startswith(f"{self._run_id}:") else f"{self._run_id}:{i}" for i in ids]
        return [r for r in await self._done(keys) if isinstance(r, Evaluation)]

    async def _done(self, keys: Sequence[str]) -> Sequence[JobResult]:
        query = select(jobs.c.key, jobs.c.result).where(jobs.c.key.in_(keys), jobs.c.status == JobStatus.SUCCEEDED)
        async with self._db.transaction() as tx:
            found = {row.key: row.result for row in await tx.execute(query)}
        return [RESULT.validate_python(found[key]) for key in keys if key in found]

    async def _ask(self, payload: JobPayload, tx: AsyncConnection) -> tuple[str, bool]:
        """Insert the job; return its key and whether it is to be enqueued: new, or cancelled before a resumption."""
        check_split(payload)
        key = payload.key(self._run_id)
        values = {
            "key": key, "run_id": self._run_id, "kind": payload.kind.value, "status": JobStatus.QUEUED,
            "candidate_id": getattr(payload, "candidate_id", None),
            "payload": payload.model_dump(mode="json"),
        }  # fmt: skip
        made = await tx.execute(insert(jobs).values(values).on_conflict_do_nothing().returning(jobs.c.key))
        if made.one_or_none() is None:
            again = await tx.execute(
                update(jobs)
                .where(and_(jobs.c.key == key, jobs.c.status == JobStatus.CANCELLED))
                .values(status=JobStatus.QUEUED, error=None)
                .returning(jobs.c.key)
            )
            return key, again.one_or_none() is not None
        return key, True

    async def _states(self, keys: Sequence[str]) -> dict[str, RowMapping]:
        query = (
            select(jobs.c.key, jobs.c.status, jobs.c.error, runs.c.status.label("run_status"))
            .join(runs, runs.c.id == jobs.c.run_id)
            .where(jobs.c.key.in_(keys))
        )
        async with self._db.transaction() as tx:
            return {row["key"]: row for row in (await tx.execute(query)).mappings()}

    async def _results(self, keys: Sequence[str]) -> Sequence[Any]:
        async with self._db.transaction() as tx:
            rows = await tx.execute(select(jobs.c.key, jobs.c.result).where(jobs.c.key.in_(keys)))
            found = {row.key: row.result for row in rows}
        return [found[key] for key in keys]


class JobStore:
    """The workers' and the readers' side of the job table."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim(self, key: str, worker: str, device: str) -> tuple[JobPayload, int] | None:
        """Take a job; return its payload and this attempt's number, or None when nothing is to be done."""
        async with self._db.transaction() as tx:
            taken = await tx.execute(
                update(jobs)
                .where(and_(jobs.c.key == key, jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING])))
                .values(
                    status=JobStatus.RUNNING, attempt=jobs.c.attempt + 1, worker=worker, device=device,
                    started_at=func.clock_timestamp(),
                )
                .returning(jobs.c.payload, jobs.c.attempt)
            )  # fmt: skip
            row = taken.mappings().one_or_none()
        return None if row is None else (PAYLOAD.validate_python(row["payload"]), int(row["attempt"]))

    async def wanted(self, key: str, attempt: int) -> bool:
        """Return whether this attempt is still the one to go on: not overtaken, and the run not cancelled."""
        async with self._db.transaction() as tx:
            found = await tx.execute(
                select(jobs.c.attempt, jobs.c.status, runs.c.status.label("run_status"))
                .join(runs, runs.c.id == jobs.c.run_id)
                .where(jobs.c.key == key)
            )
            row = found.mappings().one_or_none()
        if row is None:
            return False
        current = row["attempt"] == attempt and row["status"] == JobStatus.RUNNING
        return bool(current and row["run_status"] != RunStatus.CANCELLED)

    async def progress(self, key: str, attempt: int, done: int, total: int) -> None:
        """Record how far this attempt is."""
        await self._fenced(key, attempt, done=done, total=total)

    async def succeed(self, key: str, attempt: int, result: JobResult) -> bool:
        """Keep the result; return False when another attempt has overtaken this one."""
        dumped = result.model_dump(mode="json")
        return await self._end(key, attempt, JobStatus.SUCCEEDED, result=dumped, error=None)

    async def fail(self, key: str, attempt: int, error: str) -> bool:
        """Record why this attempt has no result."""
        return await self._end(key, attempt, JobStatus.FAILED, error=error)

    async def cancel(self, key: str, attempt: int) -> bool:
        """Record that this attempt was stopped because nobody waits for it."""
        return await self._end(key, attempt, JobStatus.CANCELLED)

    async def _end(self, key: str, attempt: int, status: JobStatus, **values: Any) -> bool:
        return await self._fenced(key, attempt, status=status, finished_at=func.clock_timestamp(), **values)

    async def abandon(self, key: str, cap: int) -> bool:
        """Fail a job whose workers died `cap` times; return whether it was, or had ended anyway."""
        async with self._db.transaction() as tx:
            row = (await tx.execute(select(jobs).where(jobs.c.key == key))).mappings().one_or_none()
            if row is None or JobStatus(row["status"]) not in {JobStatus.QUEUED, JobStatus.RUNNING}:
                return True
            if row["attempt"] < cap:
                return False
            error = f"The worker died {row['attempt']} times while doing this job; it is not tried again."
            await tx.execute(
                update(jobs)
                .where(jobs.c.key == key)
                .values(status=JobStatus.FAILED, error=error, finished_at=func.clock_timestamp())
            )
            return True

    async def _fenced(self, key: str, attempt: int, **values: Any) -> bool:
        mine = and_(jobs.c.key == key, jobs.c.attempt == attempt, jobs.c.status == JobStatus.RUNNING)
        async with self._db.transaction() as tx:
            changed = await tx.execute(update(jobs).where(mine).values(**values).returning(jobs.c.key))
            return changed.one_or_none() is not None

    async def of_run(self, run_id: str, candidate_id: str | None = None) -> Sequence[RowMapping]:
        """Return the jobs of a run, or of one of its candidates, without payloads and results."""
        query = select(
            jobs.c.key, jobs.c.kind, jobs.c.candidate_id, jobs.c.status, jobs.c.attempt, jobs.c.worker, jobs.c.done,
            jobs.c.total, jobs.c.error, jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at,
        ).where(jobs.c.run_id == run_id).order_by(jobs.c.created_at)  # fmt: skip
        if candidate_id is not None:
            query = query.where(jobs.c.candidate_id == candidate_id)
        async with self._db.transaction() as tx:
            return (await tx.execute(query)).mappings().all()

    async def results(self, run_id: str, candidate_id: str | None = None) -> Sequence[JobResult]:
        """Return the results of finished evaluations of a run, or of one candidate, oldest first."""
        wanted = [jobs.c.run_id == run_id, jobs.c.status == JobStatus.SUCCEEDED, jobs.c.candidate_id.is_not(None)]
        if candidate_id is not None:
            wanted.append(jobs.c.candidate_id == candidate_id)
        async with self._db.transaction() as tx:
            rows = await tx.execute(select(jobs.c.result).where(and_(*wanted)).order_by(jobs.c.finished_at))
            return [RESULT.validate_python(r) for r in rows.scalars()]

    async def evaluations(self, run_id: str) -> Sequence[EvaluationSummary]:
        """Return the finished evaluations of a run without their items, oldest first."""
        parts = (jobs.c.result[name].label(name) for name in EvaluationSummary.model_fields)
        query = (
            select(*parts)
            .where(jobs.c.run_id == run_id, jobs.c.status == JobStatus.SUCCEEDED, jobs.c.result.has_key("score"))
            .order_by(jobs.c.finished_at)
        )
        async with self._db.transaction() as tx:
            return [EvaluationSummary.model_validate(dict(r)) for r in (await tx.execute(query)).mappings()]
