"""One reproduction: a work's task goes into a sandbox, an agent works on it, its submission comes out or is refused.

Every ending is a value with its reason: a work keeps its row whatever its agent did. Nothing the agent says about its
success is used; the service evaluates what was accepted.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agents.budget import LlmBudget
from agents.experiment import check_submission
from agents.experiment.brief import task_text
from agents.experiment.clone import clone
from agents.experiment.submission import Submission, SubmissionRefusedError, accept, contract_of, leaks
from agents.gateway import Gateway, Grant
from agents.sandbox.network import EgressRecord, Network
from agents.sandbox.openhands import AGENT_PORT, Conversed, Ended, Job, sandbox_token
from agents.sandbox.openhands_events import write_whole
from agents.sandbox.port import (
    WORKSPACE,
    Limits,
    Mount,
    Sandbox,
    SandboxHeldError,
    SandboxLostError,
    SandboxSpec,
    Tier,
    upload,
)
from core.errors import InvalidInputError, SourceError
from core.ports import Journal
from core.types.base import Value
from core.types.reproduction import Verdict
from core.types.run import Stage
from core.types.transcript import Usage
from core.types.work import Work

STOP_POLL_S = 0.5
HELD_TRIES = 60


class Reproduced(Value):
    """The row of one work: what came of it, why, and what it cost."""

    work_key: str
    verdict: Verdict
    reason: str
    submission: Submission | None = None
    usage: Usage = Usage()
    seconds: float = 0.0
    events: int = 0
    transcripts: tuple[int, ...] = ()
    revision: str = ""


class Account(Value):
    """What a reproduction has used so far: it lies beside the sandbox, so that a restart goes on counting."""

    usage: Usage = Usage()
    seconds: float = 0.0
    transcripts: tuple[int, ...] = ()


class Driver(Protocol):
    """What lets an agent work in a sandbox."""

    async def work(self, sandbox: Sandbox, job: Job, journal: Journal, stop: asyncio.Event) -> Conversed:
        """Do a job until its agent is done, its time is up, or `stop` is set."""
        ...


@dataclass(frozen=True)
class Reproduction:
    """What one reproduction is made from.

    `parents` maps each model's name to its checkpoint folder, `base` is one of them; `data` holds the search split
    alone; `clone_from` is where a repository comes from that was not fetched before; `canaries` mark what the sandbox
    must not contain. `id` is stable, so that a killed one is gone on with.
    """

    id: str
    work: Work
    base: str
    parents: Mapping[str, Path]
    out: Path
    repository: Path | None = None
    clone_from: str | None = None
    data: Path | None = None
    limits: Limits = field(default_factory=Limits)
    budget_usd: float | None = None
    max_calls: int = 200
    max_iterations: int = 80
    canaries: Sequence[str] = ()
    gpu: str | None = None
    network: Network = field(default_factory=Network)


Keep = Callable[[Reproduced], Awaitable[None]]


@dataclass(frozen=True)
class Surroundings:
    """What reproductions share: where they run, who drives, and what meters their model."""

    tier: Tier
    driver: Driver
    gateway: Gateway
    address: str
    journal: Journal
    budget: LlmBudget


async def reproduce(task: Reproduction, around: Surroundings, keep: Keep | None = None) -> Reproduced:
    """Reproduce one work and return its row; only what is ours to fix raises.

    `keep` is given the row while the workspace is still there: a kill in between repeats nothing. Left by an exception
    (a cancelled run, a shutdown) the workspace stays, to be gone on with.
    """
    sandbox = await _started(task, around)
    kept = sandbox.private / "account.json"
    before = Account.model_validate_json(kept.read_text()) if kept.exists() else Account()
    started = time.monotonic() - before.seconds
    grant = _grant(task, around, sandbox, before)
    grant.settled = lambda g: write_whole(kept, _account(g, started).model_dump_json())
    around.gateway.admit(grant)
    await around.journal.event(
        "reproduction.started", task.work.title, stage=Stage.EXPERIMENT, sandbox=task.id, work=task.work.key
    )
    done = False
    try:
        await asyncio.to_thread(_furnish, sandbox, task)
        revision = await clone(sandbox, task.clone_from) if task.clone_from else ""
        left = max(1.0, task.limits.seconds - before.seconds)
        row = await _attempt(task, around, sandbox, grant, left)
        row = row.evolve(**_account(grant, started).model_dump(), revision=revision)
        if keep is not None:
            await keep(row)
        done = True
    except SourceError:
        done = True
        raise
    finally:
        around.gateway.dismiss(grant)
        await asyncio.shield(sandbox.close(delete=done))
    await around.journal.event(
        f"reproduction.{row.verdict}", f"{task.work.title}: {row.reason}", stage=Stage.EXPERIMENT, sandbox=task.id,
        work=task.work.key, cost_usd=row.usage.cost_usd, seconds=row.seconds,
    )  # fmt: skip
    return row


async def _started(task: Reproduction, around: Surroundings) -> Sandbox:
    """Start the sandbox; an executor that has lost the run to us is given time to let go of it."""

    async def report(record: EgressRecord) -> None:
        data = {**record.model_dump(mode="json"), "sandbox": task.id, "work": task.work.key}
        await around.journal.event("sandbox.network", record.words, stage=Stage.EXPERIMENT, **data)

    for _ in range(HELD_TRIES):
        try:
            return await around.tier.start(_spec(task, around), report)
        except SandboxHeldError:
            await asyncio.sleep(1.0)
    return await around.tier.start(_spec(task, around), report)


def _grant(task: Reproduction, around: Surroundings, sandbox: Sandbox, before: Account) -> Grant:
    return Grant(
        task.id,
        (around.budget, LlmBudget(task.budget_usd, before.usage)),
        around.journal,
        max_calls=task.max_calls,
        token=sandbox_token(sandbox),
        spent=before.usage,
        transcripts=list(before.transcripts),
    )


def _account(grant: Grant, started: float) -> Account:
    return Account(usage=grant.spent, seconds=time.monotonic() - started, transcripts=tuple(grant.transcripts))


def _spec(task: Reproduction, around: Surroundings) -> SandboxSpec:
    folder = f"{WORKSPACE}/task"
    mounts = [Mount(source=path, target=f"{folder}/models/{name}") for name, path in task.parents.items()]
    for name, source in (("repository", task.repository), ("data", task.data)):
        if source is not None:
            mounts.append(Mount(source=source, target=f"{folder}/{name}"))
    return SandboxSpec(
        id=task.id,
        limits=task.limits,
        mounts=tuple(mounts),
        gateway=around.address,
        network=task.network,
        agent_port=AGENT_PORT,
        gpu=task.gpu,
        persistent=True,
    )


def _furnish(sandbox: Sandbox, task: Reproduction) -> None:
    contract = contract_of(task.base, task.parents)
    repository = task.repository is not None or task.clone_from is not None
    text = task_text(task.work, contract, task.network, repository=repository)
    upload(sandbox, "task/TASK.md", text.encode())
    upload(sandbox, "task/contract.json", contract.model_dump_json(indent=1).encode())
    upload(sandbox, "task/check", Path(check_submission.__file__).read_bytes())


async def _attempt(task: Reproduction, around: Surroundings, sandbox: Sandbox, grant: Grant, left: float) -> Reproduced:
    job = Job(
        task="Read TASK.md in the current directory and do what it says. Finish when `python3 check` is content.",
        model=around.gateway.model,
        max_iterations=task.max_iterations,
        seconds=left,
    )
    stop = asyncio.Event()
    watch = asyncio.create_task(_stop_when_refused(grant, stop))
    try:
        said = await around.driver.work(sandbox, job, around.journal, stop)
    except SandboxLostError as error:
        return Reproduced(work_key=task.work.key, verdict=Verdict.LOST, reason=error.message)
    finally:
        watch.cancel()
        await sandbox.kill()
    return await asyncio.to_thread(_judge, task, sandbox, said, grant)


async def _stop_when_refused(grant: Grant, stop: asyncio.Event) -> None:
    """Set `stop` some time after the agent was refused a call: it is told, and may still hand in what it has."""
    while grant.refused is None:
        await asyncio.sleep(STOP_POLL_S)
    await asyncio.sleep(4 * STOP_POLL_S)
    stop.set()


def _judge(task: Reproduction, sandbox: Sandbox, said: Conversed, grant: Grant) -> Reproduced:
    """Look at what lies in the workspace, whatever the agent said; nothing runs in it any more."""

    def row(verdict: Verdict, reason: str, submission: Submission | None = None) -> Reproduced:
        return Reproduced(
            work_key=task.work.key, verdict=verdict, reason=reason, submission=submission, events=said.events
        )

    read = list(leaks(sandbox.workspace, task.canaries))
    if read:
        return row(Verdict.LEAK, f"The sandbox holds {len(read)} canary of data that no sandbox may see.")
    folder = sandbox.workspace / "task" / "submission"
    if not folder.exists():
        return row(*_why_nothing(said, grant))
    try:
        submission = accept(folder, contract_of(task.base, task.parents), task.parents, task.out)
    except SubmissionRefusedError as error:
        return row(Verdict.REFUSED, error.message)
    except (InvalidInputError, OSError, UnicodeError) as error:
        return row(Verdict.REFUSED, f"The submission can't be read: {error}")
    return row(Verdict.SUBMITTED, f"A {submission.kind} was handed in and accepted for evaluation.", submission)


def _why_nothing(said: Conversed, grant: Grant) -> tuple[Verdict, str]:
    if grant.refused is not None:
        return Verdict.OUT_OF_BUDGET, f"Nothing was handed in. {grant.refused}"
    reasons = {
        Ended.TIME: (Verdict.OUT_OF_TIME, "Nothing was handed in before the time was up."),
        Ended.STUCK: (Verdict.STUCK, "The agent went round in circles and handed nothing in."),
    }
    return reasons.get(said.ended, (Verdict.NOTHING, f"The agent {said.ended} and handed nothing in."))
