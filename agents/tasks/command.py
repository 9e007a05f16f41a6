"""The `command` pack: a candidate is a directory, scored by the SoW's own command in a sandbox it can't write to."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from core.task_kinds import CONFIRMING_RUNS
from core.types.candidate import Applicability, Candidate, CandidateKind, Fidelity
from core.types.job import CommandEvaluate, JobPayload
from core.types.sow import Role, StatementOfWork
from core.types.work import Survey


class CommandPack:
    """Any task with a command that prints a metric."""

    def applicability(self, sow: StatementOfWork, survey: Survey) -> Sequence[Applicability]:
        """Return one row a work: none is built in, all have to be reproduced from their repositories."""
        reason = "no built-in method: to be reproduced from its repository"
        return [
            Applicability(work_key=w.key, work_title=w.title, fidelity=Fidelity.NOT_BUILT_IN, reason=reason)
            for w in survey.works
        ]

    def candidates(self, sow: StatementOfWork, rows: Sequence[Applicability]) -> Sequence[Candidate]:
        """Return the directories that the SoW starts from."""
        directories = sow.evaluation.candidates if sow.evaluation else ()
        return [
            Candidate(
                id=PurePosixPath(d).name, name=d, kind=CandidateKind.BASELINE, artifact=d, note="given by the SoW"
            )
            for d in directories
        ]

    def payloads(self, sow: StatementOfWork, candidate: Candidate, role: Role, root: str) -> Sequence[JobPayload]:
        """Return the jobs that run the command: one to screen, several with seeds of their own to confirm."""
        if sow.evaluation is None or candidate.artifact is None:
            raise TypeError("a command task has an evaluation and its candidates are directories: intake checks it")
        if role not in {Role.SCREEN, Role.CONFIRM}:
            return []
        runs = CONFIRMING_RUNS if role is Role.CONFIRM else 1
        return [
            CommandEvaluate(
                candidate_id=candidate.id, artifact=candidate.artifact, evaluation=sow.evaluation,
                role="confirm" if role is Role.CONFIRM else "screen", seed=sow.seed + number,
                parameters=candidate.parameters, root=root,
            )
            for number in range(runs)
        ]  # fmt: skip
