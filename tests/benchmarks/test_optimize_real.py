"""The real half of the benchmark, on a surface in place of models."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from benchmarks.optimize_real import ARMS, Bench, run
from benchmarks.response_surface import ResponseSurface
from tests.fakes.surface_jobs import MODELS


class Counting:
    """Search and confirm items of one surface; counts what is asked."""

    models = MODELS

    def __init__(self) -> None:
        self.world = ResponseSurface(3, dimensions=3, items=240)
        self.asked: list[str] = []

    def items(self, role: str) -> Sequence[str]:
        start = 0 if role == "search" else 120
        return [f"{i:03d}" for i in range(start, start + 120)]

    def evaluate(self, coefficients: Mapping[str, float], item_ids: Sequence[str]) -> Mapping[str, float]:
        self.asked += item_ids
        scores = self.world.outcomes(np.array([coefficients[e.name] for e in MODELS.experts]))
        return {i: float(scores[int(i)]) for i in item_ids}


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_every_arm_keeps_to_its_budget_and_never_sees_confirm_items(arm: str) -> None:
    evaluator = Counting()
    found = ARMS[arm](Bench(evaluator, 1500), 0)
    assert set(found) == {"code", "math", "chat"}
    assert set(evaluator.asked) <= set(evaluator.items("search"))
    assert len(evaluator.asked) <= 1500 + 120


def test_the_result_has_the_fields_of_the_last_line() -> None:
    found = run(Counting(), 1500, seeds=2)
    assert {"gain_over_best_screened", "interval", "gain_over_random", "gain_over_cmaes"} <= set(found)
    assert found["interval"][0] <= found["gain_over_best_screened"] <= found["interval"][1]  # type: ignore[index]


def test_shared_items_are_refused() -> None:
    class Leaking(Counting):
        def items(self, role: str) -> Sequence[str]:
            return super().items("search")

    with pytest.raises(ValueError, match="share items"):
        run(Leaking(), 500, seeds=1)
