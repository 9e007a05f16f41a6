"""A run that has got as far as confirmation, with text in it that tries to become markup."""

import asyncio
from dataclasses import dataclass

from agents.survey.stage import MEDIA_TYPES
from core.artifacts import ArtifactStore
from core.db import Database
from core.jobs import JobClient, JobStore
from core.journal import RunJournal
from core.queue import Queue
from core.records import RunRecords
from core.runs import RunStore
from core.types.candidate import Applicabilities, Applicability, Candidate, CandidateKind, Fidelity, Leaderboard, Ranked
from core.types.evaluation import (
    Evaluation,
    EvaluationCost,
    Interval,
    ItemOutcome,
    SampleOutcome,
    Sampling,
    Score,
    Verdict,
)
from core.types.job import MergeEvaluate
from core.types.recipe import Recipe
from core.types.run import Run, Spent, Stage
from core.types.sow import Benchmark, Budget, ModelRef, Models, Role, StatementOfWork
from core.types.transcript import Decider, Message, Transcript, Usage
from core.types.work import Coverage, LedgerRow, Repository, Survey, Work

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
MODELS = Models(
    base=ModelRef(name="base", model="org/base"),
    experts=(ModelRef(name="code", model="org/code"), ModelRef(name="math", model="org/math")),
)
SCREEN = Benchmark(name="problems", dataset="d", role=Role.SCREEN)
SOW = StatementOfWork(
    sow=1,
    title=f"Merge two experts {HOSTILE}",
    task="Which merge solves most problems?",
    models=MODELS,
    benchmarks=(SCREEN, Benchmark(name="search", dataset="d", role=Role.SEARCH)),
    budget=Budget(wall_clock_minutes=30, trials=20),
)
NAMES = {"base": "Base model", "ties": "TIES", "linear": "Linear average", "dare": "DARE-TIES", "slerp": "SLERP"}


@dataclass(frozen=True)
class Sampled:
    """The run and the stores that filled it."""

    run: Run
    runs: RunStore
    journal: RunJournal
    artifacts: ArtifactStore


def _score(value: float, items: int = 40) -> Score:
    interval = Interval(low=max(0, value - 0.08), high=min(1, value + 0.08), method="Wilson")
    return Score(metric="pass@1", value=value, interval=interval, items=items)


def _candidate(identity: str) -> Candidate:
    kind = CandidateKind.BASELINE if identity == "base" else CandidateKind.METHOD
    config = {"merge_method": identity, "models": [{"model": "code"}, {"model": "math"}], "dtype": "bfloat16"}
    return Candidate(id=identity, name=NAMES[identity], kind=kind, recipe=Recipe(method=identity, config=config))


def evaluation(candidate_id: str, passed: int, key: str) -> Evaluation:
    """Return an evaluation of 40 items, the first of which pass."""
    verdicts = [Verdict.FAILED, Verdict.ERROR, Verdict.TIMEOUT, Verdict.UNPARSABLE]
    outcomes = tuple(
        ItemOutcome(
            item_id=f"problem/{n}",
            samples=(
                SampleOutcome(
                    index=0,
                    completion=f"def solve(x):\n    # {HOSTILE}\n    return x + {n}\n",
                    verdict=Verdict.PASSED if n < passed else verdicts[n % 4],
                    tokens=20,
                ),
            ),
        )
        for n in range(40)
    )
    return Evaluation(
        id=key, candidate_id=candidate_id, benchmark="problems", protocol="bigcode", role="screen",
        sampling=Sampling(), outcomes=outcomes, score=_score(passed / 40), engine="transformers cpu",
        cost=EvaluationCost(merge_s=1.2, generate_s=33.1, grade_s=2.5),
    )  # fmt: skip


async def _evaluate_all(db: Database, queue: Queue, run_id: str, passes: dict[str, int]) -> None:
    """Ask for the evaluations as a run does, and do them as a worker does."""
    payloads = [
        MergeEvaluate(candidate_id=name, models=MODELS, recipe=_candidate(name).recipe, benchmark=SCREEN)
        for name in passes
    ]
    asking = asyncio.create_task(JobClient(db, queue, run_id).run_all(payloads))
    store = JobStore(db)
    for payload, (name, passed) in zip(payloads, passes.items(), strict=True):
        key = payload.key(run_id)
        while (claimed := await store.claim(key, "worker", "cpu")) is None:
            await asyncio.sleep(0.01)
        assert await store.succeed(key, claimed[1], evaluation(name, passed, key))
    await asking


