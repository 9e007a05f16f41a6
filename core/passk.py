"""pass@k and its intervals, from counts of samples and of passes per problem. NumPy only."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInputError
from core.types.evaluation import Interval, ItemOutcome, Score

BOOTSTRAP_DRAWS = 10_000
_BLOCK = 500


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return the unbiased estimate 1 − C(n−c, k)/C(n, k) for one problem (Chen et al. 2021, eq. 1).

    Computed as a product of ratios, so that no binomial overflows.

    Raises:
        InvalidInputError: k is not between 1 and the number of samples, or passed is not between 0 and it.
    """
    if not 1 <= k <= samples:
        raise InvalidInputError(f"pass@{k} needs at least {k} samples a problem; there are {samples}.")
    if not 0 <= passed <= samples:
        raise InvalidInputError(f"{passed} of {samples} samples cannot have passed.")
    if samples - passed < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(samples - passed + 1, samples + 1)))


def estimates(outcomes: Sequence[ItemOutcome], k: int) -> NDArray[np.float64]:
    """Return each problem's pass@k, shape [problems]."""
    return np.array([pass_at_k(len(item.samples), item.passed, k) for item in outcomes])


def score(outcomes: Sequence[ItemOutcome], metric: str, *, level: float = 0.95, seed: int = 0) -> Score:
    """Return the mean over problems with its interval: Wilson where each problem is all or nothing, else bootstrap.

    Where all problems have the same value the bootstrap, which has no spread, would claim certainty: Wilson there too,
    as if each were all or nothing, which has the most spread that a share can have.

    `metric` is `pass@k` or the name of a metric that is a share of passed samples.
    """
    k = int(metric.removeprefix("pass@")) if metric.startswith("pass@") else 1
    if not outcomes:
        return Score(
            metric=metric, value=0.0, interval=Interval(low=0.0, high=1.0, level=level, method="none"), items=0
        )
    values = estimates(outcomes, k)
    if all(len(item.samples) == 1 for item in outcomes) or values.min() == values.max():
        interval = wilson(float(values.sum()), len(values), level)
    else:
        interval = bootstrap(values, level=level, seed=seed)
    return Score(metric=metric, value=float(values.mean()), interval=interval, items=len(values))


def wilson(passed: float, total: int, level: float = 0.95) -> Interval:
    """Return the Wilson score interval of a share (Wilson 1927); `passed` may be a sum of shares."""
    if total < 1:
        raise InvalidInputError("An interval needs at least one problem.")
    share, square = passed / total, NormalDist().inv_cdf(0.5 + level / 2) ** 2
    middle = (share + square / (2 * total)) / (1 + square / total)
    spread = sqrt(square * (share * (1 - share) / total + square / (4 * total**2))) / (1 + square / total)
    return Interval(low=max(0.0, middle - spread), high=min(1.0, middle + spread), level=level, method="wilson")


def bootstrap(values: NDArray[np.float64], *, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the percentile interval of the mean under resampling of problems (not of samples)."""
    if not len(values):
        raise InvalidInputError("An interval needs at least one problem.")
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            values[generator.integers(0, len(values), (_BLOCK, len(values)))].mean(axis=1)
            for _ in range(BOOTSTRAP_DRAWS // _BLOCK)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), level=level, method="bootstrap over problems")
