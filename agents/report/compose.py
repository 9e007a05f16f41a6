"""Puts the report together: sections in order, labels in the reader's language, and every citation in a last table."""

from collections.abc import Iterator

from agents.report.blocks import Block, Callout, Cell, Document, Facts, Paragraph, Section, Table
from agents.report.content import ReportInput, duration, shown
from agents.report.reproduction_section import reproduction_section
from agents.report.result_sections import lead_blocks, result_section, task_section, tried_section
from agents.report.search_sections import (
    cost_section,
    environment_section,
    methods_section,
    next_section,
    reading_section,
    recipe_section,
    search_section,
)
from agents.report.survey_section import survey_section
from agents.report.wording import Say
from core.types.evaluation import Evaluation

LABELS = ("report", "contents", "figure", "table", "data", "evidence_label")


def compose(report: ReportInput, summary: str = "") -> Document:
    """Return the report as a document; the same input gives the same document."""
    say = Say(report.sow.language)
    lead = lead_blocks(report, say, summary)
    found = (
        result_section(report, say),
        tried_section(report, say),
        reproduction_section(report, say),
        search_section(report, say),
        recipe_section(report, say),
        next_section(report, say),
        task_section(report, say),
        survey_section(report, say),
        methods_section(report, say),
        cost_section(report, say),
        reading_section(say),
        environment_section(report, say),
    )
    sections = tuple(s for s in found if s is not None and s.blocks)
    cited = list(dict.fromkeys(ref for block in _blocks(lead, sections) for ref in references(block)))
    evidence = _evidence(report, cited, say)
    return Document(
        title=report.sow.title,
        subtitle=say("run", id=report.run_id),
        language=report.sow.language,
        lead=lead,
        sections=(*sections, *evidence),
        labels={key: say(key) for key in LABELS},
    )


def _blocks(lead: tuple[Block, ...], sections: tuple[Section, ...]) -> Iterator[Block]:
    yield from lead
    for section in sections:
        yield from section.blocks


def references(block: Block) -> Iterator[str]:
    """Yield the evaluations that a block cites."""
    if isinstance(block, Paragraph | Callout):
        yield from block.refs
    elif isinstance(block, Facts):
        for fact in block.facts:
            yield from fact.refs
    elif isinstance(block, Table):
        for row in block.rows:
            for cell in row:
                yield from cell.refs


def _evidence(report: ReportInput, cited: list[str], say: Say) -> Iterator[Section]:
    if not cited:
        return
    rows = tuple(_evidence_row(report, ref, report.cited.get(ref)) for ref in cited)
    columns = ("id", "candidate", "benchmark", "protocol", "items", "score", "seconds")
    table = Table(columns=tuple(say(c) for c in columns), rows=rows, caption=say("evidence_caption"), wide=True)
    yield Section(id="evidence", title=say("evidence"), blocks=(table,))


def _evidence_row(report: ReportInput, ref: str, evaluation: Evaluation | None) -> tuple[Cell, ...]:
    if evaluation is None:
        return (Cell(text=f"E:{ref}", kind="code"), *(Cell(text="–") for _ in range(6)))
    cost = evaluation.cost
    seconds = cost.load_s + cost.merge_s + cost.generate_s + cost.grade_s
    return (
        Cell(text=f"E:{ref}", kind="code"),
        Cell(text=report.names.get(evaluation.candidate_id, evaluation.candidate_id)),
        Cell(text=f"{evaluation.benchmark} ({evaluation.role})"),
        Cell(text=evaluation.protocol),
        Cell(text=str(evaluation.score.items), kind="number"),
        Cell(text=shown(evaluation.score), kind="number"),
        Cell(text=duration(seconds) if seconds else "–", kind="number"),
    )
