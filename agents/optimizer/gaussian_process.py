"""A Gaussian process that knows how well each trial was measured, and the point it would try next.

Its kernel is that of quadratics with an error that grows outside a box round the best trial: a Bayesian response
surface (Box & Wilson 1951) in a trust region that narrows. Dropped trials were seen on some items only; their values
come with a standard error, which goes in as that trial's own noise. Next is the top of one draw from the posterior
(Thompson sampling). All is closed form, so a step takes milliseconds; Optuna's GP sampler takes all values as equally
good and needs torch, which stays in worker/.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from core.statistics.strata import Array

DEVIATION = "deviation"
# Scores are shares of items: noise of one full measurement, and how much a box changes them.
NOISES = (0.003, 0.007, 0.014, 0.028)
SIZES = (0.02, 0.05, 0.12, 0.3)
MODEL_ERROR = 0.05
# Half the box, as a share of the space: its start, its end, and how it shrinks with trials.
WIDEST, NARROWEST, SHRINK, PATIENCE = 0.45, 0.12, 0.84, 6
# Draws from the whole posterior wander: half its spread finds tops faster (found on other surfaces than those tested).
BOLDNESS = 0.5
DRAWS, REFINED = 1500, (0.2, 0.07, 0.02)


@dataclass(frozen=True)
class Trials:
    """What was seen: points of the unit cube, their values, and the values' standard errors.

    `choices` are the columns that stand for a choice (one column a choice, 0 or 1): no box limits them.
    """

    points: Array
    values: Array
    deviations: Array
    choices: tuple[int, ...] = ()

    @property
    def width(self) -> Array:
        """Return half the box in every dimension; it narrows as trials are spent."""
        spent = max(0, len(self.values) - PATIENCE) / PATIENCE
        width = np.full(self.points.shape[1], max(WIDEST * SHRINK**spent, NARROWEST))
        width[list(self.choices)] = 1.0
        return width


@dataclass(frozen=True)
class Surface:
    """A fitted quadratic round a center, as a posterior over its coefficients."""

    trials: Trials
    center: Array

    @cached_property
    def _scaled(self) -> Array:
        return np.asarray((self.trials.points - self.center) / self.trials.width, dtype=np.float64)

    @cached_property
    def _outside(self) -> Array:
        return np.maximum(0.0, np.abs(self._scaled).max(axis=1) - 1)

    @cached_property
    def _level(self) -> float:
        error = 1e-4 + self.trials.deviations**2 + 0.01 * self._outside**2
        return float(np.average(self.trials.values, weights=1 / error))

    @cached_property
    def _posterior(self) -> tuple[Array, Array]:
        """Return the coefficients' mean and their precision's Cholesky factor, for the likeliest noise and size."""
        features = quadratic(self._scaled)
        fits = [self._fit(features, noise, size) for noise in NOISES for size in SIZES]
        _, mean, factor = max(fits, key=lambda fit: fit[0])
        return mean, factor

    def _fit(self, features: Array, noise: float, size: float) -> tuple[float, Array, Array]:
        trials = self.trials
        variance = noise**2 + trials.deviations**2 + (MODEL_ERROR * self._outside**2) ** 2
        prior = _prior(self._scaled.shape[1], size)
        values = trials.values - self._level
        factor = np.linalg.cholesky((features / variance[:, None]).T @ features + np.diag(1 / prior))
        target = features.T @ (values / variance)
        mean = np.linalg.solve(factor.T, np.linalg.solve(factor, target))
        misfit = float((values**2 / variance).sum() - target @ mean)
        spread = np.log(variance).sum() + np.log(prior).sum() + 2 * np.log(np.diag(factor)).sum()
        return -0.5 * (misfit + float(spread)), mean, factor

    def means(self) -> Array:
        """Return the process's means at the trials."""
        return np.asarray(quadratic(self._scaled) @ self._posterior[0] + self._level, dtype=np.float64)

    def best(self) -> int:
        """Return the trial inside the box with the largest mean."""
        return int(np.where(self._outside <= 0.2, self.means(), -np.inf).argmax())

    def next_point(self, generator: np.random.Generator) -> Array:
        """Return the top, inside the box, of one draw from the posterior."""
        mean, factor = self._posterior
        draw = mean + BOLDNESS * np.linalg.solve(factor.T, generator.normal(size=len(mean)))
        low, high = (-self.center / self.trials.width).clip(-1, 0), ((1 - self.center) / self.trials.width).clip(0, 1)
        pool = low + (high - low) * generator.random((DRAWS, len(low)))
        for reach in (*REFINED, 0.0):
            pool = self._allowed(pool)
            top = pool[(quadratic(pool) @ draw).argmax()]
            near = top + reach * generator.normal(size=(DRAWS // 5, len(low)))
            pool = np.vstack([top, near.clip(low, high)])
        return np.asarray(self.center + self.trials.width * top, dtype=np.float64).clip(0, 1)

    def _allowed(self, pool: Array) -> Array:
        """Return points whose choice columns are one 1 and else 0."""
        columns = list(self.trials.choices)
        if columns:
            chosen = (self.center + pool)[:, columns].argmax(axis=1)
            pool[:, columns] = np.eye(len(columns))[chosen] - self.center[columns]
        return pool


def quadratic(points: Array) -> Array:
    """Return 1, all coordinates, and all their products, a row a point."""
    first, second = np.triu_indices(points.shape[1])
    return np.hstack([np.ones((len(points), 1)), points, points[:, first] * points[:, second]])


def _prior(dimensions: int, size: float) -> Array:
    """Return the coefficients' prior variances: squares have twice those of products, as in turned quadratics."""
    first, second = np.triu_indices(dimensions)
    squares = np.where(first == second, 2.0, 1.0) * size**2
    return np.concatenate([[1.0], np.full(dimensions, size**2), squares])


def fitted(trials: Trials) -> Surface:
    """Return the surface round the trial that it itself holds for the best."""
    surface = Surface(trials, trials.points[int((trials.values - trials.deviations).argmax())])
    for _ in range(3):
        center = trials.points[surface.best()]
        if np.array_equal(center, surface.center):
            break
        surface = Surface(trials, center)
    return surface


def smoothed(trials: Trials) -> Array:
    """Return values without most of the luck of their draw, for trials near the best; minus infinity for the rest."""
    surface = fitted(trials)
    inside = np.abs((trials.points - surface.center) / trials.width).max(axis=1) <= 1.2
    return np.asarray(np.where(inside, surface.means(), -np.inf), dtype=np.float64)


class GaussianProcessSampler(BaseSampler):
    """An Optuna sampler: random until there are a few trials, then the process's choice."""

    def __init__(self, seed: int, space: dict[str, BaseDistribution], startup: int = 6) -> None:
        self._generator = np.random.default_rng(seed)
        self._random = RandomSampler(seed)
        self._space = space
        self._startup = startup

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole space: all dimensions are sampled together."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next point, or nothing while there are too few trials."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        done = [t for t in complete if t.params.keys() == self._space.keys()]
        if len(done) < self._startup:
            return {}
        trials = Trials(
            np.array([_encode(t.params, search_space) for t in done]),
            np.array([t.value for t in done], dtype=np.float64),
            np.array([t.user_attrs.get(DEVIATION, 0.0) for t in done], dtype=np.float64),
            _choice_columns(search_space),
        )
        return _decode(fitted(trials).next_point(self._generator), search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _encode(params: dict[str, Any], space: dict[str, BaseDistribution]) -> Sequence[float]:
    unit: list[float] = []
    for name, distribution in space.items():
        if isinstance(distribution, FloatDistribution):
            unit.append((params[name] - distribution.low) / (distribution.high - distribution.low))
        elif isinstance(distribution, CategoricalDistribution):
            unit += [float(params[name] == choice) for choice in distribution.choices]
    return unit


def _decode(point: Array, space: dict[str, BaseDistribution]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    place = 0
    for name, distribution in space.items():
        if isinstance(distribution, FloatDistribution):
            params[name] = distribution.low + float(point[place]) * (distribution.high - distribution.low)
            place += 1
        elif isinstance(distribution, CategoricalDistribution):
            width = len(distribution.choices)
            params[name] = distribution.choices[int(point[place : place + width].argmax())]
            place += width
    return params


def _choice_columns(space: dict[str, BaseDistribution]) -> tuple[int, ...]:
    columns: list[int] = []
    place = 0
    for distribution in space.values():
        width = len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 1
        columns += range(place, place + width) if isinstance(distribution, CategoricalDistribution) else ()
        place += width
    return tuple(columns)
