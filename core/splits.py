"""Split discipline, held where jobs are asked for: a search never sees what confirms it (optimisation.md, 'Splits')."""

from core.errors import RunError
from core.types.job import EvaluateArtifact, JobPayload, MergeEvaluate
from core.types.sow import Role

TRIAL_PREFIX = "trial-"


class SplitViolationError(RunError):
    """A search asked for items that it must not see."""

    code = "split_violation"


def check_split(payload: JobPayload) -> None:
    """Raise SplitViolationError when a trial of the search is to be evaluated on anything but a search slice."""
    if not isinstance(payload, MergeEvaluate | EvaluateArtifact):
        return
    if payload.candidate_id.startswith(TRIAL_PREFIX) and payload.benchmark.role is not Role.SEARCH:
        raise SplitViolationError(
            f"Trial {payload.candidate_id} asked for {payload.benchmark.role.value} items of {payload.benchmark.name}.",
            fix="Trials are evaluated on slices with role 'search' only.",
        )
