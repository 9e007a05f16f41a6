"""The search of a command task: the leading directory with other numbers, scored by the command in the role `search`.

A command gives one number on a scale of its own, so nothing is raced and nothing smoothed; the raw best goes to
confirmation, which runs the command anew under seeds and in a role that the search never used.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from agents.optimizer.finalists import FINAL_PREFIX
from agents.optimizer.optuna_strategy import OptunaStrategy
from agents.optimizer.optuna_study import OptunaStudy, StudySettings
from agents.optimizer.racing import ItemPool, Key, RacingRules
from agents.optimizer.search import Measured, Search, SearchPlan
from agents.optimizer.space import ParameterSpace, Point
from core.errors import JobFailedError
from core.ports import Jobs
from core.splits import TRIAL_PREFIX, check_split
from core.types.candidate import Candidate, CandidateKind
from core.types.evaluation import Evaluation
from core.types.job import CommandEvaluate
from core.types.optimization import OptimizationResult, TrialRecord
from core.types.sow import StatementOfWork

KEY: Key = ("command", "metric")
POOL = ItemPool({KEY[0]: (KEY[1],)}, {KEY[0]: 1.0})
SAMPLERS = ("tpe", "cmaes", "random")
DIGITS = 6


@dataclass(frozen=True)
class CommandEvaluator:
    """Turns points into jobs that run the command on the leader's directory."""

    jobs: Jobs
    sow: StatementOfWork
    leader: Candidate
    root: str = ""

    def candidate_id(self, point: Point) -> str:
        """Return the trial's id: a hash of the directory and the numbers."""
        content = json.dumps([self.leader.artifact, _rounded(point)], sort_keys=True)
        return f"{TRIAL_PREFIX}{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def candidate(self, point: Point, source: str) -> Candidate:
        """Return a point as a candidate."""
        return Candidate(
            id=self.candidate_id(point), name=f"{self.leader.name} ({source})", kind=CandidateKind.TRIAL,
            stage="optimize", artifact=self.leader.artifact, parameters=_rounded(point), note=source,
        )  # fmt: skip

    @property
    def metric(self) -> str:
        """Return what the numbers are called: a metric that is to be minimized is kept negated."""
        spec = self.sow.evaluation
        return "" if spec is None else spec.metric if spec.direction == "maximize" else f"neg_{spec.metric}"

    async def measure(self, point: Point, keys: Sequence[Key]) -> Measured:
        """Return the command's number with a point's parameters."""
        return await self._run(self.candidate(point, ""))

    async def start(self) -> Measured:
        """Return the leader's own number in the role of the search."""
        return await self._run(self.leader.evolve(id=f"{TRIAL_PREFIX}start"))

    async def _run(self, candidate: Candidate) -> Measured:
        if self.sow.evaluation is None or candidate.artifact is None:
            raise TypeError("a command task has an evaluation and its candidates are directories: intake checks it")
        payload = CommandEvaluate(
            candidate_id=candidate.id, artifact=candidate.artifact, evaluation=self.sow.evaluation, role="search",
            seed=self.sow.seed, parameters=candidate.parameters, root=self.root,
        )  # fmt: skip
        check_split(payload)
        result = await self.jobs.run(payload)
        if not isinstance(result, Evaluation):
            raise JobFailedError(f"{candidate.id}: the worker gave no number.")
        return Measured({KEY: result.score.value}, (result.id,))


async def search_command(evaluator: CommandEvaluator, plan: SearchPlan, settings: StudySettings) -> OptimizationResult:
    """Search from the leader and return what came of it; a leader that can't be measured is handed on."""
    sow, leader = evaluator.sow, evaluator.leader
    try:
        start = await evaluator.start()
    except JobFailedError as error:
        note = f"The leader could not be evaluated in the search: {error.message}"
        return OptimizationResult(strategy="none", finalists=(leader,), note=note)
    space = ParameterSpace(sow.optimization.parameters)
    sampler = sow.optimization.strategy if sow.optimization.strategy in SAMPLERS else SAMPLERS[0]
    plan = replace(plan, rules=RacingRules(drops=False), seed=sow.seed)
    with closing(OptunaStudy(space, settings)) as study:
        strategy = OptunaStrategy(study, sampler, [("middle of the limits", space.middle())])
        search = Search(strategy, evaluator, POOL, start.scores, plan)
        trials = await search.run()
        return OptimizationResult(
            strategy=sampler, metric=evaluator.metric, study=study.name, trials=trials,
            finalists=_finalists(evaluator, trials, start), start_value=start.scores[KEY], best_value=search.best,
            item_evaluations=1 + sum(t.item_evaluations for t in trials), items=1, importance=study.importance(),
            note=search.note,
        )  # fmt: skip


def _finalists(evaluator: CommandEvaluator, trials: Sequence[TrialRecord], start: Measured) -> tuple[Candidate, ...]:
    """Return the best trials that beat the leader, and the leader itself where there is room."""
    count = evaluator.sow.optimization.finalists
    better = [t for t in trials if t.state == "complete" and (t.value or 0.0) > start.scores[KEY]]
    chosen = [_final(evaluator, t) for t in sorted(better, key=lambda t: -(t.value or 0.0))[:count]]
    return (*chosen, evaluator.leader) if len(chosen) < count else tuple(chosen)


def _final(evaluator: CommandEvaluator, trial: TrialRecord) -> Candidate:
    """Return a trial as a finalist, with an id of its own: trials are run in the role of the search only."""
    candidate = evaluator.candidate(Point(method=trial.method, values=trial.parameters), trial.source)
    return candidate.evolve(
        id=f"{FINAL_PREFIX}{candidate.id.removeprefix(TRIAL_PREFIX)}", stage="confirm",
        name=f"{evaluator.leader.name}, trial {trial.number}", note=f"trial {trial.number} ({trial.source})",
    )  # fmt: skip


def _rounded(point: Point) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in sorted(point.values.items())}
