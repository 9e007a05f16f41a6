"""A search never sees what confirms it."""

import pytest

from core.recipes import baseline_recipe
from core.splits import SplitViolationError, check_disjoint, check_split, check_stage
from core.types.job import CommandEvaluate, EvaluateArtifact, MergeEvaluate
from core.types.run import Stage
from core.types.sow import Benchmark, CommandEvaluation, Role
from tests.fakes.surface_jobs import MODELS, SOW


def payload(benchmark: Benchmark, candidate: str = "trial-1") -> MergeEvaluate:
    return MergeEvaluate(
        candidate_id=candidate, models=MODELS, recipe=baseline_recipe(MODELS, "base"), benchmark=benchmark
    )


@pytest.mark.parametrize("role", [Role.SCREEN, Role.CONFIRM])
def test_the_search_gets_search_slices_only(role: Role) -> None:
    check_stage(payload(SOW.benchmarks_of(Role.SEARCH)[0]), Stage.OPTIMIZE, SOW)
    with pytest.raises(SplitViolationError):
        check_stage(payload(SOW.benchmarks_of(role)[0], "base"), Stage.OPTIMIZE, SOW)
    with pytest.raises(SplitViolationError):
        check_split(payload(SOW.benchmarks_of(role)[0]))


def test_confirm_items_are_for_confirmation() -> None:
    confirm = SOW.benchmarks_of(Role.CONFIRM)[0]
    with pytest.raises(SplitViolationError):
        check_stage(payload(confirm, "base"), Stage.EXPERIMENT, SOW)
    fresh = confirm.evolve(sampling=confirm.sampling.evolve(seed=99))
    check_stage(payload(fresh, "final-1"), Stage.CONFIRM, SOW)


def test_a_relabelled_slice_is_refused() -> None:
    confirm = SOW.benchmarks_of(Role.CONFIRM)[0]
    with pytest.raises(SplitViolationError, match="not one of"):
        check_stage(payload(confirm.evolve(role=Role.SEARCH)), Stage.OPTIMIZE, SOW)


def test_artifacts_are_held_to_it_and_commands_have_no_slices() -> None:
    artifact = EvaluateArtifact(
        candidate_id="x", artifact="d", models=MODELS, benchmark=SOW.benchmarks_of(Role.CONFIRM)[0]
    )
    with pytest.raises(SplitViolationError):
        check_stage(artifact, Stage.OPTIMIZE, SOW)
    command = CommandEvaluate(candidate_id="x", artifact="d", evaluation=CommandEvaluation(command=("true",)))
    check_stage(command, Stage.OPTIMIZE, SOW)


def test_shared_items_are_found() -> None:
    roles = {"a": Role.SEARCH, "b": Role.CONFIRM, "c": Role.SHOW}
    check_disjoint({"a": ["1"], "b": ["2"], "c": ["2"]}, roles)
    with pytest.raises(SplitViolationError, match="confirm slice 'b'"):
        check_disjoint({"a": ["1", "2"], "b": ["2"]}, roles)
