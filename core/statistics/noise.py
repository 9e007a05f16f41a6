"""The noise floor: how far the same candidate's score moves when only the seed changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from core.errors import InvalidInputError


@dataclass(frozen=True)
class NoiseFloor:
    """`deviation` is the standard deviation of one run's score; `difference` is what two runs of the same candidate
    exceed by luck alone in `1 − level` of cases.
    """

    deviation: float
    difference: float
    seeds: int
    items: int
    level: float


def noise_floor(runs: Sequence[Mapping[str, float]], *, level: float = 0.95) -> NoiseFloor:
    """Return the noise floor from the same candidate's scores by item under several seeds.

    Items are sampled independently of each other given the seed, so the variance of the mean is the sum of the items'
    variances over n²: with 164 items two seeds already give 164 degrees of freedom.
    """
    if len(runs) < 2:
        raise InvalidInputError("The noise floor needs at least two seeds of the same candidate.")
    if any(run.keys() != runs[0].keys() for run in runs) or not runs[0]:
        raise InvalidInputError("The noise floor needs the same items under every seed.")
    table = np.array([[run[i] for i in sorted(runs[0])] for run in runs])
    items = table.shape[1]
    variances = table.var(axis=0, ddof=1)
    deviation = float(np.sqrt(variances.sum()) / items)
    # Welch–Satterthwaite with equal degrees of freedom an item; items that never moved tell nothing about the spread.
    moving = variances[variances > 0]
    freedom = (len(runs) - 1) * float(moving.sum() ** 2 / (moving**2).sum()) if len(moving) else 1.0
    quantile = float(stats.t.ppf(0.5 + level / 2, freedom))
    return NoiseFloor(deviation, quantile * np.sqrt(2) * deviation, len(runs), items, level)
