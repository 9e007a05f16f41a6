"""Whether merged weights are a child of their parents: not a copy of one, not something else altogether.

Distances are sums of squares over all tensors. Who measures them (numpy on files, torch on a resident model) is not
this module's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

COPY_DISTANCE = 0.02
"""Relative to the parent's distance from the base: below it a submission is that parent."""
FAR_DISTANCE = 20.0
"""Relative to the farthest expert's distance from the base: above it a submission is no merge of the parents."""


@dataclass
class Distances:
    """Squared distances of a submission to each parent (`to`) and of each parent to the base (`spread`)."""

    base: str
    to: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)

    def add(self, parent: str, to: float, spread: float) -> None:
        """Account for one tensor of a parent."""
        self.to[parent] = self.to.get(parent, 0.0) + to
        self.spread[parent] = self.spread.get(parent, 0.0) + spread

    def problems(self) -> Iterator[str]:
        """Yield why the submission is no child of the parents."""
        widest = max(self.spread.values()) or 1.0
        for parent, distance in self.to.items():
            reach = widest if parent == self.base else self.spread[parent]
            if distance <= COPY_DISTANCE**2 * reach:
                yield f"this is {parent} itself, handed in as a result."
        if self.to[self.base] > FAR_DISTANCE**2 * widest:
            yield "this is no merge of the given models: it lies far from all of them."
