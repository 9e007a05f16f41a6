"""The search space: what may be varied, how a point becomes a recipe, and why a point is refused.

Dimensions: one weight an expert (`groups` = 0), or one weight an expert × {attention, MLP} × layer group; density and
overall scale where a method has them; and which of a few methods is used. A point always has all dimensions; those a
method does not have are ignored by it, so that one model of the surface serves all methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from core.merging_table import DECLARATIONS
from core.structured_recipes import DIGITS, Coefficients, structured_recipe, takes_coefficients
from core.types.base import Value
from core.types.candidate import Leaderboard
from core.types.recipe import Recipe
from core.types.sow import Models, StatementOfWork

DEFAULT_METHOD = "task_arithmetic"
DENSITY = (0.05, 1.0)
SCALE = (0.2, 1.5)
# Below so many trials a dimension more costs more than it can win back.
TRIALS_FOR_MODULES = 25
TRIALS_FOR_GROUPS = 100
GROUPS = 3


class Point(Value):
    """A place in the space: a method, and a value for every dimension."""

    method: str
    values: dict[str, float]


@dataclass(frozen=True)
class Dimension:
    """One number that may be varied."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class SearchSpace:
    """What may be varied. `groups` counts layer groups; 0 is one weight an expert for all layers and modules."""

    models: Models
    methods: tuple[str, ...] = (DEFAULT_METHOD,)
    groups: int = 0
    low: float = 0.0
    high: float = 1.5

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Return all dimensions, in an order that depends on nothing but the space."""
        weights = [Dimension(name, self.low, self.high) for e in self.models.experts for name in self._weights(e.name)]
        extra = []
        if any("density" in DECLARATIONS[m].defaults for m in self.methods):
            extra.append(Dimension("density", *DENSITY))
        if any(_is_normalized(m) for m in self.methods):
            extra.append(Dimension("scale", *SCALE))
        return (*weights, *extra)

    def _weights(self, expert: str) -> list[str]:
        if not self.groups:
            return [f"weight.{expert}"]
        return [f"weight.{expert}.{part}.{g}" for part in ("attention", "mlp") for g in range(self.groups)]

    def recipe(self, point: Point) -> Recipe:
        """Return a point's recipe; values are rounded, so that equal recipes have equal digests."""
        defaults = DECLARATIONS[point.method].defaults
        parameters: dict[str, float | int | bool | str] = {}
        if "density" in defaults and "density" in point.values:
            parameters["density"] = round(point.values["density"], DIGITS)
        if _is_normalized(point.method) and "scale" in point.values:
            parameters["lambda"] = round(point.values["scale"], DIGITS)
        coefficients = {e.name: self._coefficients(e.name, point.values) for e in self.models.experts}
        return structured_recipe(point.method, self.models, coefficients, parameters)

    def _coefficients(self, expert: str, values: Mapping[str, float]) -> Coefficients:
        own = [values[name] for name in self._weights(expert)]
        if not self.groups:
            return Coefficients.constant(own[0])
        return Coefficients(tuple(own[: self.groups]), tuple(own[self.groups :]))

    def uniform(self, weights: Mapping[str, float], method: str, **extra: float) -> Point:
        """Return the point with one weight an expert everywhere, clipped to the space; other dimensions as `extra`."""
        values: dict[str, float] = {}
        for dimension in self.dimensions:
            wanted = extra.get(dimension.name, _start(dimension.name, method))
            if dimension.name.startswith("weight."):
                wanted = next(w for e, w in weights.items() if dimension.name in self._weights(e))
            values[dimension.name] = round(min(max(wanted, dimension.low), dimension.high), DIGITS)
        return Point(method=method, values=values)

    def problems(self, point: Point) -> list[str]:
        """Return why a point is outside the space; empty when it is inside."""
        return outside(self, point)


@dataclass(frozen=True)
class ParameterSpace:
    """Numbers that a command takes, each with its limits."""

    limits: Mapping[str, tuple[float, float]]
    methods: tuple[str, ...] = ("parameters",)

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Return all dimensions, by name."""
        return tuple(Dimension(name, *self.limits[name]) for name in sorted(self.limits))

    def middle(self) -> Point:
        """Return the point in the middle of all limits."""
        return Point(method=self.methods[0], values={d.name: (d.low + d.high) / 2 for d in self.dimensions})

    def problems(self, point: Point) -> list[str]:
        """Return why a point is outside the space; empty when it is inside."""
        return outside(self, point)


class Space(Protocol):
    """What strategies and proposers need to know of a space."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the methods to choose from."""
        ...

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Return the numbers that may be varied."""
        ...

    def problems(self, point: Point) -> list[str]:
        """Return why a point is outside the space."""
        ...


def outside(space: Space, point: Point) -> list[str]:
    """Return why a point is outside a space; empty when it is inside."""
    found = []
    if point.method not in space.methods:
        found.append(f"method {point.method!r} is not one of {', '.join(space.methods)}")
    known = {d.name: d for d in space.dimensions}
    found += [f"unknown parameter {name!r}" for name in point.values if name not in known]
    found += [f"parameter {name!r} is missing" for name in known if name not in point.values]
    for name, value in point.values.items():
        if name in known and not known[name].low <= value <= known[name].high:
            found.append(f"{name} = {value} is outside [{known[name].low}, {known[name].high}]")
    return found


def space_of(sow: StatementOfWork, board: Leaderboard | None) -> SearchSpace:
    """Return the space that the leading methods and the number of trials suggest.

    Task arithmetic is always in it: with free weights it holds linear and every point between base and experts. The
    best other method that takes weights joins where it is tied with the leader.
    """
    if sow.models is None:
        raise TypeError("a merge task has models: intake checks it")
    spec = sow.optimization
    rows = board.rows if board else ()
    leading = [r.candidate.recipe.method for r in rows if r.candidate.recipe and r.tie_group == 1]
    others = [m for m in leading if takes_coefficients(m) and m != DEFAULT_METHOD]
    methods = (DEFAULT_METHOD, *others[:1])
    return SearchSpace(
        models=sow.models,
        methods=methods,
        groups=spec.layer_groups if spec.layer_groups is not None else _affordable_groups(spec.trials),
        low=spec.coefficient_low,
        high=spec.coefficient_high,
    )


def _affordable_groups(trials: int) -> int:
    if trials < TRIALS_FOR_MODULES:
        return 0
    return 1 if trials < TRIALS_FOR_GROUPS else GROUPS


def _is_normalized(method: str) -> bool:
    return DECLARATIONS[method].defaults.get("normalize") is True


def _start(dimension: str, method: str) -> float:
    if dimension == "density":
        return float(DECLARATIONS[method].defaults.get("density", 0.5))
    return 1.0


def expert_names(models: Models) -> Sequence[str]:
    """Return the experts' names in the SoW's order."""
    return [e.name for e in models.experts]
