"""A world with a known optimum: items that a merged model passes with a chance that depends on its weights.

Each skill has its own best weights, so that the benchmark's optimum is a compromise, as with real experts. Whether an
item is passed is a Bernoulli draw whose random number is shared between candidates (common random numbers) for a share
of the items' samples and the candidate's own for the rest: real models do not flip items in order of their quality.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[np.float64]
SHARED = 0.7


class ResponseSurface:
    """One world. Points are vectors in [low, high]^dimensions."""

    def __init__(self, seed: int, dimensions: int = 6, items: int = 200, samples: int = 1) -> None:
        generator = np.random.default_rng((seed, 20260))
        self.seed, self.items, self.samples = seed, items, samples
        self.low, self.high = np.zeros(dimensions), np.full(dimensions, 1.5)
        skills = 3
        center = generator.uniform(0.3, 1.1, size=dimensions)
        self._optima = (center + generator.normal(0, 0.15, size=(skills, dimensions))).clip(0.05, 1.45)
        turn, _ = np.linalg.qr(generator.normal(size=(dimensions, dimensions)))
        self._shape = turn @ np.diag(np.geomspace(1.0, 8.0, dimensions)) @ turn.T
        self._skill = generator.integers(0, skills, size=items)
        self._ease = generator.normal(0.3, 1.8, size=items)
        self._gain = generator.gamma(4.0, 0.5, size=items)
        self._shared = generator.random((items, samples))
        self._is_shared = generator.random((items, samples)) < SHARED
        self.best_point, self.best = self._optimum(generator)

    def chances(self, point: Sequence[float] | Array) -> Array:
        """Return each item's chance of being passed."""
        away = np.asarray(point, dtype=np.float64) - self._optima
        loss = np.sqrt(1 + np.einsum("sd,de,se->s", away, self._shape, away)) - 1
        return 1 / (1 + np.exp(-(self._ease - self._gain * loss[self._skill])))

    def accuracy(self, point: Sequence[float] | Array) -> float:
        """Return the true score: the mean chance."""
        return float(self.chances(point).mean())

    def outcomes(self, point: Sequence[float] | Array, items: Sequence[int] | None = None) -> Array:
        """Return observed scores by item: the same point always gives the same ones."""
        vector = np.asarray(point, dtype=np.float64)
        digest = hashlib.sha256(np.round(vector, 6).tobytes() + str(self.seed).encode()).digest()
        own = np.random.default_rng(int.from_bytes(digest[:8], "big")).random(self._shared.shape)
        draws = np.where(self._is_shared, self._shared, own)
        scores = (draws < self.chances(vector)[:, None]).mean(axis=1)
        return np.asarray(scores if items is None else scores[list(items)], dtype=np.float64)

    def _optimum(self, generator: np.random.Generator) -> tuple[Array, float]:
        bounds = list(zip(self.low, self.high, strict=True))
        starts = [
            *self._optima,
            self._optima.mean(axis=0),
            *generator.uniform(self.low, self.high, size=(4, len(self.low))),
        ]
        found = [optimize.minimize(lambda x: -self.accuracy(x), start, bounds=bounds) for start in starts]
        best = min(found, key=lambda result: float(result.fun))
        return np.asarray(best.x), -float(best.fun)
