"""The ways to search that the real half of `make bench-optimize` compares, each as a stream of steps.

A step says how many item evaluations an arm has used and which recipe it would name now. All arms see the same search
items and the same space (one weight an expert and kind of module); `screened` is what a person does without a search:
every built-in rule over a grid of its parameters. Ours starts from closed forms alone, not from a screening's leaders.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cmaes
import numpy as np

from agents.optimizer.finalists import named_best
from agents.optimizer.optuna_strategy import OptunaStrategy
from agents.optimizer.optuna_study import OptunaStudy, StudySettings
from agents.optimizer.racing import ItemPool, Key, RacingRules
from agents.optimizer.search import Measured, Search, SearchPlan
from agents.optimizer.space import DEFAULT_METHOD, Point, SearchSpace
from agents.optimizer.warm_starts import warm_starts
from core.recipes import method_recipe
from core.types.recipe import Recipe
from core.types.sow import Models


class RealEvaluator(Protocol):
    """Scores recipes on real items; the same recipe gives the same scores, so answers may come from a cache."""

    models: Models

    def items(self, role: str) -> Mapping[str, Sequence[str]]:
        """Return the item ids of 'search' or 'confirm' by benchmark; no item is in both."""
        ...

    def evaluate(self, recipe: Recipe, role: str) -> Mapping[Key, float]:
        """Return the score in [0, 1] of every item of a role."""
        ...


@dataclass(frozen=True)
class Step:
    """Item evaluations used so far, and the recipe that the arm would name now."""

    spent: int
    best: Recipe


@dataclass(frozen=True)
class Bench:
    """What every arm gets: the evaluator and the space. `groups` are layer groups; 1 is a weight a kind of module."""

    evaluator: RealEvaluator
    groups: int = 1

    @cached_property
    def space(self) -> SearchSpace:
        """Return the space."""
        return SearchSpace(self.evaluator.models, groups=self.groups)

    @cached_property
    def pool(self) -> ItemPool:
        """Return the search items; the benchmarks weigh the same."""
        items = {name: tuple(ids) for name, ids in self.evaluator.items("search").items()}
        return ItemPool(items, dict.fromkeys(items, 1.0))

    def recipe(self, vector: Sequence[float]) -> Recipe:
        """Return the recipe of a vector in the order of the space's dimensions."""
        values = {d.name: float(v) for d, v in zip(self.space.dimensions, vector, strict=True)}
        return self.space.recipe(Point(method=DEFAULT_METHOD, values=values))

    def score(self, recipe: Recipe) -> float:
        """Return a recipe's score over all search items: a full evaluation."""
        return self.pool.mean(self.evaluator.evaluate(recipe, "search"))


@dataclass
class _Counted:
    """Counts the items that racing asks for.

    A real run would generate those alone; here a recipe's items come at once, since on a GPU they take no longer.
    """

    bench: Bench
    spent: int = 0

    def candidate_id(self, point: Point) -> str:
        return self.bench.space.recipe(point).digest

    async def measure(self, point: Point, keys: Sequence[Key]) -> Measured:
        self.spent += len(keys)
        found = self.bench.evaluator.evaluate(self.bench.space.recipe(point), "search")
        return Measured({key: found[key] for key in keys})


def ours(bench: Bench, seed: int) -> Iterator[Step]:
    """Yield the product's own search: closed-form starts, its Gaussian process, racing, and the smoothed best."""
    counted, starts, space = _Counted(bench), warm_starts(bench.space), bench.space
    study = OptunaStudy(space, StudySettings(f"real-{seed}", seed=seed))
    with asyncio.Runner() as runner:
        start = runner.run(counted.measure(starts[0][1], bench.pool.keys))
        yield Step(counted.spent, space.recipe(starts[0][1]))
        plan = SearchPlan(0, RacingRules(), seed)
        search = Search(OptunaStrategy(study, "gp", starts), counted, bench.pool, start.scores, plan)
        while True:
            runner.run(search.step(runner.run(search.strategy.history())))
            named = named_best(runner.run(search.strategy.history()), space)[0]
            yield Step(counted.spent, space.recipe(Point(method=named.method, values=named.parameters)))


def _best_so_far(bench: Bench, recipes: Iterator[Recipe]) -> Iterator[Step]:
    best, top, spent = None, -1.0, 0
    for recipe in recipes:
        score = bench.score(recipe)
        spent += len(bench.pool.keys)
        if best is None or score > top:
            best, top = recipe, score
        yield Step(spent, best)


def random_search(bench: Bench, seed: int) -> Iterator[Step]:
    """Yield random points, each on all items."""
    generator = np.random.default_rng(seed)

    def points() -> Iterator[Recipe]:
        while True:
            yield bench.recipe([generator.uniform(d.low, d.high) for d in bench.space.dimensions])

    return _best_so_far(bench, points())


def plain_cmaes(bench: Bench, seed: int) -> Iterator[Step]:
    """Yield CMA-ES on full evaluations: what mergekit-evolve does, start in the middle, sigma a sixth of the range."""
    bounds = np.array([[d.low, d.high] for d in bench.space.dimensions])
    middle, width = bounds.mean(axis=1), bounds[0, 1] - bounds[0, 0]
    optimizer = cmaes.CMA(mean=middle, sigma=float(width / 6), bounds=bounds, seed=seed)

    def points() -> Iterator[Recipe]:
        while True:
            told = []
            for _ in range(optimizer.population_size):
                point = optimizer.ask()
                recipe = bench.recipe(point.tolist())
                yield recipe
                told.append((point, -bench.score(recipe)))
            optimizer.tell(told)

    return _best_so_far(bench, points())


def screened(bench: Bench, _: int = 0) -> Iterator[Step]:
    """Yield the built-in rules over grids of their parameters; ends when all were tried."""
    return _best_so_far(bench, screened_recipes(bench.evaluator.models))


# Method -> settings: a weight for each expert, and shared parameters.
_SCREENED: dict[str, list[dict[str, float]]] = {
    "linear": [{"weight": 1.0}],
    "task_arithmetic": [{"weight": w} for w in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
    "ties": [{"weight": 1.0, "density": d, "lambda": s} for d in (0.2, 0.5, 0.8) for s in (0.7, 1.0, 1.4)],
    "ra_ties": [{"weight": 1.0, "density": d, "lambda": s} for d in (0.2, 0.5) for s in (0.7, 1.0, 1.4)],
    "ra_dare_linear": [{"weight": w, "density": d} for d in (0.5, 0.8) for w in (0.4, 0.6, 0.7)],
    "ra_dare_ties": [{"weight": w, "density": d} for d in (0.5, 0.8) for w in (0.4, 0.7)],
    "ra_metagpt": [{"lambda": s} for s in (1.0, 1.5)],
    "ra_tvq": [{"weight": w} for w in (0.6, 0.7)],
}


def screened_recipes(models: Models) -> Iterator[Recipe]:
    """Yield what is screened, methods in turn, so that a small budget still sees all of them."""
    most = max(len(settings) for settings in _SCREENED.values())
    for place in range(most):
        for method, settings in _SCREENED.items():
            if place < len(settings):
                shared = dict(settings[place])
                weight = shared.pop("weight", 1.0)
                yield method_recipe(method, models, dict.fromkeys((e.name for e in models.experts), weight), shared)


ARMS: dict[str, Callable[[Bench, int], Iterator[Step]]] = {
    "ours": ours, "cmaes": plain_cmaes, "random": random_search, "screened": screened,
}  # fmt: skip
