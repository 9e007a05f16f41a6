"""The `merge` pack: baselines are the base and each expert alone; methods are merges of the experts."""

from collections.abc import Iterable, Sequence

from agents.experiment.matching import match_works
from core.errors import JobFailedError
from core.merging import Fidelity as MethodFidelity
from core.merging import Kind, MethodDeclaration, Need
from core.merging_table import DECLARATIONS, declaration
from core.recipes import baseline_recipe, method_recipe
from core.types.candidate import Applicability, Candidate, CandidateKind, Fidelity
from core.types.job import EvaluateArtifact, JobPayload, MergeEvaluate
from core.types.recipe import Recipe
from core.types.sow import Benchmark, Models, Role, StatementOfWork
from core.types.work import Survey

# Tried with every merge, whether or not the survey names a work for them: the rules that everything is compared with.
STANDARD = ("linear", "task_arithmetic", "ties", "dare_ties", "slerp", "model_stock")


class MergePack:
    """LLM merging on the fast in-memory path."""

    def applicability(self, sow: StatementOfWork, survey: Survey) -> Sequence[Applicability]:
        """Return one row a work, matched to a method of ours where there is one."""
        return match_works(survey.works, list(DECLARATIONS.values()))

    def candidates(self, sow: StatementOfWork, rows: Sequence[Applicability]) -> Sequence[Candidate]:
        """Return base and experts, then the chosen methods."""
        models = _models(sow)
        works = {r.method: r.work_key for r in reversed(rows) if r.method}
        baselines = [_baseline(models, name) for name in (models.base.name, *(e.name for e in models.experts))]
        methods = [_method(models, d, works.get(d.name)) for d in self._chosen(sow, rows)]
        return [*baselines, *methods]

    def _chosen(self, sow: StatementOfWork, rows: Sequence[Applicability]) -> Iterable[MethodDeclaration]:
        if sow.experiments.methods != "all":
            return [declaration(name) for name in sow.experiments.methods]
        named = [r.method for r in rows if r.method and r.fidelity in {Fidelity.EXACT, Fidelity.ADAPTED}]
        return [declaration(n) for n in dict.fromkeys((*STANDARD, *named)) if _runs_by_itself(declaration(n))]

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
        candidate_id=candidate.id, models=models, recipe=candidate.recipe, benchmark=benchmark, root=root
    )


def _models(sow: StatementOfWork) -> Models:
    if sow.models is None:
        raise TypeError("a merge task has models: intake checks it")
    return sow.models


def _runs_by_itself(method: MethodDeclaration) -> bool:
    """Return whether a recipe alone is enough: no text, labels or score has to be handed over with it."""
    return method.runnable and method.kind is Kind.WEIGHTS and method.needs == frozenset({Need.WEIGHTS})


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


def _method(models: Models, method: MethodDeclaration, work_key: str | None) -> Candidate:
    recipe, note = _recipe(models, method)
    fidelity = Fidelity.EXACT if method.fidelity is MethodFidelity.EXACT else Fidelity.ADAPTED
    return Candidate(
        id=method.name,
        name=method.title,
        kind=CandidateKind.METHOD,
        recipe=recipe,
        work_key=work_key,
        fidelity=fidelity,
        note="; ".join(n for n in (method.difference, note) if n),
    )


def _recipe(models: Models, method: MethodDeclaration) -> tuple[Recipe, str]:
    """Return a method's recipe on all experts, or on the first two where the rule takes no more."""
    experts = [e.name for e in models.experts]
    if method.accepts(len(experts)):
        return method_recipe(method.name, models), ""
    note = f"takes two models: {experts[0]} and {experts[1]}"
    if method.accepts(2):
        return method_recipe(method.name, models, dict.fromkeys(experts[:2], 1.0)), note
    # One expert beside a base: the first expert stands in the base's place.
    swapped = models.evolve(base=models.experts[0], experts=models.experts[1:2])
    return method_recipe(method.name, swapped), note
