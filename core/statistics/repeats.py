"""Numbers without items: the same candidate measured under several seeds, on any scale.

What is compared is the mean over seeds, paired by seed (common random numbers), by Student's t. A measurement that
does not depend on the seed gives the same difference every time: it is exact for the data that it was made on, and the
test says so. Nothing here speaks of other data.
"""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from core.errors import InvalidInputError
from core.statistics.bootstrap import Difference
from core.types.evaluation import Interval

SAME = "the same at every seed"


def repeated_interval(runs: Mapping[int, float], *, level: float = 0.95) -> Interval | None:
    """Return the interval of a mean over seeds; None for one run, which has no spread."""
    values = np.array(list(runs.values()), dtype=np.float64)
    if len(values) < 2:
        return None
    low, high = _t_interval(values, level)
    return Interval(low=low, high=high, level=level, method=SAME if low == high else "t over seeds")


def repeated_difference(first: Mapping[int, float], second: Mapping[int, float], *, level: float = 0.95) -> Difference:
    """Return first − second over the same seeds; raise InvalidInputError when the seeds differ or there are none.

    One seed alone shows no difference: its p-value is 1.
    """
    if first.keys() != second.keys() or not first:
        raise InvalidInputError("Repeated measurements are compared over the same seeds, at least one.")
    gaps = np.array([first[seed] - second[seed] for seed in sorted(first)], dtype=np.float64)
    value, count = float(gaps.mean()), len(gaps)
    if count < 2:
        return Difference(value, Interval(low=value, high=value, level=level, method="one run"), 1.0, 1, "one run")
    low, high = _t_interval(gaps, level)
    if low == high:
        interval = Interval(low=low, high=high, level=level, method=SAME)
        return Difference(value, interval, 1.0 if value == 0 else 0.0, count, SAME)
    p_value = float(stats.ttest_1samp(gaps, 0.0).pvalue)
    return Difference(
        value, Interval(low=low, high=high, level=level, method="t over seeds"), p_value, count, "paired t"
    )


def _t_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    mean, error = float(values.mean()), float(stats.sem(values))
    # Equal values differ in their last bits once they are added up.
    if error <= 1e-12 * max(1.0, abs(mean)):
        return mean, mean
    low, high = stats.t.interval(level, len(values) - 1, loc=mean, scale=error)
    return float(low), float(high)
