"""The winner's curse: the best of several candidates looks better than it is.

Two ways out: fresh items (confirmation), and, on the same items, the bootstrap bias correction of Tsamardinos et al.
(2018): choose the winner on resampled items, score it on the items left out. The corrected value is of the act of
choosing, and slightly low, since a resample holds only 63 % of the items.
"""

from dataclasses import dataclass

import numpy as np
from scipy import integrate, stats

from core.errors import InvalidInputError
from core.statistics.strata import Array
from core.types.evaluation import Interval


@dataclass(frozen=True)
class Corrected:
    """A winner's score as it looks, as corrected, and the corrected value's interval."""

    naive: float
    value: float
    interval: Interval
    winner: int
    candidates: int

    @property
    def optimism(self) -> float:
        """Return how much too good the winner looks."""
        return self.naive - self.value


def corrected_winner(
    scores: Array, *, weights: Array | None = None, level: float = 0.95, seed: int = 0, resamples: int = 1000
) -> Corrected:
    """Return the best candidate's score without the luck of having been chosen.

    `scores`: candidates × items. `weights`: one an item, where items of several benchmarks are pooled.
    """
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] < 2:
        raise InvalidInputError("The correction needs candidates × items with at least two items.")
    items = scores.shape[1]
    importance = np.ones(items) if weights is None else np.asarray(weights, dtype=np.float64)
    means = scores @ importance / importance.sum()
    winner = int(means.argmax())
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(items, np.full(items, 1 / items), size=resamples)
    chosen = ((counts * importance) @ scores.T).argmax(axis=1)
    left_out = (counts == 0) * importance
    kept = left_out.sum(axis=1) > 0
    outside = (left_out[kept] * scores[chosen[kept]]).sum(axis=1) / left_out[kept].sum(axis=1)
    value = float(outside.mean())
    # The spread of the corrected value is that of a mean over all items, not of the third left out of a resample.
    spread = float((counts[kept] * importance * scores[chosen[kept]]).sum(axis=1).std() / importance.sum())
    reach = float(stats.norm.ppf(0.5 + level / 2)) * spread
    interval = Interval(low=value - reach, high=value + reach, level=level, method="bootstrap bias correction")
    return Corrected(float(means[winner]), value, interval, winner, len(scores))


def expected_optimism(candidates: int, items: int, score: float = 0.5) -> float:
    """Return how much too good the best of equal, independent candidates looks.

    It is the expected largest of k standard normals, times sqrt(p(1−p)/n).
    """
    if candidates < 1 or items < 1 or not 0 <= score <= 1:
        raise InvalidInputError("Expected optimism needs candidates, items and a score in [0, 1].")

    def density(z: float) -> float:
        return float(z * candidates * stats.norm.pdf(z) * stats.norm.cdf(z) ** (candidates - 1))

    largest, _ = integrate.quad(density, -10, 10)
    return float(largest * np.sqrt(score * (1 - score) / items))
