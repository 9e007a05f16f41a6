"""Split discipline, held where jobs are asked for: a search never sees what confirms it (optimisation.md, 'Splits').

`check_split` needs no more than a payload, so that the job layer can hold it for everyone; `check_stage` also knows
the stage and the SoW, and refuses a relabelled slice. Neither can see that two slices of different names hold the
same items: `check_disjoint` does, on ids.
"""

from collections.abc import Collection, Mapping

from core.errors import RunError
from core.types.job import CommandEvaluate, EvaluateArtifact, JobPayload, MergeEvaluate
from core.types.run import Stage
from core.types.sow import Benchmark, Role, StatementOfWork

TRIAL_PREFIX = "trial-"
ALLOWED: dict[Stage, frozenset[Role]] = {
    Stage.EXPERIMENT: frozenset({Role.SEARCH, Role.SCREEN, Role.SHOW}),
    Stage.OPTIMIZE: frozenset({Role.SEARCH}),
    Stage.CONFIRM: frozenset({Role.CONFIRM, Role.SHOW}),
}


class SplitViolationError(RunError):
    """A search asked for items that it must not see."""

    code = "split_violation"


def check_split(payload: JobPayload) -> None:
    """Raise SplitViolationError when a trial of the search is to be evaluated on anything but a search slice."""
    if isinstance(payload, CommandEvaluate):
        if payload.candidate_id.startswith(TRIAL_PREFIX) and payload.role != Role.SEARCH.value:
            raise SplitViolationError(f"Trial {payload.candidate_id} asked the command in the role {payload.role}.")
        return
    if not isinstance(payload, MergeEvaluate | EvaluateArtifact):
        return
    if payload.candidate_id.startswith(TRIAL_PREFIX) and payload.benchmark.role is not Role.SEARCH:
        raise SplitViolationError(
            f"Trial {payload.candidate_id} asked for {payload.benchmark.role.value} items of {payload.benchmark.name}.",
            fix="Trials are evaluated on slices with role 'search' only.",
        )


def check_stage(payload: JobPayload, stage: Stage, sow: StatementOfWork) -> None:
    """Raise SplitViolationError when a stage may not use this payload's slice.

    The slice must be one that the SoW declares, in everything but the seed. Command tasks have no slices.
    """
    check_split(payload)
    if not isinstance(payload, MergeEvaluate | EvaluateArtifact):
        return
    benchmark, allowed = payload.benchmark, ALLOWED.get(stage, frozenset())
    if benchmark.role not in allowed:
        names = ", ".join(sorted(allowed)) or "no"
        raise SplitViolationError(
            f"The {stage.value} stage may use {names} slices; {benchmark.name!r} is a {benchmark.role.value} slice.",
            fix="Give the Statement of Work a benchmark with that role.",
        )
    if _identity(benchmark) not in {_identity(b) for b in sow.benchmarks}:
        raise SplitViolationError(
            f"The slice {benchmark.name!r} is not one of the Statement of Work's {benchmark.role.value} slices.",
            fix="Use the benchmarks as the Statement of Work declares them; only the seed may differ.",
        )


def check_disjoint(items: Mapping[str, Collection[str]], roles: Mapping[str, Role]) -> None:
    """Raise SplitViolationError when an item of a confirm slice is also in a search or screen slice.

    `items` maps a benchmark's name to its item ids, `roles` to its role.
    """
    confirm = {item: name for name, ids in items.items() if roles[name] is Role.CONFIRM for item in ids}
    for name, ids in items.items():
        shared = confirm.keys() & set(ids)
        if roles[name] in {Role.SEARCH, Role.SCREEN} and shared:
            first = min(shared)
            raise SplitViolationError(
                f"{len(shared)} items of {name!r} are also in the confirm slice {confirm[first]!r}: {first}.",
                fix="Confirm on items that nothing was chosen by.",
            )


def _identity(benchmark: Benchmark) -> str:
    return benchmark.evolve(sampling=benchmark.sampling.evolve(seed=0)).model_dump_json()
