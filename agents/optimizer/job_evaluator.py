"""Measures candidates through jobs, on search slices only: every payload passes the split check before it is asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from agents.optimizer.failures import FailureMemory
from agents.optimizer.racing import ItemPool, Key
from agents.optimizer.search import Measured
from agents.optimizer.space import Point, SearchSpace
from core.calibration import calibration_for
from core.errors import JobFailedError
from core.leaderboard import item_scores
from core.ports import Jobs
from core.splits import TRIAL_PREFIX, check_stage
from core.types.candidate import Candidate, CandidateKind
from core.types.evaluation import Evaluation
from core.types.job import MergeEvaluate
from core.types.run import Stage
from core.types.sow import Benchmark, Models, Role, StatementOfWork


@dataclass(frozen=True)
class JobEvaluator:
    """Turns points and candidates into jobs of one run. `norms`: of the experts' task vectors, as workers tell them."""

    jobs: Jobs
    sow: StatementOfWork
    space: SearchSpace
    root: str = ""
    failures: FailureMemory = field(default_factory=FailureMemory)
    norms: dict[str, float] = field(default_factory=dict)

    def candidate_id(self, point: Point) -> str:
        """Return the trial's id: a hash of its recipe."""
        return f"{TRIAL_PREFIX}{self.space.recipe(point).digest}"

    def candidate(self, point: Point, source: str) -> Candidate:
        """Return a point as a candidate."""
        recipe = self.space.recipe(point)
        return Candidate(
            id=self.candidate_id(point), name=f"{recipe.method} ({source})", kind=CandidateKind.TRIAL,
            stage="optimize", recipe=recipe, parameters=point.values, note=source,
        )  # fmt: skip

    async def measure(self, point: Point, keys: Sequence[Key]) -> Measured:
        """Return a point's scores on some items."""
        return await self._measure(self.candidate(point, ""), keys)

    async def in_full(self, candidate: Candidate) -> tuple[Measured, ItemPool]:
        """Return a candidate's scores on all items of the search slices, and these items."""
        trial = candidate.evolve(id=f"{TRIAL_PREFIX}{candidate.recipe.digest}") if candidate.recipe else candidate
        measured = await self._measure(trial, None)
        slices = self.sow.benchmarks_of(Role.SEARCH)
        items = {b.name: tuple(i for name, i in measured.scores if name == b.name) for b in slices}
        return measured, ItemPool(items, {b.name: b.weight for b in slices})

    async def _measure(self, candidate: Candidate, keys: Sequence[Key] | None) -> Measured:
        asked = [(b, _items_of(b, keys)) for b in self.sow.benchmarks_of(Role.SEARCH)]
        wanted = [(b, ids) for b, ids in asked if ids is None or ids]
        found = await asyncio.gather(*(self._evaluate(candidate, b, ids) for b, ids in wanted))
        for evaluation in found:
            self.failures.keep(candidate.id, evaluation)
            self.norms.update(evaluation.task_vectors)
        scores = {
            (b.name, item): score
            for (b, _), evaluation in zip(wanted, found, strict=True)
            for item, score in item_scores([evaluation], b.metric).items()
        }
        missing = set(keys or ()) - scores.keys()
        if missing:
            raise JobFailedError(
                f"{candidate.id}: {len(missing)} of {len(keys or ())} items came back without outcome."
            )
        return Measured(scores, tuple(e.id for e in found))

    async def _evaluate(self, candidate: Candidate, benchmark: Benchmark, ids: tuple[str, ...] | None) -> Evaluation:
        if candidate.recipe is None:
            raise JobFailedError(f"{candidate.id} has no recipe and can't be evaluated on search items.")
        payload = MergeEvaluate(
            candidate_id=candidate.id, models=_models(self.sow), recipe=candidate.recipe, benchmark=benchmark,
            item_ids=ids, root=self.root, calibration=calibration_for(self.sow, candidate.recipe.method),
        )  # fmt: skip
        check_stage(payload, Stage.OPTIMIZE, self.sow)
        result = await self.jobs.run(payload)
        if not isinstance(result, Evaluation) or not result.outcomes:
            raise JobFailedError(f"{candidate.id} on {benchmark.name}: the worker gave no outcomes.")
        return result


def _items_of(benchmark: Benchmark, keys: Sequence[Key] | None) -> tuple[str, ...] | None:
    return None if keys is None else tuple(sorted(item for name, item in keys if name == benchmark.name))


def _models(sow: StatementOfWork) -> Models:
    if sow.models is None:
        raise TypeError("a merge task has models: intake checks it")
    return sow.models
