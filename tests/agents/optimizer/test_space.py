"""Points, recipes and warm starts."""

import pytest

from agents.optimizer.space import Point, SearchSpace, space_of
from agents.optimizer.warm_starts import warm_starts
from core.errors import InvalidInputError
from core.recipes import method_recipe
from core.structured_recipes import Coefficients, structured_recipe, takes_coefficients
from core.types.candidate import Candidate, CandidateKind, Leaderboard, Ranked
from core.types.evaluation import Score
from tests.fakes.surface_jobs import MODELS, SOW, vector


def board(method: str) -> Leaderboard:
    recipe = method_recipe(method, MODELS, {"code": 0.7, "math": 0.2, "chat": 0.1})
    row = Ranked(
        rank=1, tie_group=1, candidate=Candidate(id=method, name=method, kind=CandidateKind.METHOD, recipe=recipe),
        score=Score(metric="m", value=0.5, items=10),
    )  # fmt: skip
    return Leaderboard(role="screen", metric="m", rows=(row,))


def test_a_point_becomes_the_recipe_with_its_weights(space: SearchSpace) -> None:
    point = space.uniform({"code": 0.5, "math": 0.25, "chat": 1.0}, "task_arithmetic")
    assert vector(space.recipe(point)).tolist() == [0.5, 0.5, 0.25, 0.25, 1.0, 1.0]
    assert space.problems(point) == []


def test_groups_become_gradients_by_module() -> None:
    space = SearchSpace(MODELS, groups=2)
    assert len(space.dimensions) == 12
    values = {d.name: i / 10 for i, d in enumerate(space.dimensions)}
    recipe = space.recipe(Point(method="task_arithmetic", values=values))
    weight = recipe.config["models"][0]["parameters"]["weight"]
    assert {"filter": "self_attn", "value": [0.0, 0.1]} in weight
    assert {"filter": "mlp", "value": [0.2, 0.3]} in weight
    assert weight[-1] == {"value": 0.15}
    assert weight[0]["filter"] == "embed_tokens"


def test_density_and_scale_are_searched_where_a_method_has_them() -> None:
    space = SearchSpace(MODELS, ("task_arithmetic", "ties"))
    assert [d.name for d in space.dimensions][-2:] == ["density", "scale"]
    point = space.uniform(dict.fromkeys(("code", "math", "chat"), 1.0), "ties", density=0.3, scale=0.9)
    assert space.recipe(point).config["parameters"] == {"density": 0.3, "lambda": 0.9, "normalize": True}
    plain = space.uniform(dict.fromkeys(("code", "math", "chat"), 1.0), "task_arithmetic", density=0.3)
    assert "density" not in space.recipe(plain).config["parameters"]


def test_points_outside_are_named_with_the_reason(space: SearchSpace) -> None:
    problems = space.problems(Point(method="magic", values={"weight.code": 9.0, "weight.math": 0.1, "spice": 1.0}))
    assert len(problems) == 4
    assert "method 'magic' is not one of task_arithmetic" in problems
    assert any("outside [0.0, 1.5]" in p for p in problems)


def test_only_rules_with_a_weight_an_expert_are_searched() -> None:
    assert takes_coefficients("ties")
    assert not any(takes_coefficients(m) for m in ("linear", "slerp", "model_stock", "ra_moma", "unknown"))
    with pytest.raises(InvalidInputError):
        structured_recipe("slerp", MODELS, {"code": Coefficients.constant(1.0)})
    with pytest.raises(InvalidInputError, match="no expert"):
        structured_recipe("ties", MODELS, {"art": Coefficients.constant(1.0)})


def test_more_trials_afford_more_dimensions() -> None:
    sizes = [
        len(space_of(SOW.evolve(optimization={"trials": t}), board("task_arithmetic")).dimensions)
        for t in (10, 40, 200)
    ]
    assert sizes == [3, 6, 18]
    assert space_of(SOW, board("ties")).methods == ("task_arithmetic", "ties")


def test_warm_starts_are_the_leader_and_closed_forms(space: SearchSpace) -> None:
    names = dict(warm_starts(space, board("task_arithmetic"), {"code": 3.0, "math": 4.0, "chat": 5.0}))
    assert next(iter(names)) == "as task_arithmetic"
    assert names["as task_arithmetic"].values["weight.code"] == 0.7
    # MetaGPT: λᵢ = ‖τᵢ‖² / Σ‖τⱼ‖² = 9/50, 16/50, 25/50.
    assert list(names["MetaGPT"].values.values()) == [0.18, 0.32, 0.5]
    assert list(names["equal norms"].values.values()) == [1.0, 0.75, 0.6]
    assert "MetaGPT" not in dict(warm_starts(space))
    assert all(space.problems(p) == [] for p in names.values())
