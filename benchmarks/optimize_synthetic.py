"""The synthetic half of `make bench-optimize`: item evaluations needed to come within 1 % of a known best.

Ours is the product's own search (space, warm starts, study, racing); what is counted is every item evaluated until the
candidate that it would name now (the best smoothed trial) truly scores at least 99 % of the optimum. Plain CMA-ES
(what mergekit-evolve does: full evaluations, start in the middle, sigma a sixth of the range) is given the better of
its best observed candidate and its mean at every step. A search that does not arrive within its budget counts as the
budget, for both.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import cmaes
import numpy as np

from agents.optimizer.finalists import named_best
from agents.optimizer.optuna_strategy import OptunaStrategy
from agents.optimizer.optuna_study import OptunaStudy, StudySettings
from agents.optimizer.racing import ItemPool, Key, RacingRules, race
from agents.optimizer.search import Measured, Search, SearchPlan
from agents.optimizer.space import Point, SearchSpace
from agents.optimizer.warm_starts import warm_starts
from benchmarks.response_surface import Array, ResponseSurface
from core.types.sow import ModelRef, Models

CLOSE = 0.99
TRIALS = 120
FULL_EVALUATIONS = 500
STATED_ERROR = RacingRules().error
MODELS = Models(
    base=ModelRef(name="base", model="base"),
    experts=tuple(ModelRef(name=n, model=n) for n in ("code", "math", "instruction")),
)
SPACE = SearchSpace(MODELS, groups=1)


@dataclass(frozen=True)
class SurfaceEvaluator:
    """Answers the search's questions from a response surface."""

    world: ResponseSurface

    def candidate_id(self, point: Point) -> str:
        """Return the recipe's digest."""
        return SPACE.recipe(point).digest

    async def measure(self, point: Point, keys: Sequence[Key]) -> Measured:
        """Return the observed scores of some items."""
        scores = self.world.outcomes(vector(point), [int(item) for _, item in keys])
        return Measured(dict(zip(keys, scores.tolist(), strict=True)))


def vector(point: Point) -> Array:
    """Return a point's weights in the order of the space."""
    return np.array([point.values[d.name] for d in SPACE.dimensions])


def pool_of(world: ResponseSurface) -> ItemPool:
    """Return the world's items as a search pool."""
    return ItemPool({"surface": tuple(f"{i:04d}" for i in range(world.items))}, {"surface": 1.0})


@dataclass(frozen=True)
class Arrival:
    """Item evaluations until close to the best, whether it got there, and whether racing lost the best trial."""

    evaluations: int
    arrived: bool
    lost_best: bool = False


async def ours(seed: int, sampler: str = "gp", trials: int = TRIALS) -> Arrival:
    """Search one world and return what it took."""
    world = ResponseSurface(seed)
    evaluator, pool, starts = SurfaceEvaluator(world), pool_of(world), warm_starts(SPACE)
    study = OptunaStudy(SPACE, StudySettings(f"surface-{seed}", seed=seed))
    best = starts[0][1]
    measured = await evaluator.measure(best, pool.keys)
    plan = SearchPlan(trials, RacingRules(), seed)
    search = Search(OptunaStrategy(study, sampler, starts), evaluator, pool, measured.scores, plan)
    spent = world.items
    for _ in range(trials):
        if world.accuracy(vector(best)) >= CLOSE * world.best:
            break
        record = await search.step(await search.strategy.history())
        spent += record.item_evaluations
        named = named_best(await search.strategy.history(), SPACE)
        best = Point(method=named[0].method, values=named[0].parameters)
    arrived = world.accuracy(vector(best)) >= CLOSE * world.best
    return Arrival(spent, arrived, await _lost_best(search, world))


async def _lost_best(search: Search, world: ResponseSurface) -> bool:
    """Return whether the trial that scores best on all search items was dropped by racing."""
    records = [r for r in await search.strategy.history() if r.state in {"complete", "dropped"}]
    scores = [float(world.outcomes(vector(Point(method=r.method, values=r.parameters))).mean()) for r in records]
    top = max(scores, default=0.0)
    return bool(records) and all(r.state == "dropped" for r, s in zip(records, scores, strict=True) if s == top)


def plain_cmaes(seed: int, limit: int = FULL_EVALUATIONS) -> Arrival:
    """Return what CMA-ES on full evaluations takes in the same world."""
    world = ResponseSurface(seed)
    width = world.high - world.low
    optimizer = cmaes.CMA(
        mean=world.low + width / 2,
        sigma=float(width[0] / 6),
        bounds=np.stack([world.low, world.high], axis=1),
        seed=seed,
    )
    used, best, top = 0, optimizer.mean, -1.0
    while used < limit:
        told = []
        for _ in range(optimizer.population_size):
            point = optimizer.ask()
            score = float(world.outcomes(point).mean())
            used += 1
            told.append((point, -score))
            if score > top:
                best, top = point, score
            if world.accuracy(best) >= CLOSE * world.best:
                return Arrival(used * world.items, arrived=True)
        optimizer.tell(told)
        if world.accuracy(optimizer.mean.clip(world.low, world.high)) >= CLOSE * world.best:
            return Arrival(used * world.items, arrived=True)
    return Arrival(limit * world.items, arrived=False)


async def lost_best_rate(races: int = 400, candidates: int = 12) -> float:
    """Return how often racing alone drops the best of several near-equal candidates: the hardest case for it."""
    lost = 0
    for seed in range(races):
        world = ResponseSurface(seed % 40)
        generator = np.random.default_rng((seed, 5))
        points = (world.best_point + generator.normal(0, 0.12, size=(candidates, 6))).clip(0, 1.5)
        lost += await _race_loses(world, points, seed)
    return lost / races


async def _race_loses(world: ResponseSurface, points: Array, seed: int) -> bool:
    pool = pool_of(world)
    table = [dict(zip(pool.keys, world.outcomes(p).tolist(), strict=True)) for p in points]
    incumbent, dropped = table[0], set()
    for index, scores in enumerate(table[1:], 1):

        async def measure(keys: Sequence[Key], scores: dict[Key, float] = scores) -> dict[Key, float]:
            return {key: scores[key] for key in keys}

        raced = await race(measure, pool, pool.order(seed, str(index)), incumbent, RacingRules())
        if raced.dropped:
            dropped.add(index)
        elif pool.mean(scores) > pool.mean(incumbent):
            incumbent = scores
    means = [pool.mean(scores) for scores in table]
    winners = {i for i, m in enumerate(means) if m == max(means)}
    return winners <= dropped


def run(seeds: int = 30) -> dict[str, object]:
    """Return the synthetic results."""
    found = [asyncio.run(ours(seed)) for seed in range(seeds)]
    plain = [plain_cmaes(seed) for seed in range(seeds)]
    mine, theirs = float(np.median([a.evaluations for a in found])), float(np.median([a.evaluations for a in plain]))
    return {
        "evaluations_ours": mine,
        "evaluations_cmaes": theirs,
        "ratio": round(theirs / mine, 2),
        "lost_best_rate": asyncio.run(lost_best_rate()),
        "stated_error": STATED_ERROR,
        "seeds": seeds,
        "arrived_ours": sum(a.arrived for a in found),
        "arrived_cmaes": sum(a.arrived for a in plain),
        "lost_best_in_searches": sum(a.lost_best for a in found) / seeds,
        "each_ours": [a.evaluations for a in found],
        "each_cmaes": [a.evaluations for a in plain],
    }
