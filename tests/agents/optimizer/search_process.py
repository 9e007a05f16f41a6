"""A search in a process of its own, to be killed: `python search_process.py URL FOLDER TRIALS`."""

import asyncio
import sys
from pathlib import Path

from agents.optimizer.agent import Surroundings, search_result
from agents.optimizer.optuna_study import StudySettings
from agents.optimizer.search import SearchPlan
from core.recipes import method_recipe
from core.types.candidate import Candidate, CandidateKind, Leaderboard
from core.types.optimization import OptimizationResult
from tests.fakes.surface_jobs import MODELS, SOW, SurfaceJobs

LEADER = Candidate(
    id="task_arithmetic",
    name="task arithmetic",
    kind=CandidateKind.METHOD,
    recipe=method_recipe("task_arithmetic", MODELS),
)
BOARD = Leaderboard(role="screen", metric="weighted mean", rows=())


async def search(url: str | None, folder: Path | None, trials: int, strategy: str = "gp") -> OptimizationResult:
    """Run or go on with the search."""
    study = StudySettings(f"study-{strategy}-{folder.name if folder else ''}", url, seed=5)
    sow = SOW.evolve(seed=5, optimization=SOW.optimization.evolve(strategy=strategy))
    jobs = SurfaceJobs(4, folder)
    return await search_result(jobs, sow, (LEADER, BOARD), SearchPlan(trials), Surroundings(study))


if __name__ == "__main__":
    found = asyncio.run(search(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
    (Path(sys.argv[2]) / "result.json").write_text(found.model_dump_json())
