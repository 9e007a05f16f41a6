"""What a task pack must offer; nothing outside a pack may assume its kind of task."""

from collections.abc import Sequence
from typing import Protocol

from core.types.candidate import Applicability, Candidate
from core.types.job import JobPayload
from core.types.sow import Role, StatementOfWork
from core.types.work import Survey


class TaskPack(Protocol):
    """A kind of task."""

    def applicability(self, sow: StatementOfWork, survey: Survey) -> Sequence[Applicability]:
        """Return one row a work: the method that implements it, and whether and why it can be run."""
        ...

    def candidates(self, sow: StatementOfWork, rows: Sequence[Applicability]) -> Sequence[Candidate]:
        """Return what can be tried, baselines first."""
        ...

    def payloads(self, sow: StatementOfWork, candidate: Candidate, role: Role, root: str) -> Sequence[JobPayload]:
        """Return the jobs that evaluate a candidate on all slices of a role."""
        ...
