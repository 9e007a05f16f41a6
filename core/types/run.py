"""A run: its states, stages and events."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from core.types.base import Value
from core.types.sow import StatementOfWork


class RunStatus(StrEnum):
    """`queued → running ⇄ waiting_for_approval → succeeded | failed | cancelled` (architecture.md, 'A run')."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting_for_approval"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Return whether nothing more happens by itself."""
        return self in {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}


class Stage(StrEnum):
    """The stages of a run, in order."""

    INTAKE = "intake"
    SURVEY = "survey"
    EXPERIMENT = "experiment"
    OPTIMIZE = "optimize"
    CONFIRM = "confirm"
    REPORT = "report"


class StageProgress(Value):
    """How far a stage is, in its own units."""

    done: int = 0
    total: int = 0
    note: str = ""


class Spent(Value):
    """What a run has used so far."""

    wall_clock_s: float = 0.0
    gpu_s: float = 0.0
    llm_usd: float = 0.0
    llm_tokens: int = 0
    trials: int = 0


class Run(Value):
    """A run as its reader sees it."""

    id: str
    sow: StatementOfWork
    status: RunStatus
    stage: Stage | None = None
    progress: dict[str, StageProgress] = Field(default_factory=dict)
    spent: Spent = Spent()
    error: str | None = None
    gate: str | None = None
    best_candidate: str | None = None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    version: int = Field(0, description="grows with every change; the ETag")


class Event(Value):
    """Something that happened in a run; `id` grows, so that a reader can resume after it."""

    id: int
    run_id: str
    at: datetime
    kind: str
    stage: Stage | None = None
    message: str
    data: dict[str, Any] = Field(default_factory=dict)
