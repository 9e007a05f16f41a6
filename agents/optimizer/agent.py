"""The optimizer agent: improve on the leader within the budget, on the search slices alone.

Called once by the run's graph, and again after a kill: trials go on from the study, measurements from finished jobs.
Where nothing can be searched (a command task, no search slice, no trials), the leader is the finalist and the result
says why.
"""

from collections.abc import Sequence

import numpy as np

from agents.context import RunContext
from agents.optimizer.bandit import BanditStrategy
from agents.optimizer.job_evaluator import JobEvaluator
from agents.optimizer.optuna_strategy import OptunaStrategy
from agents.optimizer.optuna_study import OptunaStudy, StudySettings
from agents.optimizer.proposer import Proposer
from agents.optimizer.racing import RacingRules
from agents.optimizer.search import Search, SearchPlan
from agents.optimizer.space import Point, SearchSpace, space_of
from agents.optimizer.strategy import Strategy
from agents.optimizer.warm_starts import warm_starts
from agents.run_budget import check_budget
from core.errors import JobFailedError
from core.statistics.winner import corrected_winner
from core.types.candidate import Candidate, CandidateKind, Leaderboard
from core.types.optimization import OptimizationResult, TrialRecord
from core.types.run import Spent, Stage
from core.types.sow import Role, StatementOfWork

DOCUMENT = "optimization"
FINAL_PREFIX = "final-"


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
        "optimization.finished", _summary(result), stage=Stage.OPTIMIZE, finalists=[c.id for c in result.finalists]
    )
    return [c.id for c in result.finalists]


def _nothing_to_search(sow: StatementOfWork, leader: Candidate) -> str:
    if sow.kind != "merge" or sow.models is None:
        return "There is no search space for this kind of task; the leader goes to confirmation."
    if not sow.benchmarks_of(Role.SEARCH):
        return "The Statement of Work has no benchmark with role 'search', so nothing was searched."
    if _trials(sow) == 0:
        return "No trials were asked for."
    return "" if leader.recipe else "The leader is a submitted artifact, not a recipe; nothing was searched."


def _trials(sow: StatementOfWork) -> int:
    limit = sow.budget.trials
    return sow.optimization.trials if limit is None else min(limit, sow.optimization.trials)


async def _optimize(context: RunContext, leader: Candidate, board: Leaderboard) -> OptimizationResult:
    sow = context.sow
    space = space_of(sow, board)
    evaluator = JobEvaluator(context.jobs, sow, space, context.root)
    try:
        measured, pool = await evaluator.in_full(leader)
    except JobFailedError as error:
        note = f"The leader could not be evaluated on the search items: {error.message}"
        return OptimizationResult(strategy="none", finalists=(leader,), note=note)
    study = OptunaStudy(space, StudySettings(f"run-{context.run_id}", context.database_url, sow.seed))
    rules = RacingRules(block=sow.optimization.block_items, error=sow.optimization.drop_error)
    plan = SearchPlan(_trials(sow), rules, sow.seed, lambda: check_budget(context), _Listener(context, evaluator))
    search = Search(_strategy(context, space, study, board), evaluator, pool, measured.scores, plan)
    start_value = search.best
    trials = await search.run()
    return OptimizationResult(
        strategy=search.strategy.name,
        study=study.name,
        trials=trials,
        finalists=_finalists(search, evaluator, leader, trials),
        start_value=start_value,
        best_value=search.best,
        optimism=_optimism(search),
        item_evaluations=len(pool.keys) + sum(t.item_evaluations for t in trials),
        items=len(pool.keys),
        refused=study.refused(),
        importance=study.importance(),
        note=search.note,
    )


def _strategy(context: RunContext, space: SearchSpace, study: OptunaStudy, board: Leaderboard) -> Strategy:
    spec, seed = context.sow.optimization, context.sow.seed
    starts = warm_starts(space, board)[: max(1, _trials(context.sow) // 2)]
    base = OptunaStrategy(study, "gp" if spec.strategy == "bandit" else spec.strategy, starts)
    if spec.strategy != "bandit":
        return base
    proposer = Proposer(context.brain, space, seed) if context.brain.model else None
    return BanditStrategy(base, seed, proposer)


class _Listener:
    """Keeps every trial as a candidate of the run and tells the journal."""

    def __init__(self, context: RunContext, evaluator: JobEvaluator) -> None:
        self._context = context
        self._evaluator = evaluator

    async def __call__(self, record: TrialRecord) -> None:
        context, total = self._context, _trials(self._context.sow)
        point = Point(method=record.method, values=record.parameters)
        await context.records.put_candidate(context.run_id, self._evaluator.candidate(point, record.source))
        await context.runs.spend(context.run_id, Spent(trials=1))
        shown = f"{record.value:.1%}" if record.value is not None else record.reason
        await context.journal.event(
            f"trial.{record.state}", f"Trial {record.number} ({record.source}): {shown}", stage=Stage.OPTIMIZE,
            trial=record.number, candidate=record.candidate_id, value=record.value, best=record.best,
        )  # fmt: skip
        await context.journal.progress(Stage.OPTIMIZE, record.number + 1, total)


def _finalists(
    search: Search, evaluator: JobEvaluator, leader: Candidate, trials: Sequence[TrialRecord]
) -> tuple[Candidate, ...]:
    """Return the best fully measured candidates, the leader among them where it belongs there."""
    complete = {t.candidate_id: t for t in trials if t.state == "complete" and t.value is not None}
    ranked = sorted(complete.values(), key=lambda t: (-(t.value or 0.0), t.number))
    start = search.pool.mean(search.start)
    better = [t for t in ranked if (t.value or 0.0) > start]
    chosen = [_final(evaluator, t) for t in better[: evaluator.sow.optimization.finalists]]
    return (*chosen, leader) if len(chosen) < evaluator.sow.optimization.finalists else tuple(chosen)


def _final(evaluator: JobEvaluator, trial: TrialRecord) -> Candidate:
    """Return a trial as a finalist. It gets an id of its own: trials may never see other than search slices."""
    point = Point(method=trial.method, values=trial.parameters)
    candidate = evaluator.candidate(point, trial.source)
    digest = candidate.recipe.digest if candidate.recipe else ""
    return candidate.evolve(
        id=f"{FINAL_PREFIX}{digest}", stage="confirm", kind=CandidateKind.TRIAL,
        name=f"{trial.method}, trial {trial.number}", note=f"trial {trial.number} ({trial.source})",
    )  # fmt: skip


def _optimism(search: Search) -> float | None:
    """Return how much too good the best looks for having been chosen among all fully measured candidates."""
    candidates = [search.start, *search.full.values()]
    if len(candidates) < 2 or len(search.pool.keys) < 2:
        return None
    table = np.array([[scores[key] for key in search.pool.keys] for scores in candidates])
    weights = np.array([search.pool.factors[key[0]] for key in search.pool.keys])
    return corrected_winner(table, weights=weights).optimism


def _summary(result: OptimizationResult) -> str:
    if not result.trials:
        return result.note or "Nothing was searched."
    states = [t.state for t in result.trials]
    return (
        f"{len(states)} trials ({states.count('complete')} in full, {states.count('dropped')} dropped, "
        f"{states.count('failed')} failed): {result.start_value or 0:.1%} → {result.best_value or 0:.1%} on search "
        f"items. {result.note}"
    ).strip()
