"""Confirmation: fresh seeds, only confirm items, and words that say no more than the numbers."""

import pytest

from agents.optimizer.confirm import confirm, references_of
from agents.optimizer.space import SearchSpace
from core.recipes import baseline_recipe, method_recipe
from core.types.candidate import Candidate, CandidateKind, Leaderboard, Ranked
from core.types.evaluation import Score
from core.types.sow import Role
from tests.fakes.surface_jobs import MODELS, SOW, SurfaceJobs

BASE = Candidate(id="base", name="base", kind=CandidateKind.BASELINE, recipe=baseline_recipe(MODELS, "base"))
UNIFORM = Candidate(
    id="ta", name="task arithmetic", kind=CandidateKind.METHOD, recipe=method_recipe("task_arithmetic", MODELS)
)


def finalist(jobs: SurfaceJobs, shift: float = 0.0) -> Candidate:
    """The surface's own best weights, or some way off."""
    best = jobs.world.best_point + shift
    space = SearchSpace(MODELS, groups=1, high=3.0)
    names = [d.name for d in space.dimensions]
    point = space.uniform(dict.fromkeys(("code", "math", "chat"), 0.5), "task_arithmetic")
    recipe = space.recipe(point.evolve(values=dict(zip(names, best.tolist(), strict=True))))
    return Candidate(id=f"final-{recipe.digest}", name="finalist", kind=CandidateKind.TRIAL, recipe=recipe)


async def test_a_real_gain_is_confirmed_on_confirm_items_with_a_fresh_seed() -> None:
    jobs = SurfaceJobs(1)
    found, board, evaluations = await confirm(jobs, SOW, "", ([finalist(jobs)], [BASE, UNIFORM]))
    assert found.verdict == "improved"
    assert found.improved
    assert found.winner == board.rows[0].candidate.id
    assert {p.benchmark.role for p in jobs.payloads} == {Role.CONFIRM}
    assert all(p.benchmark.sampling.seed > 1000 for p in jobs.payloads)
    assert len(evaluations) == 6
    assert found.aliases == {found.winner: found.winner.replace("final-", "trial-")}
    assert "is better than base" in found.comparisons[0].words


async def test_equal_candidates_are_tied_and_the_first_finalist_is_reported() -> None:
    jobs = SurfaceJobs(1)
    twin = finalist(jobs).evolve(id="twin", name="twin", kind=CandidateKind.METHOD)
    found, _, _ = await confirm(jobs, SOW, "", ([finalist(jobs)], [twin]))
    assert found.verdict == "tied"
    assert not found.improved
    assert found.winner == finalist(jobs).id
    assert "can't be told" not in found.comparisons[0].words
    assert "is tied with twin" in found.comparisons[0].words


async def test_a_finalist_that_does_not_hold_up_is_not_reported() -> None:
    jobs = SurfaceJobs(1)
    found, _, _ = await confirm(jobs, SOW, "", ([finalist(jobs, 1.2)], [BASE, finalist(jobs).evolve(id="good")]))
    assert found.verdict == "worse"
    assert found.winner == "good"


async def test_p_values_are_adjusted_over_the_family() -> None:
    jobs = SurfaceJobs(1)
    found, _, _ = await confirm(jobs, SOW, "", ([finalist(jobs), finalist(jobs, 0.1)], [BASE, UNIFORM]))
    assert len(found.comparisons) == 4
    assert all(c.adjusted_p >= c.p_value for c in found.comparisons)
    assert max(c.adjusted_p / c.p_value for c in found.comparisons) > 1


async def test_without_confirm_slices_or_measurements_nothing_is_confirmed() -> None:
    jobs = SurfaceJobs(1, broken=["base"])
    unseen = SOW.evolve(benchmarks=[b for b in SOW.benchmarks if b.role is not Role.CONFIRM])
    found, board, _ = await confirm(jobs, unseen, "", ([finalist(jobs)], [BASE]))
    assert (found.verdict, found.done, board.rows) == ("unconfirmed", False, ())
    found, board, _ = await confirm(jobs, SOW, "", ([finalist(jobs)], [BASE]))
    assert found.verdict == "unconfirmed"
    assert "broken on purpose" in board.note


@pytest.mark.parametrize("finalists", [set(), {"ta"}])
def test_references_are_the_best_baseline_and_method_that_are_no_finalists(finalists: set[str]) -> None:
    rows = tuple(
        Ranked(rank=i, tie_group=1, candidate=c, score=Score(metric="m", value=0.1, items=1))
        for i, c in enumerate((UNIFORM, BASE, BASE.evolve(id="second")), 1)
    )
    found = references_of(Leaderboard(role="screen", metric="m", rows=rows), finalists)
    assert [c.id for c in found] == (["base"] if finalists else ["base", "ta"])
