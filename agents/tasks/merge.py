"""The `merge` pack: baselines are the base and each expert alone; methods are merges of the experts."""

from collections.abc import Iterable, Sequence

from agents.experiment.matching import match_works
from core.applicability import applicable, hindrance
from core.calibration import calibration_for
from core.errors import JobFailedError
from core.merging import Fidelity as MethodFidelity
from core.merging import MethodDeclaration
from core.merging_table import DECLARATIONS, declaration
from core.recipes import baseline_recipe, method_recipe
from core.types.candidate import Applicability, Candidate, CandidateKind, Fidelity
from core.types.job import EvaluateArtifact, JobPayload, MergeEvaluate
from core.types.recipe import Recipe
from core.types.sow import Benchmark, Models, Role, StatementOfWork
from core.types.work import Survey

# Tried with every merge, whether or not the survey names a work for them: the rules that everything is compared with.
STANDARD = ("linear", "task_arithmetic", "ties", "dare_ties", "slerp", "model_stock")
_LEAST_TRIALS = 4


class MergePack:
    """LLM merging on the fast in-memory path."""

    def applicability(self, sow: StatementOfWork, survey: Survey) -> Sequence[Applicability]:
        """Return one row a work, matched to a method of ours where there is one, and one for every other method."""
        rows = match_works(survey.works, list(DECLARATIONS.values()))
        matched = {row.method for row in rows}
        others = (d for d in DECLARATIONS.values() if d.name not in matched)
        return tuple(_judged(sow, row) for row in (*rows, *map(_unmatched, others)))

    def candidates(self, sow: StatementOfWork, rows: Sequence[Applicability]) -> Sequence[Candidate]:
        """Return base and experts, then the chosen methods."""
        models = _models(sow)
        works = {r.method: r.work_key for r in reversed(rows) if r.method}
        baselines = [_baseline(models, name) for name in (models.base.name, *(e.name for e in models.experts))]
        methods = [_method(sow, d, works.get(d.name)) for d in self._chosen(sow, rows)]
        return [*baselines, *methods]

    def _chosen(self, sow: StatementOfWork, rows: Sequence[Applicability]) -> Iterable[MethodDeclaration]:
        """Return the methods that the SoW names, or all that apply: the standard ones first, then the survey's."""
        if sow.experiments.methods != "all":
            return [declaration(name) for name in sow.experiments.methods]
        named = [r.method for r in rows if r.method and r.work_key]
        names = dict.fromkeys((*STANDARD, *named, *DECLARATIONS))
        return [d for n in names if (d := declaration(n)) in applicable(sow)]

    def payloads(self, sow: StatementOfWork, candidate: Candidate, role: Role, root: str) -> Sequence[JobPayload]:
        """Return one merge-and-evaluate job a slice."""
        return [merge_payload(sow, candidate, b, root) for b in sow.benchmarks_of(role)]


def merge_payload(sow: StatementOfWork, candidate: Candidate, benchmark: Benchmark, root: str) -> JobPayload:
    """Return the job that evaluates a candidate on a slice: its recipe, or what was submitted for it."""
    models = _models(sow)
    if candidate.artifact is not None:
        return EvaluateArtifact(
            candidate_id=candidate.id, artifact=candidate.artifact, models=models, benchmark=benchmark, root=root
        )
    if candidate.recipe is None:
        raise JobFailedError(f"{candidate.name} has neither a recipe nor anything submitted.")
    return MergeEvaluate(
        candidate_id=candidate.id, models=models, recipe=candidate.recipe, benchmark=benchmark, root=root,
        calibration=calibration_for(sow, candidate.recipe.method),
    )  # fmt: skip


def _models(sow: StatementOfWork) -> Models:
    if sow.models is None:
        raise TypeError("a merge task has models: intake checks it")
    return sow.models


def _judged(sow: StatementOfWork, row: Applicability) -> Applicability:
    """Return the row with what stands against its method in this run."""
    why = hindrance(sow, declaration(row.method)) if row.method else ""
    if not why or row.fidelity is Fidelity.NOT_APPLICABLE:
        return row
    reason = "; ".join(part for part in (row.reason, why) if part)
    return row.evolve(fidelity=Fidelity.NOT_APPLICABLE, reason=reason)


def _unmatched(method: MethodDeclaration) -> Applicability:
    return Applicability(method=method.name, fidelity=Fidelity(method.fidelity.value), reason=method.difference)


def _baseline(models: Models, name: str) -> Candidate:
    kind = "base" if name == models.base.name else "expert"
    identity = name if kind == "base" else f"expert-{name}"
    return Candidate(
        id=identity,
        name=name,
        kind=CandidateKind.BASELINE,
        recipe=baseline_recipe(models, name),
        note=f"the {kind} alone",
    )


def _method(sow: StatementOfWork, method: MethodDeclaration, work_key: str | None) -> Candidate:
    recipe, notes = _recipe(sow, method)
    fidelity = Fidelity.EXACT if method.fidelity is MethodFidelity.EXACT else Fidelity.ADAPTED
    return Candidate(
        id=method.name,
        name=method.title,
        kind=CandidateKind.METHOD,
        recipe=recipe,
        work_key=work_key,
        fidelity=fidelity,
        note="; ".join(n for n in (method.difference, *notes) if n),
    )


def _recipe(sow: StatementOfWork, method: MethodDeclaration) -> tuple[Recipe, tuple[str, ...]]:
    """Return a method's recipe on all experts, or on the first two where the rule takes no more; and what to note."""
    models = _models(sow)
    experts = [e.name for e in models.experts]
    bounds, bounded = _bounds(sow, method)
    if method.accepts(len(experts)):
        return method_recipe(method.name, models, None, bounds), (bounded,)
    note = f"takes two models: {experts[0]} and {experts[1]}"
    if method.accepts(2):
        return method_recipe(method.name, models, dict.fromkeys(experts[:2], 1.0), bounds), (note, bounded)
    # One expert beside a base: the first expert stands in the base's place.
    swapped = models.evolve(base=models.experts[0], experts=models.experts[1:2])
    return method_recipe(method.name, swapped, None, bounds), (note, bounded)


def _bounds(sow: StatementOfWork, method: MethodDeclaration) -> tuple[dict[str, int], str]:
    """Return how many evaluations a method that searches by itself may use: no more than the SoW's own search."""
    trials = max(_LEAST_TRIALS, sow.optimization.trials)
    defaults = method.defaults
    wanted = {k: int(defaults[k]) for k in ("trials", "initial", "iterations") if isinstance(defaults.get(k), int)}
    bounds = {k: min(v, trials) for k, v in wanted.items()}
    return bounds, f"searches with {sum(bounds.values())} evaluations here" if bounds != wanted else ""
