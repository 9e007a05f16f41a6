"""Split discipline: which benchmark slices a stage may use.

The job layer calls `check_split` before a job exists, so that a search can't be fitted to the items it is confirmed on
even by a mistake in an agent. It can't see that two slices of different names hold the same items; `check_disjoint`
does, on ids.
"""

from collections.abc import Collection, Mapping

from core.errors import InvalidInputError, SplitViolationError
from core.types.job import CommandEvaluate, EvaluateArtifact, JobPayload, MergeEvaluate
from core.types.run import Stage
from core.types.sow import Benchmark, Role, StatementOfWork

ALLOWED: dict[Stage, frozenset[Role]] = {
    Stage.SURVEY: frozenset(),
    Stage.EXPERIMENT: frozenset({Role.SEARCH, Role.SCREEN, Role.SHOW}),
    Stage.OPTIMIZE: frozenset({Role.SEARCH}),
    Stage.CONFIRM: frozenset({Role.CONFIRM, Role.SHOW}),
}


def check_split(payload: JobPayload, stage: Stage, sow: StatementOfWork | None = None) -> None:
    """Raise SplitViolationError when a stage may not use this payload's slice.

    With the SoW, the slice must also be one of its own, in everything but items and seed: a relabelled confirm slice
    is refused. Command tasks have no slices; their evaluation is one number, known to be fitted.
    """
    if isinstance(payload, CommandEvaluate) or not isinstance(payload, MergeEvaluate | EvaluateArtifact):
        return
    benchmark = payload.benchmark
    allowed = ALLOWED.get(stage, frozenset())
    if benchmark.role not in allowed:
        names = ", ".join(sorted(allowed)) or "no"
        raise SplitViolationError(
            f"The {stage} stage may use {names} slices; {benchmark.name!r} is a {benchmark.role} slice.",
            fix="Give the Statement of Work a benchmark with that role.",
        )
    if sow is not None and not _declared(benchmark, sow):
        raise SplitViolationError(
            f"The slice {benchmark.name!r} is not one of the Statement of Work's {benchmark.role} slices.",
            fix="Use the benchmarks as the Statement of Work declares them; only items and seed may differ.",
        )


def check_disjoint(items: Mapping[str, Collection[str]], roles: Mapping[str, Role]) -> None:
    """Raise InvalidInputError when an item of a confirm slice is also in a search or screen slice.

    `items` maps a benchmark's name to its item ids, `roles` to its role.
    """
    confirm = {item: name for name, ids in items.items() if roles[name] is Role.CONFIRM for item in ids}
    for name, ids in items.items():
        shared = confirm.keys() & set(ids)
        if roles[name] in {Role.SEARCH, Role.SCREEN} and shared:
            first = min(shared)
            raise InvalidInputError(
                f"{len(shared)} items of {name!r} ({roles[name]}) are also in {confirm[first]!r} (confirm): {first}.",
                fix="Confirm on items that nothing was chosen by.",
            )


def _declared(benchmark: Benchmark, sow: StatementOfWork) -> bool:
    return any(_identity(benchmark) == _identity(declared) for declared in sow.benchmarks)


def _identity(benchmark: Benchmark) -> str:
    plain = benchmark.evolve(sampling=benchmark.sampling.evolve(seed=0))
    return plain.model_dump_json()
