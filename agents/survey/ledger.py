"""The record of a survey: every question to every source, and what became of what it found.

A row names its works by key until the end, when screening has decided; then the kept and dropped are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.types.work import LedgerRow, Screening


@dataclass(frozen=True)
class Asked:
    """One question: to whom, what, and which page."""

    source: str
    query: str
    page: int = 0


@dataclass
class Ledger:
    """Rows in the order in which questions were asked."""

    _rows: list[tuple[LedgerRow, tuple[str, ...]]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def answered(self, asked: Asked, keys: Sequence[str], new: int, *, cached: bool, seconds: float) -> None:
        """Record an answered question with the works it named."""
        row = LedgerRow(
            source=asked.source, query=asked.query, page=asked.page, found=len(keys), new=new, cached=cached,
            seconds=round(seconds, 3),
        )  # fmt: skip
        self._rows.append((row, tuple(keys)))

    def noted(self, asked: Asked, reason: str) -> None:
        """Record a question that was not answered, or a decision, with its reason."""
        row = LedgerRow(source=asked.source, query=asked.query, page=asked.page, reason=reason)
        self._rows.append((row, ()))

    def rows(self, screened: Mapping[str, Screening]) -> tuple[LedgerRow, ...]:
        """Return the rows with the kept and dropped works of each counted."""
        closed = []
        for row, keys in self._rows:
            kept = sum(screened.get(k) is Screening.KEPT for k in keys)
            dropped = sum(screened.get(k) is Screening.DROPPED for k in keys)
            closed.append(row.model_copy(update={"kept": kept, "dropped": dropped}))
        return tuple(closed)
