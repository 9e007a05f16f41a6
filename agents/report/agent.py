"""The report agent: gathers what the stages left behind, asks for a summary, renders and stores."""

import asyncio
from collections.abc import Mapping

from agents.context import RunContext
from agents.report.compose import compose
from agents.report.content import ReportInput
from agents.report.gather import gather
from agents.report.model_card import model_card
from agents.report.prose import summary_question
from agents.report.publish import publishing_problems
from agents.report.render import data_files, render_html, render_markdown
from core.types.run import Stage

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
