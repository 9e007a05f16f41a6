"""A run's limits: what is left, so that a run stops spending in time and still reports."""

from agents.context import RunContext
from core.errors import BudgetExceededError
from core.types.run import Spent
from core.types.sow import Budget

# Confirmation and the report must still fit: the search and the screening stop this share before the limit.
RESERVE = 0.15


def exceeded(budget: Budget, spent: Spent, *, reserve: float = 0.0) -> str | None:
    """Return which limit is reached, in words, or None. `reserve` is the share of each limit to keep back."""
    keep = 1.0 - reserve
    limits = (
        ("wall-clock", budget.wall_clock_minutes, spent.wall_clock_s / 60, "min"),
        ("GPU", budget.gpu_minutes, spent.gpu_s / 60, "min"),
    )
    for name, limit, used, unit in limits:
        if limit is not None and used >= limit * keep:
            return f"{name} budget of {limit:g} {unit} ({used:.1f} {unit} used, {reserve:.0%} kept for confirmation)"
    return None


async def check_budget(context: RunContext, *, reserve: float = RESERVE) -> None:
    """Raise BudgetExceededError when a limit of the run is reached."""
    run = await context.runs.get(context.run_id)
    reached = exceeded(context.sow.budget, run.spent, reserve=reserve)
    if reached:
        raise BudgetExceededError(f"Stopped at the {reached}.")
