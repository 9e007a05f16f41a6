"""Published values, and agreement with the definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from core.errors import InvalidInputError
from core.statistics.binomial import holm, mcnemar_exact, wilson


def test_wilson_gives_newcombes_published_interval() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263 and 15/148.
    assert (round(wilson(81, 263).low, 4), round(wilson(81, 263).high, 4)) == (0.2553, 0.3662)
    assert (round(wilson(15, 148).low, 4), round(wilson(15, 148).high, 4)) == (0.0624, 0.1605)


def test_wilson_of_nothing_passed_starts_at_zero_and_reaches_up() -> None:
    # Newcombe (1998), same table: 0/20 and 1/29.
    assert wilson(0, 20).low == 0
    assert round(wilson(0, 20).high, 4) == 0.1611
    assert (round(wilson(1, 29).low, 4), round(wilson(1, 29).high, 4)) == (0.0061, 0.1718)


def test_wilson_refuses_counts_that_are_none() -> None:
    with pytest.raises(InvalidInputError):
        wilson(3, 2)
    with pytest.raises(InvalidInputError):
        wilson(0, 0)


def test_mcnemar_gives_the_published_value() -> None:
    # Agresti, Categorical Data Analysis: approval 150 against 86 discordant pairs; exact two-sided p = 3.7e-5.
    assert mcnemar_exact(150, 86) == pytest.approx(3.7e-5, rel=0.02)
    # Fay's exact2x2 vignette: 21 against 9 discordant pairs, p = 0.04277.
    assert mcnemar_exact(21, 9) == pytest.approx(0.04277, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_twice_the_smaller_binomial_tail(first: int, second: int) -> None:
    n, k = first + second, min(first, second)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar_exact(first, second) == pytest.approx(min(1.0, 2 * tail))


def test_holm_gives_the_textbook_values() -> None:
    # Wright (1992), Biometrics 48: p = .01, .02, .03, .04 over four tests -> .04, .06, .06, .06.
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx((0.04, 0.06, 0.06, 0.06))
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([]) == ()


def test_holm_agrees_with_statsmodels() -> None:
    values = np.random.default_rng(0).random(12).round(1) ** 3
    assert holm(values.tolist()) == pytest.approx(tuple(multipletests(values, method="holm")[1]))
