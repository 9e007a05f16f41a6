"""What `research-agent survey SOW` does: run a survey and write its exports into a directory."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from agents.survey.agent import survey
from agents.survey.desk import Desk, Sources
from agents.survey.exports import ledger_csv, to_bibtex, to_csl, to_csv
from agents.survey.html import to_html
from agents.survey.markdown import to_markdown
from core.types.sow import StatementOfWork
from core.types.work import Survey

EXPORTS = ("survey.md", "survey.html", "survey.bib", "survey.csv", "survey.csl.json", "survey.json", "ledger.csv")


def render(found: Survey, title: str, language: str = "en") -> Mapping[str, str]:
    """Return every export of a survey by file name; the reports are in the language."""
    texts = (
        to_markdown(found, title, language),
        to_html(found, title, language),
        to_bibtex(found),
        to_csv(found),
        to_csl(found),
        found.model_dump_json(indent=1),
        ledger_csv(found),
    )
    return dict(zip(EXPORTS, texts, strict=True))


async def run_survey_command(sow: StatementOfWork, out_dir: Path, sources: Sources, desk: Desk) -> Survey:
    """Survey a SoW's topic and write all exports into a directory, which is made if need be."""
    found = await survey(sow, sources, desk)
    await asyncio.to_thread(_write, out_dir, render(found, sow.title, sow.language))
    return found


def _write(out_dir: Path, exports: Mapping[str, str]) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, text in exports.items():
        (out_dir / name).write_text(text, encoding="utf-8")