async def sample_run(db: Database, queue: Queue, artifacts: ArtifactStore, sow: StatementOfWork = SOW) -> Sampled:
    """Make the run, at its optimization stage."""
    runs = RunStore(db, queue)
    run, _ = await runs.create(sow)
    await runs.take_up(run.id)
    records, journal = RunRecords(db), RunJournal(db, run.id)
    passes = {"ties": 31, "linear": 29, "dare": 27, "slerp": 18, "base": 9}
    for identity in passes:
        await records.put_candidate(run.id, _candidate(identity))
    await _evaluate_all(db, queue, run.id, passes)
    rows = tuple(
        Ranked(
            rank=rank, tie_group=1 if rank < 4 else rank - 2, candidate=_candidate(identity), score=_score(passed / 40),
            difference=None if rank == 1 else _score((passed - 31) / 40), seeds=2 if rank < 4 else 1,
            seeds_note="" if rank < 4 else f"stopped after 1 of 2 seeds {HOSTILE}",
        )
        for rank, (identity, passed) in enumerate(passes.items(), 1)
    )  # fmt: skip
    board = Leaderboard(role="screen", metric="pass@1", rows=rows, note="Paired bootstrap, Holm.")
    await records.put(run.id, "leaderboard.screen", board)
    await _survey(records, run.id)
    for stage, done, total in ((Stage.SURVEY, 42, 42), (Stage.EXPERIMENT, 5, 5), (Stage.OPTIMIZE, 7, 20)):
        await runs.set_stage(run.id, stage)
        await journal.progress(stage, done, total, "")
        await journal.event(f"{stage.value}.step", f"{stage.value}: {done} of {total} {HOSTILE}", stage=stage)
    await runs.set_best(run.id, "ties")
    await runs.spend(run.id, Spent(gpu_s=75, llm_usd=0.0123, llm_tokens=18233, trials=7))
    await journal.transcript(_transcript())
    await artifacts.put(run.id, "report.html", f"<h1>Report</h1>{HOSTILE}".encode(), "text/html")
    await artifacts.put(run.id, "report.md", b"# Report\n", "text/markdown")
    for suffix, media_type in MEDIA_TYPES.items():
        await artifacts.put(run.id, f"survey/survey.{suffix}", suffix.encode(), media_type)
    await artifacts.put(run.id, "survey/survey.csl.json", b"[]", "application/json")
    await artifacts.put(run.id, "weights.bin", b"\x00\x01", "application/x-custom")
    return Sampled(run, runs, journal, artifacts)


async def _survey(records: RunRecords, run_id: str) -> None:
    authors = ("A. Author", "B. Author", "C. Author", "D. Author")
    code = Repository(url="https://code.example/r", licence="MIT")
    found = [("TIES-Merging", "https://arxiv.org/abs/2306.01708"), (HOSTILE, "javascript:alert(3)")]
    works = tuple(
        Work(
            key=f"arxiv:230{n}.0001", title=title, authors=authors, year=2020 + n, categories=("weights",), url=url,
            repositories=(code,),
        )
        for n, (title, url) in enumerate(found)
    )  # fmt: skip
    survey = Survey(
        works=works,
        dropped=3,
        ledger=(LedgerRow(source="catalogue", query="merging", found=5, new=5, kept=2, dropped=3),),
        coverage=Coverage(estimated_total=6, low=4, high=11, method="capture-recapture"),
        stop_reason="Every question was asked.",
    )
    await records.put(run_id, "survey", survey)
    row = Applicability(work_key=works[0].key, method="ties", fidelity=Fidelity.EXACT, reason="built in")
    await records.put(run_id, "applicability", Applicabilities(rows=(row,)))


def _transcript() -> Transcript:
    return Transcript(
        agent="survey",
        decision="classify works 1-20",
        decider=Decider.REPAIRED,
        model="deepseek-chat",
        messages=(
            Message(role="system", content="You classify papers."),
            Message(role="user", content=f"Paper: {HOSTILE}\n" + "An abstract sentence. " * 90),
            Message(role="assistant", content='{"category": "weights"}', reasoning="It averages weights."),
        ),
        outcome={"category": "weights"},
        reason="The abstract says so.",
        errors=("category: unknown 'weigths'",),
        usage=Usage(prompt_tokens=812, completion_tokens=20, cost_usd=0.0012, latency_s=1.4, calls=2),
    )
