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
    CalibrationData,
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
from worker.benchmark import Hub, load_items
from worker.calibrate import Source
from worker.child import Report
from worker.command import evaluate_command
from worker.embed import MODEL, embed
from worker.evaluate import Plan, Progress
from worker.items import Slice
from worker.measure import Measured, Subject, measure, measure_resident
from worker.merge.export import ExportOptions, export, name_models
from worker.protocols.item import Item
from worker.protocols.registry import find_protocol
from worker.recipes import bank_recipe
from worker.session import Session, Taught


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
        taught = self._taught(payload.calibration, payload.root)
        subject = Subject(payload.recipe, payload.models.base.name, taught)
        return self._evaluate(payload, lambda plan: measure(self._session, subject, plan, _samples(report)))

    @_perform.register
    def _(self, payload: EvaluateArtifact, report: Report) -> JobResult:
        def measured(plan: Plan) -> Measured:
            resident = self._session.put_submitted(payload.artifact, payload.models)
            return measure_resident(self._session, resident, plan, _samples(report))

        return self._evaluate(payload, measured)

    def _evaluate(
        self, payload: MergeEvaluate | EvaluateArtifact, measured_on: Callable[[Plan], Measured]
    ) -> Evaluation:
        """Return the evaluation of a candidate as it is measured on the payload's slice."""
        protocol = find_protocol(payload.benchmark.protocol)
        items = self._items(payload.benchmark, payload.item_ids, payload.root)
        load_s = self._session.load(payload.models, payload.root)
        measured = measured_on(Plan(protocol, items, payload.benchmark.sampling))
        described = ", ".join(f"{k} {v}" for k, v in self._session.engine.describe().items())
        return Evaluation(
            id=payload.digest,
            candidate_id=payload.candidate_id,
            benchmark=payload.benchmark.name,
            protocol=payload.benchmark.protocol,
            role=payload.benchmark.role.value,
            sampling=payload.benchmark.sampling,
            outcomes=measured.outcomes,
            score=score(measured.outcomes, payload.benchmark.metric),
            cost=measured.cost.evolve(load_s=load_s),
            grader=self._settings.grader_tier,
            engine=described,
            model_checksum=measured.checksum,
            task_vectors=self._session.norms,
        )

    @_perform.register
    def _(self, payload: MergeExport, report: Report) -> JobResult:
        self._session.load(payload.models, payload.root)
        bank, recipe = self._session.bank, bank_recipe(payload.recipe, payload.models.base.name)
        calibration = self._session.calibration(recipe, self._taught(payload.calibration, payload.root))
        options = None
        if calibration is not None:
            options = ExportOptions(model=self._session.engine.model, calibration=calibration)
        self._settings.artifact_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._settings.artifact_dir) as staging:
            exported = export(bank, recipe, Path(staging) / "model", options)
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

    def _taught(self, calibration: CalibrationData | None, root: str) -> Taught | None:
        """Return the slices that a calibrated method may learn from, with their items."""
        if calibration is None:
            return None
        sources = []
        for text in calibration.texts:
            items = self._items(text.benchmark, None, root)
            plan = Plan(find_protocol(text.benchmark.protocol), items, text.benchmark.sampling)
            sources.append(Source(text.expert, plan))
        return Taught(calibration, tuple(sources))

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
