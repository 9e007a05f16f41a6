"""One record a work: identity by arXiv id, then DOI, then source ids, then title with first author and year.

Titles change between versions, so an id always wins over a title: two works with different arXiv ids are two works
whatever their titles say, and one id under two titles is one work (design: survey.md, step 5).
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agents.survey.text import normalize_title, printable, words
from core.types.work import Provenance, Repository, Work, WorkIds

MAX_PROVENANCE = 12
# Years that no paper can be of are mistakes of the source.
OLDEST, NEWEST = 1600, 2100


@dataclass
class Found:
    """A work in the pool, with all that speaks for or against it."""

    work: Work
    occasions: set[str] = field(default_factory=set)
    headings: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    cited_by: set[str] = field(default_factory=set)
    cites: set[str] = field(default_factory=set)
    references_seen: int = 0
    expanded: bool = False
    declared: bool = False
    other_titles: set[str] = field(default_factory=set)
    former_keys: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        """Return the work's key."""
        return self.work.key

    def list_under(self, origin: str, paths: Iterable[tuple[str, ...]]) -> None:
        """Note that a list names the work under some paths of headings."""
        self.headings[origin] = tuple(dict.fromkeys((*self.headings.get(origin, ()), *paths)))


def key_of(ids: WorkIds, title: str, first_author: str = "", year: int | None = None) -> str:
    """Return a stable key: the best id, else a hash of title, first author and year."""
    if ids.arxiv:
        return f"arxiv:{ids.arxiv}"
    if ids.doi:
        return f"doi:{ids.doi}"
    if ids.s2:
        return f"s2:{ids.s2[:16]}"
    if ids.openalex:
        return f"openalex:{ids.openalex}"
    text = "|".join((normalize_title(title), _surname(first_author), str(year or "")))
    return "title:" + hashlib.sha256(text.encode()).hexdigest()[:12]


def make_work(title: str, ids: WorkIds, **facts: Any) -> Work:
    """Build a work with its key from what a source said."""
    authors: tuple[str, ...] = tuple(facts.get("authors") or ())
    clean = printable(title)
    if facts.get("year") is not None and not OLDEST <= facts["year"] <= NEWEST:
        facts["year"] = None
    key = key_of(ids, clean, authors[0] if authors else "", facts.get("year"))
    return Work(key=key, title=clean, ids=ids, **facts)


def _surname(author: str) -> str:
    name = author.split(",", maxsplit=1)[0] if "," in author else author
    parts = words(name)
    return parts[-1] if parts else ""


class Pool:
    """All works seen, each once. Adding a known work merges what is new into its record."""

    def __init__(self) -> None:
        self._records: dict[str, Found] = {}
        self._by_id: dict[str, str] = {}
        self._by_title: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Found]:
        return iter(tuple(self._records.values()))

    def get(self, key: str) -> Found | None:
        """Return a record by its work's key, or by a key it had before it was merged."""
        return self._records.get(self._by_id.get(key, key))

    def find(self, work: Work) -> Found | None:
        """Return the record of the same work, if it is known."""
        for identity in _identities(work):
            key = self._by_id.get(identity)
            if key and not _conflict(self._records[key].work, work):
                return self._records[key]
        for key in self._by_title.get(normalize_title(work.title), ()):
            if _same_by_title(self._records[key].work, work):
                return self._records[key]
        return None

    def add(self, work: Work, occasion: str | None = None) -> tuple[Found, bool]:
        """Add or merge a work; return its record and whether it is new."""
        record = self.find(work)
        new = record is None
        if record is None:
            record = Found(work=work)
        else:
            self._forget(record)
            record.other_titles |= {record.work.title, work.title}
            record.former_keys |= {record.key, work.key}
            record.work = merge(record.work, work)
            record = self._absorb_twins(record)
        if occasion:
            record.occasions.add(occasion)
        self._remember(record)
        return record, new

    def _absorb_twins(self, record: Found) -> Found:
        """Fold in records that the merged ids and titles now show to be the same work."""
        while (twin := self._twin(record)) is not None:
            self._forget(twin)
            _absorb(record, twin)
        return record

    def _twin(self, record: Found) -> Found | None:
        for identity in _identities(record.work):
            twin = self._records.get(self._by_id.get(identity, ""))
            if twin is not None and twin is not record and not _conflict(twin.work, record.work):
                return twin
        for title in {normalize_title(t) for t in (record.work.title, *record.other_titles)}:
            for key in self._by_title.get(title, ()):
                twin = self._records.get(key)
                if twin is not None and twin is not record and _same_by_title(twin.work, record.work):
                    return twin
        return None

    def _remember(self, record: Found) -> None:
        self._records[record.key] = record
        for identity in (*_identities(record.work), *record.former_keys):
            self._by_id[identity] = record.key
        for title in {normalize_title(t) for t in (record.work.title, *record.other_titles)}:
            bucket = self._by_title.setdefault(title, [])
            if record.key not in bucket:
                bucket.append(record.key)

    def _forget(self, record: Found) -> None:
        self._records.pop(record.key, None)
        for bucket in (self._by_title.get(normalize_title(t)) for t in (record.work.title, *record.other_titles)):
            if bucket and record.key in bucket:
                bucket.remove(record.key)


