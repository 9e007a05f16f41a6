"""Candidates of a merge with known strengths, screened on a real database without workers."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agents.context import RunContext
from agents.decision import PolicyBrain
from core.answers import AnswerCache
from core.artifacts import ArtifactStore
from core.db import Database
from core.errors import JobFailedError
from core.journal import RunJournal
from core.passk import score
from core.queue import Queue
from core.recipes import baseline_recipe, method_recipe
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings
from core.types.candidate import Applicabilities, Applicability, Candidate, CandidateKind, Fidelity
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
    """Jobs whose results follow a table: a real port without workers. `asked` counts item evaluations.

    A job of a candidate in `broken` fails under any seed but the first.
    """

    def __init__(self, broken: Sequence[str] = ()) -> None:
        self.broken = broken
        self.done: dict[str, JobResult] = {}
        self.asked: Counter[str] = Counter()

    async def run(self, payload: JobPayload) -> JobResult:
        return (await self.run_all([payload]))[0]

    async def run_all(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        for payload in payloads:
            await asyncio.sleep(0.001)
            if payload.digest not in self.done:
                self.done[payload.digest] = self.result(payload)
        return [self.done[p.digest] for p in payloads]

    async def finished(self, payloads: Sequence[JobPayload]) -> Sequence[JobResult]:
        return [self.done[p.digest] for p in payloads if p.digest in self.done]

    async def evaluations(self, ids: Sequence[str]) -> Sequence[Evaluation]:
        return [r for i in ids if isinstance(r := self.done.get(i), Evaluation)]

    def result(self, payload: JobPayload) -> JobResult:
        """Return what a worker would, and count it."""
        if isinstance(payload, ListItems):
            return ItemTexts(benchmark=payload.benchmark.name, prompts={i: f"solve {i}" for i in ITEMS})
        assert isinstance(payload, MergeEvaluate)
        ids, seed = payload.item_ids or tuple(ITEMS), payload.benchmark.sampling.seed
        if seed and payload.candidate_id in self.broken:
            raise JobFailedError(f"{payload.candidate_id} is broken on purpose")
        self.asked[payload.candidate_id] += len(ids)
        # Another draw of a merge is another model, on all items.
        draw = int((payload.recipe.config.get("parameters") or {}).get("seed", 0))
        strength = STRENGTH[payload.candidate_id] + draw % 7
        moved = seed if payload.benchmark.sampling.temperature > 0 else 0
        outcomes = tuple(self._outcome(i, strength, moved) for i in ids)
        return Evaluation(
            id=payload.digest, candidate_id=payload.candidate_id, benchmark=payload.benchmark.name, protocol="bigcode",
            role=payload.benchmark.role.value, sampling=payload.benchmark.sampling, outcomes=outcomes,
            score=score(outcomes, "pass@1"), cost=EvaluationCost(generate_s=60.0),
            model_checksum=f"{payload.candidate_id}-{draw}",
        )  # fmt: skip

    @staticmethod
    def _outcome(item: str, strength: int, seed: int) -> ItemOutcome:
        place = (int(item[-3:]) * 37 + 11 * seed) % 160
        verdict = Verdict.PASSED if place < strength else Verdict.FAILED
        return ItemOutcome(item_id=item, samples=(SampleOutcome(index=0, completion="", verdict=verdict),))


def sow(temperature: float = 0.0, **experiments: object) -> StatementOfWork:
    """Return a SoW with one screen slice."""
    benchmark = Benchmark(
        name="problems", dataset="d", role=Role.SCREEN, sampling=Sampling(temperature=temperature, max_new_tokens=8)
    )
    return StatementOfWork(sow=1, title="Merge two", models=MODELS, benchmarks=(benchmark,), experiments=experiments)


async def context_of(db: Database, queue: Queue, folder: Path, task: StatementOfWork) -> RunContext:
    """Return a new run's surroundings, with all of STRENGTH as candidates."""
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
