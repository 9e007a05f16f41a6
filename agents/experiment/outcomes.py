"""What became of every work in the end: its place on the board, or why it has none. No work loses its row."""

from collections.abc import Mapping

from agents.context import RunContext
from core.types.candidate import Applicabilities, Applicability, Candidate, Leaderboard
from core.types.reproduction import ReproductionRow, Verdict


async def keep_outcomes(context: RunContext, board: Leaderboard) -> None:
    """Write each work's outcome into its row, and the measured scores beside the papers' claims."""
    scores = {r.candidate.id: r.score for r in board.rows}
    for row in await reproduction_rows(context):
        if row.candidate_id in scores and row.verdict is Verdict.RANKED:
            changed = row.evolve(score=scores[row.candidate_id])
            await context.records.put(context.run_id, f"reproduction.{row.candidate_id}", changed)
    candidates = {c.id: c for c in await context.records.candidates(context.run_id)}
    known = await context.records.get(context.run_id, "applicability", Applicabilities)
    rows = tuple(_with_outcome(row, candidates, board) for row in known.rows)
    await context.records.put(context.run_id, "applicability", Applicabilities(rows=rows))


async def reproduction_rows(context: RunContext) -> list[ReproductionRow]:
    """Return the reproductions of the run, in the order of their candidates."""
    return list(await context.records.every(context.run_id, "reproduction.", ReproductionRow))


def _with_outcome(row: Applicability, candidates: Mapping[str, Candidate], board: Leaderboard) -> Applicability:
    candidate = candidates.get(row.candidate_id or row.method or "")
    if candidate is None:
        return row.evolve(outcome="not tried")
    place = next((r for r in board.rows if r.candidate.id == candidate.id), None)
    if place is not None:
        tied = sum(r.tie_group == place.tie_group for r in board.rows) > 1
        words = f"rank {place.rank} of {len(board.rows)} with {place.score.value:.1%}{' (tied)' if tied else ''}"
        words += f", mean of {place.seeds} seeds" if place.seeds > 1 else ""
        return row.evolve(candidate_id=candidate.id, fidelity=candidate.fidelity, outcome=words)
    return row.evolve(candidate_id=candidate.id, outcome=f"no result: {candidate.note or 'it was not evaluated'}")