def _absorb(record: Found, twin: Found) -> None:
    record.former_keys |= {record.key}
    record.work = merge(record.work, twin.work)
    record.occasions |= twin.occasions
    for origin, paths in twin.headings.items():
        record.list_under(origin, paths)
    record.cited_by |= twin.cited_by
    record.cites |= twin.cites
    record.references_seen = max(record.references_seen, twin.references_seen)
    record.expanded = record.expanded or twin.expanded
    record.declared = record.declared or twin.declared
    record.other_titles |= twin.other_titles | {twin.work.title}
    record.former_keys |= twin.former_keys | {twin.key}


def _identities(work: Work) -> Iterator[str]:
    yield work.key
    for name, value in (("arxiv", work.ids.arxiv), ("doi", work.ids.doi), ("s2", work.ids.s2)):
        if value:
            yield f"{name}:{value[:16] if name == 's2' else value}"
    if work.ids.openalex:
        yield f"openalex:{work.ids.openalex}"


def _conflict(one: Work, other: Work) -> bool:
    return bool(one.ids.arxiv and other.ids.arxiv and one.ids.arxiv != other.ids.arxiv)


def _same_by_title(one: Work, other: Work) -> bool:
    """Tell whether two works with one title are the same: no id contradicts, and authors and years allow it."""
    if _conflict(one, other):
        return False
    if one.authors and other.authors and _surname(one.authors[0]) != _surname(other.authors[0]):
        return False
    # A preprint and its printing may lie years apart; the same title by the same author is the same work.
    return not (one.year and other.year and abs(one.year - other.year) > 3)


def merge(one: Work, other: Work) -> Work:
    """Return one work with the facts of both; what the first says stands, gaps are filled from the second."""
    ids = WorkIds(**{k: getattr(one.ids, k) or getattr(other.ids, k) for k in WorkIds.model_fields})
    authors = one.authors or other.authors
    year = _first(one.year, other.year)
    return one.model_copy(
        update={
            "ids": ids,
            "key": key_of(ids, one.title, authors[0] if authors else "", year),
            "authors": authors,
            "year": year,
            "venue": one.venue or other.venue,
            "abstract": one.abstract if len(one.abstract) >= len(other.abstract) else other.abstract,
            "url": one.url or other.url,
            "repositories": _repositories((*one.repositories, *other.repositories)),
            "categories": tuple(dict.fromkeys((*one.categories, *other.categories))),
            "evidence": one.evidence or other.evidence,
            "is_survey": one.is_survey or other.is_survey,
            "citations": max((c for c in (one.citations, other.citations) if c is not None), default=None),
            "method": one.method or other.method,
            "provenance": _provenance((*one.provenance, *other.provenance)),
        }
    )


def _first(*values: int | None) -> int | None:
    return next((v for v in values if v is not None), None)


def _repositories(found: Iterable[Repository]) -> tuple[Repository, ...]:
    by_url: dict[str, Repository] = {}
    for repository in found:
        known = by_url.get(repository.url.lower())
        better = known is None or (known.official is None and repository.official is not None)
        if better:
            by_url[repository.url.lower()] = repository
    return tuple(by_url.values())


def _provenance(found: Iterable[Provenance]) -> tuple[Provenance, ...]:
    """Return distinct provenance, the first of each source first, capped so that memory does not grow with queries."""
    distinct = list(dict.fromkeys(found))
    firsts = list({p.source: p for p in reversed(distinct)}.values())[::-1]
    rest = [p for p in distinct if p not in firsts]
    return tuple((firsts + rest)[:MAX_PROVENANCE])
