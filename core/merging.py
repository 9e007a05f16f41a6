"""What each merging method is, without any tensor: for agents, API and report (merging.md, 'Methods of the tutorial').

The rows are in `core.merging_table`; `worker.merge.registry` attaches the functions to them. This module computes
nothing and doesn't know whether mergekit or a GPU is present.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

ParameterValue = float | int | bool | str


class Need(StrEnum):
    """What a method must be given besides the base."""

    WEIGHTS = "weights"
    CALIBRATION = "calibration text"
    GRADIENTS = "gradients"
    LABELS = "labels"
    SCORE = "validation score"
    EXTRA_MODULES = "extra modules"


class Fidelity(StrEnum):
    """How close the implementation is to the paper."""

    EXACT = "exact"
    ADAPTED = "adapted"
    NOT_APPLICABLE = "not_applicable"


class Engine(StrEnum):
    """Whose rule it is: mergekit's, which must be there to run it, or the worker's own."""

    MERGEKIT = "mergekit"
    OWN = "own"


class Kind(StrEnum):
    """What comes out: one set of weights, weights by prompt, extra modules, or a way to search recipes."""

    WEIGHTS = "weights"
    ROUTED = "routed"
    MODULES = "modules"
    SEARCH = "search"
    NONE = "none"


@dataclass(frozen=True)
class MethodDeclaration:
    """One method of the table.

    `row` is the row of merging.md it belongs to. `difference` says what differs from the paper, or why the method
    can't be applied; it is empty only for exact methods. `neutral` names the parameter and the value that make a
    tensor equal to the base (how a recipe keeps embeddings from the base); a method without one merges them as
    mergekit does. `against_base`: whether its recipes name a base to merge against.
    """

    name: str
    title: str
    row: str
    arxiv_id: str | None = None
    needs: frozenset[Need] = frozenset({Need.WEIGHTS})
    fidelity: Fidelity = Fidelity.EXACT
    difference: str = ""
    defaults: Mapping[str, ParameterValue] = field(default_factory=dict)
    engine: Engine = Engine.OWN
    kind: Kind = Kind.WEIGHTS
    neutral: tuple[str, ParameterValue] | None = None
    experts: tuple[int, int | None] = (1, None)
    random: bool = False
    against_base: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "defaults", MappingProxyType(dict(self.defaults)))
        if (self.fidelity is Fidelity.EXACT) == bool(self.difference):
            raise ValueError(f"{self.name}: a method is exact, or says what differs")

    @property
    def runnable(self) -> bool:
        """Return whether a recipe with this method can be run at all."""
        return self.fidelity is not Fidelity.NOT_APPLICABLE

    @property
    def draws(self) -> bool:
        """Return whether another seed makes another merge."""
        return self.random or "seed" in self.defaults

    def accepts(self, experts: int) -> bool:
        """Return whether the method is defined for this many experts."""
        least, most = self.experts
        return experts >= least and (most is None or experts <= most)
