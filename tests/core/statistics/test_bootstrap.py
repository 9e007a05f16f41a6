"""Intervals and paired tests: known answers, refusals, and what chance does."""

import numpy as np
import pytest
from scipy import stats

from core.errors import InvalidInputError
from core.statistics.bootstrap import paired_difference, score_interval
from core.statistics.strata import Stratum, common, weighted_mean


def stratum(values: object, weight: float = 1.0, name: str = "i") -> Stratum:
    return Stratum({f"{name}{k:03d}": float(v) for k, v in enumerate(values)}, weight)  # type: ignore[arg-type]


def test_yes_no_items_get_wilsons_interval() -> None:
    interval = score_interval([stratum([1] * 81 + [0] * 182)])
    assert interval.method == "wilson"
    assert round(interval.low, 4) == 0.2553


def test_fractions_get_a_bootstrap_close_to_the_normal_interval() -> None:
    values = np.random.default_rng(5).beta(2, 2, size=164).round(1)
    interval = score_interval([stratum(values)])
    reach = 1.96 * values.std(ddof=1) / np.sqrt(164)
    assert interval.low == pytest.approx(values.mean() - reach, abs=0.006)
    assert interval.high == pytest.approx(values.mean() + reach, abs=0.006)


def test_equal_items_are_not_taken_for_certainty() -> None:
    interval = score_interval([stratum([0.0] * 10, name="a"), stratum([0.0] * 10, name="b")])
    assert interval.low == 0
    assert interval.high > 0.1
    same = stratum([1, 0, 1, 0])
    difference = paired_difference([same], [same])
    assert (difference.value, difference.p_value) == (0.0, 1.0)
    assert difference.interval.low < -0.4


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [stratum(np.random.default_rng(1).random(30))]
    assert score_interval(values, seed=3) == score_interval(values, seed=3)
    assert score_interval(values, seed=3) != score_interval(values, seed=4)


def test_weights_decide_the_mean_and_the_spread() -> None:
    generator = np.random.default_rng(0)
    loud, calm = generator.random(40), 0.5 + 0.01 * generator.random(40)
    wide = score_interval([stratum(loud, 9, "a"), stratum(calm, 1, "b")])
    narrow = score_interval([stratum(loud, 1, "a"), stratum(calm, 9, "b")])
    assert weighted_mean([stratum([1.0], 3, "a"), stratum([0.0], 1, "b")]) == 0.75
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_pairing_finds_what_separate_intervals_would_not() -> None:
    difficulty = np.random.default_rng(2).integers(0, 10, size=100) / 10
    better = np.minimum(1.0, difficulty + 0.05)
    first, second = [stratum(better)], [stratum(difficulty)]
    difference = paired_difference(first, second)
    assert difference.interval.low > 0.03
    assert difference.p_value < 0.001
    assert score_interval(first).low < score_interval(second).high


def test_sign_flips_agree_with_the_exact_wilcoxon_like_enumeration() -> None:
    first, second = [0.9, 0.4, 0.7, 0.2, 0.8, 0.6], [0.5, 0.5, 0.2, 0.1, 0.3, 0.4]
    deltas = np.array(first) - np.array(second)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    sums = (signs * deltas[:, None]).sum(axis=0)
    exact = (np.abs(sums) >= abs(deltas.sum()) - 1e-12).mean()
    assert paired_difference([stratum(first)], [stratum(second)]).p_value == pytest.approx(exact)


def test_one_sample_an_item_is_tested_by_mcnemar() -> None:
    difference = paired_difference([stratum([1] * 21 + [0] * 9)], [stratum([0] * 21 + [1] * 9)])
    assert difference.test == "exact McNemar"
    assert difference.p_value == pytest.approx(0.04277, abs=1e-5)
    assert stats.binomtest(9, 30).pvalue == pytest.approx(difference.p_value)


def test_unequal_items_are_refused_and_can_be_narrowed() -> None:
    first, second = [Stratum({"a": 1.0, "b": 0.0})], [Stratum({"b": 1.0, "c": 0.0})]
    with pytest.raises(InvalidInputError, match="same items"):
        paired_difference(first, second)
    ours, theirs = common(first, second)
    assert ours[0].scores == {"b": 0.0}
    assert theirs[0].scores == {"b": 1.0}
    with pytest.raises(InvalidInputError):
        score_interval([Stratum({})])
    with pytest.raises(InvalidInputError):
        Stratum({"a": 1.0}, weight=0)


def test_a_single_item_that_differs_settles_nothing() -> None:
    base = (Stratum(dict.fromkeys("abcd", 0.0), 1.0), Stratum({"x": 0.0}, 1.0))
    other = (Stratum({"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}, 1.0), Stratum({"x": 0.0}, 1.0))
    difference = paired_difference(other, base)
    assert difference.p_value == 1.0
    assert difference.interval.low <= difference.value <= difference.interval.high
