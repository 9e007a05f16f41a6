"""Successive halving over seeds on a real database: who may be the best is measured again, and nobody else."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agents.context import RunContext
from agents.experiment.agent import evaluate_candidate, rank_candidates
from agents.experiment.seeds import STRIDE, UNMOVED, repeated_payloads, seed_rungs
from core.db import Database
from core.jobs import JobClient, JobStore
from core.journal import JournalReader
from core.queue import Queue
from core.recipes import draws_at_random
from core.types.candidate import Applicabilities, CandidateKind, Leaderboard
from core.types.job import JobPayload, JobResult, JobStatus, MergeEvaluate
from core.types.run import Event, Spent
from tests.fakes.table_jobs import TableJobs, context_of, sow

Ranking = tuple[list[tuple[object, ...]], set[str], Counter[str]]
STRONG = ("base", "ties", "linear", "task_arithmetic")


async def screen(context: RunContext, names: Sequence[str] = STRONG) -> Leaderboard:
    done = [name for name in names if await evaluate_candidate(context, name)]
    await rank_candidates(context, done)
    return await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)


async def events(db: Database, context: RunContext, kind: str) -> list[Event]:
    return [e for e in await JournalReader(db).events(context.run_id, 0, 200) if e.kind == kind]


def asked(context: RunContext) -> Counter[str]:
    assert isinstance(context.jobs, TableJobs)
    return context.jobs.asked


def test_rungs_double_up_to_the_number_asked_for() -> None:
    assert seed_rungs(1) == (1,)
    assert seed_rungs(4) == (1, 2, 4)
    assert seed_rungs(6) == (1, 2, 4, 6)


async def test_who_may_be_the_best_is_measured_again(db: Database, queue: Queue, tmp_path: Path) -> None:
    context = await context_of(db, queue, tmp_path, sow(0.2, seeds=4, noise_seeds=0))
    board = await screen(context)
    assert {r.candidate.id: r.seeds for r in board.rows} == {"ties": 4, "linear": 4, "task_arithmetic": 2, "base": 1}
    assert asked(context) == {"ties": 640, "linear": 640, "task_arithmetic": 320, "base": 160}
    assert {r.score.items for r in board.rows} == {160}, "seeds were counted as items"
    notes = {r.candidate.id: r.seeds_note for r in board.rows}
    assert notes["ties"] == notes["linear"] == ""
    assert notes["task_arithmetic"].startswith("stopped after 2 of 4 seeds: ")
    assert "points behind ties" in notes["base"]
    assert [(e.data["seeds"], len(e.data["candidates"])) for e in await events(db, context, "seeds.rung")] == [
        (2, 3),
        (4, 2),
    ]
    told = {e.data["candidate"]: e.data["seeds"] for e in await events(db, context, "candidate.repeated")}
    assert told == {r.candidate.id: r.seeds for r in board.rows}
    (row,) = (await context.records.get(context.run_id, "applicability", Applicabilities)).rows
    assert row.outcome, "a work lost its row"


async def test_one_seed_is_the_default_and_costs_nothing(db: Database, queue: Queue, tmp_path: Path) -> None:
    context = await context_of(db, queue, tmp_path, sow(0.2, noise_seeds=0))
    board = await screen(context)
    assert set(asked(context).values()) == {160}
    assert not board.repeated
    assert not await events(db, context, "candidate.repeated")


async def test_a_greedy_run_repeats_only_methods_that_draw(db: Database, queue: Queue, tmp_path: Path) -> None:
    context = await context_of(db, queue, tmp_path, sow(0.0, seeds=2))
    board = await screen(context, ("base", "della", "breadcrumbs", "dare_ties"))
    rows = {r.candidate.id: r for r in board.rows}
    assert {i: r.seeds for i, r in rows.items()} == {"della": 2, "dare_ties": 2, "breadcrumbs": 1, "base": 1}
    assert rows["breadcrumbs"].seeds_note == UNMOVED
    method = rows["della"].score.interval.method  # type: ignore[union-attr]
    assert "draws" in method, "the draws of a merge are not in its interval"
    assert "draws" not in rows["breadcrumbs"].score.interval.method  # type: ignore[union-attr]


async def test_another_seed_redraws_the_merge_and_nothing_else(db: Database, queue: Queue, tmp_path: Path) -> None:
    context = await context_of(db, queue, tmp_path, sow(0.2, seeds=2))
    for candidate in await context.records.candidates(context.run_id):
        (payload,) = repeated_payloads(context, candidate, 1)
        assert isinstance(payload, MergeEvaluate)
        assert candidate.recipe is not None
        assert payload.benchmark.sampling.seed == STRIDE
        if draws_at_random(candidate.recipe):
            assert payload.recipe.config["parameters"]["seed"] == STRIDE
        else:
            assert payload.recipe == candidate.recipe
        assert draws_at_random(candidate.recipe) is (candidate.id in {"della", "dare_ties"})


async def test_who_came_first_decides_nothing(db: Database, queue: Queue, tmp_path: Path) -> None:
    boards, counts = [], []
    for order in (STRONG, STRONG[::-1]):
        context = await context_of(db, queue, tmp_path, sow(0.2, seeds=4, noise_seeds=0))
        boards.append([r.evolve(evaluation_ids=()) for r in (await screen(context, order)).rows])
        counts.append(asked(context))
    assert boards[0] == boards[1]
    assert counts[0] == counts[1]


async def test_a_repetition_that_fails_leaves_the_candidate_its_seeds(
    db: Database, queue: Queue, tmp_path: Path
) -> None:
    context = await context_of(db, queue, tmp_path, sow(0.2, seeds=4, noise_seeds=0))
    board = await screen(replace(context, jobs=TableJobs(broken=["linear"])))
    rows = {r.candidate.id: r for r in board.rows}
    assert (rows["linear"].seeds, rows["ties"].seeds) == (1, 4)
    assert rows["linear"].seeds_note == "stopped after 1 of 4 seeds: linear is broken on purpose"


async def test_a_spent_budget_ends_the_repetitions(db: Database, queue: Queue, tmp_path: Path) -> None:
    task = sow(0.2, seeds=4, noise_seeds=0).evolve(budget={"gpu_minutes": 10.0})
    context = await context_of(db, queue, tmp_path, task)
    done = [name for name in STRONG if await evaluate_candidate(context, name)]
    await context.runs.spend(context.run_id, Spent(gpu_s=590.0))
    await rank_candidates(context, done)
    board = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    assert {r.seeds for r in board.rows} == {1}
    assert "GPU budget" in board.rows[0].seeds_note


async def test_the_noise_floor_uses_the_seeds_that_are_there(db: Database, queue: Queue, tmp_path: Path) -> None:
    # Two baselines of equal strength alone: nobody is behind, both see all seeds, and no further one is asked for.
    context = await context_of(db, queue, tmp_path, sow(0.2, seeds=4, noise_seeds=2))
    ties = await context.records.candidate(context.run_id, "ties")
    await context.records.put_candidate(context.run_id, ties.evolve(kind=CandidateKind.BASELINE))
    board = await screen(context, ("ties", "linear"))
    assert asked(context) == {"ties": 640, "linear": 640}
    assert board.noise_floor is not None
    (measured,) = await events(db, context, "noise.measured")
    assert measured.data["seeds"] == 4


async def answer(store: JobStore, context: RunContext, table: TableJobs, most: int) -> None:
    """Do a run's jobs as a worker does, until `most` are done."""
    client, tried = context.jobs, set[str]()
    assert isinstance(client, RecordingClient)
    while most:
        for payload in [p for digest, p in client.payloads.items() if digest not in tried][:most]:
            claimed = await store.claim(payload.key(context.run_id), "worker", "cpu")
            if claimed is not None:
                assert await store.succeed(payload.key(context.run_id), claimed[1], table.result(claimed[0]))
                most -= 1
                tried.add(payload.digest)
            elif await client.finished([payload]):
                tried.add(payload.digest)  # by a life before
        await asyncio.sleep(0.02)


