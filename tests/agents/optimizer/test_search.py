"""The search as a whole: it improves, keeps to its items, and survives kill -9 without losing or doubling a trial."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.optimizer.agent import search_result
from agents.optimizer.finalists import FINAL_PREFIX
from agents.optimizer.search import SearchPlan
from core.errors import BudgetExceededError
from core.types.evaluation import Evaluation
from core.types.job import JobPayload, JobResult
from core.types.optimization import OptimizationResult
from core.types.sow import Role
from tests.agents.optimizer import search_process
from tests.agents.optimizer.search_process import BOARD, LEADER, search
from tests.fakes.surface_jobs import SOW, SurfaceJobs, vector

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("strategy", ["gp", "tpe", "cmaes", "random", "bandit"])
async def test_every_strategy_searches_and_gives_finalists(strategy: str) -> None:
    found = await search(None, None, 14, strategy)
    assert found.strategy == strategy
    assert [t.number for t in found.trials] == list(range(14))
    assert found.best_value is not None
    assert found.start_value is not None
    assert found.best_value >= found.start_value
    assert 1 <= len(found.finalists) <= SOW.optimization.finalists
    assert all(c.id.startswith(FINAL_PREFIX) or c.id == LEADER.id for c in found.finalists)


async def test_the_finalist_is_truly_better_and_racing_saves_items() -> None:
    jobs = SurfaceJobs(4)
    found = await search_result(jobs, SOW, (LEADER, BOARD), SearchPlan(30))
    assert LEADER.recipe is not None
    recipe = found.finalists[0].recipe
    assert recipe is not None
    assert jobs.world.accuracy(vector(recipe)) > jobs.world.accuracy(vector(LEADER.recipe)) + 0.05
    assert found.item_evaluations < 0.9 * 31 * found.items
    assert found.optimism is not None
    assert {p.benchmark.role for p in jobs.payloads} == {Role.SEARCH}
    assert all(p.candidate_id.startswith("trial-") for p in jobs.payloads)


async def test_closed_forms_use_the_lengths_that_workers_tell() -> None:
    class Measuring(SurfaceJobs):
        async def run(self, payload: JobPayload) -> JobResult:
            found = await super().run(payload)
            assert isinstance(found, Evaluation)
            return found.evolve(task_vectors={"code": 3.0, "math": 4.0, "chat": 5.0})

    found = await search_result(Measuring(4), SOW, (LEADER, BOARD), SearchPlan(8))
    by_source = {t.source: t.parameters for t in found.trials}
    weights = by_source["warm start: MetaGPT"]
    assert [weights[f"weight.{n}"] for n in ("code", "math", "chat")] == pytest.approx([0.18, 0.32, 0.5])
    assert by_source["warm start: equal norms"]["weight.chat"] == pytest.approx(0.6)


async def test_failed_jobs_are_recorded_and_end_a_hopeless_search() -> None:
    class Breaking(SurfaceJobs):
        async def run(self, payload: object) -> object:  # type: ignore[override]
            self._broken = () if self.computed < 2 else (payload.candidate_id,)  # type: ignore[attr-defined]
            return await super().run(payload)  # type: ignore[arg-type]

    found = await search_result(Breaking(4), SOW, (LEADER, BOARD), SearchPlan(20))  # type: ignore[arg-type]
    assert [t.state for t in found.trials] == ["failed"] * 5
    assert "5 trials in a row failed" in found.note
    assert found.finalists == (LEADER,)


async def test_a_leader_that_can_not_be_measured_is_handed_on_with_the_reason() -> None:
    assert LEADER.recipe is not None
    jobs = SurfaceJobs(4, broken=[f"trial-{LEADER.recipe.digest}"])
    found = await search_result(jobs, SOW, (LEADER, BOARD), SearchPlan(5))
    assert found.finalists == (LEADER,)
    assert "could not be evaluated" in found.note


async def test_the_budget_ends_the_search_visibly() -> None:
    calls = 0

    async def allow() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise BudgetExceededError("Stopped at the GPU budget.")

    found = await search_result(SurfaceJobs(4), SOW, (LEADER, BOARD), SearchPlan(20, allow=allow))
    assert len(found.trials) == 3
    assert found.note == "Stopped at the GPU budget."


def start(url: str, folder: Path, trials: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, search_process.__file__, url, str(folder), str(trials)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, cwd=ROOT)


def test_a_killed_search_goes_on_as_if_nothing_had_happened(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    log = folder / "computed.log"
    for blocks in (5, 14):
        process = start(database_url, folder, 12)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if log.exists() and len(log.read_text().splitlines()) >= blocks:
                break
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    last = start(database_url, folder, 12)
    assert last.wait(timeout=120) == 0
    resumed = OptimizationResult.model_validate_json((folder / "result.json").read_text())
    undisturbed = asyncio.run(search(None, None, 12))
    assert [t.number for t in resumed.trials] == list(range(12))
    assert [t.candidate_id for t in resumed.trials] == [t.candidate_id for t in undisturbed.trials]
    assert [t.value for t in resumed.trials] == [t.value for t in undisturbed.trials]
    computed = log.read_text().splitlines()
    assert len(computed) - len(set(computed)) <= 2  # a kill between computing and keeping; the job table keeps first
