"""What the command line prints. All of it may come from models and papers, so control characters never get through."""

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.types.candidate import Leaderboard
from core.types.evaluation import Score

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
STATUS_STYLE = {
    "queued": "dim", "running": "cyan", "waiting_for_approval": "yellow", "succeeded": "green", "failed": "red",
    "cancelled": "magenta",
}  # fmt: skip


def plain(text: object) -> str:
    """Return text without what could steer a terminal."""
    return _CONTROL.sub("\ufffd", str(text))


def styled(text: object, style: str = "") -> Text:
    """Return text that is printed as it is, without markup."""
    return Text(plain(text), style=style)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> Table:
    """Return a table; cells are plain values or `Text`."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else styled(cell) for cell in row))
    return made


def status_text(status: str) -> Text:
    """Return a status in its color."""
    return styled(status.replace("_", " "), STATUS_STYLE.get(status, ""))


def percent(score: Score | None) -> str:
    """Return a score of 0 to 1 as a percentage with its interval."""
    if score is None:
        return ""
    interval = score.interval
    around = "" if interval is None else f"  [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
    return f"{100 * score.value:.1f}{around}"


def points(score: Score | None) -> str:
    """Return a difference of scores in percentage points with its interval."""
    if score is None:
        return ""
    interval = score.interval
    around = "" if interval is None else f"  [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    return f"{100 * score.value:+.1f}{around}"


def board_table(board: Leaderboard) -> Table:
    """Return a leaderboard as a table."""
    rows = [
        (r.rank, r.tie_group, r.candidate.name, r.candidate.kind.value, percent(r.score), points(r.difference))
        + ((r.seeds, r.seeds_note) if board.repeated else ())
        for r in board.rows
    ]
    columns = ("#", "tie", "candidate", "kind", f"{board.metric} % [95 %]", "to the leader")
    return table((*columns, *(("seeds", "why no more") if board.repeated else ())), rows, f"Leaderboard ({board.role})")


def print_runs(console: Console, items: Sequence[dict[str, Any]]) -> None:
    """Print a list of runs."""
    rows = [
        (r["id"], status_text(r["status"]), r["stage"] or "", r["title"], f"{r['wall_clock_s'] / 60:.1f} min")
        for r in items
    ]
    console.print(table(("run", "status", "stage", "title", "time"), rows))


def print_run(console: Console, run: dict[str, Any]) -> None:
    """Print one run."""
    console.print(styled(run["id"], "bold"), status_text(run["status"]), styled(run["sow"]["title"]))
    for stage, progress in run["progress"].items():
        console.print(styled(f"  {stage:<12}{progress['done']}/{progress['total'] or '?'}  {progress['note']}"))
    spent = run["spent"]
    console.print(
        styled(
            f"  {spent['wall_clock_s'] / 60:.1f} min, GPU {spent['gpu_s'] / 60:.1f} min,"
            f" ${spent['llm_usd']:.4f} ({spent['llm_tokens']} tokens), {spent['trials']} trials"
        )
    )
    if run["best"]:
        console.print(styled(f"  best so far: {run['best']['name']}"))
    if run["gate"]:
        console.print(styled(f"  waits for a decision: {run['gate']} (research-agent decide {run['id']} …)", "yellow"))
    if run["error"]:
        console.print(styled(f"  {run['error']}", "red"))
