"""Racing over items: a trial sees the items in growing blocks and is dropped when it provably trails the incumbent.

All candidates are measured on the same items under the same seeds (common random numbers), so differences are paired.
Each trial has its own random order of the items, drawn before it is measured: that is what the sequential test's
guarantee rests on. What a dropped trial gave is not lost: its difference to the incumbent estimates its full score.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.statistics.sequential import TrailingTest

Key = tuple[str, str]
Measure = Callable[[Sequence[Key]], Awaitable[Mapping[Key, float]]]


@dataclass(frozen=True)
class ItemPool:
    """The search items by benchmark, and the benchmarks' weights."""

    items: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, float]

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """Return (benchmark, item) of all items, sorted."""
        return tuple(sorted((name, item) for name, ids in self.items.items() for item in ids))

    @cached_property
    def factors(self) -> dict[str, float]:
        """Return, by benchmark, what makes the plain mean over all items the weighted mean of benchmarks' means."""
        total = sum(self.weights[name] for name in self.items)
        return {n: self.weights[n] / total * len(self.keys) / len(ids) for n, ids in self.items.items()}

    def mean(self, scores: Mapping[Key, float]) -> float:
        """Return the weighted mean of scores; over a part of the items it estimates the mean over all."""
        return float(np.mean([self.factors[key[0]] * score for key, score in scores.items()]))

    def order(self, seed: int, name: str) -> tuple[Key, ...]:
        """Return all items in a random order of this candidate's own."""
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        return tuple(self.keys[i] for i in generator.permutation(len(self.keys)))


@dataclass(frozen=True)
class RacingRules:
    """How large the blocks are and how sure a drop must be. Scores that are no shares of items are never dropped."""

    block: int = 20
    growth: float = 2.0
    error: float = 0.05
    drops: bool = True

    def blocks(self, order: Sequence[Key]) -> list[Sequence[Key]]:
        """Return the items cut into growing blocks; a short rest joins the last one."""
        cut, size, blocks = 0, float(self.block), []
        while cut < len(order):
            end = cut + int(size)
            end = len(order) if len(order) - end < self.block / 2 else end
            blocks.append(order[cut:end])
            cut, size = end, size * self.growth
        return blocks


@dataclass(frozen=True)
class Raced:
    """How a race ended. `value` estimates the full score, with standard error `deviation` (0 where all were seen)."""

    scores: Mapping[Key, float]
    dropped: bool
    value: float
    deviation: float


async def race(
    measure: Measure, pool: ItemPool, order: Sequence[Key], incumbent: Mapping[Key, float] | None, rules: RacingRules
) -> Raced:
    """Measure a candidate block by block against the incumbent's scores on all items.

    Without an incumbent every block is measured. The probability that a candidate at least as good as the incumbent on
    all items is dropped is at most `rules.error`.
    """
    scale = max(pool.factors.values())
    incumbent = incumbent if rules.drops else None
    test = TrailingTest(len(pool.keys), error=rules.error, scale=scale)
    scores: dict[Key, float] = {}
    for block in rules.blocks(order):
        measured = await measure(block)
        scores |= {key: measured[key] for key in block}
        if incumbent is not None and test.update(_differences(pool, scores, incumbent, block)):
            break
    if incumbent is None or len(scores) == len(pool.keys):
        return Raced(scores, dropped=False, value=pool.mean(scores), deviation=0.0)
    return _estimate(pool, scores, incumbent)


def _differences(
    pool: ItemPool, scores: Mapping[Key, float], incumbent: Mapping[Key, float], block: Sequence[Key]
) -> list[float]:
    return [pool.factors[key[0]] * (scores[key] - incumbent[key]) for key in block]


def _estimate(pool: ItemPool, scores: Mapping[Key, float], incumbent: Mapping[Key, float]) -> Raced:
    """Return the incumbent's full score plus the mean paired difference: most of the luck of the items cancels."""
    differences = np.array(_differences(pool, scores, incumbent, list(scores)))
    unseen = 1 - len(scores) / len(pool.keys)
    deviation = float(differences.std(ddof=1) * np.sqrt(unseen / len(scores))) if len(scores) > 1 else 1.0
    value = pool.mean(incumbent) + float(differences.mean())
    return Raced(scores, dropped=True, value=value, deviation=deviation)
