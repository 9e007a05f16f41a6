"""The search loop: ask, race, tell, until the trials or the budget are used up.

It can be stopped anywhere and called again: finished trials are in the strategy's history, the trial under way comes
back from `ask`, and what was measured is found again by whoever measures (the job keys).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agents.optimizer.racing import ItemPool, Key, RacingRules, race
from agents.optimizer.space import Point
from agents.optimizer.strategy import Proposal, Strategy
from core.errors import BudgetExceededError, JobFailedError
from core.types.optimization import TrialRecord

MAX_FAILURES_IN_A_ROW = 5


@dataclass(frozen=True)
class Measured:
    """Scores by item, and the evaluations they come from."""

    scores: Mapping[Key, float]
    evaluation_ids: tuple[str, ...] = ()


class Evaluator(Protocol):
    """What measures points of the space."""

    def candidate_id(self, point: Point) -> str:
        """Return the id of the candidate that a point is; equal recipes have equal ids."""
        ...

    async def measure(self, point: Point, keys: Sequence[Key]) -> Measured:
        """Return a point's scores on some items; raise JobFailedError when it can't be evaluated."""
        ...


async def unlimited() -> None:
    """Allow everything: the default budget."""


async def unheard(_: TrialRecord) -> None:
    """Tell nobody: the default listener."""


@dataclass(frozen=True)
class SearchPlan:
    """What a search has: how many trials, how they race, and who allows and hears of them.

    `allow` raises BudgetExceededError when nothing more may be spent.
    """

    trials: int
    rules: RacingRules = field(default_factory=RacingRules)
    seed: int = 0
    allow: Callable[[], Awaitable[None]] = unlimited
    heard: Callable[[TrialRecord], Awaitable[None]] = unheard


@dataclass
class Search:
    """A search under way. `start` holds the leader's scores; `incumbent` the best full ones so far."""

    strategy: Strategy
    evaluator: Evaluator
    pool: ItemPool
    start: Mapping[Key, float]
    plan: SearchPlan
    full: dict[str, Mapping[Key, float]] = field(default_factory=dict, init=False)
    incumbent: Mapping[Key, float] = field(init=False)
    note: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.incumbent = self.start

    @property
    def best(self) -> float:
        """Return the incumbent's score over all search items."""
        return self.pool.mean(self.incumbent)

    async def run(self) -> tuple[TrialRecord, ...]:
        """Go on until the trials or the budget are used up, and return all trials' records."""
        for record in await self.strategy.history():
            await self._recall(record)
        while len(history := await self.strategy.history()) < self.plan.trials:
            if self._hopeless(history):
                self.note = f"stopped: {MAX_FAILURES_IN_A_ROW} trials in a row failed ({history[-1].reason})"
                break
            try:
                await self.plan.allow()
            except BudgetExceededError as error:
                self.note = error.message
                break
            await self.step(history)
        return await self.strategy.history()

    async def step(self, history: Sequence[TrialRecord]) -> TrialRecord:
        """Try one point and keep what came of it."""
        proposal = await self.strategy.ask()
        record = await self._record(proposal, history)
        await self.strategy.tell(proposal, record)
        await self.plan.heard(record)
        return record

    async def _record(self, proposal: Proposal, history: Sequence[TrialRecord]) -> TrialRecord:
        identity = self.evaluator.candidate_id(proposal.point)
        record = TrialRecord(
            number=proposal.number, candidate_id=identity, source=proposal.source, state="failed",
            parameters=proposal.point.values, method=proposal.point.method, best=self.best,
        )  # fmt: skip
        twin = next((r for r in history if r.candidate_id == identity and r.state != "failed"), None)
        if twin is not None:
            return record.evolve(
                state="repeated", value=twin.value, deviation=twin.deviation, items=twin.items,
                reason=f"the same recipe as trial {twin.number}",
            )  # fmt: skip
        try:
            return await self._race(proposal.point, record)
        except JobFailedError as error:
            return record.evolve(reason=error.message)

    async def _race(self, point: Point, record: TrialRecord) -> TrialRecord:
        evaluation_ids: list[str] = []

        async def measure(keys: Sequence[Key]) -> Mapping[Key, float]:
            measured = await self.evaluator.measure(point, keys)
            evaluation_ids.extend(measured.evaluation_ids)
            return measured.scores

        order = self.pool.order(self.plan.seed, record.candidate_id)
        raced = await race(measure, self.pool, order, self.incumbent, self.plan.rules)
        if not raced.dropped:
            self._keep(record.candidate_id, raced.scores)
        return record.evolve(
            state="dropped" if raced.dropped else "complete", value=raced.value, deviation=raced.deviation,
            best=self.best, items=len(raced.scores), item_evaluations=len(raced.scores),
            evaluation_ids=tuple(evaluation_ids),
        )  # fmt: skip

    def _keep(self, candidate_id: str, scores: Mapping[Key, float]) -> None:
        self.full[candidate_id] = scores
        if self.pool.mean(scores) > self.best:
            self.incumbent = scores

    async def _recall(self, record: TrialRecord) -> None:
        """Find a finished trial's scores again: the same blocks are the same jobs."""
        if record.state != "complete" or record.candidate_id in self.full:
            return
        point = Point(method=record.method, values=record.parameters)
        scores: dict[Key, float] = {}
        for block in self.plan.rules.blocks(self.pool.order(self.plan.seed, record.candidate_id)):
            scores |= (await self.evaluator.measure(point, block)).scores
        self._keep(record.candidate_id, scores)

    @staticmethod
    def _hopeless(history: Sequence[TrialRecord]) -> bool:
        last = history[-MAX_FAILURES_IN_A_ROW:]
        return len(last) == MAX_FAILURES_IN_A_ROW and all(r.state == "failed" for r in last)
