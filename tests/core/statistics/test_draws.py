"""Seeds inside items, and draws of a model beside them: what repeating a measurement may and may not show."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from agents.experiment.screening import DROP_P
from agents.experiment.seeds import clearly_behind, seed_rungs
from core.leaderboard import Standings
from core.statistics.bootstrap import paired_difference, score_interval
from core.statistics.draws import between_draws, between_items
from core.statistics.strata import Stratum, weighted_mean
from core.statistics.ties import tie_groups

Table = NDArray[np.float64]


def measured(runs: Table, *, redrawn: bool = False) -> tuple[Stratum, ...]:
    """Return scores from a table of seeds × items."""
    draws = tuple({str(i): float(v) for i, v in enumerate(run)} for run in runs) if redrawn and len(runs) > 1 else ()
    return (Stratum({str(i): float(v) for i, v in enumerate(runs.mean(axis=0))}, 1.0, draws),)


def drawn(generator: np.random.Generator, hardness: Table, spread: float, seeds: int) -> Table:
    """Return seeds × items of one method; each seed's model is better or worse on all items by `spread` logits."""
    shift = generator.normal(0, spread, size=(seeds, 1))
    return (generator.random((seeds, len(hardness))) < 1 / (1 + np.exp(shift - hardness))).astype(np.float64)


def test_the_same_results_under_more_seeds_are_no_more_evidence() -> None:
    generator = np.random.default_rng(0)
    first, second = (drawn(generator, generator.normal(size=80), 0.0, 1) for _ in range(2))
    for redrawn in (False, True):
        again, other = (measured(np.repeat(x, 4, axis=0), redrawn=redrawn) for x in (first, second))
        assert score_interval(again) == score_interval(measured(first))
        assert paired_difference(again, other) == paired_difference(measured(first), measured(second))


def test_draws_that_differ_widen_interval_and_p_value() -> None:
    generator = np.random.default_rng(1)
    hardness = generator.normal(size=120)
    runs, other = drawn(generator, hardness, 0.6, 3), measured(drawn(generator, hardness - 1.0, 0.0, 1))
    blind, aware = measured(runs), measured(runs, redrawn=True)
    a, b = score_interval(blind), score_interval(aware)
    assert b.low < a.low < a.high < b.high
    narrow, wide = paired_difference(blind, other), paired_difference(aware, other)
    assert wide.value == narrow.value
    assert wide.p_value >= narrow.p_value
    assert wide.interval.low < narrow.interval.low < narrow.interval.high < wide.interval.high
    assert wide.items == narrow.items == 120


def test_the_variance_over_draws_is_that_of_their_mean() -> None:
    runs = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    found = between_draws(measured(runs, redrawn=True))
    assert found is not None
    assert (found.variance, found.freedom) == (pytest.approx(np.var([0.5, 0.75, 0.25], ddof=1) / 3), 2)
    assert between_draws(measured(runs)) is None
    means = runs.mean(axis=0)
    assert between_items(measured(runs)).variance == pytest.approx(stats.sem(means) ** 2)


def test_equal_methods_are_not_told_apart_by_the_luck_of_their_draws() -> None:
    generator = np.random.default_rng(2)
    blind = aware = 0
    for _ in range(150):
        hardness = generator.normal(0, 1.5, size=100)
        one, two = (drawn(generator, hardness, 0.4, 2) for _ in range(2))
        blind += paired_difference(measured(one), measured(two), resamples=99).p_value < 0.05
        pair = (measured(x, redrawn=True) for x in (one, two))
        aware += paired_difference(*pair, resamples=99).p_value < 0.05
    assert stats.binomtest(aware, 150, 0.05, alternative="greater").pvalue > 0.01
    assert stats.binomtest(blind, 150, 0.05, alternative="greater").pvalue < 0.001, "the test could not fail"


def test_equal_candidates_share_a_group_though_some_were_measured_more_often() -> None:
    generator = np.random.default_rng(3)
    parted, unequal = 0, 0
    for _ in range(60):
        hardness = generator.normal(0, 1.5, size=60)
        tables = [drawn(generator, hardness, 0.0, 4) for _ in range(5)]
        seeds = raced(tables)
        unequal += len(set(seeds)) > 1
        order = sorted((measured(t[:k]) for t, k in zip(tables, seeds, strict=True)), key=lambda s: -weighted_mean(s))
        groups = tie_groups(5, lambda i, j, s=order: paired_difference(s[i], s[j], resamples=199).p_value)
        parted += len(set(groups)) > 1
    assert stats.binomtest(parted, 60, 0.05, alternative="greater").pvalue > 0.01
    assert unequal > 5, "nobody was stopped: the test says nothing of unequal seeds"


def raced(tables: list[Table]) -> list[int]:
    """Return under how many seeds each is measured."""
    seeds = [1] * len(tables)
    for now, more in zip((rungs := seed_rungs(4)), rungs[1:], strict=False):
        scores = {str(i): measured(t[:k]) for i, (t, k) in enumerate(zip(tables, seeds, strict=True))}
        found = Standings(
            {i: weighted_mean(s) for i, s in scores.items()},
            lambda a, b, s=scores: paired_difference(s[a], s[b], resamples=199),  # type: ignore[misc]
        )
        behind = clearly_behind(found)
        seeds = [more if k == now and str(i) not in behind else k for i, k in enumerate(seeds)]
    return seeds


def test_nobody_is_behind_whom_the_evidence_can_not_separate() -> None:
    found = Standings({"a": 0.6, "b": 0.5, "c": 0.2}, lambda a, b: paired_difference(TABLE[a], TABLE[b]))
    assert found.compare("a", "b").p_value > DROP_P
    assert set(clearly_behind(found)) == {"c"}


TABLE = {n: measured(np.array([[1.0] * k + [0.0] * (50 - k)])) for n, k in (("a", 30), ("b", 27), ("c", 10))}
