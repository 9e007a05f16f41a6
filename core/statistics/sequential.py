"""Drop a candidate early: a paired test that may be looked at after every item.

The evidence is a wager against 'the candidate is at least as good as the incumbent on all items'. Wealth starts at 1
and, while that is true, can exceed 1/error with probability at most `error` — at any time, however often one looks
(Ville's inequality). The bets are those of Waudby-Smith & Ramdas (2020/2023) for sampling without replacement: before
each item, what the claim still allows the remaining items to average is known, and wealth grows by how far the item
falls below it. Several bet sizes are averaged, so none has to be tuned.

The guarantee needs the items in random order, drawn apart from the outcomes. It is about the finite set of items under
these seeds, not about new items: that is what confirmation is for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.errors import InvalidInputError
from core.statistics.strata import Array

BETS: Array = np.array([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9])


@dataclass
class TrailingTest:
    """Decides whether a candidate trails the incumbent over `population` items.

    `margin` makes the claim 'at least as good as the incumbent, less margin': a negative one drops candidates that are
    not better by that much. Differences are candidate − incumbent, divided by `scale` to lie in [-1, 1].
    """

    population: int
    error: float = 0.05
    margin: float = 0.0
    scale: float = 1.0
    seen: int = field(default=0, init=False)
    total: float = field(default=0.0, init=False)
    _wealth: Array = field(default_factory=lambda: np.ones_like(BETS), init=False, repr=False)
    _impossible: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.population < 1 or not 0 < self.error < 1 or self.scale <= 0:
            raise InvalidInputError("A sequential test needs items, an error in (0, 1) and a positive scale.")

    @property
    def evidence(self) -> float:
        """Return the wealth: 1/evidence is a p-value that may be read at any time."""
        return float("inf") if self._impossible else float(self._wealth.mean())

    @property
    def trails(self) -> bool:
        """Return whether the candidate can be dropped at the stated error."""
        return self.evidence >= 1 / self.error

    def update(self, differences: Sequence[float]) -> bool:
        """Take the next items' differences, in their random order, and return whether the candidate trails."""
        for raw in differences:
            self._bet(raw / self.scale)
        return self.trails

    def _bet(self, value: float) -> None:
        if self.seen >= self.population:
            raise InvalidInputError(f"The test was made for {self.population} items and got more.")
        if not -1 - 1e-9 <= value <= 1 + 1e-9:
            raise InvalidInputError(f"A difference of {value} is outside [-1, 1]; set the scale.")
        needed = -self.margin / self.scale * self.population - self.total
        allowed = needed / (self.population - self.seen)
        # An item is at most 1 − allowed above the expectation, which bounds the stake that can't go bankrupt.
        stakes = BETS / max(1e-9, 1 - max(-1.0, min(allowed, 1.0)))
        if allowed < 1:
            self._wealth = self._wealth * np.maximum(0.0, 1 - stakes * (value - max(-1.0, allowed)))
        self.seen += 1
        self.total += value
        # Even winning every remaining item may not make up for what is lost.
        if -self.margin / self.scale * self.population - self.total > self.population - self.seen + 1e-9:
            self._impossible = True
