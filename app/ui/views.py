"""What the pages show, computed from what the API gives: the pipeline's states, gauges, interval bars."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.run_service import RunView
from core.types.candidate import Leaderboard
from core.types.evaluation import Evaluation, Score
from core.types.run import RunStatus, Stage

BAR_WIDTH = 160


@dataclass(frozen=True)
class StageBox:
    """One stage of the pipeline. `state` is done, now, waiting, stopped or todo."""

    name: str
    state: str
    done: int
    total: int
    note: str


@dataclass(frozen=True)
class Gauge:
    """One budget: what was used, of what, in words; `fraction` is None without a limit."""

    name: str
    used: str
    limit: str
    fraction: float | None


@dataclass(frozen=True)
class Bar:
    """A score on a scale, in the units of a small drawing: the whisker's ends and the point."""

    low: float
    high: float
    at: float


@dataclass(frozen=True)
class Board:
    """A leaderboard with its bars, on one scale."""

    board: Leaderboard
    bars: tuple[Bar, ...]
    low: float
    high: float


def pipeline(run: RunView) -> list[StageBox]:
    """Return the stages in order with their states."""
    stages = list(Stage)
    reached = stages.index(run.stage) if run.stage is not None else -1
    return [_stage(run, stage, number - reached) for number, stage in enumerate(stages)]


def _stage(run: RunView, stage: Stage, distance: int) -> StageBox:
    if distance < 0 or run.status is RunStatus.SUCCEEDED:
        state = "done"
    elif distance > 0:
        state = "todo"
    elif run.status is RunStatus.WAITING:
        state = "waiting"
    else:
        state = "stopped" if run.status.terminal else "now"
    progress = run.progress.get(stage.value)
    if progress is None:
        return StageBox(stage.value, state, 0, 0, "")
    return StageBox(stage.value, state, progress.done, progress.total, progress.note)


def gauges(run: RunView) -> list[Gauge]:
    """Return what was spent of each budget."""
    spent, budget = run.spent, run.sow.budget
    minutes, gpu = spent.wall_clock_s / 60, spent.gpu_s / 60
    tokens = f", {spent.llm_tokens:,} tokens" if spent.llm_tokens else ""
    return [
        _gauge("time", minutes, budget.wall_clock_minutes, "{:.1f} min"),
        _gauge("GPU", gpu, budget.gpu_minutes, "{:.1f} min"),
        _gauge("language model", spent.llm_usd, budget.llm_usd, "${:.2f}", tokens),
        _gauge("trials", spent.trials, budget.trials, "{:.0f}"),
    ]


def _gauge(name: str, used: float, limit: float | None, form: str, more: str = "") -> Gauge:
    if limit is None:
        return Gauge(name, form.format(used) + more, "", None)
    fraction = min(1.0, used / limit) if limit else 1.0
    return Gauge(name, form.format(used) + more, form.format(limit), fraction)


def boards(found: Sequence[Leaderboard]) -> list[Board]:
    """Return leaderboards with their bars."""
    return [_board(b) for b in found if b.rows]


def _board(board: Leaderboard) -> Board:
    ends = [e for row in board.rows for e in _ends(row.score)]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    bars = []
    for row in board.rows:
        first, last = _ends(row.score)
        bars.append(Bar(*(round(4 + (BAR_WIDTH - 8) * (v - low) / span, 1) for v in (first, last, row.score.value))))
    return Board(board, tuple(bars), low, high)


def _ends(score: Score) -> tuple[float, float]:
    return (score.value, score.value) if score.interval is None else (score.interval.low, score.interval.high)


def verdict_counts(evaluation: Evaluation) -> list[tuple[str, int]]:
    """Return how often each verdict occurs, most frequent first."""
    return Counter(s.verdict.value for item in evaluation.outcomes for s in item.samples).most_common()
