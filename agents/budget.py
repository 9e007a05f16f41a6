"""What language models may cost in a run, and what they have cost.

A call reserves its worst case before it is made and settles for its true cost after, so that the limit holds with many
calls in flight. What a provider charges for a call that was cut off is not known to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import BudgetExceededError
from core.types.run import Run
from core.types.transcript import Usage


def add_usage(one: Usage, other: Usage) -> Usage:
    """Return the account of both."""
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cost_usd=one.cost_usd + other.cost_usd,
        latency_s=one.latency_s + other.latency_s,
        calls=one.calls + other.calls,
    )


class LlmBudget:
    """US dollars that a run may spend on language models; `spent` is what it had spent before, after a restart.

    For one event loop: it does not lock.
    """

    def __init__(self, limit_usd: float | None = None, spent: Usage | None = None) -> None:
        self.limit_usd = limit_usd
        self._spent = spent or Usage()
        self._reserved = 0.0

    @property
    def spent(self) -> Usage:
        """Return what settled calls have used."""
        return self._spent

    @property
    def remaining_usd(self) -> float | None:
        """Return what is neither spent nor reserved, or None without a limit."""
        if self.limit_usd is None:
            return None
        return max(0.0, self.limit_usd - self._spent.cost_usd - self._reserved)

    @property
    def exhausted(self) -> bool:
        """Return whether nothing is left."""
        return self.remaining_usd is not None and self.remaining_usd <= 0.0

    def charge(self, usage: Usage) -> None:
        """Account for a call that was made."""
        self._spent = add_usage(self._spent, usage)

    @contextmanager
    def reserve(self, worst_case_usd: float) -> Iterator[None]:
        """Hold the worst case of a call while it runs; raise BudgetExceededError when it does not fit."""
        remaining = self.remaining_usd
        if remaining is not None and (self.exhausted or worst_case_usd > remaining):
            raise BudgetExceededError(
                f"The language-model budget of ${self.limit_usd:.4f} is used up: ${self._spent.cost_usd:.4f} spent, "
                f"and the next call may cost ${worst_case_usd:.4f}."
            )
        self._reserved += worst_case_usd
        try:
            yield
        finally:
            self._reserved -= worst_case_usd


def run_budget(run: Run) -> LlmBudget:
    """Return the budget of a run, less what it had spent before this process took it up."""
    # The store sums tokens without their kind; only the total and the cost are needed from here on.
    spent = Usage(prompt_tokens=run.spent.llm_tokens, cost_usd=run.spent.llm_usd)
    return LlmBudget(run.sow.budget.llm_usd, spent)
