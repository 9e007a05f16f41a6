"""The optimizer agent: improve on the leader within the budget, on the search slices alone.

Called once by the run's graph, and again after a kill: trials go on from the study, measurements from finished jobs.
Where nothing can be searched (a command task, no search slice, no trials), the leader is the finalist and the result
says why.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from agents.context import RunContext
from agents.decision import Brain
from agents.optimizer.bandit import BanditStrategy
from agents.optimizer.command_search import CommandEvaluator, search_command
from agents.optimizer.finalists import finalists, optimism
from agents.optimizer.job_evaluator import JobEvaluator
from agents.optimizer.optuna_strategy import OptunaStrategy
from agents.optimizer.optuna_study import OptunaStudy, StudySettings
from agents.optimizer.proposer import Proposer
from agents.optimizer.racing import RacingRules
from agents.optimizer.search import Search, SearchPlan
from agents.optimizer.space import Point, space_of
from agents.optimizer.strategy import Strategy
from agents.optimizer.warm_starts import warm_starts
from agents.run_budget import check_budget
from core.errors import JobFailedError
from core.ports import Jobs
from core.types.candidate import Candidate, Leaderboard
from core.types.optimization import OptimizationResult, TrialRecord
from core.types.run import Spent, Stage
from core.types.sow import Role, StatementOfWork

DOCUMENT = "optimization"


async def optimize_leader(context: RunContext, leader: str) -> list[str]:
    """Search from the leader and return the ids of the finalists, best first. Never raises for a failed search."""
    start = await context.records.candidate(context.run_id, leader)
    board = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    reason = _nothing_to_search(context.sow, start)
    if reason:
        result = OptimizationResult(strategy="none", finalists=(start,), note=reason)
    else:
        result = await _optimize(context, start, board)
    for finalist in result.finalists:
        await context.records.put_candidate(context.run_id, finalist)
    await context.records.put(context.run_id, DOCUMENT, result)
    await context.journal.event(
        "optimization.finished", _summary(context.sow, result), stage=Stage.OPTIMIZE,
        finalists=[c.id for c in result.finalists],
    )  # fmt: skip
    return [c.id for c in result.finalists]


def _nothing_to_search(sow: StatementOfWork, leader: Candidate) -> str:
    if sow.kind == "command":
        if not sow.optimization.parameters:
            return "The Statement of Work names no numbers to vary (optimization.parameters), so nothing was searched."
        return "" if _trials(sow) else "No trials were asked for."
    if not sow.benchmarks_of(Role.SEARCH):
        return "The Statement of Work has no benchmark with role 'search', so nothing was searched."
    if _trials(sow) == 0:
        return "No trials were asked for."
    return "" if leader.recipe else "The leader is a submitted artifact, not a recipe; nothing was searched."


def _trials(sow: StatementOfWork) -> int:
    limit = sow.budget.trials
    return sow.optimization.trials if limit is None else min(limit, sow.optimization.trials)


async def _optimize(context: RunContext, leader: Candidate, board: Leaderboard) -> OptimizationResult:
    settings = StudySettings(f"run-{context.run_id}", context.database_url, context.sow.seed)
    if context.sow.kind == "command":
        command = CommandEvaluator(context.jobs, context.sow, leader, context.root)
        return await search_command(command, _plan(context, command), settings)
    evaluator = JobEvaluator(context.jobs, context.sow, space_of(context.sow, board), context.root)
    plan = _plan(context, evaluator)
    return await search_result(
        context.jobs, context.sow, (leader, board), plan, Surroundings(settings, context.brain, context.root)
    )


def _plan(context: RunContext, evaluator: JobEvaluator | CommandEvaluator) -> SearchPlan:
    return SearchPlan(_trials(context.sow), allow=lambda: check_budget(context), heard=_Listener(context, evaluator))


@dataclass(frozen=True)
class Surroundings:
    """Where a search keeps its study, who proposes, and the folder that relative paths start from."""

    study: StudySettings = field(default_factory=lambda: StudySettings("search"))
    brain: Brain | None = None
    root: str = ""


async def search_result(
    jobs: Jobs,
    sow: StatementOfWork,
    start: tuple[Candidate, Leaderboard],
    plan: SearchPlan,
    around: Surroundings | None = None,
) -> OptimizationResult:
    """Search from a leader, given with its leaderboard, and return what came of it.

    The SoW's racing rules and seed replace the plan's. Needs a merge task with search slices and a leader's recipe.
    """
    around = around or Surroundings()
    leader, board = start
    space = space_of(sow, board)
    evaluator = JobEvaluator(jobs, sow, space, around.root)
    try:
        measured, pool = await evaluator.in_full(leader)
    except JobFailedError as error:
        note = f"The leader could not be evaluated on the search items: {error.message}"
        return OptimizationResult(strategy="none", finalists=(leader,), note=note)
    rules = RacingRules(block=sow.optimization.block_items, error=sow.optimization.drop_error)
    starts = warm_starts(space, board, evaluator.norms)[: max(1, plan.trials // 2)]
    with closing(OptunaStudy(space, around.study)) as study:
        strategy = chosen_strategy(sow, study, starts, _proposer(around.brain, evaluator))
        search = Search(strategy, evaluator, pool, measured.scores, replace(plan, rules=rules, seed=sow.seed))
        await search.run()
        return await _result(search, study, evaluator, leader)


def _proposer(brain: Brain | None, evaluator: JobEvaluator) -> Proposer | None:
    if brain is None or brain.model is None:
        return None
    return Proposer(brain, evaluator.space, evaluator.sow.seed, evaluator.failures.summary)


async def _result(search: Search, study: OptunaStudy, evaluator: JobEvaluator, leader: Candidate) -> OptimizationResult:
    trials = await search.strategy.history()
    return OptimizationResult(
        strategy=search.strategy.name,
        study=study.name,
        trials=trials,
        finalists=finalists(search, evaluator, leader, trials),
        start_value=search.pool.mean(search.start),
        best_value=search.best,
        optimism=optimism(search),
        item_evaluations=len(search.pool.keys) + sum(t.item_evaluations for t in trials),
        items=len(search.pool.keys),
        refused=study.refused(),
        importance=study.importance(),
        note=search.note,
    )


def chosen_strategy(
    sow: StatementOfWork, study: OptunaStudy, starts: Sequence[tuple[str, Point]], proposer: Proposer | None
) -> Strategy:
    """Return what searches; a language model takes part in a bandit only."""
    kind = sow.optimization.strategy
    if kind == "auto":
        kind = "bandit" if proposer else "gp"
    if kind == "bandit":
        return BanditStrategy(OptunaStrategy(study, "gp", starts), sow.seed, proposer)
    return OptunaStrategy(study, kind, starts)


class _Listener:
    """Keeps every trial as a candidate of the run and tells the journal."""

    def __init__(self, context: RunContext, evaluator: JobEvaluator | CommandEvaluator) -> None:
        self._context = context
        self._evaluator = evaluator

    async def __call__(self, record: TrialRecord) -> None:
        context, total = self._context, _trials(self._context.sow)
        point = Point(method=record.method, values=record.parameters)
        await context.records.put_candidate(context.run_id, self._evaluator.candidate(point, record.source))
        await context.runs.spend(context.run_id, Spent(trials=1))
        shown = record.reason if record.value is None else _shown(context.sow, record.value)
        await context.journal.event(
            f"trial.{record.state}", f"Trial {record.number} ({record.source}): {shown}", stage=Stage.OPTIMIZE,
            trial=record.number, candidate=record.candidate_id, value=record.value, best=record.best,
        )  # fmt: skip
        await context.journal.progress(Stage.OPTIMIZE, record.number + 1, total)


def _shown(sow: StatementOfWork, value: float) -> str:
    return f"{value:.1%}" if sow.kind == "merge" else f"{value:.6g}"


def _summary(sow: StatementOfWork, result: OptimizationResult) -> str:
    if not result.trials:
        return result.note or "Nothing was searched."
    states = [t.state for t in result.trials]
    start, best = _shown(sow, result.start_value or 0.0), _shown(sow, result.best_value or 0.0)
    return (
        f"{len(states)} trials ({states.count('complete')} in full, {states.count('dropped')} dropped, "
        f"{states.count('failed')} failed): {start} → {best} in the search. {result.note}"
    ).strip()
