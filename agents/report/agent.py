"""The report agent: gathers what the stages left behind, asks for a summary, renders and stores."""

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from agents.context import RunContext
from agents.experiment.outcomes import reproduction_rows
from agents.report.compose import compose
from agents.report.content import ReportInput
from agents.report.prose import summary_question
from agents.report.publish import model_card, publishing_problems
from agents.report.render import data_files, render_html, render_markdown
from core.errors import NotFoundError
from core.recipes import published
from core.types.candidate import Applicabilities, Candidate, Leaderboard
from core.types.evaluation import Evaluation
from core.types.optimization import Confirmation, OptimizationResult
from core.types.recipe import Recipe
from core.types.run import Stage
from core.types.work import Survey

MEDIA = {
    "html": "text/html",
    "md": "text/markdown",
    "svg": "image/svg+xml",
    "csv": "text/csv",
    "json": "application/json",
    "yaml": "application/yaml",
}


async def write_report(context: RunContext) -> None:
    """Write report.html, report.md, figures with their data, the recipe and the model card into the run's files."""
    report = await gather(context)
    answer = await context.brain.decide(summary_question(report, compose(report)))
    files = await asyncio.to_thread(report_files, report, answer.text)
    for name, text in files.items():
        media = MEDIA[name.rpartition(".")[2]]
        await context.artifacts.put(context.run_id, name, text.encode(), f"{media}; charset=utf-8")
    problems = publishing_problems(report)
    await context.journal.event(
        "report.written", f"The report is written, with {len(files) - 1} files beside it.", stage=Stage.REPORT,
        files=sorted(files), publishable=not problems, problems=problems,
    )  # fmt: skip
    await context.journal.progress(Stage.REPORT, 1, 1)


def report_files(report: ReportInput, summary: str) -> Mapping[str, str]:
    """Return all files of the report, by name. Pure: the same input gives the same bytes."""
    document = compose(report, summary)
    files = {"report.html": render_html(document), "report.md": render_markdown(document), **data_files(document)}
    if report.recipe is not None:
        files["recipe.yaml"] = report.recipe.to_yaml()
        files["model-card.md"] = model_card(report)
    return files


async def gather(context: RunContext) -> ReportInput:
    """Return what the run left behind; stages that never ran leave their part empty."""
    roles = ("confirm", "screen", "show")
    found = {role: await _document(context, f"leaderboard.{role}", Leaderboard) for role in roles}
    boards = {role: board for role, board in found.items() if board is not None}
    applicability = await _document(context, "applicability", Applicabilities)
    confirmation = await _document(context, "confirmation", Confirmation)
    candidates = tuple(await context.records.candidates(context.run_id))
    run = await context.runs.get(context.run_id)
    report = ReportInput(
        run_id=context.run_id, sow=context.sow, survey=await _document(context, "survey", Survey),
        applicabilities=applicability.rows if applicability else (), candidates=candidates, leaderboards=boards,
        evaluations=tuple(await _evaluations(context, boards)),
        optimization=await _document(context, "optimization", OptimizationResult), confirmation=confirmation,
        reproductions=tuple(await reproduction_rows(context)),
        spent=run.spent, environment=dict(context.environment), llm_model=context.brain.model,
    )  # fmt: skip
    return report.evolve(recipe=_published_recipe(report))


async def _document[D: BaseModel](context: RunContext, name: str, kind: type[D]) -> D | None:
    try:
        return await context.records.get(context.run_id, name, kind)
    except NotFoundError:
        return None


async def _evaluations(context: RunContext, boards: Mapping[str, Leaderboard]) -> Sequence[Evaluation]:
    """Return the evaluations that the leaderboards rest on."""
    ids = [i for board in boards.values() for row in board.rows for i in row.evaluation_ids]
    return await context.jobs.evaluations(list(dict.fromkeys(ids)))


def _published_recipe(report: ReportInput) -> Recipe | None:
    winner: Candidate | None = report.winner.candidate if report.winner else None
    if winner is None or winner.recipe is None or report.sow.models is None:
        return None
    return published(winner.recipe, report.sow.models)
