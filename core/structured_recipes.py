"""Recipes with coefficients that differ by layer group and by attention and MLP.

Layer groups are anchors of a mergekit gradient: the value of a layer is interpolated between the two nearest, so one
recipe fits any depth, and one group is a constant. Everything else (norms, biases outside both) takes the mean, and
embeddings follow the method's own rule. This module knows YAML, not tensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInputError
from core.merging import Kind, Need
from core.merging_table import DECLARATIONS
from core.recipes import method_recipe
from core.types.recipe import Recipe
from core.types.sow import Models

ATTENTION, MLP = "self_attn", "mlp"
DIGITS = 4


@dataclass(frozen=True)
class Coefficients:
    """One expert's weights at the anchors, first layers first; the same number for both kinds of module."""

    attention: tuple[float, ...]
    mlp: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.attention or len(self.attention) != len(self.mlp):
            raise InvalidInputError(
                "Coefficients need the same number of anchors, at least one, for attention and MLP."
            )

    @classmethod
    def constant(cls, value: float) -> "Coefficients":
        """Return the same weight everywhere."""
        return cls((value,), (value,))

    @property
    def mean(self) -> float:
        """Return the mean over anchors and modules."""
        return sum((*self.attention, *self.mlp)) / (2 * len(self.mlp))


def takes_coefficients(method: str) -> bool:
    """Return whether a method is a weights-only rule with one free weight an expert."""
    entry = DECLARATIONS.get(method)
    return (
        entry is not None
        and entry.kind is Kind.WEIGHTS
        and entry.needs == frozenset({Need.WEIGHTS})
        and entry.neutral is not None
        and entry.neutral[0] == "weight"
        and method != "linear"
    )


def structured_recipe(
    method: str,
    models: Models,
    coefficients: Mapping[str, Coefficients],
    parameters: Mapping[str, float | int | bool | str] | None = None,
) -> Recipe:
    """Return a method's recipe with these weights by expert name.

    Raises InvalidInputError for a method without one weight an expert, and for experts that the SoW doesn't have.
    """
    if not takes_coefficients(method):
        raise InvalidInputError(f"{method!r} has no free weight an expert.", fix="Search task_arithmetic, ties, …")
    unknown = sorted(coefficients.keys() - {e.name for e in models.experts})
    if unknown:
        raise InvalidInputError(f"The SoW has no expert {', '.join(unknown)}.")
    means = {name: round(c.mean, DIGITS) for name, c in coefficients.items()}
    recipe = method_recipe(method, models, means, parameters)
    entries = [_with_structure(entry, coefficients) for entry in recipe.config["models"]]
    return Recipe(method=method, config={**recipe.config, "models": entries})


def _with_structure(entry: Mapping[str, Any], coefficients: Mapping[str, Coefficients]) -> dict[str, Any]:
    own = coefficients.get(entry["model"])
    if own is None or (len(own.mlp) == 1 and own.attention == own.mlp):
        return dict(entry)
    *embeddings, rest = entry["parameters"]["weight"]
    modules = [{"filter": ATTENTION, "value": _anchors(own.attention)}, {"filter": MLP, "value": _anchors(own.mlp)}]
    return {**entry, "parameters": {**entry["parameters"], "weight": [*embeddings, *modules, rest]}}


def _anchors(values: Sequence[float]) -> float | list[float]:
    rounded = [round(v, DIGITS) for v in values]
    return rounded[0] if len(rounded) == 1 else rounded
