"""Runs and jobs on a real database: transitions, idempotency, fencing, rescue."""

import asyncio

import pytest

from core.db import Database
from core.errors import ConflictError, InvalidInputError, JobFailedError, NotFoundError, RunCancelledError
from core.jobs import JobClient, JobStore
from core.journal import JournalReader, RunJournal
from core.queue import Duty, Queue
from core.records import RunRecords
from core.runs import RunStore
from core.splits import SplitViolationError
from core.types.candidate import Candidate, CandidateKind
from core.types.job import Embeddings, EmbedTexts, MergeEvaluate
from core.types.recipe import Recipe
from core.types.run import RunStatus, Spent, Stage
from core.types.sow import Benchmark, ModelRef, Models, Role, StatementOfWork
from core.types.transcript import Decider, Transcript

SOW = StatementOfWork(sow=1, title="A run for tests")
MODELS = Models(base=ModelRef(name="base", model="b"), experts=(ModelRef(name="code", model="c"),))
RECIPE = Recipe(method="linear", config={"merge_method": "linear"})


@pytest.fixture
def runs(db: Database, queue: Queue) -> RunStore:
    return RunStore(db, queue)


async def test_a_key_with_the_same_body_gives_the_same_run(runs: RunStore) -> None:
    first, new = await runs.create(SOW, idempotency_key="k", body_digest="a")
    again, new_again = await runs.create(SOW, idempotency_key="k", body_digest="a")
    assert new
    assert not new_again
    assert first.id == again.id
    with pytest.raises(InvalidInputError, match="another body"):
        await runs.create(SOW, idempotency_key="k", body_digest="b")


async def test_states_follow_the_machine(runs: RunStore) -> None:
    run, _ = await runs.create(SOW)
    assert run.status is RunStatus.QUEUED
    taken = await runs.take_up(run.id)
    assert taken is not None
    assert taken.status is RunStatus.RUNNING
    await runs.wait_at(run.id, "after_survey")
    assert (await runs.get(run.id)).status is RunStatus.WAITING
    await runs.decide(run.id, {"approve": True})
    assert await runs.take_decision(run.id) == {"approve": True}
    assert await runs.take_up(run.id) is not None
    assert await runs.finish(run.id, RunStatus.SUCCEEDED) is not None
    assert await runs.finish(run.id, RunStatus.FAILED, "late") is None
    with pytest.raises(ConflictError):
        await runs.cancel(run.id)
    with pytest.raises(ConflictError):
        await runs.decide(run.id, {})


async def test_cancelled_run_can_be_resumed(runs: RunStore) -> None:
    run, _ = await runs.create(SOW)
    assert (await runs.cancel(run.id)).status is RunStatus.CANCELLED
    assert await runs.take_up(run.id) is None
    assert (await runs.resume(run.id)).status is RunStatus.QUEUED


async def test_version_grows_and_progress_is_merged(runs: RunStore, db: Database) -> None:
    run, _ = await runs.create(SOW)
    journal = RunJournal(db, run.id)
    await journal.progress(Stage.SURVEY, 1, 2, "half")
    await journal.progress(Stage.EXPERIMENT, 3, 4)
    await runs.spend(run.id, Spent(gpu_s=2.5, trials=1))
    seen = await runs.get(run.id)
    assert seen.version > run.version
    assert seen.progress["survey"].note == "half"
    assert seen.progress["experiment"].done == 3
    await asyncio.gather(*(runs.advance(run.id, Stage.EXPERIMENT) for _ in range(3)))
    assert (await runs.get(run.id)).progress["experiment"].done == 4, "never beyond the total"
    await runs.advance(run.id, Stage.CONFIRM)
    assert seen.spent.gpu_s == 2.5


