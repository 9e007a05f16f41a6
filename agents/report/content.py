"""What a report may say: one frozen value with everything that was measured, and where each number comes from."""

from functools import cached_property

from pydantic import Field

from core.types.base import Value
from core.types.candidate import Applicability, Candidate, Leaderboard, Ranked
from core.types.evaluation import Evaluation, Score
from core.types.optimization import Confirmation, OptimizationResult
from core.types.publication import Publication
from core.types.recipe import Recipe
from core.types.reproduction import ReproductionRow
from core.types.run import Spent
from core.types.sow import StatementOfWork
from core.types.work import Survey

SHORT = 8
SHARES = frozenset({"weighted mean", "exact_match", "constraint_match", "difference"})


def short_id(evaluation_id: str) -> str:
    """Return how an evaluation is cited: the start of the content hash in its id."""
    return evaluation_id.rpartition(":")[2][:SHORT]


class ReportInput(Value):
    """All that a report is made from. Rendering it is a pure function: the same input gives the same bytes."""

    run_id: str
    sow: StatementOfWork
    survey: Survey | None = None
    applicabilities: tuple[Applicability, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    leaderboards: dict[str, Leaderboard] = Field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = ()
    optimization: OptimizationResult | None = None
    confirmation: Confirmation | None = None
    reproductions: tuple[ReproductionRow, ...] = ()
    spent: Spent = Spent()
    environment: dict[str, str] = Field(default_factory=dict)
    llm_model: str | None = None
    recipe: Recipe | None = None
    publication: Publication | None = None

    @property
    def worker_s(self) -> float:
        """Return the seconds that workers spent on the evaluations reported here."""
        costs = [e.cost for e in self.evaluations]
        return sum(c.load_s + c.merge_s + c.generate_s + c.grade_s for c in costs)

    @cached_property
    def board(self) -> Leaderboard | None:
        """Return the leaderboard that decides: confirm where there is one with rows, else screen."""
        boards = [self.leaderboards.get(role) for role in ("confirm", "screen")]
        return next((b for b in boards if b is not None and b.rows), None)

    @cached_property
    def names(self) -> dict[str, str]:
        """Return candidates' names by id; trials are called by their numbers, as finalists are."""
        ranked = {r.candidate.id: r.candidate.name for b in self.leaderboards.values() for r in b.rows}
        trials = reversed(self.optimization.trials) if self.optimization else ()
        numbered = {t.candidate_id: f"{t.method}, trial {t.number}" for t in trials if t.method}
        return ranked | {c.id: c.name for c in self.candidates} | numbered

    @cached_property
    def winner(self) -> Ranked | None:
        """Return the row of the candidate that the run reports, on the board that decides."""
        if self.board is None:
            return None
        wanted = self.confirmation.winner if self.confirmation and self.confirmation.done else None
        return next((r for r in self.board.rows if r.candidate.id == wanted), self.board.rows[0])

    @cached_property
    def cited(self) -> dict[str, Evaluation]:
        """Return evaluations by short id."""
        return {short_id(e.id): e for e in self.evaluations}

    def refs(self, candidate_id: str, role: str) -> tuple[str, ...]:
        """Return the full-slice evaluations of a candidate under a role, as short ids."""
        own = [e for e in self.evaluations if e.candidate_id == candidate_id and e.role == role]
        return tuple(short_id(e.id) for e in own)

    def seconds(self, row: Ranked, role: str) -> float | None:
        """Return what a row took, a seed: merging, generating and grading; None where nothing was measured."""
        own = [e.cost for e in self.evaluations if e.candidate_id == row.candidate.id and e.role == role]
        total = sum(c.load_s + c.merge_s + c.generate_s + c.grade_s for c in own)
        return total / row.seeds if own and total > 0 else None


def percent(value: float, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return f"{value * 100:.{digits}f}\u00a0%"


def points(value: float) -> str:
    """Return a difference of shares in percentage points, with its sign; a minus is a minus, not a hyphen."""
    return f"{value * 100:+.1f}".replace("-", "−")


def is_share(score: Score) -> bool:
    """Return whether a score is a share of items, shown in percent; a command's metric is a number on its own scale."""
    return score.metric in SHARES or score.metric.startswith("pass@")


def shown(score: Score) -> str:
    """Return a score as it is read."""
    return percent(score.value) if is_share(score) else f"{score.value:.4g}"


def gap(score: Score) -> str:
    """Return a difference as it is read: in points, or on the metric's own scale; with its sign."""
    return _signed(score, score.value)


def _signed(score: Score, value: float) -> str:
    return points(value) if is_share(score) else f"{value:+.4g}".replace("-", "−")


def interval(score: Score) -> str:
    """Return a score's interval, in percent where it is a share, or a dash where it has none."""
    if score.interval is None:
        return "–"
    low, high = score.interval.low, score.interval.high
    return f"{low * 100:.1f} – {high * 100:.1f}" if is_share(score) else f"{low:.4g} – {high:.4g}"


def point_interval(score: Score) -> str:
    """Return a difference's interval."""
    if score.interval is None:
        return "–"
    return f"{_signed(score, score.interval.low)} … {_signed(score, score.interval.high)}"


def duration(seconds: float) -> str:
    """Return seconds in the unit that reads best."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
