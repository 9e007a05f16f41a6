"""Shares trials between strategies by what they have gained: Thompson sampling on 'this trial became the best'.

Old trials count less than new ones, since what helps early (a wide net) rarely helps late.
"""

from collections.abc import Sequence

import numpy as np

from agents.optimizer.optuna_strategy import OptunaStrategy
from agents.optimizer.proposer import Proposer
from agents.optimizer.strategy import Proposal
from core.types.optimization import TrialRecord

ARMS = ("gp", "tpe", "cmaes")
PROPOSER = "proposer"
FORGETTING = 0.9


def gains(history: Sequence[TrialRecord]) -> list[bool]:
    """Return for every trial whether it was better than all before it."""
    best, found = -np.inf, []
    for record in history:
        value = record.value if record.state == "complete" and record.value is not None else -np.inf
        found.append(value > best)
        best = max(best, value)
    return found


def choose_arm(history: Sequence[TrialRecord], arms: Sequence[str], seed: int) -> str:
    """Return the arm of the next trial. The same history and seed give the same arm."""
    counts = {arm: [1.0, 1.0] for arm in arms}
    age = len(history)
    for place, (record, gained) in enumerate(zip(history, gains(history), strict=True)):
        if record.source in counts:
            counts[record.source][0 if gained else 1] += FORGETTING ** (age - place - 1)
    generator = np.random.default_rng((seed, age))
    draws = {arm: float(generator.beta(counts[arm][0], counts[arm][1])) for arm in arms}
    return max(arms, key=lambda arm: draws[arm])


class BanditStrategy:
    """Several samplers, and a language model's proposals where there is one, over one study."""

    name = "bandit"

    def __init__(self, base: OptunaStrategy, seed: int, proposer: Proposer | None = None) -> None:
        self._base = base
        self._seed = seed
        self._proposer = proposer
        self._arms = (*ARMS, PROPOSER) if proposer else ARMS

    async def ask(self) -> Proposal:
        """Return an unfinished trial or warm start, else a point of the chosen arm."""
        begun = await self._base.begun()
        if begun is not None:
            return begun
        history = await self.history()
        arm = choose_arm(history, self._arms, self._seed)
        if arm == PROPOSER and self._proposer is not None:
            point, refused = await self._proposer.propose(history)
            self._base.study.refuse(refused)
            if point is not None:
                return self._base.study.put(point, PROPOSER)
            arm = ARMS[0]
        return await self._base.propose(arm)

    async def tell(self, proposal: Proposal, record: TrialRecord) -> None:
        """Keep what came of a proposal."""
        await self._base.tell(proposal, record)

    async def history(self) -> tuple[TrialRecord, ...]:
        """Return all finished trials, in the order asked."""
        return await self._base.history()
