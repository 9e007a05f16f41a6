"""Kinds of task: what each asks of its SoW, and what a run of it will cost.

Nothing outside a kind knows what it needs; `task_kind` finds it by the SoW's `kind`. This is the side that every
process shares: it validates and forecasts, reads no file, asks no service. What a kind can try is in agents/tasks.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from core.applicability import applicable
from core.errors import InvalidInputError, Problem
from core.merging_table import DECLARATIONS
from core.types.forecast import Forecast, Slice, forecast_slices
from core.types.sow import Benchmark, Models, Role, StatementOfWork


class TaskKind(Protocol):
    """What the rest of the system asks of a kind of task."""

    @property
    def name(self) -> str:
        """Return the SoW's `kind`."""
        ...

    def problems(self, sow: StatementOfWork) -> tuple[Problem, ...]:
        """Return what makes this SoW impossible to run."""
        ...

    def warnings(self, sow: StatementOfWork) -> tuple[str, ...]:
        """Return what a reader of the result will miss."""
        ...

    def forecast(self, sow: StatementOfWork) -> Forecast:
        """Return what a run will compute, before anything is computed."""
        ...


def _problem(path: str, given: object, allowed: str, message: str) -> Problem:
    return Problem(path=path, given=given, allowed=allowed, message=message)


def _licence_problems(models: Models) -> Iterator[Problem]:
    """Yield a problem for each model with a licence that the SoW does not allow."""
    allowed = models.allowed_licences
    paths = {"models.base": models.base} | {f"models.experts[{i}]": e for i, e in enumerate(models.experts)}
    for path, model in paths.items():
        if allowed is not None and model.licence is not None and model.licence not in allowed:
            message = f"The licence of {model.name} is not among the allowed ones."
            yield _problem(f"{path}.licence", model.licence, ", ".join(allowed) or "none", message)