class RecordingClient(JobClient):
    """The real client, which also keeps what was asked for, so that a worker in the test knows the keys."""

    def __init__(self, db: Database, queue: Queue, run_id: str) -> None:
        super().__init__(db, queue, run_id)
        self.payloads: dict[str, JobPayload] = {}

    async def run_all(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        self.payloads |= {p.digest: p for p in payloads}
        return await super().run_all(payloads)


async def screened_with_kills(context: RunContext, db: Database, queue: Queue, lives: Sequence[int]) -> Ranking:
    """Rank with a real queue; after so many jobs of each life but the last, executor and worker die."""
    table, store = TableJobs(), JobStore(db)
    for jobs in lives:
        alive = replace(context, jobs=RecordingClient(db, queue, context.run_id))
        work = asyncio.create_task(answer(store, alive, table, jobs))
        run = asyncio.create_task(screen(alive))
        await asyncio.wait([run, work], return_when=asyncio.FIRST_COMPLETED)
        for task in (run, work):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert run.cancelled() is (jobs is not lives[-1]), "a life ended elsewhere than planned"
    rows = await store.of_run(context.run_id)
    assert {r["status"] for r in rows} == {JobStatus.SUCCEEDED}
    ranked = [(r.candidate.id, r.seeds, r.seeds_note, r.tie_group, r.score) for r in run.result().rows]
    return ranked, {r["key"].partition(":")[2] for r in rows}, table.asked


async def test_a_killed_run_asks_for_the_same_jobs(db: Database, queue: Queue, tmp_path: Path) -> None:
    # 13 jobs until all items are seen, 3 on the rung of two seeds, 4 on that of four.
    found = []
    for lives in ((1000,), (14, 3, 1000)):
        context = await context_of(db, queue, tmp_path, sow(0.2, seeds=4, noise_seeds=0))
        found.append(await screened_with_kills(context, db, queue, lives))
    assert found[0] == found[1]
    assert len(found[0][1]) == 13 + 3 + 4
