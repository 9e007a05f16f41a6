"""Exact and closed-form answers for outcomes that are yes or no: one sample an item."""

from collections.abc import Sequence

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from core.errors import InvalidInputError
from core.types.evaluation import Interval


def wilson(passed: float, items: int, level: float = 0.95) -> Interval:
    """Return Wilson's interval of a proportion (Wilson 1927)."""
    if items <= 0 or not 0 <= passed <= items:
        raise InvalidInputError(f"A proportion of {passed} among {items} items has no interval.")
    low, high = proportion_confint(passed, items, alpha=1 - level, method="wilson")
    return Interval(low=max(0.0, float(low)), high=min(1.0, float(high)), level=level, method="wilson")


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p-value that two candidates pass equally often.

    Only items on which they differ count: those that only the first and those that only the second passed
    (McNemar 1947, binomial form).
    """
    if only_first < 0 or only_second < 0:
        raise InvalidInputError("Counts of items can't be negative.")
    if only_first + only_second == 0:
        return 1.0
    return float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted for the family by Holm's step-down rule (Holm 1979), in the given order.

    statsmodels' multipletests gives the same and collects garbage on every call, which takes 0.1 s in a large process.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = values.argsort(kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return tuple(float(p) for p in stepped[order.argsort(kind="stable")])
