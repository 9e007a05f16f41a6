"""Benchmarks with the role `show`: measured for the base and what was confirmed, reported beside, deciding nothing."""

from agents.context import RunContext
from agents.experiment.agent import evaluate
from core.errors import JobFailedError
from core.leaderboard import leaderboard
from core.types.candidate import Candidate, CandidateKind, Leaderboard
from core.types.evaluation import Evaluation
from core.types.run import Stage
from core.types.sow import Role


async def show_beside(context: RunContext) -> None:
    """Evaluate the base and the confirmed candidates on the `show` slices, if there are any, and keep the table."""
    slices = context.sow.benchmarks_of(Role.SHOW)
    if not slices:
        return
    shown: list[Candidate] = []
    evaluations: list[Evaluation] = []
    for candidate in await _candidates(context):
        try:
            evaluations += await evaluate(context, candidate, Role.SHOW)
        except JobFailedError as error:
            await context.journal.event("show.failed", f"{candidate.name}: {error.message}", stage=Stage.CONFIRM)
            continue
        shown.append(candidate)
    board = leaderboard(Role.SHOW, shown, evaluations, slices)
    await context.records.put(context.run_id, "leaderboard.show", board)
    scores = ", ".join(f"{r.candidate.name} {r.score.value:.1%}" for r in board.rows)
    names = ", ".join(b.name for b in slices)
    await context.journal.event(
        "leaderboard.show", f"Beside, deciding nothing, {names}: {scores}.", stage=Stage.CONFIRM
    )


async def _candidates(context: RunContext) -> list[Candidate]:
    board = await context.records.get(context.run_id, "leaderboard.confirm", Leaderboard)
    known = await context.records.candidates(context.run_id)
    base = [c for c in known if c.kind is CandidateKind.BASELINE][:1]
    confirmed = [r.candidate for r in board.rows]
    return [*(c for c in base if c.id not in {x.id for x in confirmed}), *confirmed]
