"""Draws a document: self-contained HTML (no script, nothing loaded from elsewhere) and Markdown with files beside it.

All text is escaped in HTML, and Markdown's own signs are escaped in Markdown, since titles and reasons come from
papers and models. Figures are our own SVG and the only markup that goes in unescaped.
"""

import json
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agents.report.blocks import Document, Figure, Table
from agents.report.compose import references

TEMPLATES = Path(__file__).parent / "templates"
_SIGNS = re.compile(r"([\\`*_{}\[\]<>|#])")


def _environment(*, escape: bool) -> Environment:
    # Markdown has signs of its own: its template passes every text through `plain`.
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escape,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["plain"] = escape_markdown
    return found


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _SIGNS.sub(r"\\\1", " ".join(text.split()))


def render_html(document: Document) -> str:
    """Return the report as one HTML page."""
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    drawings = {f.name: Markup(f.svg) for f in figures_of(document)}  # noqa: S704 - made by matplotlib from escaped text
    template = _environment(escape=True).get_template("report.html.j2")
    return template.render(document=document, style=style, drawings=drawings, numbers=_numbers(document))


def render_markdown(document: Document) -> str:
    """Return the report as Markdown; figures are files beside it (`figures/NAME.svg`)."""
    text = (
        _environment(escape=False)
        .get_template("report.md.j2")
        .render(document=document, numbers=_numbers(document), references=references)
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def data_files(document: Document) -> dict[str, str]:
    """Return the files beside the report: figures, their data as CSV, tables as JSON."""
    files: dict[str, str] = {}
    for figure in figures_of(document):
        files[f"figures/{figure.name}.svg"] = '<?xml version="1.0" encoding="UTF-8"?>\n' + figure.svg + "\n"
        files[f"figures/{figure.name}.csv"] = figure.data
    tables = {
        f"{section.id}-{index}": {
            "columns": table.columns,
            "rows": [[cell.text for cell in row] for row in table.rows],
            "evaluations": [sorted({r for cell in row for r in cell.refs}) for row in table.rows],
        }
        for section in document.sections
        for index, table in enumerate(b for b in section.blocks if isinstance(b, Table))
    }
    files["report-tables.json"] = json.dumps(tables, ensure_ascii=False, indent=1) + "\n"
    return files


def figures_of(document: Document) -> list[Figure]:
    """Return the document's figures in order."""
    return [b for s in document.sections for b in s.blocks if isinstance(b, Figure)]


def _numbers(document: Document) -> dict[str, int]:
    """Return the running number of each figure, by name."""
    return {figure.name: place for place, figure in enumerate(figures_of(document), 1)}
