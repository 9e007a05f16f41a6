"""Runs in the database: their states and the transitions between them.

Every transition is one conditional UPDATE, so that two processes can't both make it; `version` grows with each change.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Text, and_, cast, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Database
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.queue import Queue
from core.tables import runs
from core.types.run import Run, RunStatus, Spent, Stage, StageProgress
from core.types.sow import StatementOfWork

ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)


def _run(row: RowMapping) -> Run:
    end = row["finished_at"] or datetime.now(UTC)
    wall = (end - row["started_at"]).total_seconds() if row["started_at"] else 0.0
    return Run(
        id=row["id"],
        sow=StatementOfWork.model_validate(row["sow"]),
        status=RunStatus(row["status"]),
        stage=Stage(row["stage"]) if row["stage"] else None,
        progress={k: StageProgress.model_validate(v) for k, v in row["progress"].items()},
        spent=Spent(
            wall_clock_s=round(wall, 3), gpu_s=row["gpu_s"], llm_usd=row["llm_usd"],
            llm_tokens=row["llm_tokens"], trials=row["trials"],
        ),
        error=row["error"],
        gate=row["gate"],
        best_candidate=row["best_candidate"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
        version=row["version"],
    )  # fmt: skip


def new_run_id() -> str:
    """Return an id that sorts by time and can't be guessed."""
    return f"run-{datetime.now(UTC):%Y%m%d%H%M%S}-{uuid.uuid4().hex[:10]}"


