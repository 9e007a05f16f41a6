"""Which built-in method implements a work: by arXiv id, else by the names in its title.

A pure function over works and declarations; whether a method can run on a task's models is decided elsewhere. A work
without a method is listed as not built in, with the reason, never hidden.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Protocol

from agents.survey.text import acronym_of, contains_phrase, normalize_title, words
from core.types.candidate import Applicability, Fidelity
from core.types.work import Work

_SHORTEST_NAME = 3


class Declaration(Protocol):
    """What matching reads of a built-in method."""

    @property
    def name(self) -> str:
        """Return the stable name."""
        ...

    @property
    def title(self) -> str:
        """Return the method's name as its paper writes it."""
        ...

    @property
    def arxiv_id(self) -> str | None:
        """Return the paper that the method comes from."""
        ...

    @property
    def fidelity(self) -> StrEnum:
        """Return how close the implementation is to the paper."""
        ...

    @property
    def difference(self) -> str:
        """Return what differs from the paper."""
        ...


def match_works(works: Iterable[Work], declarations: Sequence[Declaration]) -> tuple[Applicability, ...]:
    """Return one row for each method of each work, and one saying so for each work without any."""
    rows: list[Applicability] = []
    for work in works:
        methods, how = methods_of(work, declarations)
        rows += [_built_in(work, method, how) for method in methods] or [_not_built_in(work)]
    return tuple(rows)


def methods_of(work: Work, declarations: Sequence[Declaration]) -> tuple[tuple[Declaration, ...], str]:
    """Return the methods that implement a work, in the order declared, and how that is known."""
    by_id = tuple(d for d in declarations if work.ids.arxiv and d.arxiv_id == work.ids.arxiv)
    if by_id:
        return by_id, f"arXiv id {work.ids.arxiv}"
    if work.is_survey:
        return (), ""
    # A declaration with another paper's id is another paper's method, whatever the names say.
    open_ones = [d for d in declarations if not (work.ids.arxiv and d.arxiv_id)]
    by_name = tuple(d for d in open_ones if _named(work.title, d))
    return by_name, "its title names the method" if by_name else ""


def with_methods(works: Iterable[Work], declarations: Sequence[Declaration]) -> tuple[Work, ...]:
    """Return the works with the first method that implements each."""
    matched = []
    for work in works:
        methods, _ = methods_of(work, declarations)
        matched.append(work.evolve(method=methods[0].name) if methods else work)
    return tuple(matched)


def _named(title: str, declaration: Declaration) -> bool:
    """Tell whether a title is the method's, or begins with the method's name before a colon."""
    names = {normalize_title(n) for n in _names(declaration)} - {""}
    if normalize_title(title) in names:
        return True
    short = normalize_title(acronym_of(title) or "")
    tokens = words(title)
    return short in names or any(len(n.split()) > 1 and contains_phrase(tokens, n.split()) for n in names)


def _names(declaration: Declaration) -> set[str]:
    bare = declaration.title.split("(", maxsplit=1)[0].split(",", maxsplit=1)[0]
    parts = {part.strip() for part in bare.split("/")} | {bare}
    return {p for p in parts if len(p) >= _SHORTEST_NAME and " + " not in p}


def _built_in(work: Work, method: Declaration, how: str) -> Applicability:
    return Applicability(
        work_key=work.key,
        work_title=work.title,
        method=method.name,
        fidelity=Fidelity(method.fidelity.value),
        reason=f"Matched by {how}. {method.difference}".strip(),
    )


def _not_built_in(work: Work) -> Applicability:
    why = "a survey proposes no method of its own" if work.is_survey else "no built-in method implements it"
    return Applicability(work_key=work.key, work_title=work.title, fidelity=Fidelity.NOT_BUILT_IN, reason=why)