async def test_pages_are_complete_and_newest_first(runs: RunStore) -> None:
    made = [(await runs.create(SOW))[0].id for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = await runs.page(None, 2, cursor)
        seen += [r.id for r in page]
        if cursor is None:
            break
    assert seen == made[::-1]
    with pytest.raises(NotFoundError):
        await runs.get("run-none")


async def test_journal_keeps_everything_in_order(runs: RunStore, db: Database) -> None:
    run, _ = await runs.create(SOW)
    journal, reader = RunJournal(db, run.id), JournalReader(db)
    for n in range(3):
        await journal.event("tick", f"number {n}", stage=Stage.SURVEY, n=n)
    await journal.transcript(Transcript(agent="survey", decision="d", decider=Decider.POLICY, outcome={"a": 1}))
    events = await reader.events(run.id, 0, 10)
    assert [e.data["n"] for e in events] == [0, 1, 2]
    assert len(await reader.events(run.id, events[0].id, 10)) == 2
    (stored,) = await reader.transcripts(run.id, 0, 10)
    assert stored.outcome == {"a": 1}
    assert (await reader.transcript(run.id, stored.id)).decision == "d"


async def test_a_job_is_done_once_and_late_results_are_fenced_off(runs: RunStore, db: Database, queue: Queue) -> None:
    run, _ = await runs.create(SOW)
    client, store = JobClient(db, queue, run.id), JobStore(db)
    payload = EmbedTexts(texts=("a",))
    first, second = asyncio.create_task(client.run(payload)), asyncio.create_task(client.run(payload))
    await asyncio.sleep(0.3)
    key = payload.key(run.id)
    lost = await store.claim(key, "lost", "cpu")
    taken = await store.claim(key, "new", "cpu")
    assert lost is not None
    assert taken is not None
    late = Embeddings(model="late", vectors=((1.0,),))
    assert not await store.succeed(key, lost[1], late)
    assert not await store.wanted(key, lost[1])
    assert await store.wanted(key, taken[1])
    good = Embeddings(model="m", vectors=((1.0,),))
    assert await store.succeed(key, taken[1], good)
    assert await first == await second == good
    assert await store.claim(key, "third", "cpu") is None


async def test_a_worker_finds_the_id_that_was_asked_for(runs: RunStore, db: Database, queue: Queue) -> None:
    """The report looks evaluations up by it; Postgres keeps keys in an order of its own."""
    run, _ = await runs.create(SOW)
    recipe = Recipe(method="linear", config={"merge_method": "linear", "models": [], "dtype": "float32"})
    slice_ = Benchmark(name="s", dataset="d", role=Role.SEARCH)
    payload = MergeEvaluate(candidate_id="trial-1", models=MODELS, recipe=recipe, benchmark=slice_)
    asked = asyncio.create_task(JobClient(db, queue, run.id).run(payload))
    await asyncio.sleep(0.3)
    claimed = await JobStore(db).claim(payload.key(run.id), "w", "cpu")
    assert claimed is not None
    assert claimed[0].digest == payload.digest
    asked.cancel()


async def test_a_job_whose_workers_die_is_failed_with_its_reason(runs: RunStore, db: Database, queue: Queue) -> None:
    run, _ = await runs.create(SOW)
    client, store = JobClient(db, queue, run.id), JobStore(db)
    payload = EmbedTexts(texts=("b",))
    waiting = asyncio.create_task(client.run(payload))
    await asyncio.sleep(0.3)
    key = payload.key(run.id)
    for _ in range(2):
        assert await store.claim(key, "w", "cpu") is not None
    assert not await store.abandon(key, 3)
    assert await store.abandon(key, 2)
    with pytest.raises(JobFailedError, match="died 2 times"):
        await waiting


async def test_cancelling_a_run_ends_the_waiting_for_its_jobs(runs: RunStore, db: Database, queue: Queue) -> None:
    run, _ = await runs.create(SOW)
    waiting = asyncio.create_task(JobClient(db, queue, run.id).run(EmbedTexts(texts=("c",))))
    await asyncio.sleep(0.3)
    await runs.cancel(run.id)
    with pytest.raises(RunCancelledError):
        await waiting


async def test_jobs_asked_for_together_stay_together(runs: RunStore, db: Database, queue: Queue) -> None:
    run, _ = await runs.create(SOW)
    client = JobClient(db, queue, run.id)
    groups = [[EmbedTexts(texts=(f"{group}-{n}",)) for n in range(3)] for group in range(5)]
    waiting = [asyncio.create_task(client.run_all(group)) for group in groups]
    store = JobStore(db)
    while len(await store.of_run(run.id)) < 15:
        await asyncio.sleep(0.05)
    entries = await queue.app.job_manager.list_jobs_async(queue="jobs")
    order = [str(e.task_kwargs["key"]) for e in sorted(entries, key=lambda e: e.id or 0)]
    wanted = {tuple(p.key(run.id) for p in group) for group in groups}
    assert {tuple(order[i : i + 3]) for i in range(0, 15, 3)} == wanted
    await runs.cancel(run.id)
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("role", [Role.SCREEN, Role.CONFIRM, Role.SHOW])
async def test_a_trial_never_gets_items_outside_search(role: Role, db: Database, queue: Queue) -> None:
    benchmark = Benchmark(name="b", dataset="d", role=role)
    payload = MergeEvaluate(candidate_id="trial-1", models=MODELS, recipe=RECIPE, benchmark=benchmark)
    with pytest.raises(SplitViolationError):
        await JobClient(db, queue, "any").run(payload)


async def test_records_are_replaced_by_name(runs: RunStore, db: Database) -> None:
    run, _ = await runs.create(SOW)
    records = RunRecords(db)
    candidate = Candidate(id="c1", name="linear", kind=CandidateKind.METHOD, recipe=RECIPE)
    await records.put_candidate(run.id, candidate)
    await records.put_candidate(run.id, candidate.evolve(note="again"))
    assert [c.note for c in await records.candidates(run.id)] == ["again"]
    await records.put(run.id, "models", MODELS)
    assert await records.get(run.id, "models", Models) == MODELS
    with pytest.raises(NotFoundError):
        await records.get(run.id, "survey", Models)


async def test_what_a_dead_process_left_is_rescued_or_abandoned(runs: RunStore, queue: Queue, db: Database) -> None:
    run, _ = await runs.create(SOW)
    job = await queue.app.job_manager.fetch_job(
        queues=["runs"], worker_id=await queue.app.job_manager.register_worker()
    )
    assert job is not None
    await queue.app.job_manager.prune_stalled_workers(seconds_since_heartbeat=0)

    async def do(_: str) -> None:
        raise AssertionError("only rescued here")

    async def keep(_: str) -> bool:
        return False

    async def give_up(_: str) -> bool:
        return True

    keeping, giving_up = Duty("runs", "drive_run", do, keep), Duty("runs", "drive_run", do, give_up)
    assert await queue.rescue(keeping, 0.0) == 1
    again = await queue.app.job_manager.fetch_job(
        queues=["runs"], worker_id=await queue.app.job_manager.register_worker()
    )
    assert again is not None
    assert again.task_kwargs == {"run_id": run.id}
    await queue.app.job_manager.prune_stalled_workers(seconds_since_heartbeat=0)
    assert await queue.rescue(giving_up, 0.0) == 0
    assert await queue.rescue(keeping, 0.0) == 0
