"""The ask/tell port over an Optuna study: warm starts first, then one sampler."""

import asyncio
from collections.abc import Sequence

from agents.optimizer.optuna_study import START, OptunaStudy
from agents.optimizer.space import Point
from agents.optimizer.strategy import Proposal
from core.types.optimization import TrialRecord


class OptunaStrategy:
    """A study that is asked one sampler's way. Samplers compute in a thread, so that the caller's loop stays free."""

    def __init__(self, study: OptunaStudy, sampler: str, starts: Sequence[tuple[str, Point]] = ()) -> None:
        self.study = study
        self._sampler = sampler
        self._starts = starts

    @property
    def name(self) -> str:
        """Return the sampler's name."""
        return self._sampler

    async def ask(self) -> Proposal:
        """Return an unfinished trial, else the next warm start, else the sampler's choice."""
        return await self.begun() or await self.propose(self._sampler)

    async def propose(self, sampler: str) -> Proposal:
        """Return a new trial at the point that a sampler chooses."""
        return await asyncio.to_thread(self.study.propose, sampler)

    async def tell(self, proposal: Proposal, record: TrialRecord) -> None:
        """Keep what came of a proposal."""
        await asyncio.to_thread(self.study.tell, proposal, record)

    async def history(self) -> tuple[TrialRecord, ...]:
        """Return all finished trials, in the order asked."""
        return await asyncio.to_thread(self.study.history)

    async def begun(self) -> Proposal | None:
        """Return an unfinished trial or the next warm start; None when the strategy itself has to choose."""
        return await asyncio.to_thread(self._begun)

    def _begun(self) -> Proposal | None:
        left = self.study.unfinished()
        if left is not None:
            return left
        used = self.study.starts_used()
        for name, point in self._starts:
            if name not in used:
                return self.study.put(point, f"warm start: {name}", **{START: name})
        return None
