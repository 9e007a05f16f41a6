"""Runs as their readers see them, and what may be done to them. Knows nothing of HTTP."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from agents.intake import read_prose
from agents.provider import llm_settings
from app.service import Services
from core.errors import InvalidInputError, NotFoundError
from core.journal import RunJournal
from core.plain_data import decode_text
from core.sow_reader import ProseOnlyError, SowFormat, read_sow
from core.task_kinds import task_kind
from core.types.base import Value
from core.types.candidate import Candidate
from core.types.forecast import Forecast
from core.types.run import Run, RunStatus, StageProgress
from core.types.sow import Budget, StatementOfWork
from core.types.transcript import Transcript

LINKS = ("events", "transcripts", "survey", "candidates", "leaderboard", "reproductions", "report", "artifacts")


class BudgetLeft(Value):
    """What is left of each limit; None where no limit is set."""

    wall_clock_minutes: float | None
    gpu_minutes: float | None
    llm_usd: float | None
    trials: int | None


class RunView(Run):
    """A run with what is left of its budget, its best candidate and where the rest is."""

    budget_left: BudgetLeft
    best: Candidate | None = None
    links: dict[str, str]


class RunRow(Value):
    """A run in a list."""

    id: str
    title: str
    kind: str
    status: RunStatus
    stage: str | None
    progress: dict[str, StageProgress]
    error: str | None
    best_candidate: str | None
    llm_usd: float
    wall_clock_s: float
    created_at: str
    finished_at: str | None


class RunPage(Value):
    """One page of runs, newest first; `next` is the cursor of the page after it."""

    items: tuple[RunRow, ...]
    next: str | None


class CheckedSow(Value):
    """A valid SoW with all defaults filled in, what a run of it will cost, and what its reader will miss."""

    sow: StatementOfWork
    forecast: Forecast
    warnings: tuple[str, ...]


class Decision(Value):
    """A person's answer at a gate."""

    approve: bool
    note: str = ""


@dataclass(frozen=True)
class Submission:
    """A SoW as it came in. `root` is the folder that its relative paths start from."""

    body: bytes
    form: SowFormat
    root: str = ""
    idempotency_key: str | None = None

    @property
    def digest(self) -> str:
        """Return a hash of all that makes this submission what it is."""
        sha = hashlib.sha256()
        for part in (self.body, self.form.value.encode(), self.root.encode()):
            sha.update(len(part).to_bytes(8) + part)
        return sha.hexdigest()


async def check_sow(services: Services, submission: Submission) -> CheckedSow:
    """Return a SoW normalized with its forecast; raise InvalidInputError with all of its problems."""
    sow, _ = await _read(services, submission)
    kind = task_kind(sow.kind)
    return CheckedSow(sow=sow, forecast=kind.forecast(sow), warnings=kind.warnings(sow))


def existing_root(path: str) -> str:
    """Return a folder's absolute path; raise InvalidInputError when it is none."""
    folder = Path(path)
    if "\0" in path or not folder.is_absolute() or not folder.is_dir():
        raise InvalidInputError(f"{path[:200]!r} is not a folder of this machine.", fix="Give an absolute path.")
    return str(folder.resolve())


async def submit(services: Services, submission: Submission) -> tuple[RunView, bool]:
    """Start a run of a SoW; return it and whether it is new."""
    sow, reading = await _read(services, submission)
    run, new = await services.runs.create(
        sow, root=submission.root, idempotency_key=submission.idempotency_key, body_digest=submission.digest
    )
    if new and reading is not None:
        await RunJournal(services.db, run.id).transcript(reading)
    return await _view(services, run), new


async def _read(services: Services, submission: Submission) -> tuple[StatementOfWork, Transcript | None]:
    """Return the SoW, and where it was prose the conversation with the language model that read it."""
    try:
        return read_sow(submission.body, submission.form), None
    except ProseOnlyError:
        model = llm_settings(services.settings)
        if model.api_key is None:
            raise
        return await read_prose(decode_text(submission.body), model)


async def run_view(services: Services, run_id: str) -> RunView:
    """Return a run; raise NotFoundError when there is none."""
    return await _view(services, await services.runs.get(run_id))


async def cancel(services: Services, run_id: str) -> RunView:
    """Cancel a run; raise ConflictError when it has ended."""
    return await _view(services, await services.runs.cancel(run_id))


async def resume(services: Services, run_id: str) -> RunView:
    """Go on with a failed or cancelled run; raise ConflictError in other states."""
    return await _view(services, await services.runs.resume(run_id))


async def decide(services: Services, run_id: str, decision: Decision) -> RunView:
    """Answer at a gate; raise ConflictError when no answer is asked for."""
    return await _view(services, await services.runs.decide(run_id, decision.model_dump()))


async def run_page(services: Services, status: RunStatus | None, limit: int, cursor: str | None) -> RunPage:
    """Return a page of runs; raise InvalidInputError for a cursor that is none of ours."""
    try:
        runs, following = await services.runs.page(status, limit, cursor)
    except NotFoundError as error:
        raise InvalidInputError("The cursor is unknown.", fix="Take `next` of the page before.") from error
    return RunPage(items=tuple(_row(r) for r in runs), next=following)


async def _view(services: Services, run: Run) -> RunView:
    best = None
    if run.best_candidate is not None:
        best = next((c for c in await services.records.candidates(run.id) if c.id == run.best_candidate), None)
    base = f"/v1/runs/{run.id}"
    return RunView(
        **{name: getattr(run, name) for name in Run.model_fields},
        budget_left=_left(run),
        best=best,
        links={"self": base, **{name: f"{base}/{name}" for name in LINKS}, "ui": f"/runs/{run.id}"},
    )


def _left(run: Run) -> BudgetLeft:
    budget: Budget = run.sow.budget
    spent = run.spent
    return BudgetLeft(
        wall_clock_minutes=_minus(budget.wall_clock_minutes, spent.wall_clock_s / 60),
        gpu_minutes=_minus(budget.gpu_minutes, spent.gpu_s / 60),
        llm_usd=_minus(budget.llm_usd, spent.llm_usd),
        trials=None if budget.trials is None else max(0, budget.trials - spent.trials),
    )


def _minus(limit: float | None, used: float) -> float | None:
    return None if limit is None else round(max(0.0, limit - used), 4)


def _row(run: Run) -> RunRow:
    return RunRow(
        id=run.id,
        title=run.sow.title,
        kind=run.sow.kind,
        status=run.status,
        stage=run.stage,
        progress=run.progress,
        error=run.error,
        best_candidate=run.best_candidate,
        llm_usd=run.spent.llm_usd,
        wall_clock_s=run.spent.wall_clock_s,
        created_at=run.created_at.isoformat(),
        finished_at=run.finished_at.isoformat() if run.finished_at else None,
    )
