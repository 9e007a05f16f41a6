"""Numbers by seed: intervals and differences on any scale."""

import numpy as np
import pytest
from scipy import stats

from core.errors import InvalidInputError
from core.statistics.repeats import repeated_difference, repeated_interval


def test_a_published_example_of_the_paired_t_test() -> None:
    # Student (1908), Cushny and Peebles' sleep data: the mean gain is 1.58 hours, t = 4.06 with 9 degrees of freedom.
    first = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    second = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    found = repeated_difference(dict(enumerate(first)), dict(enumerate(second)))
    assert found.value == pytest.approx(1.58)
    assert found.p_value == pytest.approx(0.00283, abs=1e-5)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.700, 2.460), abs=1e-3)


def test_an_interval_over_seeds_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        found = repeated_interval(dict(enumerate(generator.normal(7.0, 2.0, size=5).tolist())))
        assert found is not None
        hits += found.low <= 7.0 <= found.high
    assert stats.binomtest(hits, 400, 0.95).pvalue > 0.001


def test_what_no_seed_moves_is_exact() -> None:
    same = repeated_difference(dict.fromkeys(range(5), 0.3), dict.fromkeys(range(5), 0.1))
    assert (same.value, same.p_value) == (pytest.approx(0.2), 0.0)
    assert same.test == "the same at every seed"
    assert repeated_difference({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0}).p_value == 1.0


def test_one_run_shows_nothing_and_other_seeds_are_refused() -> None:
    assert repeated_interval({0: 1.0}) is None
    assert repeated_difference({0: 2.0}, {0: 1.0}).p_value == 1.0
    with pytest.raises(InvalidInputError):
        repeated_difference({0: 1.0}, {1: 1.0})
    with pytest.raises(InvalidInputError):
        repeated_difference({}, {})
