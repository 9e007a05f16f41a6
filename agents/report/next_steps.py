"""What to try next, read off the data by fixed rules."""

from collections.abc import Iterator

from agents.report.content import ReportInput, is_share
from agents.report.wording import Say
from core.types.candidate import Fidelity
from core.types.evaluation import Score
from core.types.sow import Role

LATE = 0.75
EDGE = 0.02


def next_steps(report: ReportInput, say: Say) -> list[str]:
    """Return suggestions, the most useful first; one sentence where there is none."""
    found = [*_confirmation(report, say), *_search(report, say), *_methods(report, say)]
    return found or [say("next_nothing")]


def _confirmation(report: ReportInput, say: Say) -> Iterator[str]:
    sow, confirmation = report.sow, report.confirmation
    if sow.kind == "merge" and not sow.benchmarks_of(Role.CONFIRM):
        yield say("next_confirm")
    if confirmation and confirmation.verdict == "tied":
        own = [c for c in confirmation.comparisons if c.candidate_id == confirmation.winner and is_share(c.difference)]
        wanted = [items_needed(c.difference) for c in own if c.difference.value > 0.002]
        if wanted and max(wanted) > 0:
            gain = min(c.difference.value for c in own if c.difference.value > 0.002)
            yield say("next_more_items", gain=f"{gain * 100:.1f}", items=f"{max(wanted):,}")


def items_needed(difference: Score) -> int:
    """Return about how many items would separate this difference from zero with 80 % power (two-sided 5 %)."""
    if difference.interval is None or difference.value == 0:
        return 0
    error = (difference.interval.high - difference.interval.low) / (2 * 1.96)
    # The standard error shrinks with the square root of the items; 2.8 = z(0.975) + z(0.8).
    needed = difference.items * (2.8 * error / abs(difference.value)) ** 2
    return int(round(needed, -1 if needed < 1000 else -2))


def _search(report: ReportInput, say: Say) -> Iterator[str]:
    found = report.optimization
    if report.sow.kind == "merge" and not report.sow.benchmarks_of(Role.SEARCH):
        yield say("next_search")
    if found is None or not found.trials:
        return
    complete = [t for t in found.trials if t.state == "complete" and t.value is not None]
    if not complete:
        return
    best = max(complete, key=lambda t: t.value or 0.0)
    count = len(found.trials)
    if best.number + 1 > LATE * count and count >= 8:
        yield say("next_trials", number=best.number, count=count)
    spec = report.sow.optimization
    width = spec.coefficient_high - spec.coefficient_low
    edge = [
        name.removeprefix("weight.")
        for name, value in sorted(best.parameters.items())
        if name.startswith("weight.") and value > spec.coefficient_high - EDGE * width
    ]
    if edge:
        yield say("next_edge", names=say.listed(edge))


def _methods(report: ReportInput, say: Say) -> Iterator[str]:
    missing = [a for a in report.applicabilities if a.fidelity is Fidelity.NOT_BUILT_IN]
    if missing:
        yield say("next_not_built", count=len(missing))
    board = report.leaderboards.get("screen")
    tied = [r for r in board.rows[1:] if r.tie_group == 1 and r.candidate.kind != "baseline"] if board else []
    if len(tied) > 1:
        yield say("next_tied", count=len(tied))
