"""A survey as a Markdown report: numbers first, then a table per category, the ledger and how complete it is.

Titles and all other text from sources are escaped, so that they can't make markup, links or HTML.
"""

import re
from collections.abc import Iterable, Sequence

from agents.survey.exports import label_of, link_of
from agents.survey.prose import CITATION
from core.types.work import Coverage, LedgerRow, Repository, Survey, Work

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~$])")


def escape(text: str) -> str:
    """Return text that Markdown shows as it is."""
    flat = " ".join(text.split()).replace("&", "&amp;")
    return _SPECIAL.sub(lambda m: {"<": "&lt;", ">": "&gt;"}.get(m.group(1), "\\" + m.group(1)), flat)


def to_markdown(survey: Survey, title: str) -> str:
    """Return the report."""
    parts = [f"# Survey: {escape(title)}", _summary(survey)]
    parts += [_cited(paragraph, survey) for paragraph in survey.prose]
    parts.append(_coverage(survey.coverage))
    for key, described in survey.taxonomy.items():
        works = [w for w in survey.works if w.categories and w.categories[0] == key]
        if works:
            parts.append(_category(key, described, works))
    if survey.borderline:
        parts.append(_borderline(survey.borderline))
    parts.append(_ledger(survey.ledger))
    return "\n\n".join(p for p in parts if p) + "\n"


def _summary(survey: Survey) -> str:
    decided = (
        f"the language model {escape(survey.model_used)}"
        if survey.model_used
        else "deterministic policies; no language model was used"
    )
    found = len(survey.works) + len(survey.borderline) + survey.dropped
    return (
        f"{found} distinct works were found; {len(survey.works)} are in scope, {len(survey.borderline)} borderline, "
        f"{survey.dropped} dropped. Stopped because {escape(survey.stop_reason)}. Decided by {decided}."
    )


def _cited(paragraph: str, survey: Survey) -> str:
    """Return a paragraph with its citations as links; odd parts of the split are keys."""
    works = {w.key: w for w in survey.works}
    parts = CITATION.split(paragraph)
    return "".join(
        (_named(works[part], label_of(works[part])) if part in works else "") if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _named(work: Work, text: str) -> str:
    link = link_of(work)
    return f"[{escape(text)}](<{link}>)" if link else escape(text)


def _coverage(coverage: Coverage | None) -> str:
    if coverage is None:
        return ""
    return f"## How complete this is\n\n{escape(coverage.method)}. {escape(coverage.note)}"


def _category(key: str, described: str, works: Sequence[Work]) -> str:
    name, _, what = described.partition(": ")
    head = f"## {escape(name)}\n\n{escape(what)} ({len(works)} works, `{key}`)\n\n"
    rows = ["| work | year | for | against | code | method |", "|---|---|---|---|---|---|"]
    rows += [_row(w) for w in sorted(works, key=lambda w: (-(w.year or 0), w.title))]
    return head + "\n".join(rows)


def _row(work: Work) -> str:
    cells = (
        _named(work, work.title),
        str(work.year or ""),
        _list(work.pros),
        _list(work.cons),
        _code(work.repositories),
        work.method or "",
    )
    return "| " + " | ".join(cells) + " |"


def _list(items: Iterable[str]) -> str:
    return "; ".join(escape(i) for i in items)


def _code(repositories: Sequence[Repository]) -> str:
    if not repositories:
        return ""
    best = repositories[0]
    facts = [best.status.value, best.licence, "archived" if best.archived else None]
    return f"{escape(best.url)} ({', '.join(escape(f) for f in facts if f)})"


def _borderline(works: Sequence[Work]) -> str:
    rows = [f"- {escape(w.title)} ({w.year or 'no year'}): {escape(w.evidence)}" for w in works]
    return "## Borderline\n\n" + "\n".join(rows)


def _ledger(rows: Sequence[LedgerRow]) -> str:
    columns = ("source", "query", "page", "found", "new", "kept", "dropped", "note")
    head = f"## What was asked\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    lines = [
        f"| {escape(r.source)} | {escape(r.query)} | {r.page} | {r.found} | {r.new} | {r.kept} | {r.dropped} | "
        f"{escape(r.reason or ('from cache' if r.cached else ''))} |"
        for r in rows
    ]
    return head + "\n".join(lines)
