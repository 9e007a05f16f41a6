"""A local file of works as a source: BibTeX, CSL-JSON or JSON lines.

What the user put into the file is declared to belong to the topic; the survey still applies years and exclusions.
The file is data: rows that can't be read are counted and named, and never stop the rest. No network is touched.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agents.survey.dedupe import make_work
from agents.survey.sources.bibtex import parse_bibtex
from agents.survey.text import arxiv_id, doi, printable, stems
from core.errors import InvalidInputError
from core.ports import Page
from core.types.work import Provenance, Repository, Work, WorkIds

MAX_BYTES = 64 * 2**20
PAGE_SIZE = 200
_READS = (".bib", ".jsonl", ".ndjson", ".json")


class CatalogueSource:
    """The works of a local file. An empty query returns all of them; other queries those that hold all its words."""

    name = "catalogue"

    def __init__(self, path: Path, page_size: int = PAGE_SIZE) -> None:
        """Read the file; raise InvalidInputError when it is missing, too large or of no known form."""
        self.path = path
        self.page_size = page_size
        self.malformed: tuple[str, ...] = ()
        self._works = self._read()

    async def search(self, query: str, page: int = 0) -> Page:
        """Return one page of the file's works."""
        wanted = set(stems(query))
        matching = [w for w in self._works if not wanted or wanted <= set(stems(f"{w.title} {w.abstract}"))]
        start = page * self.page_size
        rows = matching[start : start + self.page_size]
        more = start + self.page_size < len(matching)
        asked = (Provenance(source=self.name, query=query, page=page),)
        works = tuple(w.model_copy(update={"provenance": asked}) for w in rows)
        return Page(works=works, next_page=page + 1 if more else None, total=len(matching))

    def _read(self) -> tuple[Work, ...]:
        suffix = self.path.suffix.lower()
        if suffix not in _READS:
            raise InvalidInputError(
                f"The catalogue {self.path.name} is none of {', '.join(_READS)}.",
                fix="Hand in BibTeX (.bib), CSL-JSON (.json) or one JSON object a line (.jsonl).",
            )
        if not self.path.is_file():
            raise InvalidInputError(
                f"The catalogue {self.path.name} does not exist.", fix="Correct survey.catalogue in the SoW."
            )
        if self.path.stat().st_size > MAX_BYTES:
            raise InvalidInputError(f"The catalogue {self.path.name} is larger than {MAX_BYTES // 2**20} MiB.")
        text = self.path.read_text(encoding="utf-8", errors="replace")
        rows = {".bib": self._bibtex, ".json": self._csl}.get(suffix, self._json_lines)(text)
        works = tuple(w for w in (self._work(row, number) for number, row in rows) if w is not None)
        if not works:
            raise InvalidInputError(f"The catalogue {self.path.name} holds no readable work.")
        return works

    def _work(self, row: Any, number: int) -> Work | None:
        work = work_of_row(row) if isinstance(row, dict) else None
        if work is None:
            self.malformed += (f"row {number}: no title",)
        return work

    def _bibtex(self, text: str) -> Iterable[tuple[int, Any]]:
        bibliography = parse_bibtex(text)
        if bibliography.broken:
            self.malformed += (f"{bibliography.broken} entries are not BibTeX",)
        return enumerate(bibliography.entries, 1)

    def _csl(self, text: str) -> Iterable[tuple[int, Any]]:
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"The catalogue {self.path.name} is not JSON: {error}") from error
        if isinstance(rows, dict):
            rows = rows.get("items") or rows.get("references") or [rows]
        return enumerate(rows if isinstance(rows, list) else [rows], 1)

    def _json_lines(self, text: str) -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                self.malformed += (f"row {number}: not JSON",)


def work_of_row(row: dict[str, Any]) -> Work | None:
    """Return the work that a BibTeX, CSL-JSON or plain row states, or None where it has no title."""
    title = _text(row.get("title"))
    if not title:
        return None
    url = _text(row.get("url") or row.get("URL")) or None
    eprint = _text(row.get("eprint")) if "arxiv" in _text(row.get("archiveprefix") or "arxiv").lower() else ""
    ids = WorkIds(
        arxiv=arxiv_id(_text(row.get("arxiv_id")) or _text(row.get("arxiv")) or eprint) or arxiv_id(url),
        doi=doi(_text(row.get("doi") or row.get("DOI"))) or doi(url),
        s2=_text(row.get("s2")) or None,
        openalex=_text(row.get("openalex")) or None,
    )
    code = _text(row.get("code_url") or row.get("repository") or row.get("code"))
    category = row.get("category") or row.get("categories") or ()
    return make_work(
        title,
        ids,
        authors=_authors(row.get("author") or row.get("authors")),
        year=_year(row),
        venue=_text(row.get("venue") or row.get("container-title") or row.get("booktitle") or row.get("journal"))
        or None,
        abstract=_text(row.get("abstract")),
        url=url,
        repositories=(Repository(url=code, official=bool(row.get("code_official", True))),)
        if code.startswith(("http://", "https://"))
        else (),
        categories=tuple(_text(c) for c in ([category] if isinstance(category, str) else category) if _text(c)),
        is_survey=bool(row.get("is_survey")),
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return printable(str(value)) if isinstance(value, str | int | float) and value is not None else ""


def _year(row: dict[str, Any]) -> int | None:
    issued = row.get("issued")
    parts = issued.get("date-parts") if isinstance(issued, dict) else None
    raw = row.get("year") or (parts[0][0] if parts and isinstance(parts[0], list) and parts[0] else row.get("date"))
    digits = _text(raw)[:4]
    return int(digits) if len(digits) == 4 and digits.isdigit() else None


def _authors(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(" ".join(a.split()) for a in value.split(" and ") if a.strip())
    names = []
    for author in value if isinstance(value, list) else ():
        if isinstance(author, dict):
            whole = " ".join(_text(author.get(part)) for part in ("given", "family")).strip()
            names.append(whole or _text(author.get("literal")) or _text(author.get("name")))
        else:
            names.append(_text(author))
    return tuple(n for n in names if n)
