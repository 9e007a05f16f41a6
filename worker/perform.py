"""What a worker does for each kind of job, in its child process."""

import tempfile
from collections.abc import Callable
from functools import singledispatchmethod
from pathlib import Path

from core.artifacts import Blobs
from core.errors import InvalidInputError
from core.passk import score
from core.settings import Settings
from core.types.evaluation import Evaluation
from core.types.job import (
    CommandEvaluate,
    Embeddings,
    EmbedTexts,
    EvaluateArtifact,
    Exported,
    ItemTexts,
    JobPayload,
    JobResult,
    ListItems,
    MergeEvaluate,
    MergeExport,
)
from core.types.sow import Benchmark
from worker.benchmark import Hub, Slice, load_items
from worker.child import Report
from worker.command import evaluate_command
from worker.embed import MODEL, embed
from worker.evaluate import Plan, Progress, evaluate
from worker.merge.export import export, name_models
from worker.protocols.item import Item
from worker.protocols.registry import find_protocol
from worker.recipes import bank_recipe
from worker.session import Resident, Session


class Performer:
    """Does jobs with models that stay warm in between."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = Session(settings)

    def __call__(self, payload: JobPayload, report: Report) -> JobResult:
        """Do a job; raise an error of ours, in words for the run's reader, when it can't be done."""
        return self._perform(payload, report)

    @singledispatchmethod
    def _perform(self, payload: JobPayload, report: Report) -> JobResult:
        raise InvalidInputError(f"This worker can't do jobs of kind {payload.kind.value}.")

    @_perform.register
    def _(self, payload: MergeEvaluate, report: Report) -> JobResult:
        return self._evaluate(payload, report, lambda: self._session.put(payload.recipe, payload.models.base.name))

    @_perform.register
    def _(self, payload: EvaluateArtifact, report: Report) -> JobResult:
        return self._evaluate(payload, report, lambda: self._session.put_submitted(payload.artifact, payload.models))

    def _evaluate(
        self, payload: MergeEvaluate | EvaluateArtifact, report: Report, put: Callable[[], Resident]
    ) -> Evaluation:
        """Return the evaluation of what `put` makes resident."""
        protocol = find_protocol(payload.benchmark.protocol)
        items = self._items(payload.benchmark, payload.item_ids, payload.root)
        load_s = self._session.load(payload.models, payload.root)
        resident = put()
        plan = Plan(protocol, items, payload.benchmark.sampling)
        outcomes, cost = evaluate(self._session.engine, plan, self._session.open_grader, _samples(report))
        described = ", ".join(f"{k} {v}" for k, v in self._session.engine.describe().items())
        return Evaluation(
            id=payload.digest,
            candidate_id=payload.candidate_id,
            benchmark=payload.benchmark.name,
            protocol=payload.benchmark.protocol,
            role=payload.benchmark.role.value,
            sampling=payload.benchmark.sampling,
            outcomes=outcomes,
            score=score(outcomes, payload.benchmark.metric),
            cost=cost.evolve(load_s=load_s, merge_s=resident.merge_s),
            grader=self._settings.grader_tier,
            engine=described,
            model_checksum=resident.checksum,
        )

    @_perform.register
    def _(self, payload: MergeExport, report: Report) -> JobResult:
        self._session.load(payload.models, payload.root)
        bank, recipe = self._session.bank, bank_recipe(payload.recipe, payload.models.base.name)
        self._settings.artifact_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._settings.artifact_dir) as staging:
            exported = export(bank, recipe, Path(staging) / "model")
            if payload.card:
                (exported.path / "README.md").write_text(payload.card, encoding="utf-8")
            name_models(exported.path, {str(ref): name for name, ref in bank.references.items()}, payload.models)
            blobs = Blobs(self._settings.artifact_dir)
            files = {name: blobs.adopt(exported.path / name)[0] for name in exported.files}
        return Exported(files=files, checksum=exported.checksum)

    @_perform.register
    def _(self, payload: CommandEvaluate, report: Report) -> JobResult:
        return evaluate_command(payload)

    @_perform.register
    def _(self, payload: EmbedTexts, report: Report) -> JobResult:
        return Embeddings(model=MODEL, vectors=embed(payload.texts))

    @_perform.register
    def _(self, payload: ListItems, report: Report) -> JobResult:
        items = self._items(payload.benchmark, None, payload.root)
        return ItemTexts(benchmark=payload.benchmark.name, prompts={i.item_id: i.prompt for i in items})

    def _items(self, benchmark: Benchmark, item_ids: tuple[str, ...] | None, root: str) -> tuple[Item, ...]:
        token = self._settings.hub_token.get_secret_value() if self._settings.hub_token else None
        hub = Hub(endpoint=self._settings.hub_url, token=token)
        return load_items(benchmark.dataset, Slice(benchmark.split, benchmark.limit, item_ids), hub, Path(root))


def _samples(report: Report) -> Callable[[Progress], None]:
    """Return a report of an evaluation's progress in graded samples, at every tenth of the way."""
    said = -1

    def tell(progress: Progress) -> None:
        nonlocal said
        tenth = 10 * progress.graded // max(1, progress.total)
        if tenth > said:
            said = tenth
            report(progress.graded, progress.total)

    return tell


def make_perform(settings: Settings) -> Performer:
    """Return what does jobs with these settings."""
    return Performer(settings)
