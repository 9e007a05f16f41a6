"""Recipes of merge candidates: mergekit YAML from a method, the SoW's models and parameters.

Inside a run a recipe names models as the SoW does (`base`, `code`); `published` puts paths or hub ids in their place,
so that a user can rerun it with mergekit alone.
"""

from collections.abc import Mapping
from typing import Any

from core.errors import InvalidInputError
from core.merging_table import DECLARATIONS, recipe_config
from core.types.recipe import Recipe
from core.types.sow import ModelRef, Models


def baseline_recipe(models: Models, name: str) -> Recipe:
    """Return the recipe of one model alone: every tensor from it, the embeddings included."""
    if name not in {models.base.name, *(e.name for e in models.experts)}:
        raise InvalidInputError(f"The SoW has no model {name!r}.")
    config: dict[str, Any] = {
        "merge_method": "linear",
        "models": [{"model": name, "parameters": {"weight": 1.0}}],
        "parameters": {"normalize": True},
        "dtype": "float32",
    }
    return Recipe(method="linear", config=config)


def method_recipe(
    method: str,
    models: Models,
    weights: Mapping[str, float] | None = None,
    parameters: Mapping[str, float | int | bool | str] | None = None,
) -> Recipe:
    """Return a method's recipe on the experts in `weights` (default: all, each with the method's own weight).

    Raises NotFoundError for an unknown method.
    """
    chosen = weights if weights is not None else {e.name: _default_weight(method) for e in models.experts}
    config = recipe_config(method, models.base.name, dict(chosen), **(parameters or {}))
    return Recipe(method=method, config=config)


def draws_at_random(recipe: Recipe) -> bool:
    """Return whether another seed makes another merge of this recipe."""
    entry = DECLARATIONS.get(recipe.method)
    return entry is not None and entry.draws


def redrawn(recipe: Recipe, shift: int) -> Recipe:
    """Return the recipe with its seed shifted; one that draws nothing is returned as it is."""
    if not draws_at_random(recipe):
        return recipe
    shared = dict(recipe.config.get("parameters") or {})
    shared["seed"] = (int(shared.get("seed", 0)) + shift) % 2**31
    return recipe.evolve(config={**recipe.config, "parameters": shared})


def _default_weight(method: str) -> float:
    # Task vectors of several experts add up: MergeBench's 0.4 for rules that sum, 1 for those that average.
    summing = {
        "task_arithmetic",
        "dare_linear",
        "dare_ties",
        "della",
        "della_linear",
        "breadcrumbs",
        "breadcrumbs_ties",
    }
    return 0.4 if method in summing or method.startswith("ra_") else 1.0


def reference(model: ModelRef) -> str:
    """Return how mergekit names a model: a path or hub id, its revision, and the adapter folded into it."""
    name = f"{model.model}@{model.revision}" if model.revision else model.model
    return f"{name}+{model.adapter}" if model.adapter else name


def published(recipe: Recipe, models: Models) -> Recipe:
    """Return the recipe with the SoW's paths or hub ids in place of its names."""
    names = {m.name: reference(m) for m in (models.base, *models.experts)}

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: names.get(v, v) if k in {"model", "base_model"} else put(v) for k, v in value.items()}
        if isinstance(value, list):
            return [put(v) for v in value]
        return value

    return Recipe(method=recipe.method, config=put(recipe.config))