@dataclass(frozen=True)
class MergeKind:
    """LLM merging: a base and experts become one model that is better on the benchmarks."""

    name: str = "merge"

    def problems(self, sow: StatementOfWork) -> tuple[Problem, ...]:
        """Return what makes this SoW impossible to run."""
        return tuple(self._problems(sow))

    def _problems(self, sow: StatementOfWork) -> Iterator[Problem]:
        if sow.models is None:
            yield _problem("models", None, "base and experts", "A task of kind merge needs models to merge.")
        yield from _licence_problems(sow.models) if sow.models else ()
        if not sow.benchmarks_of(Role.SCREEN):
            roles = sorted({b.role.value for b in sow.benchmarks})
            yield _problem(
                "benchmarks", f"roles: {', '.join(roles) or 'none'}", "at least one with role: screen",
                "Methods are compared on benchmarks with role screen; there is none.",
            )  # fmt: skip
        if sow.optimization.trials > 0 and not sow.benchmarks_of(Role.SEARCH):
            yield _problem(
                "optimization.trials", sow.optimization.trials, "0, or a benchmark with role: search",
                "A search needs a slice of its own, or it would look at the items that judge it.",
            )  # fmt: skip
        for number, name in enumerate(() if sow.experiments.methods == "all" else sow.experiments.methods):
            if name not in DECLARATIONS:
                close = difflib.get_close_matches(name, DECLARATIONS, 1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                allowed = ", ".join(sorted(DECLARATIONS))
                path = f"experiments.methods[{number}]"
                yield _problem(path, name, allowed, f"There is no such merging method.{hint}")
        if sow.evaluation is not None:
            yield _problem("evaluation", "given", "nothing", "A task of kind merge is scored by its benchmarks.")
        if sow.optimization.parameters:
            yield _problem("optimization.parameters", "given", "nothing", "Merges are searched by their coefficients.")

    def warnings(self, sow: StatementOfWork) -> tuple[str, ...]:
        """Return what a reader of the result will miss."""
        if sow.benchmarks_of(Role.CONFIRM):
            return ()
        return ("No benchmark has role confirm: the report will say that the best method is not confirmed.",)

    def forecast(self, sow: StatementOfWork) -> Forecast:
        """Return what a run will compute: baselines and methods on screen slices, trials, then finalists."""
        experts = len(sow.models.experts) if sow.models else 0
        listed = sow.experiments.methods
        methods = len(applicable(sow)) if listed == "all" else len(listed)
        trials = sow.optimization.trials
        if sow.budget.trials is not None:
            trials = min(trials, sow.budget.trials)
        finalists = sow.optimization.finalists + 1
        times = {
            Role.SCREEN: 1 + experts + methods,
            Role.SHOW: 1 + finalists,
            Role.SEARCH: trials,
            Role.CONFIRM: 1 + finalists,
        }
        notes = (f"'all' is {methods} methods here; those that learn or search take longer than a merge.",)
        notes = (*(notes if listed == "all" else ()), *_seed_notes(sow))
        slices = [_slice(b, times[b.role] + _repeats(sow, b, times[b.role])) for b in sow.benchmarks]
        return forecast_slices(slices, notes)


def _seed_notes(sow: StatementOfWork) -> tuple[str, ...]:
    most = sow.experiments.seeds
    return (f"Screening under up to {most} seeds is counted as if nobody stopped before.",) if most > 1 else ()


def _repeats(sow: StatementOfWork, benchmark: Benchmark, candidates: int) -> int:
    """Return how often a slice is evaluated again, at most: for screening over seeds, and for the noise floor.

    Greedy decoding is repeated only for methods that draw at random, and has no noise floor.
    """
    if benchmark.role is not Role.SCREEN:
        return 0
    again = sow.experiments.seeds - 1
    if benchmark.sampling.temperature > 0:
        return again * candidates + max(0, sow.experiments.noise_seeds - again)
    listed = sow.experiments.methods
    methods = applicable(sow) if listed == "all" else [DECLARATIONS[n] for n in listed if n in DECLARATIONS]
    return again * sum(m.draws for m in methods)


def _slice(benchmark: Benchmark, times: int) -> Slice:
    return Slice(
        name=benchmark.name,
        role=benchmark.role.value,
        evaluations=times,
        items=benchmark.limit,
        samples=benchmark.sampling.n_samples,
    )


# Seeds that a command is run with to confirm: enough for an interval, few enough for a command that takes minutes.
CONFIRMING_RUNS = 5


@dataclass(frozen=True)
class CommandKind:
    """Any task: the SoW names the command that scores a candidate's directory."""

    name: str = "command"

    def problems(self, sow: StatementOfWork) -> tuple[Problem, ...]:
        """Return what makes this SoW impossible to run."""
        return tuple(self._problems(sow))

    def _problems(self, sow: StatementOfWork) -> Iterator[Problem]:
        if sow.evaluation is None:
            yield _problem("evaluation", None, "command, metric, …", "A task of kind command needs its evaluation.")
        if sow.models is not None:
            yield _problem("models", "given", "nothing", "Models to merge belong to a task of kind merge.")

    def warnings(self, sow: StatementOfWork) -> tuple[str, ...]:
        """Return what a reader of the result will miss."""
        if sow.evaluation is not None and not sow.evaluation.candidates and not sow.experiments.reproduce:
            return ("evaluation.candidates is empty and experiments.reproduce is off: there is nothing to score.",)
        return ()

    def forecast(self, sow: StatementOfWork) -> Forecast:
        """Return what a run will compute: one evaluation a candidate."""
        count = len(sow.evaluation.candidates) if sow.evaluation else 0
        trials = sow.optimization.trials if sow.optimization.parameters else 0
        confirmed = min(count, 2) if trials == 0 else sow.optimization.finalists + 1
        times = {"screen": count * sow.experiments.seeds, "search": trials, "confirm": CONFIRMING_RUNS * confirmed}
        note = "The command's own duration is not known; its time limit bounds it."
        slices = [
            Slice(name="command", role=role, evaluations=number, items=1, samples=0)
            for role, number in times.items()
            if number or role == "screen"
        ]
        return forecast_slices(slices, (note, *_seed_notes(sow)))


TASK_KINDS: dict[str, TaskKind] = {p.name: p for p in (MergeKind(), CommandKind())}


def task_kind(kind: str) -> TaskKind:
    """Return what a kind asks; raise InvalidInputError when there is none."""
    found = TASK_KINDS.get(kind)
    if found is None:
        raise InvalidInputError(f"There is no task of kind {kind!r}.", fix=f"Use one of {', '.join(TASK_KINDS)}.")
    return found
