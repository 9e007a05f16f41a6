"""The three stages as the graph calls them, on a real database: optimize, confirm, report; then all of them again."""

from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from agents.context import RunContext
from agents.decision import PolicyBrain
from agents.optimizer.agent import optimize_leader
from agents.optimizer.confirm import confirm_finalists
from agents.report.agent import write_report
from agents.report.publish import publish_result
from core.answers import AnswerCache
from core.artifacts import ArtifactStore, Blobs
from core.db import Database
from core.journal import RunJournal
from core.leaderboard import leaderboard
from core.ports import Jobs
from core.queue import Queue
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings
from core.types.job import Exported, JobPayload, JobResult, MergeExport
from core.types.optimization import Confirmation, OptimizationResult
from core.types.publication import Publication
from core.types.sow import Gate, Role, StatementOfWork
from tests.agents.report.sample import candidates, evaluate
from tests.fakes.hub_server import HubServer
from tests.fakes.surface_jobs import SOW, SurfaceJobs


async def run_context(
    db: Database, queue: Queue, folder: Path, sow: StatementOfWork, *, root: str = "", jobs: Jobs | None = None
) -> tuple[RunContext, SurfaceJobs]:
    runs = RunStore(db, queue)
    run, _ = await runs.create(sow)
    journal, surface = RunJournal(db, run.id), SurfaceJobs(3)
    context = RunContext(
        run_id=run.id, sow=sow, root=root, settings=Settings(), brain=PolicyBrain(journal), journal=journal,
        jobs=jobs or surface, runs=runs, records=RunRecords(db), artifacts=ArtifactStore(db, folder),
        cache=AnswerCache(db), database_url=db.url, environment={"python": "3.12"},
    )  # fmt: skip
    return context, surface


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


class ExportingJobs(SurfaceJobs):
    """Exports, too: a weights file and the card into the store, as a worker does."""

    def __init__(self, seed: int, store: Path) -> None:
        super().__init__(seed)
        self.store, self.exported = store, list[MergeExport]()

    async def run(self, payload: JobPayload) -> JobResult:
        if not isinstance(payload, MergeExport):
            return await super().run(payload)
        self.exported.append(payload)
        folder = self.store / "staging"
        folder.mkdir(parents=True)
        texts = {"model.safetensors": "weights", "README.md": payload.card, "mergekit_config.yml": "merge_method: x"}
        for name, text in texts.items():
            (folder / name).write_text(text)
        return Exported(files={n: Blobs(self.store).adopt(folder / n)[0] for n in texts}, checksum="abc123")


async def published(
    db: Database, queue: Queue, folder: Path, *, improved: bool, hub: HubServer | None = None
) -> tuple[Publication, RunContext, ExportingJobs]:
    """Run the stages up to publishing; the confirmation's verdict is set by hand."""
    sow = SOW.evolve(
        optimization=SOW.optimization.evolve(trials=8), approvals=(Gate.BEFORE_PUBLISHING,) if hub else (),
    )  # fmt: skip
    context, _ = await run_context(db, queue, folder, sow)
    jobs = ExportingJobs(3, folder)
    settings = Settings(publish_to="me" if hub else None, hub_url=hub.url if hub else "http://nowhere.invalid")
    context = replace(context, jobs=jobs, settings=settings)
    await confirm_finalists(context, await optimize_leader(context, await screened(context, jobs)))
    confirmation = await context.records.get(context.run_id, "confirmation", Confirmation)
    verdict = "improved" if improved else "tied"
    await context.records.put(context.run_id, "confirmation", confirmation.evolve(verdict=verdict))
    await publish_result(context)
    await write_report(context)
    return await context.records.get(context.run_id, "publication", Publication), context, jobs


async def test_a_confirmed_winner_is_exported_with_its_card(db: Database, queue: Queue, tmp_path: Path) -> None:
    found, context, jobs = await published(db, queue, tmp_path, improved=True)
    assert found.problems == ()
    assert set(found.files) == {"model/model.safetensors", "model/README.md", "model/mergekit_config.yml"}
    assert await context.artifacts.get(context.run_id, "model/model.safetensors") == b"weights"
    card = (await context.artifacts.get(context.run_id, "model/README.md")).decode()
    assert card.startswith("---\nlicense: apache-2.0")
    assert jobs.exported[0].recipe.config["base_model"] == "base"
    report = (await context.artifacts.get(context.run_id, "report.md")).decode()
    assert "The model is exported: 3 files" in report


async def test_what_was_not_confirmed_is_not_exported(db: Database, queue: Queue, tmp_path: Path) -> None:
    found, context, jobs = await published(db, queue, tmp_path, improved=False)
    assert "confirmation ended 'tied'" in found.problems[0]
    assert jobs.exported == []
    report = (await context.artifacts.get(context.run_id, "report.md")).decode()
    assert "The model is not exported: confirmation ended 'tied'" in report


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client sends weights so
async def test_an_approved_winner_goes_to_the_hub(
    db: Database, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with HubServer() as hub:
        found, context, _ = await published(db, queue, tmp_path, improved=True, hub=hub)
        assert found.address == f"{hub.url}/me/{context.run_id}"
        assert hub.files[f"me/{context.run_id}"]["model.safetensors"] == b"weights"
        assert set(hub.private.values()) == {True}


async def test_a_hub_that_refuses_does_not_fail_the_run(db: Database, queue: Queue, tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.refuse = True
        found, _, _ = await published(db, queue, tmp_path, improved=True, hub=hub)
    assert found.files
    assert found.address is None
    assert "Not uploaded: The hub refused" in found.note


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
