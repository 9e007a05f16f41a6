"""Models kept warm between jobs: an expert bank and the resident model that every candidate is merged into.

One set of models at a time; a job with others replaces it. Nothing is written to disk.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch

from core.artifacts import Blobs
from core.errors import InvalidInputError
from core.merging import Need
from core.merging_table import declaration
from core.settings import Settings
from core.types.job import CalibrationData
from core.types.recipe import Recipe
from core.types.sow import ModelRef as SowModel
from core.types.sow import Models
from worker.calibrate import Calibrator, Source, checked
from worker.device import device_name
from worker.evaluate import Grader
from worker.generate.port import Engine, EngineOptions, MergingEngine
from worker.generate.registry import load_engine
from worker.grade.limits import Options
from worker.grade.pool import GradePool
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode
from worker.merge.apply import attach_into, merge_into, route_prompts
from worker.merge.bank import ExpertBank, ModelRef, Placement
from worker.merge.context import Calibration, Extension, RoutedGroup
from worker.merge.norms import task_vector_norms
from worker.merge.registry import method
from worker.merge.targets import checksum, resident_targets
from worker.models import ModelFiles
from worker.recipes import bank_recipe
from worker.submission import Submitted, check_parentage, merged_files, write_files

_LEAST_SHARE = 0.45


@dataclass(frozen=True)
class Taught:
    """What calibrated methods may learn from: the data of the job, and its slices with their items."""

    data: CalibrationData
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Resident:
    """A candidate in the model: what it took to put it there and a checksum of all weights."""

    recipe: str
    checksum: str
    merge_s: float


class Session:
    """Models, engine and graders of one worker's child process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: tuple[str, str] | None = None
        self._bank: ExpertBank | None = None
        self._engine: Engine | None = None
        self._resident: Resident | None = None
        self._extension: Extension | None = None
        self._calibrator: Calibrator | None = None
        self._norms: dict[str, float] = {}
        self.grading_costs: dict[str, float] = {}
        torch.set_num_threads(settings.cpu_threads)

    def load(self, models: Models, root: str) -> float:
        """Make the models of a task resident; return the seconds it took (about none when they were)."""
        wanted = (models.model_dump_json(), root)
        if self._loaded == wanted:
            return 0.0
        started = time.perf_counter()
        self._drop()
        files = ModelFiles(self._settings, root)
        base = _reference(files, models.base)
        experts = {e.name: _reference(files, e) for e in models.experts}
        self._load(base, experts, models.max_parameters)
        self._calibrator = Calibrator(self.engine, self.bank, self.open_grader)
        self._norms = task_vector_norms(self.bank)
        self._loaded = wanted
        return time.perf_counter() - started

    def _load(self, base: ModelRef, experts: Mapping[str, ModelRef], most: int | None) -> None:
        """Load bank and engine; an engine that merges by itself holds the bank, and here it stays in its files."""
        parameters = base.open().checkpoint.parameters  # from the headers: refused before any weight is read
        if most is not None and parameters > most:
            raise InvalidInputError(
                f"The base has {parameters:,} parameters; max_parameters is {most:,}.",
                fix="Use a smaller base, or raise models.max_parameters.",
            )
        apart = self._settings.engine == "vllm"
        where = {"placement": Placement.STREAMED, "device": torch.device("cpu")} if apart else {"device": self.device}
        self._bank = ExpertBank.load(base, experts, **where)  # type: ignore[arg-type]
        share = memory_share(self._bank, self.device) if apart else EngineOptions().memory_share
        options = EngineOptions(device=str(self.device), memory_share=share)
        self._engine = load_engine(self._settings.engine, base.path, options)
        if isinstance(self._engine, MergingEngine):
            self._engine.hold(base, experts)

    def _drop(self) -> None:
        self._clear()
        if self._engine is not None:
            self._engine.close()
        self._bank = self._engine = self._loaded = self._calibrator = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _clear(self) -> None:
        """Forget which candidate is resident, and take off its modules."""
        self._resident = None
        if self._extension is not None:
            self._extension.remove()
            self._extension = None
            self.engine.modules_changed()

    @property
    def device(self) -> torch.device:
        """Return the device that the settings choose."""
        return torch.device(device_name(self._settings.device))

    @property
    def engine(self) -> Engine:
        """Return the engine of the loaded models."""
        if self._engine is None:
            raise TypeError("no models are loaded")
        return self._engine

    @property
    def bank(self) -> ExpertBank:
        """Return the expert bank of the loaded models."""
        if self._bank is None:
            raise TypeError("no models are loaded")
        return self._bank

    @property
    def norms(self) -> dict[str, float]:
        """Return the length of each loaded expert's task vector, where it was cheap to know."""
        return self._norms

    def put(self, recipe: Recipe, base_name: str, taught: Taught | None = None) -> Resident:
        """Merge a recipe into the resident model, unless it is there already."""
        learnt = recipe.digest if taught is None else f"{recipe.digest}:{taught.data.model_dump_json()}"
        if self._resident is not None and self._resident.recipe == learnt:
            return Resident(learnt, self._resident.checksum, 0.0)
        self._clear()
        started = time.perf_counter()
        own = bank_recipe(recipe, base_name)
        if isinstance(self.engine, MergingEngine):
            made = self.engine.merge(own.config)
            self._resident = Resident(learnt, made.checksum, made.seconds)
            return self._resident
        calibration = self._calibration(recipe, taught)
        if method(recipe.method).attach is not None:
            report, self._extension = attach_into(self.engine.model, self.bank, own, calibration)
            self.engine.modules_changed()
        else:
            report = merge_into(self.engine.model, self.bank, own, calibration)
        self.engine.weights_changed()
        # What a calibrated method learns from is part of what its merge costs.
        seconds = report.seconds if taught is None else time.perf_counter() - started
        self._resident = Resident(learnt, report.checksum, seconds)
        return self._resident

    def put_submitted(self, digest: str, models: Models) -> Resident:
        """Put a submitted artifact into the resident model, unless it is there already.

        Raises JobFailedError, in words for the work's row, when it fails or is refused.
        """
        if self._resident is not None and self._resident.recipe == digest:
            return Resident(digest, self._resident.checksum, 0.0)
        self._clear()
        started = time.perf_counter()
        submitted = Submitted.open(Blobs(self._settings.artifact_dir), digest)
        targets = resident_targets(self.engine.model, self.bank.shapes)
        if submitted.kind == "recipe":
            merge_into(self.engine.model, self.bank, bank_recipe(submitted.recipe(), models.base.name))
        else:
            cache = self._settings.cache_dir / "submitted"
            write_files(merged_files(submitted, models, self.bank, cache), targets)
        self.engine.weights_changed()
        check_parentage(targets, self.bank, models.base.name)
        found = checksum(self.engine.model.named_parameters())
        self._resident = Resident(digest, found, time.perf_counter() - started)
        return self._resident

    def is_routed(self, recipe: Recipe) -> bool:
        """Return whether prompts must be routed to merges of their own."""
        return method(recipe.method).route is not None and "share" not in (recipe.config.get("parameters") or {})

    def route(
        self, recipe: Recipe, base_name: str, prompts: Sequence[torch.Tensor]
    ) -> tuple[tuple[RoutedGroup, ...], float]:
        """Return which prompts are answered by which merge, and the seconds that routing took."""
        self._clear()
        started = time.perf_counter()
        groups = route_prompts(self.engine.model, self.bank, bank_recipe(recipe, base_name), prompts)
        self.engine.weights_changed()
        return groups, time.perf_counter() - started

    def calibration(self, recipe: Recipe, taught: Taught | None) -> Calibration | None:
        """Return what a method may learn from, or None for one that needs only weights; the model is overwritten."""
        self._clear()
        return self._calibration(recipe, taught)

    def _calibration(self, recipe: Recipe, taught: Taught | None) -> Calibration | None:
        needs = declaration(recipe.method).needs
        if taught is None or self._calibrator is None or needs == {Need.WEIGHTS}:
            return None
        checked(taught.sources, self.bank)
        return self._calibrator.calibration(taught.data, taught.sources, scored=Need.SCORE in needs)

    def open_grader(self, problems: Sequence[CodeProblem], mode: Mode) -> AbstractContextManager[Grader]:
        """Return a grading pool in the tier that the settings name."""
        options = Options(cache_dir=self._settings.cache_dir / "grading")
        tier: Any = self._settings.grader_tier
        cores = self._settings.cpu_threads
        if self.device.type == "cpu":
            # Generation and grading take turns at the cores: nothing is gained by what is begun first, and the order of
            # work, which decides who shares a batch, stays that of the items.
            return GradePool(problems, mode, tier, cores, options)
        return GradePool(problems, mode, tier, max(1, cores // 2), replace(options, costs=self.grading_costs))


def memory_share(bank: ExpertBank, device: torch.device) -> float:
    """Return the part of the GPU that an engine takes, so that base and experts fit beside it where they can at all.

    Where they would leave it less than half, they are held in host memory and it takes its usual part.
    """
    usual = EngineOptions().memory_share
    if device.type != "cuda":
        return usual
    needed = (1 + len(bank.experts)) * bank.parameters * bank.dtype.itemsize
    share = usual - needed / torch.cuda.get_device_properties(device).total_memory
    return share if share >= _LEAST_SHARE else usual


def _reference(files: ModelFiles, model: SowModel) -> ModelRef:
    adapter = files.adapter(model)
    return ModelRef(str(files.checkpoint(model)), str(adapter) if adapter else None)
