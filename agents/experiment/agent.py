"""The experiment agent: match works to methods, plan candidates (baselines first), evaluate them and rank them.

Nothing an agent or a model says becomes a score: scores come from the workers' evaluations alone.
"""

from collections.abc import Sequence

from agents.context import RunContext
from agents.experiment.noise import with_noise
from agents.experiment.outcomes import keep_outcomes
from agents.experiment.planning import plan_question
from agents.experiment.reproduction_plan import offer_reproductions
from agents.experiment.screening import StoppedEarlyError, ladder_of, payloads_of, screened
from agents.experiment.seeds import Repeated, repeat_survivors, with_reasons
from agents.run_budget import check_budget
from agents.tasks import task_pack
from core.errors import BudgetExceededError, JobFailedError, RunError
from core.leaderboard import leaderboard
from core.types.candidate import Applicabilities, Candidate, CandidateKind
from core.types.evaluation import Evaluation
from core.types.run import Stage
from core.types.sow import Role
from core.types.work import Survey


async def plan_experiments(context: RunContext) -> Sequence[Candidate]:
    """Decide what is tried and keep it: baselines first, then every method that applies and was chosen.

    A work that can't be run keeps its row, with the reason.
    """
    survey = await context.records.get(context.run_id, "survey", Survey)
    pack = task_pack(context.sow.kind)
    rows = pack.applicability(context.sow, survey)
    reproductions, rows = await offer_reproductions(context, survey, rows)
    await context.records.put(context.run_id, "applicability", Applicabilities(rows=tuple(rows)))
    offered = [*pack.candidates(context.sow, rows), *reproductions]
    baselines = [c for c in offered if c.kind is CandidateKind.BASELINE]
    methods = [c for c in offered if c.kind is not CandidateKind.BASELINE]
    answer = await context.brain.decide(plan_question(context.sow, methods, rows))
    by_id = {c.id: c for c in methods}
    chosen = [*baselines, *(by_id[i] for i in answer.order)]
    for candidate in chosen:
        await context.records.put_candidate(context.run_id, candidate)
    await context.journal.event(
        "experiments.planned",
        f"{len(baselines)} baselines and {len(chosen) - len(baselines)} methods will be tried"
        f"{_reproduced(chosen)}.",
        stage=Stage.EXPERIMENT, candidates=[c.id for c in chosen],
    )  # fmt: skip
    await context.journal.progress(Stage.EXPERIMENT, 0, len(chosen))
    return chosen


def _reproduced(chosen: Sequence[Candidate]) -> str:
    count = sum(c.kind is CandidateKind.REPRODUCTION for c in chosen)
    return f", {count} of them reproduced from repositories" if count else ""


async def evaluate_candidate(context: RunContext, candidate_id: str) -> bool:
    """Evaluate a candidate on the screening slices; return whether it has a score.

    One that fails or comes after the budget is recorded with the reason, and the run goes on without it.
    """
    candidate = await context.records.candidate(context.run_id, candidate_id)
    try:
        if candidate.kind is not CandidateKind.BASELINE:
            await check_budget(context)
        evaluations = await screened(context, candidate)
    except (JobFailedError, BudgetExceededError) as error:
        await context.records.put_candidate(context.run_id, candidate.evolve(note=error.message))
        await context.runs.advance(context.run_id, Stage.EXPERIMENT)
        kind = "candidate.stopped" if isinstance(error, StoppedEarlyError) else "candidate.failed"
        await context.journal.event(
            kind, f"{candidate.name}: {error.message}", stage=Stage.EXPERIMENT, candidate=candidate_id
        )
        return False
    await context.runs.advance(context.run_id, Stage.EXPERIMENT)
    scores = _by_benchmark(evaluations)
    shown = ", ".join(f"{name} {value:.1%}" for name, value in scores.items())
    await context.journal.event(
        "candidate.evaluated", f"{candidate.name}: {shown}", stage=Stage.EXPERIMENT,
        candidate=candidate_id, scores=scores, evaluations=[e.id for e in evaluations],
    )  # fmt: skip
    return True


def _by_benchmark(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Return a candidate's score on each benchmark, the blocks of one joined."""
    found: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        found.setdefault(evaluation.benchmark, []).append(evaluation)
    return {name: round(_mean(own), 4) for name, own in found.items()}


def _mean(evaluations: Sequence[Evaluation]) -> float:
    items = [max(1, e.score.items) for e in evaluations]
    return sum(e.score.value * n for e, n in zip(evaluations, items, strict=True)) / sum(items)


async def evaluate(context: RunContext, candidate: Candidate, role: Role) -> Sequence[Evaluation]:
    """Return a candidate's evaluations on all slices of a role; raise JobFailedError when one has none."""
    payloads = task_pack(context.sow.kind).payloads(context.sow, candidate, role, context.root)
    results = await context.jobs.run_all(payloads)
    return [r for r in results if isinstance(r, Evaluation)]


async def rank_candidates(context: RunContext, evaluated: Sequence[str]) -> str:
    """Rank what was evaluated, keep the leaderboard and return the leader; raise RunError when nothing was."""
    known = {c.id: c for c in await context.records.candidates(context.run_id)}
    candidates = [known[i] for i in known if i in set(evaluated)]
    if not candidates:
        reasons = "; ".join(f"{c.name}: {c.note}" for c in known.values() if c.note) or "no reason was recorded"
        raise RunError(f"No candidate could be evaluated: {reasons}")
    measured = await repeat_survivors(context, await _first_runs(context, candidates))
    evaluations = [e for r in measured.values() for e in r.evaluations]
    board = leaderboard("screen", candidates, evaluations, context.sow.benchmarks_of(Role.SCREEN))
    board = await with_noise(context, with_reasons(board, measured), measured)
    await context.records.put(context.run_id, "leaderboard.screen", board)
    await keep_outcomes(context, board)
    leader = board.rows[0]
    await context.runs.set_best(context.run_id, leader.candidate.id)
    tied = [r.candidate.name for r in board.rows[1:] if r.tie_group == leader.tie_group]
    note = f", tied with {', '.join(tied)}" if tied else ""
    await context.journal.event(
        "leaderboard.screen", f"{leader.candidate.name} leads with {leader.score.value:.1%}{note}.",
        stage=Stage.EXPERIMENT, leader=leader.candidate.id,
    )  # fmt: skip
    return leader.candidate.id


async def _first_runs(context: RunContext, candidates: Sequence[Candidate]) -> list[Repeated]:
    """Return what candidates reached on all items under the SoW's own seed."""
    ladder = await ladder_of(context)
    found = []
    for candidate in candidates:
        # The jobs are done: asking again finds their results by their keys.
        payloads = [p for rung in range(ladder.rungs) for p in payloads_of(context, candidate, ladder, rung)]
        results = await context.jobs.run_all(payloads)
        found.append(Repeated(candidate, [[r for r in results if isinstance(r, Evaluation)]]))
    return found
