"""Closed-form starting points: what one would try before any search.

Uniform weights, a grid of overall scales, MetaGPT (Zhou et al. 2024: λᵢ = ‖τᵢ‖² / Σ‖τⱼ‖²), weights that make every
expert's update equally long, and the weights of the leaderboard's leaders. Norms are used only where they are known.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from agents.optimizer.space import DEFAULT_METHOD, Point, SearchSpace, expert_names
from core.types.candidate import Leaderboard

GRID = (0.3, 0.4, 0.6, 0.8, 1.0)


def warm_starts(
    space: SearchSpace, board: Leaderboard | None = None, norms: Mapping[str, float] | None = None
) -> list[tuple[str, Point]]:
    """Return named starting points, the most promising first, without repetitions.

    `norms`: length of each expert's task vector, by name.
    """
    found: dict[str, tuple[str, Point]] = {}
    for name, point in (*_leaders(space, board), *_closed_forms(space, norms), *_grid(space)):
        found.setdefault(space.recipe(point).digest, (name, point))
    return list(found.values())


def _closed_forms(space: SearchSpace, norms: Mapping[str, float] | None) -> Iterator[tuple[str, Point]]:
    experts = expert_names(space.models)
    yield "uniform", space.uniform(dict.fromkeys(experts, 1 / len(experts)), DEFAULT_METHOD)
    if norms is None or any(norms.get(e, 0) <= 0 for e in experts):
        return
    squares = {e: norms[e] ** 2 for e in experts}
    total = sum(squares.values())
    yield "MetaGPT", space.uniform({e: squares[e] / total for e in experts}, DEFAULT_METHOD)
    # Every update as long as the shortest one at its full length, shared out evenly.
    shortest = min(norms[e] for e in experts)
    yield "equal norms", space.uniform({e: shortest / norms[e] for e in experts}, DEFAULT_METHOD)


def _grid(space: SearchSpace) -> Iterator[tuple[str, Point]]:
    experts = expert_names(space.models)
    for value in GRID:
        if space.low <= value <= space.high:
            yield f"all weights {value:g}", space.uniform(dict.fromkeys(experts, value), DEFAULT_METHOD)
    for method in space.methods:
        if method != DEFAULT_METHOD:
            yield f"{method} with equal weights", space.uniform(dict.fromkeys(experts, 1.0), method)
    # A point near each expert alone, so that a surface with one good corner is seen early.
    for expert in experts:
        weights = {e: 0.8 if e == expert else 0.2 for e in experts}
        yield f"mostly {expert}", space.uniform(weights, DEFAULT_METHOD)


def _leaders(space: SearchSpace, board: Leaderboard | None) -> Iterator[tuple[str, Point]]:
    for row in board.rows[:5] if board else ():
        recipe = row.candidate.recipe
        if recipe is None or recipe.method not in space.methods:
            continue
        weights = {e: _weight(recipe.config, e) for e in expert_names(space.models)}
        known = {e: w for e, w in weights.items() if w is not None}
        if len(known) == len(weights):
            yield f"as {row.candidate.name}", space.uniform(known, recipe.method, **_shared(recipe.config))


def _weight(config: Mapping[str, Any], expert: str) -> float | None:
    """Return the constant weight a recipe gives an expert; None where it is no single number."""
    entry = next((m for m in config.get("models", ()) if m.get("model") == expert), None)
    if entry is None:
        return 0.0
    value = entry.get("parameters", {}).get("weight")
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("value")
    return float(value) if isinstance(value, int | float) else None


def _shared(config: Mapping[str, Any]) -> dict[str, float]:
    parameters = config.get("parameters", {})
    names = {"density": "density", "lambda": "scale"}
    return {
        ours: float(parameters[theirs])
        for theirs, ours in names.items()
        if isinstance(parameters.get(theirs), int | float)
    }
