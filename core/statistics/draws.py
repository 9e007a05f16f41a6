"""A seed that makes another model: how far a method's score moves from one draw of it to the next.

Repeated decoding moves items one by one, so an item's mean over its seeds says it all, and items are resampled with
their seeds inside. A redrawn merge moves all items together, which resampling items can't show. The variance of the
mean over draws is added to that over items: what a draw does to single items is counted in both, so the sum errs
towards 'tied'. Degrees of freedom follow Welch and Satterthwaite (1946): two draws tell little about their spread.

Draws of different candidates are taken as independent, also where they share random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from core.statistics.strata import Scores, arrays, shares
from core.types.evaluation import Interval


@dataclass(frozen=True)
class Spread:
    """The variance of a mean, estimated with `freedom` degrees of freedom."""

    variance: float
    freedom: float


def between_items(scores: Scores) -> Spread:
    """Return the variance of a weighted mean for its choice of items."""
    data = [a for a in arrays(scores) if len(a) > 1]
    weights = [w for w, a in zip(shares(scores), arrays(scores), strict=True) if len(a) > 1]
    return _sum([Spread(float(w**2 * a.var(ddof=1) / len(a)), len(a) - 1) for w, a in zip(weights, data, strict=True)])


def between_draws(scores: Scores) -> Spread | None:
    """Return the variance of a weighted mean for its draws; None where seeds made no other models."""
    drawn = [(w, s.draws) for w, s in zip(shares(scores), scores, strict=True) if s.draws]
    if not drawn:
        return None
    count = min(len(draws) for _, draws in drawn)
    means = sum(w * np.array([np.mean(list(d.values())) for d in draws[:count]]) for w, draws in drawn)
    return Spread(float(np.var(means, ddof=1) / count), count - 1)


def widened(
    interval: Interval, value: float, p_value: float, spreads: tuple[Spread, Sequence[Spread | None]]
) -> tuple[Interval, float]:
    """Return an interval and a p-value over items, made to hold for other draws, too; never narrower or smaller."""
    items, drawn = spreads[0], [s for s in spreads[1] if s is not None and s.variance > 0]
    if not drawn:
        return interval, p_value
    total = _sum([items, *drawn])
    far = float(stats.t.ppf(0.5 + interval.level / 2, total.freedom))
    extra = far**2 * total.variance - float(stats.norm.ppf(0.5 + interval.level / 2)) ** 2 * items.variance
    low, high = (float(np.sign(end - value) * np.hypot(end - value, np.sqrt(extra))) for end in _ends(interval, value))
    p_drawn = float(2 * stats.t.sf(abs(value) / np.sqrt(total.variance), total.freedom))
    wide = interval.evolve(low=value + low, high=value + high, method=f"{interval.method}, t over draws")
    return wide, max(p_value, p_drawn)


def _ends(interval: Interval, value: float) -> tuple[float, float]:
    # An end may lie on the value itself, where no item moved that way; the draws still move it.
    least = 1e-12
    return min(interval.low, value - least), max(interval.high, value + least)


def _sum(spreads: Sequence[Spread]) -> Spread:
    total = sum(s.variance for s in spreads)
    parts = sum(s.variance**2 / s.freedom for s in spreads)
    return Spread(total, total**2 / parts if parts else 1.0)
