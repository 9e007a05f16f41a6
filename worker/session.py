"""Models kept warm between jobs: an expert bank and the resident model that every candidate is merged into.

One set of models at a time; a job with others replaces it. Nothing is written to disk.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from core.artifacts import Blobs
from core.errors import InvalidInputError
from core.settings import Settings
from core.types.recipe import Recipe
from core.types.sow import ModelRef as SowModel
from core.types.sow import Models
from worker.device import device_name
from worker.evaluate import Grader
from worker.generate.port import Engine, EngineOptions
from worker.generate.registry import load_engine
from worker.grade.limits import Options
from worker.grade.pool import GradePool
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode
from worker.merge.apply import merge_into
from worker.merge.bank import ExpertBank, ModelRef
from worker.merge.targets import checksum, resident_targets
from worker.models import ModelFiles
from worker.recipes import bank_recipe
from worker.submission import Submitted, check_parentage, merged_files, write_files


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
        self._bank = ExpertBank.load(base, experts, device=self.device)
        if models.max_parameters is not None and self._bank.parameters > models.max_parameters:
            raise InvalidInputError(
                f"The base has {self._bank.parameters:,} parameters; max_parameters is {models.max_parameters:,}."
            )
        self._engine = load_engine(self._settings.engine, base.path, EngineOptions(device=str(self.device)))
        self._loaded = wanted
        return time.perf_counter() - started

    def _drop(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._bank = self._engine = self._resident = self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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

    def put(self, recipe: Recipe, base_name: str) -> Resident:
        """Merge a recipe into the resident model, unless it is there already."""
        if self._resident is not None and self._resident.recipe == recipe.digest:
            return Resident(recipe.digest, self._resident.checksum, 0.0)
        self._resident = None
        report = merge_into(self.engine.model, self.bank, bank_recipe(recipe, base_name))
        self.engine.weights_changed()
        self._resident = Resident(recipe.digest, report.checksum, report.seconds)
        return self._resident

    def put_submitted(self, digest: str, models: Models) -> Resident:
        """Put a submitted artifact into the resident model, unless it is there already.

        Raises JobFailedError, in words for the work's row, when it fails or is refused.
        """
        if self._resident is not None and self._resident.recipe == digest:
            return Resident(digest, self._resident.checksum, 0.0)
        self._resident = None
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

    def open_grader(self, problems: Sequence[CodeProblem], mode: Mode) -> AbstractContextManager[Grader]:
        """Return a grading pool in the tier that the settings name."""
        options = Options(cache_dir=self._settings.cache_dir / "grading")
        return GradePool(problems, mode, self._settings.grader_tier, self._settings.cpu_threads, options)  # type: ignore[arg-type]


def _reference(files: ModelFiles, model: SowModel) -> ModelRef:
    adapter = files.adapter(model)
    return ModelRef(str(files.checkpoint(model)), str(adapter) if adapter else None)
