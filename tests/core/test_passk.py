from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.passk import bootstrap, pass_at_k, score, wilson
from core.types.evaluation import ItemOutcome, SampleOutcome, Verdict


def item(name: str, passed: int, total: int) -> ItemOutcome:
    verdicts = [Verdict.PASSED] * passed + [Verdict.FAILED] * (total - passed)
    samples = tuple(SampleOutcome(index=i, completion="", verdict=v) for i, v in enumerate(verdicts))
    return ItemOutcome(item_id=name, samples=samples)


@given(st.integers(1, 400), st.data())
def test_equals_the_exact_ratio_of_binomials(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - Fraction(comb(n - c, k), comb(n, k))
    assert pass_at_k(n, c, k) == pytest.approx(float(exact), abs=1e-12)


def test_impossible_counts_are_refused() -> None:
    for n, c, k in ((5, 2, 6), (5, 2, 0), (5, 6, 1), (5, -1, 1)):
        with pytest.raises(InvalidInputError):
            pass_at_k(n, c, k)


def test_wilson_known_value() -> None:
    interval = wilson(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10).low == 0.0 < wilson(0, 10).high


def test_single_samples_get_wilson_and_many_the_bootstrap() -> None:
    single = score([item(str(i), i % 2, 1) for i in range(20)], "exact_match")
    assert (single.value, single.items, single.interval.method) == (0.5, 20, "wilson")
    many = score([item(str(i), i % 4, 10) for i in range(40)], "pass@1")
    assert many.value == pytest.approx(0.15)
    assert many.interval.low < 0.15 < many.interval.high
    assert many.interval.method == "bootstrap over problems"
    assert score([item(str(i), i % 4, 10) for i in range(40)], "pass@10").value == 0.75
    assert many == score([item(str(i), i % 4, 10) for i in range(40)], "pass@1")


def test_no_spread_is_no_certainty() -> None:
    none = score([item(str(i), 0, 10) for i in range(5)], "pass@1")
    assert none.value == 0.0
    assert none.interval.high > 0.3
    assert score([], "pass@1").interval.high == 1.0


def test_bootstrap_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(100):
        interval = bootstrap(generator.beta(0.5, 0.5, 80), seed=trial)
        hits += interval.low <= 0.5 <= interval.high
    assert 0.90 <= hits / 100 <= 0.99
