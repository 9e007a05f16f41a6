"""The real half of `make bench-optimize`: ours against random search, plain CMA-ES and the best screened method.

It needs an evaluator of real merges (`RealEvaluator`): something that scores coefficients on items. All arms get the
same number of item evaluations on search items; what each names best is then measured once on confirm items, which
nothing was chosen by. Differences are paired by confirm item, averaged over seeds.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cmaes
import numpy as np

from agents.optimizer.agent import named_best
from agents.optimizer.optuna_strategy import OptunaStrategy
from agents.optimizer.optuna_study import OptunaStudy, StudySettings
from agents.optimizer.racing import ItemPool, Key, RacingRules
from agents.optimizer.search import Measured, Search, SearchPlan
from agents.optimizer.space import Point, SearchSpace
from agents.optimizer.warm_starts import warm_starts
from core.errors import BudgetExceededError
from core.statistics.bootstrap import Difference, paired_difference
from core.statistics.strata import Stratum
from core.types.sow import Models

SCREENED = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


class RealEvaluator(Protocol):
    """Scores merges by task arithmetic with one coefficient an expert; answers may come from a cache."""

    models: Models

    def items(self, role: str) -> Sequence[str]:
        """Return the ids of the items of 'search' or 'confirm'; no id is in both."""
        ...

    def evaluate(self, coefficients: Mapping[str, float], item_ids: Sequence[str]) -> Mapping[str, float]:
        """Return each item's score in [0, 1] under these coefficients, by expert name."""
        ...


@dataclass(frozen=True)
class Bench:
    """One comparison: the evaluator, and the item evaluations that every arm may use."""

    evaluator: RealEvaluator
    budget: int

    @property
    def space(self) -> SearchSpace:
        """Return the space: one weight an expert."""
        return SearchSpace(self.evaluator.models)

    @property
    def pool(self) -> ItemPool:
        """Return the search items."""
        return ItemPool({"search": tuple(self.evaluator.items("search"))}, {"search": 1.0})

    def coefficients(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return a point's values by expert name."""
        return {e.name: float(values[f"weight.{e.name}"]) for e in self.evaluator.models.experts}

    def score(self, vector: Sequence[float]) -> float:
        """Return the full search score of weights in the experts' order."""
        names = [e.name for e in self.evaluator.models.experts]
        ids = self.evaluator.items("search")
        found = self.evaluator.evaluate(dict(zip(names, map(float, vector), strict=True)), ids)
        return float(np.mean([found[i] for i in ids]))


@dataclass
class _Budgeted:
    bench: Bench
    spent: int = 0

    def candidate_id(self, point: Point) -> str:
        return self.bench.space.recipe(point).digest

    async def measure(self, point: Point, keys: Sequence[Key]) -> Measured:
        self.spent += len(keys)
        ids = [item for _, item in keys]
        found = self.bench.evaluator.evaluate(self.bench.coefficients(point.values), ids)
        return Measured({("search", i): found[i] for i in ids})

    async def allow(self) -> None:
        if self.spent >= self.bench.budget:
            raise BudgetExceededError("the arm's item evaluations are used up")


async def _ours(bench: Bench, seed: int) -> dict[str, float]:
    evaluator, starts = _Budgeted(bench), warm_starts(bench.space)
    start = await evaluator.measure(starts[0][1], bench.pool.keys)
    study = OptunaStudy(bench.space, StudySettings(f"real-{seed}", seed=seed))
    plan = SearchPlan(10_000, RacingRules(), seed, evaluator.allow)
    search = Search(OptunaStrategy(study, "gp", starts), evaluator, bench.pool, start.scores, plan)
    records = await search.run()
    return bench.coefficients(named_best(records, bench.space)[0].parameters)


def ours(bench: Bench, seed: int) -> dict[str, float]:
    """Return what the product's search names best."""
    return asyncio.run(_ours(bench, seed))


def _best_of(bench: Bench, vectors: Sequence[Sequence[float]]) -> dict[str, float]:
    names = [e.name for e in bench.evaluator.models.experts]
    best = max(vectors, key=bench.score)
    return dict(zip(names, map(float, best), strict=True))


def random_search(bench: Bench, seed: int) -> dict[str, float]:
    """Return the best of random points, each on all items."""
    generator = np.random.default_rng(seed)
    count = max(1, bench.budget // len(bench.pool.keys))
    high, width = bench.space.high, len(bench.evaluator.models.experts)
    return _best_of(bench, generator.uniform(bench.space.low, high, size=(count, width)).tolist())


def plain_cmaes(bench: Bench, seed: int) -> dict[str, float]:
    """Return the best candidate of CMA-ES on full evaluations."""
    space, width = bench.space, len(bench.evaluator.models.experts)
    span = space.high - space.low
    bounds = np.array([[space.low, space.high]] * width)
    optimizer = cmaes.CMA(mean=np.full(width, space.low + span / 2), sigma=span / 6, bounds=bounds, seed=seed)
    told: list[tuple[np.ndarray, float]] = []
    while (len(told) + optimizer.population_size) * len(bench.pool.keys) <= bench.budget:
        points = [optimizer.ask() for _ in range(optimizer.population_size)]
        generation = [(p, -bench.score(p.tolist())) for p in points]
        optimizer.tell(generation)
        told += generation
    names = [e.name for e in bench.evaluator.models.experts]
    best = min(told, key=lambda pair: pair[1])[0] if told else optimizer.mean
    return dict(zip(names, map(float, best), strict=True))


def best_screened(bench: Bench, _: int) -> dict[str, float]:
    """Return the best of the screened closed forms: uniform weights and a grid of scales."""
    width = len(bench.evaluator.models.experts)
    return _best_of(bench, [[v] * width for v in (1 / width, *SCREENED)])


ARMS: dict[str, Callable[[Bench, int], dict[str, float]]] = {
    "ours": ours, "random": random_search, "cmaes": plain_cmaes, "screened": best_screened,
}  # fmt: skip


def run(evaluator: RealEvaluator, budget: int, seeds: int = 5) -> dict[str, object]:
    """Return the gains on confirm items, as paired differences with intervals."""
    bench = Bench(evaluator, budget)
    ids = list(evaluator.items("confirm"))
    if set(ids) & set(evaluator.items("search")):
        raise ValueError("search and confirm share items")
    means: dict[str, dict[str, float]] = {}
    for name, arm in ARMS.items():
        tables = [evaluator.evaluate(arm(bench, seed), ids) for seed in range(seeds)]
        means[name] = {i: float(np.mean([t[i] for t in tables])) for i in ids}
    gains = {name: _gain(means["ours"], means[name]) for name in ("screened", "random", "cmaes")}
    screened = gains["screened"]
    return {
        "gain_over_best_screened": round(screened.value, 4),
        "interval": [round(screened.interval.low, 4), round(screened.interval.high, 4)],
        "gain_over_random": _shown(gains["random"]),
        "gain_over_cmaes": _shown(gains["cmaes"]),
        "confirm": {name: round(float(np.mean(list(table.values()))), 4) for name, table in means.items()},
        "budget": budget, "seeds": seeds, "confirm_items": len(ids),
    }  # fmt: skip


def _gain(first: Mapping[str, float], second: Mapping[str, float]) -> Difference:
    return paired_difference([Stratum(first)], [Stratum(second)])


def _shown(gain: Difference) -> dict[str, object]:
    return {"gain": round(gain.value, 4), "interval": [round(gain.interval.low, 4), round(gain.interval.high, 4)]}
