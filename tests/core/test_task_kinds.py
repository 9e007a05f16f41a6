"""What a run will compute is counted from the SoW."""

import pytest

from core.applicability import applicable, hindrance
from core.calibration import calibration_for
from core.errors import InvalidInputError
from core.merging_table import DECLARATIONS
from core.sow_reader import validate_sow
from core.task_kinds import CONFIRMING_RUNS, task_kind
from core.types.forecast import ASSUMED_ITEMS

MERGE = {
    "sow": 1,
    "title": "Merge",
    "models": {"base": {"name": "b", "model": "a/b"}, "experts": [{"name": x, "model": f"a/{x}"} for x in "cd"]},
    "benchmarks": [
        {"name": "s", "dataset": "d", "role": "screen", "limit": 10, "sampling": {"n_samples": 2, "temperature": 0.2}},
        {"name": "t", "dataset": "d", "role": "search", "limit": 5},
        {"name": "z", "dataset": "d", "role": "confirm"},
    ],
    "experiments": {"methods": ["linear", "ties"], "noise_seeds": 1},
    "optimization": {"trials": 7, "finalists": 2},
}


def test_a_merge_counts_baselines_methods_trials_and_finalists() -> None:
    forecast = task_kind("merge").forecast(validate_sow(MERGE))
    screen, search, confirm = forecast.slices
    assert (screen.evaluations, search.evaluations, confirm.evaluations) == (1 + 2 + 2 + 1, 7, 4)
    assert forecast.jobs == 6 + 7 + 4
    assert forecast.completions == 6 * 10 * 2 + 7 * 5 + 4 * ASSUMED_ITEMS
    assert forecast.items == 6 * 10 + 7 * 5 + 4 * ASSUMED_ITEMS
    assert 0 < forecast.minutes_gpu < forecast.minutes_cpu
    assert any("assumed" in n for n in forecast.notes)


def test_all_methods_and_a_budget_of_trials() -> None:
    sow = validate_sow({**MERGE, "experiments": {"methods": "all", "noise_seeds": 0}, "budget": {"trials": 3}})
    screen, search, _ = task_kind("merge").forecast(sow).slices
    assert screen.evaluations == 3 + len(applicable(sow))
    assert search.evaluations == 3


def test_seeds_are_counted_at_most_and_hold_the_noise_floors() -> None:
    tasks = {**MERGE, "experiments": {"methods": ["linear", "dare_ties"], "noise_seeds": 2, "seeds": 4}}
    forecast = task_kind("merge").forecast(validate_sow(tasks))
    assert forecast.slices[0].evaluations == 4 * 5
    assert any("nobody stopped" in n for n in forecast.notes)
    greedy = validate_sow({**tasks, "benchmarks": [{**MERGE["benchmarks"][0], "sampling": {}}, MERGE["benchmarks"][1]]})  # type: ignore[index]
    assert task_kind("merge").forecast(greedy).slices[0].evaluations == 5 + 3


def test_all_is_every_row_that_can_run_and_the_others_say_why() -> None:
    sow = validate_sow({**MERGE, "experiments": {"methods": "all"}})
    left_out = {n: why for n, d in DECLARATIONS.items() if (why := hindrance(sow, d))}
    assert list(left_out) == ["ra_moma"]
    blind = sow.evolve(benchmarks=tuple(b for b in sow.benchmarks if b.role.value != "search"))
    told = {n: why for n, d in DECLARATIONS.items() if (why := hindrance(blind, d))}
    assert "search" in told["ra_regmean"]
    assert {"linear", "ra_ties", "ra_mass"} <= {d.name for d in applicable(blind)}
    lone = sow.evolve(models=sow.models.evolve(experts=sow.models.experts[:1])) if sow.models else sow
    assert "experts" in hindrance(lone, DECLARATIONS["model_stock"])


def test_a_licence_that_is_not_allowed_is_refused() -> None:
    models = {**MERGE["models"], "allowed_licences": ["MIT"]}  # type: ignore[dict-item]
    models["experts"] = [{"name": "c", "model": "a/c", "licence": "MIT"}, {"name": "d", "model": "a/d", "licence": "X"}]
    with pytest.raises(InvalidInputError) as caught:
        validate_sow({**MERGE, "models": models})
    [problem] = caught.value.problems
    assert (problem["path"], problem["given"], problem["allowed"]) == ("models.experts[1].licence", "X", "MIT")


def test_calibration_slices_decide_nothing() -> None:
    apart = {"name": "c", "dataset": "other", "role": "search"}
    sow = validate_sow({**MERGE, "experiments": {"calibration": [apart]}})
    found = calibration_for(sow, "ra_regmean")
    assert found is not None
    assert {t.benchmark.dataset for t in found.texts} == {"other"}
    assert [t.expert for t in found.texts] == ["c", "d"]
    assert calibration_for(sow, "linear") is None
    for wrong, words in (({**apart, "role": "screen"}, "role"), ({**apart, "dataset": "d"}, "decides")):
        with pytest.raises(InvalidInputError) as caught:
            validate_sow({**MERGE, "experiments": {"calibration": [wrong]}})
        assert words in str(caught.value.problems)


def test_a_merge_without_a_confirm_slice_is_warned_about() -> None:
    without = validate_sow({**MERGE, "benchmarks": MERGE["benchmarks"][:2]})  # type: ignore[index]
    assert "not confirmed" in " ".join(task_kind("merge").warnings(without))
    assert task_kind("merge").warnings(validate_sow(MERGE)) == ()


def test_a_command_counts_its_candidates() -> None:
    sow = validate_sow({"sow": 1, "title": "abc", "kind": "command", "evaluation": {"command": ["x"]}})
    kind = task_kind("command")
    assert kind.forecast(sow).jobs == 0
    assert kind.warnings(sow)
    given = sow.evolve(evaluation={"command": ["x"], "candidates": ["a", "b"]})
    assert kind.forecast(given).jobs == 2 + 2 * CONFIRMING_RUNS
    searched = given.evolve(optimization={"trials": 7, "parameters": {"rate": [0, 1]}, "finalists": 1})
    assert kind.forecast(searched).jobs == 2 + 7 + 2 * CONFIRMING_RUNS
    merge = validate_sow(MERGE)
    odd = merge.evolve(optimization=merge.optimization.evolve(parameters={"rate": (0, 1)}))
    assert [p["path"] for p in task_kind("merge").problems(odd)] == ["optimization.parameters"]
    assert kind.warnings(given) == ()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="merge, command"):
        task_kind("forecast")
