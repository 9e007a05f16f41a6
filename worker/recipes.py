"""Recipes as the expert bank reads them."""

from core.types.recipe import Recipe
from worker.merge.bank import BASE


def bank_recipe(recipe: Recipe, base_name: str) -> Recipe:
    """Return the recipe with the bank's name for the base in place of the SoW's."""
    if base_name == BASE:
        return recipe
    config = dict(recipe.config)
    if config.get("base_model") == base_name:
        config["base_model"] = BASE
    config["models"] = [
        {**entry, "model": BASE} if entry.get("model") == base_name else entry for entry in config.get("models", ())
    ]
    return Recipe(method=recipe.method, config=config)
