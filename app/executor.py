"""The executor: takes runs from the queue and drives their graphs.

A run that lost its executor is taken up by another from the last checkpoint; one that was cancelled is stopped; one
that fails says why. Agents run here, never in the API's process.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from agents.budget import run_budget
from agents.context import RunContext
from agents.experiment.sandboxes import Sandboxes
from agents.llm import make_brain
from agents.provider import llm_settings
from app.gateway import open_sandboxes
from app.graph_store import open_graph_store
from core.answers import AnswerCache
from core.artifacts import ArtifactStore
from core.db import Database, database_lost
from core.errors import ResearchAgentError, RunCancelledError
from core.jobs import JobClient
from core.journal import RunJournal
from core.queue import DRIVE_RUN, RUNS, Duty, Queue, open_queue
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings
from core.types.run import Run, RunStatus
from graphs.research import STAGE_OF_NODE, compile_research
from graphs.state import RunState

CANCEL_POLL_S = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Executor:
    """What drives runs: the stores, the queue and the compiled graph of one process."""

    settings: Settings
    db: Database
    queue: Queue
    runs: RunStore
    graph: CompiledStateGraph[RunState, RunContext, RunState, RunState]
    sandboxes: Sandboxes | None = None

    async def drive(self, run_id: str) -> None:
        """Drive a run until it ends, waits for a person, or is cancelled.

        Raises a database's error where it was lost: the run is to be taken up again.
        """
        run = await self.runs.take_up(run_id)
        if run is None or await self._worn_out(run_id):
            return
        watch = self._until_lost(run_id, await self.runs.attempts(run_id))
        tasks = {asyncio.create_task(self._drive(run)), asyncio.create_task(watch)}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # This process is stopped on purpose, which is no death of an executor.
            await self.runs.put_back(run_id)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _drive(self, run: Run) -> None:
        journal = RunJournal(self.db, run.id)
        try:
            gate = await self._run_graph(run, journal)
        except RunCancelledError as error:
            await self.runs.finish(run.id, RunStatus.CANCELLED, error.message)
            await journal.event("run.cancelled", error.message)
        except ResearchAgentError as error:
            log.warning("%s failed: %s", run.id, error)
            await self.runs.finish(run.id, RunStatus.FAILED, str(error))
            await journal.event("run.failed", str(error), code=error.code)
        except Exception as error:
            if database_lost(error):
                raise
            # The edge of the process: whatever went wrong, the run ends visibly and the log has the details.
            log.exception("%s failed by an internal error", run.id)
            message = f"An internal error stopped the run; the log of the executor on {socket.gethostname()} has it."
            await self.runs.finish(run.id, RunStatus.FAILED, message)
            await journal.event("run.failed", message, code="internal")
        else:
            await self._rest(run.id, gate, journal)

    async def _rest(self, run_id: str, gate: str | None, journal: RunJournal) -> None:
        """Record that the graph has come to rest: at a gate, or at its end."""
        if gate is not None:
            await self.runs.wait_at(run_id, gate)
            await journal.event("run.waiting", f"Waiting for a decision at the gate {gate}.", gate=gate)
        else:
            await self.runs.finish(run_id, RunStatus.SUCCEEDED)
            await journal.event("run.succeeded", "The run is finished.")

    async def _run_graph(self, run: Run, journal: RunJournal) -> str | None:
        """Run the graph from its last checkpoint, if any; return the gate it waits at, or None at its end."""
        config: Any = {"configurable": {"thread_id": run.id}, "recursion_limit": 100, "max_concurrency": 8}
        known = await self.graph.aget_state(config)
        decision = await self.runs.take_decision(run.id)
        start: Any = {} if known.created_at is None else None
        if start is None:
            await journal.event("run.resumed", "Going on from the last checkpoint.", attempt=await self._attempt(run))
        if decision is not None:
            start = Command(resume=decision)
        stream = self.graph.astream(
            start, config, context=await self._context(run, journal), durability="sync", stream_mode="tasks"
        )
        async for task in stream:
            stage = STAGE_OF_NODE.get(task["name"])
            if "result" not in task and stage is not None:
                await self.runs.set_stage(run.id, stage)
        if decision is not None:
            await self.runs.clear_decision(run.id)
        rest = await self.graph.aget_state(config)
        return next((i.value["gate"] for i in rest.interrupts), None)

    async def _attempt(self, run: Run) -> int:
        return await self.runs.attempts(run.id)

    async def _context(self, run: Run, journal: RunJournal) -> RunContext:
        root = await self.runs.root(run.id)
        # One account for all that asks a model in this run: decisions and the agents in sandboxes.
        budget = run_budget(run)
        return RunContext(
            run_id=run.id,
            sow=run.sow,
            root=root,
            settings=self.settings,
            brain=make_brain(llm_settings(self.settings), journal, budget),
            llm_budget=budget,
            sandboxes=self.sandboxes,
            journal=journal,
            jobs=JobClient(self.db, self.queue, run.id),
            runs=self.runs,
            records=RunRecords(self.db),
            artifacts=ArtifactStore(self.db, self.settings.artifact_dir),
            cache=AnswerCache(self.db),
            database_url=self.db.url,
        )

    async def _until_lost(self, run_id: str, attempt: int) -> None:
        """Wait until the run is cancelled, or taken up anew because this process was silent and counted as dead."""
        while (await self.runs.get(run_id)).status is not RunStatus.CANCELLED:
            if await self.runs.attempts(run_id) > attempt:
                log.warning("%s was taken up by another executor; this one lets go of it", run_id)
                return
            await asyncio.sleep(CANCEL_POLL_S)

    async def abandon(self, run_id: str) -> bool:
        """Fail a run whose executors died too often; return whether nothing more is to be done for it."""
        return (await self.runs.get(run_id)).status.terminal or await self._worn_out(run_id, 0)

    async def _worn_out(self, run_id: str, mine: int = 1) -> bool:
        """Fail a run that was taken up too often, `mine` times by who asks; return whether it was."""
        cap = self.settings.run_attempts
        if await self.runs.attempts(run_id) - mine < cap:
            return False
        await self.runs.finish(run_id, RunStatus.FAILED, f"The executor died {cap} times while driving this run.")
        return True


@asynccontextmanager
async def open_executor(settings: Settings) -> AsyncIterator[Executor]:
    """Give an executor with its connections."""
    url = settings.required_database_url()
    async with AsyncExitStack() as stack:
        db = Database(url)
        stack.push_async_callback(db.close)
        app = open_queue(url)
        await stack.enter_async_context(app.open_async())
        saver = await stack.enter_async_context(open_graph_store(url))
        queue = Queue(app)
        sandboxes = await stack.enter_async_context(open_sandboxes(settings))
        yield Executor(settings, db, queue, RunStore(db, queue), compile_research(saver), sandboxes)


async def run_executor(settings: Settings) -> None:
    """Drive runs until SIGTERM or SIGINT."""
    logging.basicConfig(level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    async with open_executor(settings) as executor:
        duty = Duty(
            RUNS, DRIVE_RUN, executor.drive, executor.abandon, concurrency=settings.executor_concurrency, grace_s=5.0
        )
        await executor.queue.serve(duty, settings)
