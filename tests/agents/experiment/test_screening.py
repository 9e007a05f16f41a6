"""Successive halving on a real database: who is clearly behind stops early, who might win sees every item."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from agents.context import RunContext
from agents.decision import PolicyBrain
from agents.experiment.agent import evaluate_candidate, rank_candidates
from agents.experiment.screening import FIRST_RUNG, make_ladder
from core.answers import AnswerCache
from core.artifacts import ArtifactStore
from core.db import Database
from core.journal import JournalReader, RunJournal
from core.passk import score
from core.queue import Queue
from core.recipes import baseline_recipe, method_recipe
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings
from core.types.candidate import Applicabilities, Applicability, Candidate, CandidateKind, Fidelity, Leaderboard
from core.types.evaluation import Evaluation, EvaluationCost, ItemOutcome, SampleOutcome, Sampling, Verdict
from core.types.job import ItemTexts, JobPayload, JobResult, ListItems, MergeEvaluate
from core.types.run import Stage
from core.types.sow import Benchmark, ModelRef, Models, Role, StatementOfWork

ITEMS = [f"item/{n:03}" for n in range(160)]
MODELS = Models(
    base=ModelRef(name="base", model="org/base"),
    experts=(ModelRef(name="code", model="org/code"), ModelRef(name="math", model="org/math")),
)
# Solved items of 160, spread evenly; the seed moves a sampled candidate's by a little.
STRENGTH = {
    "base": 20,
    "linear": 110,
    "ties": 112,
    "della": 30,
    "dare_ties": 28,
    "task_arithmetic": 108,
    "breadcrumbs": 25,
}


class TableJobs:
    """Jobs whose results follow a table: a real port without workers. `asked` counts item evaluations."""

    def __init__(self) -> None:
        self.done: dict[str, JobResult] = {}
        self.asked: Counter[str] = Counter()

    async def run(self, payload: JobPayload) -> JobResult:
        return (await self.run_all([payload]))[0]

    async def run_all(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        for payload in payloads:
            await asyncio.sleep(0.001)
            if payload.digest not in self.done:
                self.done[payload.digest] = self._result(payload)
        return [self.done[p.digest] for p in payloads]

    async def finished(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        return [self.done[p.digest] for p in payloads if p.digest in self.done]

    async def evaluations(self, ids: Sequence[str]) -> Sequence[Evaluation]:
        return [r for i in ids if isinstance(r := self.done.get(i), Evaluation)]

    def _result(self, payload: JobPayload) -> JobResult:
        if isinstance(payload, ListItems):
            return ItemTexts(benchmark=payload.benchmark.name, prompts={i: f"solve {i}" for i in ITEMS})
        assert isinstance(payload, MergeEvaluate)
        ids, seed = payload.item_ids or tuple(ITEMS), payload.benchmark.sampling.seed
        self.asked[payload.candidate_id] += len(ids)
        outcomes = tuple(self._outcome(i, STRENGTH[payload.candidate_id], seed) for i in ids)
        return Evaluation(
            id=payload.digest, candidate_id=payload.candidate_id, benchmark=payload.benchmark.name, protocol="bigcode",
            role=payload.benchmark.role.value, sampling=payload.benchmark.sampling, outcomes=outcomes,
            score=score(outcomes, "pass@1"), cost=EvaluationCost(generate_s=60.0),
        )  # fmt: skip

    @staticmethod
    def _outcome(item: str, strength: int, seed: int) -> ItemOutcome:
        place = (int(item[-3:]) * 37 + 11 * seed) % 160
        verdict = Verdict.PASSED if place < strength else Verdict.FAILED
        return ItemOutcome(item_id=item, samples=(SampleOutcome(index=0, completion="", verdict=verdict),))


def sow(temperature: float = 0.0, **experiments: object) -> StatementOfWork:
    benchmark = Benchmark(
        name="problems", dataset="d", role=Role.SCREEN, sampling=Sampling(temperature=temperature, max_new_tokens=8)
    )
    return StatementOfWork(sow=1, title="Merge two", models=MODELS, benchmarks=(benchmark,), experiments=experiments)


async def context_of(db: Database, queue: Queue, folder: Path, task: StatementOfWork) -> RunContext:
    runs = RunStore(db, queue)
    run, _ = await runs.create(task)
    journal, records = RunJournal(db, run.id), RunRecords(db)
    for name in STRENGTH:
        kind = CandidateKind.BASELINE if name == "base" else CandidateKind.METHOD
        recipe = baseline_recipe(MODELS, "base") if name == "base" else method_recipe(name, MODELS)
        await records.put_candidate(run.id, Candidate(id=name, name=name, kind=kind, recipe=recipe))
    row = Applicability(work_key="w", method="della", fidelity=Fidelity.EXACT)
    await records.put(run.id, "applicability", Applicabilities(rows=(row,)))
    await journal.progress(Stage.EXPERIMENT, 0, len(STRENGTH))
    return RunContext(
        run_id=run.id, sow=task, root="", settings=Settings(state_dir=folder), brain=PolicyBrain(journal),
        journal=journal, jobs=TableJobs(), runs=runs, records=records, artifacts=ArtifactStore(db, folder / "a"),
        cache=AnswerCache(db), database_url=db.url,
    )  # fmt: skip


async def test_who_is_clearly_behind_stops_and_keeps_its_row(db: Database, queue: Queue, tmp_path: Path) -> None:
    context = await context_of(db, queue, tmp_path, sow())
    jobs = context.jobs
    assert isinstance(jobs, TableJobs)
    # One after the other as a worker would take them: the strong ones first, so that there is something to be behind.
    order = ["base", "ties", "linear", "task_arithmetic", "della", "dare_ties", "breadcrumbs"]
    done = [name for name in order if await evaluate_candidate(context, name)]
    assert done == ["base", "ties", "linear", "task_arithmetic"]
    assert {n: jobs.asked[n] for n in order} == {n: 160 if n in done else FIRST_RUNG for n in order}
    assert await rank_candidates(context, done) == "ties"
    board = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    assert [r.candidate.id for r in board.rows] == ["ties", "linear", "task_arithmetic", "base"]
    assert {r.score.items for r in board.rows} == {160}
    assert sum(jobs.asked.values()) == 4 * 160 + 3 * FIRST_RUNG, "ranking computed something again"
    assert "greedy" in board.note
    (row,) = (await context.records.get(context.run_id, "applicability", Applicabilities)).rows
    assert "Stopped after 40 of 160 items" in row.outcome
    assert "points behind ties" in row.outcome
    kinds = Counter(e.kind for e in await JournalReader(db).events(context.run_id, 0, 100))
    assert (kinds["candidate.evaluated"], kinds["candidate.stopped"], kinds["candidate.failed"]) == (4, 3, 0)


async def test_a_candidate_stops_at_its_own_budget(db: Database, queue: Queue, tmp_path: Path) -> None:
    context = await context_of(db, queue, tmp_path, sow(budget_minutes_per_method=2.0))
    assert not await evaluate_candidate(context, "ties")
    note = (await context.records.candidate(context.run_id, "ties")).note
    assert note == "Stopped after 80 of 160 items: its budget of 2 min is used up."


async def test_the_noise_floor_is_measured_where_completions_are_sampled(
    db: Database, queue: Queue, tmp_path: Path
) -> None:
    context = await context_of(db, queue, tmp_path, sow(0.2, noise_seeds=2))
    done = [name for name in ("base", "ties") if await evaluate_candidate(context, name)]
    await rank_candidates(context, done)
    board = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    assert board.noise_floor is not None
    assert 0.0 < board.noise_floor < 0.2
    events = await JournalReader(db).events(context.run_id, 0, 100)
    (measured,) = [e for e in events if e.kind == "noise.measured"]
    assert measured.data["seeds"] == 3
    assert measured.data["difference"] == pytest.approx(board.noise_floor)


def test_a_ladder_doubles_mixes_and_covers_everything_once() -> None:
    items = {"a": [f"a{n}" for n in range(300)], "b": [f"b{n}" for n in range(60)]}
    ladder = make_ladder(items, seed=3)
    assert ladder == make_ladder(items, seed=3)
    sizes = [ladder.items(n + 1) for n in range(ladder.rungs)]
    assert sizes[0] >= FIRST_RUNG
    assert sizes[-1] == 360
    assert all(1.9 <= later / sooner <= 2.1 for sooner, later in pairwise(sizes))
    for name, ids in items.items():
        seen = [i for block in ladder.blocks for i in block.get(name, ())]
        assert sorted(seen) == sorted(ids)
    assert ladder.blocks[0]["a"] != tuple(items["a"][: len(ladder.blocks[0]["a"])])
    assert make_ladder({"a": items["a"][:100]}, 0).rungs == 1
