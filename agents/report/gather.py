"""Gathers what a run's stages left behind into the one value that a report and a model card are made from."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from agents.context import RunContext
from agents.experiment.outcomes import reproduction_rows
from agents.report.content import ReportInput
from agents.report.search_sections import cited_of, shown_trials
from core.errors import NotFoundError
from core.recipes import published
from core.types.candidate import Applicabilities, Candidate, Leaderboard
from core.types.evaluation import Evaluation
from core.types.optimization import Confirmation, OptimizationResult
from core.types.publication import Publication
from core.types.recipe import Recipe
from core.types.work import Survey


async def gather(context: RunContext) -> ReportInput:
    """Return what the run left behind; stages that never ran leave their part empty."""
    roles = ("confirm", "screen", "show")
    found = {role: await _document(context, f"leaderboard.{role}", Leaderboard) for role in roles}
    boards = {role: board for role, board in found.items() if board is not None}
    applicability = await _document(context, "applicability", Applicabilities)
    confirmation = await _document(context, "confirmation", Confirmation)
    candidates = tuple(await context.records.candidates(context.run_id))
    run = await context.runs.get(context.run_id)
    search = await _document(context, "optimization", OptimizationResult)
    report = ReportInput(
        run_id=context.run_id, sow=context.sow, survey=await _document(context, "survey", Survey),
        applicabilities=applicability.rows if applicability else (), candidates=candidates, leaderboards=boards,
        evaluations=tuple(await _evaluations(context, boards, search)),
        optimization=search, confirmation=confirmation,
        reproductions=tuple(await reproduction_rows(context)), spent=run.spent, llm_model=context.brain.model,
        publication=await _document(context, "publication", Publication),
    )  # fmt: skip
    environment = dict(context.environment) | _measured_with(report)
    return report.evolve(recipe=_published_recipe(report), environment=environment)


def _measured_with(report: ReportInput) -> dict[str, str]:
    """Return what the evaluations were made with, as the workers recorded it."""
    parts = {
        "generated with": {e.engine for e in report.evaluations},
        "graded in": {e.grader for e in report.evaluations},
    }
    return {name: "; ".join(sorted(filter(None, found))) for name, found in parts.items() if any(found)}


async def _document[D: BaseModel](context: RunContext, name: str, kind: type[D]) -> D | None:
    try:
        return await context.records.get(context.run_id, name, kind)
    except NotFoundError:
        return None


async def _evaluations(
    context: RunContext, boards: Mapping[str, Leaderboard], search: OptimizationResult | None
) -> Sequence[Evaluation]:
    """Return the evaluations that the leaderboards rest on, and those that the listed trials cite."""
    ids = [i for board in boards.values() for row in board.rows for i in row.evaluation_ids]
    ids += [i for trial in shown_trials(search) for i in cited_of(trial)] if search else []
    return await context.jobs.evaluations(list(dict.fromkeys(ids)))


def _published_recipe(report: ReportInput) -> Recipe | None:
    winner: Candidate | None = report.winner.candidate if report.winner else None
    if winner is None or winner.recipe is None or report.sow.models is None:
        return None
    return published(winner.recipe, report.sow.models)
