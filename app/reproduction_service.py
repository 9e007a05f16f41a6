"""Reproductions of a run: a row a work, and what its agent did, step by step, while it happens."""

from app.service import Services
from core.types.base import Value
from core.types.reproduction import ReproductionRow, Reproductions
from core.types.run import Event

DOCUMENT = "reproduction."


class ReproductionDetail(Value):
    """One reproduction with its agent's steps after a number, oldest first; `next` is the number to ask after next."""

    row: ReproductionRow
    steps: tuple[Event, ...]
    next: int


async def reproductions(services: Services, run_id: str) -> Reproductions:
    """Return a run's reproductions; raise NotFoundError when there is no such run."""
    await services.runs.get(run_id)
    return Reproductions(rows=tuple(await services.records.every(run_id, DOCUMENT, ReproductionRow)))


async def reproduction(
    services: Services, run_id: str, candidate_id: str, after: int, limit: int
) -> ReproductionDetail:
    """Return one reproduction; raise NotFoundError when the run has none of this candidate."""
    row = await services.records.get(run_id, f"{DOCUMENT}{candidate_id}", ReproductionRow)
    steps = tuple(await services.journal.sandbox_events(run_id, row.sandbox, after, limit))
    return ReproductionDetail(row=row, steps=steps, next=steps[-1].id if steps else after)