class RunStore:
    """Runs of one database. `queue` is needed where runs are started: by the API."""

    def __init__(self, db: Database, queue: Queue | None = None) -> None:
        self._db = db
        self._queue = queue

    async def create(
        self, sow: StatementOfWork, *, root: str = "", idempotency_key: str | None = None, body_digest: str = ""
    ) -> tuple[Run, bool]:
        """Insert and enqueue a run in one transaction; return it and whether it is new.

        With a known idempotency key the same body gives the same run; another body raises InvalidInputError.
        """
        values = {
            "id": new_run_id(), "sow": sow.model_dump(mode="json"), "root": root, "status": RunStatus.QUEUED,
            "idempotency_key": idempotency_key, "body_digest": body_digest,
        }  # fmt: skip
        async with self._db.transaction() as tx:
            made = await tx.execute(
                insert(runs).values(values).on_conflict_do_nothing(index_elements=["idempotency_key"]).returning(runs)
            )
            row = made.mappings().one_or_none()
            if row is not None:
                await self._enqueue(row["id"], tx)
                return _run(row), True
            known = await tx.execute(select(runs).where(runs.c.idempotency_key == idempotency_key))
            row = known.mappings().one()
        if row["body_digest"] != body_digest:
            raise InvalidInputError(
                "This Idempotency-Key was used with another body.", fix="Send a new key with a new body."
            )
        return _run(row), False

    async def _enqueue(self, run_id: str, tx: AsyncConnection) -> None:
        if self._queue is None:
            raise TypeError("this RunStore was made without a queue")
        await self._queue.enqueue_run(run_id, tx)

    async def get(self, run_id: str) -> Run:
        """Return a run; raise NotFoundError when there is none."""
        return _run(await self._row(run_id))

    async def root(self, run_id: str) -> str:
        """Return the folder that the SoW's relative paths start from."""
        return str((await self._row(run_id))["root"])

    async def _row(self, run_id: str) -> RowMapping:
        async with self._db.transaction() as tx:
            row = (await tx.execute(select(runs).where(runs.c.id == run_id))).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return row

    async def page(self, status: RunStatus | None, limit: int, cursor: str | None) -> tuple[Sequence[Run], str | None]:
        """Return runs, newest first, and the cursor of the next page, if any."""
        query = select(runs).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit + 1)
        if status is not None:
            query = query.where(runs.c.status == status)
        if cursor:
            after = await self._row(cursor)
            query = query.where(tuple_(runs.c.created_at, runs.c.id) < (after["created_at"], after["id"]))
        async with self._db.transaction() as tx:
            rows = (await tx.execute(query)).mappings().all()
        found = [_run(r) for r in rows[:limit]]
        return found, (found[-1].id if len(rows) > limit else None)

    async def take_up(self, run_id: str) -> Run | None:
        """Mark a run as running by this executor; return None when it has ended or was cancelled meanwhile."""
        return await self._change(
            run_id,
            runs.c.status.in_([RunStatus.QUEUED, RunStatus.RUNNING]),
            status=RunStatus.RUNNING, attempt=runs.c.attempt + 1,
            started_at=func.coalesce(runs.c.started_at, func.clock_timestamp()), error=None,
        )  # fmt: skip

    async def put_back(self, run_id: str) -> None:
        """Give back a run whose executor is stopped on purpose; the attempt does not count."""
        await self._change(
            run_id, runs.c.status == RunStatus.RUNNING, status=RunStatus.QUEUED, attempt=runs.c.attempt - 1
        )

    async def attempts(self, run_id: str) -> int:
        """Return how many times executors took the run up."""
        return int((await self._row(run_id))["attempt"])

    async def set_stage(self, run_id: str, stage: Stage) -> None:
        """Record the stage that a running run is in."""
        await self._change(run_id, runs.c.status == RunStatus.RUNNING, stage=stage)

    async def set_progress(self, run_id: str, stage: Stage, progress: StageProgress) -> None:
        """Record how far a stage is."""
        merged = runs.c.progress.op("||")(cast({stage.value: progress.model_dump()}, JSONB))
        await self._change(run_id, runs.c.status.in_(ACTIVE), progress=merged)

    async def advance(self, run_id: str, stage: Stage) -> None:
        """Count one more unit of a stage as done, never beyond its total; branches that run side by side add up."""
        done = runs.c.progress[stage.value]["done"].as_integer() + 1
        total = runs.c.progress[stage.value]["total"].as_integer()
        path = cast([stage.value, "done"], ARRAY(Text))
        moved = func.jsonb_set(runs.c.progress, path, func.to_jsonb(func.least(done, total)))
        await self._change(run_id, runs.c.progress.has_key(stage.value), progress=moved)

    async def set_best(self, run_id: str, candidate_id: str) -> None:
        """Record the best candidate so far."""
        await self._change(run_id, runs.c.status.in_(ACTIVE), best_candidate=candidate_id)

    async def spend(self, run_id: str, spent: Spent) -> None:
        """Add what was used. Wall-clock time is kept by itself."""
        await self._change(
            run_id, runs.c.id == run_id,
            gpu_s=runs.c.gpu_s + spent.gpu_s, llm_usd=runs.c.llm_usd + spent.llm_usd,
            llm_tokens=runs.c.llm_tokens + spent.llm_tokens, trials=runs.c.trials + spent.trials,
        )  # fmt: skip

    async def wait_at(self, run_id: str, gate: str) -> None:
        """Wait for a person's decision at a gate."""
        await self._change(run_id, runs.c.status == RunStatus.RUNNING, status=RunStatus.WAITING, gate=gate)

    async def decide(self, run_id: str, decision: dict[str, Any]) -> Run:
        """Take a person's decision at the gate and go on; raise ConflictError when none is asked for."""
        return await self._restart(run_id, (RunStatus.WAITING,), decision=decision, gate=None)

    async def take_decision(self, run_id: str) -> dict[str, Any] | None:
        """Return the decision that the graph has yet to take, if any."""
        decision: dict[str, Any] | None = (await self._row(run_id))["decision"]
        return decision

    async def clear_decision(self, run_id: str) -> None:
        """Forget a decision that the graph has taken."""
        await self._change(run_id, runs.c.id == run_id, decision=None)

    async def resume(self, run_id: str) -> Run:
        """Go on with a failed or cancelled run from its last checkpoint; raise ConflictError in other states."""
        return await self._restart(run_id, (RunStatus.FAILED, RunStatus.CANCELLED), attempt=0, finished_at=None)

    async def _restart(self, run_id: str, allowed: tuple[RunStatus, ...], **values: Any) -> Run:
        async with self._db.transaction() as tx:
            changed = await self._update(tx, run_id, runs.c.status.in_(allowed), status=RunStatus.QUEUED, **values)
            if changed is not None:
                await self._enqueue(run_id, tx)
                return changed
        return await self._refuse(run_id, allowed)

    async def cancel(self, run_id: str) -> Run:
        """Cancel a run that has not ended; its executor and its jobs stop soon after."""
        changed = await self.finish(run_id, RunStatus.CANCELLED, error="Cancelled by request.")
        return changed or await self._refuse(run_id, ACTIVE)

    async def _refuse(self, run_id: str, allowed: Sequence[RunStatus]) -> Run:
        status = (await self.get(run_id)).status
        raise ConflictError(
            f"The run is {status.value}.", fix=f"This is possible while it is {' or '.join(a.value for a in allowed)}."
        )

    async def finish(self, run_id: str, status: RunStatus, error: str | None = None) -> Run | None:
        """End a run that has not ended; return None when it had."""
        return await self._change(
            run_id, runs.c.status.in_(ACTIVE), status=status, error=error, gate=None,
            finished_at=func.clock_timestamp(),
        )  # fmt: skip

    async def _change(self, run_id: str, condition: ColumnElement[bool], **values: Any) -> Run | None:
        async with self._db.transaction() as tx:
            return await self._update(tx, run_id, condition, **values)

    async def _update(
        self, tx: AsyncConnection, run_id: str, condition: ColumnElement[bool], **values: Any
    ) -> Run | None:
        changed = await tx.execute(
            update(runs)
            .where(and_(runs.c.id == run_id, condition))
            .values(version=runs.c.version + 1, updated_at=func.clock_timestamp(), **values)
            .returning(runs)
        )
        row = changed.mappings().one_or_none()
        return None if row is None else _run(row)
