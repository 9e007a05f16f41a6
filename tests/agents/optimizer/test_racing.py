"""Races over items: blocks, drops, and estimates from partial results."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from agents.optimizer.racing import ItemPool, Key, RacingRules, race

POOL = ItemPool(
    {"a": tuple(f"{i:03d}" for i in range(120)), "b": tuple(f"{i:03d}" for i in range(30))}, {"a": 1, "b": 3}
)


def scores(chance: float, seed: int = 0) -> dict[Key, float]:
    draws = np.random.default_rng(0).random(len(POOL.keys))
    own = np.random.default_rng(seed).random(len(POOL.keys)) < 0.2
    other = np.random.default_rng(seed + 1).random(len(POOL.keys))
    mixed = np.where(own, other, draws)
    return dict(zip(POOL.keys, (mixed < chance).astype(float).tolist(), strict=True))


class Measured:
    def __init__(self, table: Mapping[Key, float]) -> None:
        self.table, self.blocks = table, list[int]()

    async def __call__(self, keys: Sequence[Key]) -> Mapping[Key, float]:
        self.blocks.append(len(keys))
        return {k: self.table[k] for k in keys}


def test_the_pools_mean_is_the_weighted_mean_of_the_benchmarks() -> None:
    table = {k: 1.0 if k[0] == "a" else 0.0 for k in POOL.keys}
    assert POOL.mean(table) == pytest.approx(0.25)


def test_orders_are_random_but_the_same_for_the_same_candidate() -> None:
    assert POOL.order(1, "x") == POOL.order(1, "x")
    assert POOL.order(1, "x") != POOL.order(1, "y")
    assert sorted(POOL.order(1, "x")) == list(POOL.keys)


def test_blocks_grow_and_hold_every_item_once() -> None:
    order = POOL.order(0, "x")
    blocks = RacingRules(block=20).blocks(order)
    assert [len(b) for b in blocks] == [20, 40, 80, 10]
    assert [k for b in blocks for k in b] == list(order)
    assert [len(b) for b in RacingRules(block=20).blocks(order[:145])] == [20, 40, 85]


async def test_a_bad_candidate_is_dropped_after_few_items_and_its_value_estimated() -> None:
    incumbent, bad = scores(0.8), scores(0.2, 5)
    measure = Measured(bad)
    raced = await race(measure, POOL, POOL.order(0, "bad"), incumbent, RacingRules())
    assert raced.dropped
    assert sum(measure.blocks) <= 60
    assert abs(raced.value - POOL.mean(bad)) < 3 * raced.deviation
    assert raced.deviation > 0


async def test_a_better_candidate_is_measured_in_full() -> None:
    measure = Measured(scores(0.85, 5))
    raced = await race(measure, POOL, POOL.order(0, "good"), scores(0.6), RacingRules())
    assert not raced.dropped
    assert raced.value == pytest.approx(POOL.mean(measure.table))
    assert raced.deviation == 0


async def test_without_an_incumbent_all_is_measured() -> None:
    measure = Measured(scores(0.1))
    assert not (await race(measure, POOL, POOL.keys, None, RacingRules())).dropped
    assert sum(measure.blocks) == len(POOL.keys)
