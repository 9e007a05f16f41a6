"""A survey as BibTeX, CSV and CSL-JSON, for reference managers and spreadsheets.

Everything is escaped for its form; cells that a spreadsheet would run as a formula are defused.
"""

import csv
import io
import json
import re
from collections.abc import Iterable

from agents.survey.text import acronym_of, normalize_title, shorten, words
from core.types.work import Survey, Work

_CSV_COLUMNS = (
    "key", "title", "authors", "year", "venue", "arxiv", "doi", "url", "categories", "is_survey", "relevance",
    "screening", "method", "code", "code_status", "licence", "stars", "last_commit", "pros", "cons", "evidence",
    "sources",
)  # fmt: skip
_LEDGER_COLUMNS = ("source", "query", "page", "found", "new", "kept", "dropped", "reason", "cached", "seconds")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}  # fmt: skip


def to_bibtex(survey: Survey) -> str:
    """Return the kept works as BibTeX, citation keys distinct."""
    entries, used = [], set[str]()
    for work in survey.works:
        key = _citation_key(work, used)
        used.add(key)
        entries.append(_bibtex_entry(work, key))
    return "\n\n".join(entries) + "\n"


def _bibtex_entry(work: Work, key: str) -> str:
    kind = "article" if work.venue else "misc"
    fields: list[tuple[str, str | None]] = [
        ("title", f"{{{_tex(work.title)}}}"),
        ("author", " and ".join(_tex(a) for a in work.authors) or None),
        ("year", str(work.year) if work.year else None),
        ("journal", _tex(work.venue) if work.venue else None),
        ("eprint", work.ids.arxiv),
        ("archiveprefix", "arXiv" if work.ids.arxiv else None),
        ("doi", work.ids.doi),
        ("url", link_of(work)),
        ("keywords", ", ".join(work.categories) or None),
    ]
    lines = [f"  {name} = {{{value}}}" for name, value in fields if value]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def _citation_key(work: Work, used: set[str]) -> str:
    author = re.sub(r"[^a-z]", "", normalize_title(work.authors[0]).split()[-1]) if _has_author(work) else ""
    word = next((w for w in words(work.title) if len(w) > 3 and w.isascii() and w.isalpha()), "work")
    base = f"{author}{work.year or ''}{word}"
    key, number = base, 1
    while key in used:
        number += 1
        key = f"{base}{number}"
    return key


def _has_author(work: Work) -> bool:
    return bool(work.authors and normalize_title(work.authors[0]))


def _tex(text: str) -> str:
    bare = " ".join(text.replace("{", "").replace("}", "").split())
    return "".join(_TEX.get(c, c) for c in bare)


def is_plain_link(url: str) -> bool:
    """Return whether an address is http(s) and holds nothing that could end it early in HTML or Markdown."""
    return url.startswith(("http://", "https://")) and not re.search(r"[\s\"'<>{}|\\^`]", url)


def link_of(work: Work) -> str | None:
    """Return where a work can be read: at arXiv if it is there, else its URL if that is http(s), else by its DOI."""
    if work.ids.arxiv:
        return f"https://arxiv.org/abs/{work.ids.arxiv}"
    if work.url and is_plain_link(work.url):
        return work.url
    return f"https://doi.org/{work.ids.doi}" if work.ids.doi else None


def label_of(work: Work) -> str:
    """Return how a work is named in running text: first author and year, or else its arXiv id or short name."""
    if not _has_author(work):
        name = f"arXiv {work.ids.arxiv}" if work.ids.arxiv else acronym_of(work.title) or shorten(work.title, 40)
        return name if work.ids.arxiv or not work.year else f"{name}, {work.year}"
    first = work.authors[0].split(",")[0].split()[-1]
    match len(work.authors):
        case 1:
            names = first
        case 2:
            names = f"{first} & {work.authors[1].split(',')[0].split()[-1]}"
        case _:
            names = f"{first} et al."
    return f"{names} {work.year}" if work.year else names


def to_csv(survey: Survey) -> str:
    """Return all kept and borderline works as CSV, one a row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for screening, works in (("kept", survey.works), ("borderline", survey.borderline)):
        writer.writerows([_cell(v) for v in _csv_row(work, screening)] for work in works)
    return out.getvalue()


def _csv_row(work: Work, screening: str) -> tuple[object, ...]:
    code = work.repositories[0] if work.repositories else None
    return (
        work.key, work.title, _join(work.authors), work.year, work.venue, work.ids.arxiv, work.ids.doi, link_of(work),
        _join(work.categories), "yes" if work.is_survey else "no", work.relevance, screening, work.method,
        code.url if code else None, code.status.value if code else None, code.licence if code else None,
        code.stars if code else None, code.last_commit if code else None, _join(work.pros), _join(work.cons),
        work.evidence, _join(sorted({p.source for p in work.provenance})),
    )  # fmt: skip


def _join(parts: Iterable[str]) -> str:
    return "; ".join(parts)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not isinstance(value, int | float) else text


def ledger_csv(survey: Survey) -> str:
    """Return every question that was asked, one a row, with what became of the works it found."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_LEDGER_COLUMNS)
    writer.writerows([_cell(getattr(row, column)) for column in _LEDGER_COLUMNS] for row in survey.ledger)
    return out.getvalue()


def to_csl(survey: Survey) -> str:
    """Return the kept works as CSL-JSON."""
    return json.dumps([_csl_item(w) for w in survey.works], ensure_ascii=False, indent=1) + "\n"


def _csl_item(work: Work) -> dict[str, object]:
    item: dict[str, object] = {
        "id": work.key,
        "type": "article-journal" if work.venue else "article",
        "title": work.title,
        "author": [_csl_name(a) for a in work.authors],
        "container-title": work.venue,
        "DOI": work.ids.doi or (f"10.48550/arXiv.{work.ids.arxiv}" if work.ids.arxiv else None),
        "URL": link_of(work),
        "issued": {"date-parts": [[work.year]]} if work.year else None,
        "abstract": work.abstract or None,
        "keyword": ", ".join(work.categories) or None,
    }
    return {k: v for k, v in item.items() if v}


def _csl_name(author: str) -> dict[str, str]:
    if "," in author:
        family, given = (part.strip() for part in author.split(",", 1))
    else:
        given, _, family = author.rpartition(" ")
    return {"family": family, "given": given} if given else {"literal": family}
