"""A Gaussian process that knows how well each trial was measured, and the point it would try next.

Dropped trials were seen on some items only: their values come with a standard error, which goes into the process as
that trial's own noise. Optuna's GP sampler takes all values as equally good and needs torch, which stays in worker/.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from core.statistics.strata import Array

DEVIATION = "deviation"
_DRAWS = 512
_REACHES = (0.02, 0.06, 0.15)


def next_point(seen: Array, values: Array, deviations: Array, generator: np.random.Generator) -> Array:
    """Return the point of the unit cube with the largest expected improvement on the best mean seen so far.

    `seen`: trials × dimensions, in the unit cube.
    """
    center, scale = values.mean(), max(float(values.std()), 1e-6)
    model = _fit(seen, (values - center) / scale, deviations / scale, generator)
    means = model.predict(seen)
    best = seen[means.argsort()[::-1][:3]]
    chosen = seen[means.argmax()]
    for reach in (None, *_REACHES[:2]):
        pool = _pool(best, chosen, reach, generator)
        chosen = pool[_improvement(model, pool, float(means.max())).argmax()]
    return np.asarray(chosen, dtype=np.float64)


def _fit(seen: Array, values: Array, deviations: Array, generator: np.random.Generator) -> GaussianProcessRegressor:
    lengths = np.full(seen.shape[1], 0.6)
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(lengths, (0.1, 10.0), nu=2.5)
    model = GaussianProcessRegressor(
        kernel, alpha=deviations**2 + 1e-3, n_restarts_optimizer=1, random_state=int(generator.integers(2**31))
    )
    with warnings.catch_warnings():
        # A length at its bound only says that a dimension hardly matters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(seen, values)


def _pool(best: Array, chosen: Array, reach: float | None, generator: np.random.Generator) -> Array:
    dimensions = best.shape[1]
    if reach is not None:
        near = chosen + generator.normal(0, reach, size=(_DRAWS // 2, dimensions))
        return np.vstack([chosen[None], near.clip(0, 1)])
    cube = stats.qmc.Sobol(dimensions, rng=generator).random(_DRAWS)
    steps = [b + generator.normal(0, r, size=(_DRAWS // 8, dimensions)) for b in best for r in _REACHES]
    return np.vstack([cube, *steps]).clip(0, 1)


def _improvement(model: GaussianProcessRegressor, pool: Array, best: float) -> Array:
    """Return the logarithm of expected improvement, which still tells points apart where improvement is unlikely."""
    means, spreads = model.predict(pool, return_std=True)
    spreads = np.maximum(spreads, 1e-9)
    z = (means - best) / spreads
    # log(φ(z) + zΦ(z)); for very negative z it tends to log φ(z) − 2 log|z|.
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.log(stats.norm.pdf(z) + z * stats.norm.cdf(z))
    far = stats.norm.logpdf(z) - 2 * np.log(np.maximum(np.abs(z), 1.0))
    return np.asarray(np.log(spreads) + np.where(z > -5, near, far), dtype=np.float64)


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
        done = [
            t
            for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if t.params.keys() == self._space.keys()
        ]
        if len(done) < self._startup:
            return {}
        seen = np.array([_encode(t.params, search_space) for t in done])
        values = np.array([t.value for t in done], dtype=np.float64)
        deviations = np.array([t.user_attrs.get(DEVIATION, 0.0) for t in done], dtype=np.float64)
        return _decode(next_point(seen, values, deviations, self._generator), search_space)

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
