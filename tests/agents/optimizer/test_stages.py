"""The three stages as the graph calls them, on a real database: optimize, confirm, report; then all of them again."""

from pathlib import Path

import pytest

from agents.context import RunContext
from agents.decision import PolicyBrain
from agents.optimizer.agent import optimize_leader
from agents.optimizer.confirm import confirm_finalists
from agents.report.agent import write_report
from core.answers import AnswerCache
from core.artifacts import ArtifactStore
from core.db import Database
from core.journal import RunJournal
from core.leaderboard import leaderboard
from core.queue import Queue
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings
from core.types.optimization import Confirmation, OptimizationResult
from core.types.sow import Role, StatementOfWork
from tests.agents.report.sample import candidates, evaluate
from tests.fakes.surface_jobs import SOW, SurfaceJobs


async def run_context(db: Database, queue: Queue, folder: Path, sow: StatementOfWork) -> tuple[RunContext, SurfaceJobs]:
    runs = RunStore(db, queue)
    run, _ = await runs.create(sow)
    journal, jobs = RunJournal(db, run.id), SurfaceJobs(3)
    context = RunContext(
        run_id=run.id, sow=sow, root="", settings=Settings(), brain=PolicyBrain(journal), journal=journal, jobs=jobs,
        runs=runs, records=RunRecords(db), artifacts=ArtifactStore(db, folder), cache=AnswerCache(db),
        database_url=db.url, environment={"python": "3.12"},
    )  # fmt: skip
    return context, jobs


async def screened(context: RunContext, jobs: SurfaceJobs) -> str:
    """Do what the experiment stage does; return the leader."""
    tried = candidates()[:7]
    for candidate in tried:
        await context.records.put_candidate(context.run_id, candidate)
    found = [e for c in tried for e in await evaluate(jobs, context.sow, c, Role.SCREEN)]
    board = leaderboard("screen", tried, found, context.sow.benchmarks)
    await context.records.put(context.run_id, "leaderboard.screen", board)
    return board.rows[0].candidate.id


async def test_the_stages_leave_behind_what_the_report_needs(db: Database, queue: Queue, tmp_path: Path) -> None:
    context, jobs = await run_context(db, queue, tmp_path, SOW.evolve(optimization=SOW.optimization.evolve(trials=8)))
    leader = await screened(context, jobs)
    finalists = await optimize_leader(context, leader)
    improved = await confirm_finalists(context, finalists)
    await write_report(context)
    found = await context.records.get(context.run_id, "optimization", OptimizationResult)
    confirmation = await context.records.get(context.run_id, "confirmation", Confirmation)
    assert [t.number for t in found.trials] == list(range(8))
    assert improved == confirmation.improved
    run = await context.runs.get(context.run_id)
    assert run.best_candidate == confirmation.winner
    assert run.spent.trials == 8
    html = (await context.artifacts.get(context.run_id, "report.html")).decode()
    assert "[E:" in html
    assert (await context.artifacts.get(context.run_id, "figures/history.csv")).startswith(b"trial,candidate")
    computed = jobs.computed
    assert await optimize_leader(context, leader) == finalists
    assert await confirm_finalists(context, finalists) == improved
    assert jobs.computed == computed
    again = await context.records.get(context.run_id, "optimization", OptimizationResult)
    assert again.trials == found.trials


@pytest.mark.parametrize("missing", [Role.SEARCH, Role.CONFIRM])
async def test_a_task_without_some_slices_still_gets_its_report(
    db: Database, queue: Queue, tmp_path: Path, missing: Role
) -> None:
    sow = SOW.evolve(
        benchmarks=[b for b in SOW.benchmarks if b.role is not missing],
        optimization=SOW.optimization.evolve(trials=2),
    )
    context, jobs = await run_context(db, queue, tmp_path, sow)
    finalists = await optimize_leader(context, await screened(context, jobs))
    assert finalists
    await confirm_finalists(context, finalists)
    await write_report(context)
    markdown = (await context.artifacts.get(context.run_id, "report.md")).decode()
    assert f"with role “{missing.value}”" in markdown
