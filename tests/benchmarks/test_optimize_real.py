"""The real half of the benchmark, on a surface in place of models."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from agents.optimizer.racing import Key
from benchmarks.optimize_arms import ARMS, Bench, screened_recipes
from benchmarks.real_bench import Notebook, OutOfTimeError, Remembered, paired_gain, result, work
from benchmarks.response_surface import ResponseSurface
from core.types.recipe import Recipe
from tests.fakes.surface_jobs import MODELS

SKILLS = ("code", "math", "chat")
BUDGETS = (3, 6)


class Surface:
    """Search and confirm items of one surface under three skills; counts what is asked."""

    models = MODELS

    def __init__(self, fail_after: int = 10_000) -> None:
        self.world = ResponseSurface(3, dimensions=6, items=240)
        self.asked: list[tuple[str, str]] = []
        self.fail_after = fail_after

    def items(self, role: str) -> Mapping[str, Sequence[str]]:
        start = 0 if role == "search" else 120
        return {s: [f"{start + 40 * k + i:03d}" for i in range(40)] for k, s in enumerate(SKILLS)}

    def evaluate(self, recipe: Recipe, role: str) -> Mapping[Key, float]:
        if len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked.append((recipe.digest, role))
        generator = np.random.default_rng(int(recipe.digest[:8], 16))
        scores = self.world.outcomes(generator.uniform(0, 1.5, 6))
        return {(s, i): float(scores[int(i)] > 0.5) for s, ids in self.items(role).items() for i in ids}


def remembered(surface: Surface, path: Path, seconds: float = 100.0) -> tuple[Remembered, Notebook]:
    notebook = Notebook.open(path)
    return Remembered(surface, notebook, time.time() + seconds), notebook


def run_all(folder: Path, surface: Surface) -> None:
    for process, arms in (("seed-0", ("ours", "cmaes", "random")), ("screened", ("screened",))):
        evaluator, notebook = remembered(surface, folder / f"{process}.jsonl")
        work(evaluator, notebook, arms, (0, BUDGETS))


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_an_arm_counts_items_and_never_sees_confirm_items(arm: str) -> None:
    surface = Surface()
    steps = list(itertools.islice(ARMS[arm](Bench(surface), 0), 12))
    assert [s.spent for s in steps] == sorted(s.spent for s in steps)
    assert steps[0].spent <= 120
    assert {role for _, role in surface.asked} == {"search"}


def test_ours_pays_only_for_the_items_that_racing_looked_at() -> None:
    steps = list(itertools.islice(ARMS["ours"](Bench(Surface()), 0), 15))
    assert steps[-1].spent < 15 * 120


def test_screening_tries_every_method_before_it_tries_one_twice() -> None:
    methods = [r.method for r in screened_recipes(MODELS)]
    assert len(set(methods[:8])) == 8
    assert len(methods) == 38


def test_a_stopped_bench_goes_on_and_gives_the_same_answer(tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    run_all(whole, first := Surface())
    with pytest.raises(KeyboardInterrupt):
        run_all(halves, early := Surface(fail_after=7))
    with (halves / "seed-0.jsonl").open("a") as file:
        file.write('{"recipe": "torn')
    run_all(halves, late := Surface())
    items, plan = first.items("confirm"), (1, BUDGETS)
    assert result(halves, items, plan) == result(whole, items, plan)
    assert sorted(early.asked + late.asked) == sorted(first.asked), "a finished evaluation was repeated"


def test_the_result_has_the_fields_of_the_last_line(tmp_path: Path) -> None:
    run_all(tmp_path, surface := Surface())
    found = result(tmp_path, surface.items("confirm"), (1, BUDGETS))
    assert {"gain_over_best_screened", "interval", "gain_over_random", "gain_over_cmaes"} <= set(found)
    assert found["interval"][0] <= found["gain_over_best_screened"] <= found["interval"][1]
    assert [point["budget"] for point in found["curve"]] == list(BUDGETS)
    json.dumps(found)


def test_when_time_is_up_nothing_more_is_measured_but_answers_are(tmp_path: Path) -> None:
    evaluator, notebook = remembered(surface := Surface(), tmp_path / "seed-0.jsonl", seconds=-1)
    with pytest.raises(OutOfTimeError):
        work(evaluator, notebook, ("random",), (0, BUDGETS))
    assert not surface.asked


def test_an_interval_over_seeds_and_items_covers_the_truth_about_as_often_as_it_says() -> None:
    generator, hits, runs = np.random.default_rng(1), 0, 120
    for _ in range(runs):
        seeds = generator.normal(0.03, 0.03, 5)  # the gain of each seed
        rows = [{"code": (generator.random(100) < 0.5 + s).astype(float).tolist()} for s in seeds]
        against = [{"code": (generator.random(100) < 0.5).astype(float).tolist()} for _ in seeds]
        low, high = paired_gain(rows, against, 400)["interval"]
        hits += low <= 0.03 <= high
    assert hits / runs >= 0.9
