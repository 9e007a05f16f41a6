"""Scores by item, from one or several benchmarks: the input of every statistic here.

A stratum is one benchmark: its weight and one score in [0, 1] an item. What is estimated is the weighted mean of the
benchmarks' means. Items are taken as drawn independently within a benchmark; benchmarks themselves are fixed. Nothing
here protects from items that are copies of each other or were in the training data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stratum:
    """One benchmark's scores by item, and its weight.

    `scores` are means over seeds. Where each seed made another model (a redrawn merge), `draws` has each one's scores.
    """

    scores: Mapping[str, float]
    weight: float = 1.0
    draws: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise InvalidInputError(f"A benchmark's weight must be positive, not {self.weight}.")


Scores = Sequence[Stratum]


def arrays(scores: Scores) -> list[Array]:
    """Return one array of scores a stratum, in the order of item ids; raise InvalidInputError where one is empty."""
    if not scores or any(not s.scores for s in scores):
        raise InvalidInputError("A statistic needs at least one item in every benchmark.")
    return [np.array([s.scores[i] for i in sorted(s.scores)], dtype=np.float64) for s in scores]


def shares(scores: Scores) -> Array:
    """Return the weights of the strata, scaled to add up to one."""
    weights = np.array([s.weight for s in scores], dtype=np.float64)
    return weights / weights.sum()


def weighted_mean(scores: Scores) -> float:
    """Return the weighted mean of the strata's means."""
    return float(sum(w * a.mean() for w, a in zip(shares(scores), arrays(scores), strict=True)))


def differences(first: Scores, second: Scores) -> tuple[Stratum, ...]:
    """Return first − second by item; raise InvalidInputError unless both saw the same items.

    Pairing needs the same items; a difference over unequal sets would mix luck of the draw into the gain.
    """
    if len(first) != len(second):
        raise InvalidInputError(f"Paired scores need the same benchmarks: {len(first)} and {len(second)} given.")
    pairs = []
    for a, b in zip(first, second, strict=True):
        if a.scores.keys() != b.scores.keys():
            odd = len(a.scores.keys() ^ b.scores.keys())
            raise InvalidInputError(f"Paired scores need the same items; {odd} items are in only one of the two.")
        pairs.append(Stratum({i: a.scores[i] - b.scores[i] for i in a.scores}, a.weight))
    return tuple(pairs)


def common(first: Scores, second: Scores) -> tuple[tuple[Stratum, ...], tuple[Stratum, ...]]:
    """Return both narrowed to the items they share, without the strata where they share none."""
    kept = [
        (a, b, a.scores.keys() & b.scores.keys())
        for a, b in zip(first, second, strict=True)
        if a.scores.keys() & b.scores.keys()
    ]
    return (
        tuple(Stratum({i: a.scores[i] for i in ids}, a.weight) for a, _, ids in kept),
        tuple(Stratum({i: b.scores[i] for i in ids}, b.weight) for _, b, ids in kept),
    )
