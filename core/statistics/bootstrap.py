"""Intervals by resampling items, and paired tests by flipping signs.

Items are resampled within their benchmark (stratified), each with its seeds inside: an item's score is its mean over
seeds, and seeds are no further items. What redrawn models add is in `core.statistics.draws`. The interval is BCa (Efron
1987) where it exists, else the percentile interval; scores that are all equal carry no information about spread, so
they get Wilson's interval, which is wider than the truth for any score in [0, 1] of that mean. Seeds of the resampling
make every result repeatable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from core.statistics.binomial import mcnemar_exact, wilson
from core.statistics.draws import between_draws, between_items, widened
from core.statistics.strata import Array, Scores, arrays, differences, shares, weighted_mean
from core.types.evaluation import Interval

RESAMPLES = 4999
# A p-value this small is drawn anew, finely: adjusted over all pairs of a leaderboard it must still be resolved.
SMALL, FINE = 0.02, 49_999


@dataclass(frozen=True)
class Difference:
    """A paired difference: its interval, the two-sided p-value of 'no difference', and how both were made."""

    value: float
    interval: Interval
    p_value: float
    items: int
    test: str


def score_interval(scores: Scores, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the interval of a weighted mean score."""
    over_items = _score_interval(scores, level, (seed, resamples))
    spreads = between_items(scores), (between_draws(scores),)
    interval, _ = widened(over_items, weighted_mean(scores), 1.0, spreads)
    return interval.evolve(low=max(0.0, interval.low), high=min(1.0, interval.high))


def _score_interval(scores: Scores, level: float, draw: tuple[int, int]) -> Interval:
    data = arrays(scores)
    if len(data) == 1 and set(np.unique(data[0])) <= {0.0, 1.0}:
        return wilson(float(data[0].sum()), len(data[0]), level)
    if all(_constant(a) for a in data):
        items = sum(len(a) for a in data)
        return wilson(weighted_mean(scores) * items, items, level).evolve(method="wilson (all items equal)")
    return _resampled(data, shares(scores), level, draw)


def paired_difference(
    first: Scores, second: Scores, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Return first − second over the same items; raise InvalidInputError when the items differ.

    One sample an item on one benchmark is tested by exact McNemar; anything else by a sign-flip permutation test.
    """
    pairs = differences(first, second)
    data, weights = arrays(pairs), shares(pairs)
    value = float(sum(w * d.mean() for w, d in zip(weights, data, strict=True)))
    items = sum(len(d) for d in data)
    p_value, test = _p_value(data, weights, (seed, resamples))
    constant = all(_constant(d) for d in data)
    over_items = (
        _constant_interval(value, items, level) if constant else _resampled(data, weights, level, (seed, resamples))
    )
    spreads = between_items(pairs), (between_draws(first), between_draws(second))
    interval, p_drawn = widened(over_items, value, p_value, spreads)
    return Difference(value, interval, p_drawn, items, test if p_drawn == p_value else "t over items and draws")


def _constant(values: Array) -> bool:
    return bool(np.ptp(values) == 0)


def _constant_interval(value: float, items: int, level: float) -> Interval:
    # With no spread seen, up to 1 − (1−level)^(1/n) of the items may still differ by 1 either way ("rule of three").
    reach = 1 - (1 - level) ** (1 / items)
    low, high = max(-1.0, value - reach), min(1.0, value + reach)
    return Interval(low=low, high=high, level=level, method="rule of three (all items equal)")


def _resampled(data: Sequence[Array], weights: Array, level: float, draw: tuple[int, int]) -> Interval:
    seed, resamples = draw

    def statistic(*samples: Array, axis: int = -1) -> Array:
        means = [w * s.mean(axis=axis) for w, s in zip(weights, samples, strict=True)]
        return np.asarray(sum(means[1:], start=means[0]), dtype=np.float64)

    # A stratum of one value can't be jackknifed; percentile needs no jackknife. One item can't be resampled alone.
    data = [np.repeat(d, 2) if len(d) == 1 else d for d in data]
    method = "percentile" if any(_constant(d) or len(d) < 3 for d in data) else "BCa"
    result = stats.bootstrap(
        data, statistic, n_resamples=resamples, batch=512, vectorized=True, axis=-1, confidence_level=level,
        method=method, rng=np.random.default_rng(seed),
    )  # fmt: skip
    low, high = (float(v) for v in result.confidence_interval)
    return Interval(low=low, high=high, level=level, method=f"bootstrap {method}")


def _p_value(data: Sequence[Array], weights: Array, draw: tuple[int, int]) -> tuple[float, str]:
    pooled = np.concatenate([w * d / len(d) for w, d in zip(weights, data, strict=True)])
    if len(data) == 1 and set(np.unique(data[0])) <= {-1.0, 0.0, 1.0}:
        wins, losses = int((data[0] > 0).sum()), int((data[0] < 0).sum())
        return mcnemar_exact(wins, losses), "exact McNemar"
    moving = pooled[pooled != 0]
    if len(moving) < 2:
        return 1.0, "sign flips"  # one item moves: either sign is as likely
    p_value = _flipped(moving, *draw)
    return (_flipped(moving, draw[0], FINE) if p_value < SMALL else p_value), "sign flips"


def _flipped(moving: Array, seed: int, resamples: int) -> float:
    result = stats.permutation_test(
        (moving,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=resamples, batch=2048,
        vectorized=True, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(result.pvalue)
