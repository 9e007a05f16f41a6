"""Jobs answered from a response surface with a known optimum: a real implementation of the port, without a model.

Results are kept by the job's key, in memory or in a folder that outlives the process, so that what was computed twice
can be counted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.response_surface import ResponseSurface
from core.errors import JobFailedError
from core.statistics.binomial import wilson
from core.types.evaluation import Evaluation, EvaluationCost, ItemOutcome, SampleOutcome, Score, Verdict
from core.types.job import JobPayload, JobResult, MergeEvaluate
from core.types.recipe import Recipe
from core.types.sow import Benchmark, ModelRef, Models, OptimizationSpec, Role, StatementOfWork

MODELS = Models(
    base=ModelRef(name="base", model="org/base", licence="Apache-2.0"),
    experts=tuple(ModelRef(name=n, model=f"org/{n}", licence="Apache-2.0", skill=n) for n in ("code", "math", "chat")),
)
ITEMS = 60
PLACES = {Role.SEARCH: 0, Role.SCREEN: 1, Role.CONFIRM: 2, Role.SHOW: 3}
SKILLS = ("code", "math")
SOW = StatementOfWork(
    sow=1,
    title="Merge three experts into one model",
    task="Find the merge that solves the most problems of all skills.",
    models=MODELS,
    benchmarks=tuple(
        Benchmark(
            name=f"{role.value}-{skill}", dataset="package:surface", role=role, skill=skill, protocol="exact_match"
        )
        for role in (Role.SEARCH, Role.SCREEN, Role.CONFIRM)
        for skill in SKILLS
    ),
    optimization=OptimizationSpec(trials=12, strategy="gp"),
)


class SurfaceJobs:
    """Evaluates recipes on one world. `broken` names candidates whose jobs fail."""

    def __init__(self, seed: int = 0, folder: Path | None = None, broken: Sequence[str] = ()) -> None:
        self.world = ResponseSurface(seed, items=ITEMS * len(PLACES) * len(SKILLS))
        self.payloads: list[MergeEvaluate] = []
        self.computed = 0
        self._kept: dict[str, Evaluation] = {}
        self._folder = folder
        self._broken = broken

    async def run(self, payload: JobPayload) -> JobResult:
        """Return the kept result of a job, or compute it."""
        assert isinstance(payload, MergeEvaluate)
        self.payloads.append(payload)
        if payload.candidate_id in self._broken:
            raise JobFailedError(f"{payload.candidate_id} is broken on purpose")
        key = payload.key("run")
        kept = self._kept.get(key) or self._read(key)
        if kept is None:
            self.computed += 1
            kept = self._evaluate(payload, key)
            self._kept[key] = kept
            self._write(key, kept)
        return kept

    async def evaluations(self, ids: Sequence[str]) -> Sequence[Evaluation]:
        """Return finished evaluations by their ids."""
        return [found for i in ids if (found := self._kept.get(i) or self._read(i)) is not None]

    def _read(self, key: str) -> Evaluation | None:
        path = self._file(key)
        return Evaluation.model_validate_json(path.read_text()) if path and path.exists() else None

    def _write(self, key: str, evaluation: Evaluation) -> None:
        if self._folder:
            with (self._folder / "computed.log").open("a") as log:
                log.write(f"{key}\n")
        if path := self._file(key):
            path.write_text(evaluation.model_dump_json())

    def _file(self, key: str) -> Path | None:
        return self._folder / f"{key.replace(':', '-')}.json" if self._folder else None

    def _evaluate(self, payload: MergeEvaluate, key: str) -> Evaluation:
        benchmark = payload.benchmark
        scores = self.world.outcomes(vector(payload.recipe))
        ids = payload.item_ids or tuple(item_ids(benchmark))
        outcomes = tuple(_outcome(i, scores[_place(benchmark, i)]) for i in ids)
        passed = sum(o.passed for o in outcomes)
        score = Score(
            metric=benchmark.metric, value=passed / len(outcomes), interval=wilson(passed, len(outcomes)),
            items=len(outcomes),
        )  # fmt: skip
        seconds = 2.0 + 0.1 * len(outcomes) + (3.0 if "ties" in payload.recipe.method else 0.0)
        return Evaluation(
            id=key, candidate_id=payload.candidate_id, benchmark=benchmark.name, protocol=benchmark.protocol,
            role=benchmark.role.value, sampling=benchmark.sampling, outcomes=outcomes, score=score,
            cost=EvaluationCost(merge_s=1.0, generate_s=seconds, grade_s=0.5, items=len(outcomes)),
        )  # fmt: skip


def item_ids(benchmark: Benchmark) -> list[str]:
    """Return the item ids of a slice; slices of different names share none."""
    return [f"{benchmark.name}/{n:03d}" for n in range(ITEMS)]


def _place(benchmark: Benchmark, item: str) -> int:
    skill = SKILLS.index(benchmark.skill or SKILLS[0])
    return (PLACES[benchmark.role] * len(SKILLS) + skill) * ITEMS + int(item.rpartition("/")[2])


def _outcome(item: str, score: float) -> ItemOutcome:
    verdict = Verdict.PASSED if score > 0.5 else Verdict.FAILED
    return ItemOutcome(item_id=item, samples=(SampleOutcome(index=0, completion="", verdict=verdict),))


def vector(recipe: Recipe) -> np.ndarray:
    """Return a recipe's weights: each expert's mean on attention and on MLP."""
    entries = {m["model"]: m.get("parameters", {}).get("weight", 1.0) for m in recipe.config["models"]}
    weights = [w for e in MODELS.experts for w in _modules(entries.get(e.name, 0.0))]
    if recipe.config.get("parameters", {}).get("normalize"):
        total = sum(weights) / 2
        weights = [w / total for w in weights] if total > 0 else weights
    return np.array(weights)


def _modules(weight: Any) -> tuple[float, float]:
    if not isinstance(weight, list):
        return float(weight), float(weight)
    named: Mapping[str, Any] = {c.get("filter", ""): c["value"] for c in weight}
    rest = named.get("", 0.0)
    return _mean(named.get("self_attn", rest)), _mean(named.get("mlp", rest))


def _mean(value: Any) -> float:
    return float(np.mean(value))
