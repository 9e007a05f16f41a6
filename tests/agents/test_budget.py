import pytest

from agents.budget import LlmBudget, add_usage
from agents.provider import LlmSettings
from core.errors import BudgetExceededError
from core.types.transcript import Usage


def test_reservations_count_until_they_settle() -> None:
    budget = LlmBudget(1.0, spent=Usage(cost_usd=0.5))
    with budget.reserve(0.4), pytest.raises(BudgetExceededError, match=r"\$1.0000 is used up"), budget.reserve(0.2):
        pass
    assert budget.remaining_usd == pytest.approx(0.5)
    budget.charge(Usage(cost_usd=0.5, calls=1))
    assert budget.exhausted
    with pytest.raises(BudgetExceededError), budget.reserve(0.0):
        pass


def test_a_failed_call_frees_its_reservation() -> None:
    budget = LlmBudget(1.0)
    with pytest.raises(ValueError, match="x"), budget.reserve(0.9):
        raise ValueError("x")
    assert budget.remaining_usd == 1.0


def test_no_limit() -> None:
    budget = LlmBudget()
    with budget.reserve(1e9):
        pass
    assert budget.remaining_usd is None
    assert not budget.exhausted


def test_zero_means_never() -> None:
    with pytest.raises(BudgetExceededError), LlmBudget(0.0).reserve(0.0):
        pass


def test_accounts_add_up() -> None:
    one = Usage(prompt_tokens=1, completion_tokens=2, cost_usd=0.1, latency_s=1, calls=1)
    assert add_usage(one, one) == Usage(prompt_tokens=2, completion_tokens=4, cost_usd=0.2, latency_s=2, calls=2)


@pytest.mark.parametrize("url", ["api.deepseek.com", "https://user:pass@api.deepseek.com"])
def test_addresses_carry_no_password(url: str) -> None:
    with pytest.raises(ValueError, match="without a user or password"):
        LlmSettings(base_url=url)
