"""What this machine lacks to run one SoW: weights, memory, a GPU, data, licences that allow the result."""

import importlib.util
import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

import psutil
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from app.doctor import GB, Check, Finding, existing, gpu_memory_gb
from core.settings import Settings
from core.types.sow import ModelRef, Models, StatementOfWork

PACKAGE = "package:"
HEADER_LIMIT = 100 * 1024 * 1024
# Above this a CPU takes hours for what a GPU does in minutes.
GPU_ADVISED_PARAMETERS = 1_000_000_000
BYTES_CPU, BYTES_GPU = 4, 2
# Besides the models: activations, key-value cache and the libraries themselves.
OVERHEAD_GB = 2.0


@dataclass(frozen=True)
class Place:
    """Where a model is, if it is here, and how many parameters its files hold."""

    folder: Path | None
    parameters: int | None = None


def examine_sow(sow: StatementOfWork, root: Path, settings: Settings) -> list[Check]:
    """Return what a run of this SoW needs and whether it is here. `root` is where relative paths start."""
    checks = [_data(b.name, b.dataset, root) for b in sow.benchmarks]
    if sow.models is not None:
        checks += _models(sow.models, root, settings)
    if "catalogue" in sow.survey.sources and sow.survey.catalogue is not None:
        checks.append(_data("catalogue", sow.survey.catalogue, root))
    return checks


def _models(models: Models, root: Path, settings: Settings) -> list[Check]:
    references = (models.base, *models.experts)
    places = {m.name: _place(m, root) for m in references}
    checks = [_weights(m, places[m.name], settings) for m in references]
    checks += [_licence(m, models.allowed_licences) for m in references if models.allowed_licences is not None]
    known = max((p.parameters or 0 for p in places.values()), default=0)
    if not known:
        return [*checks, Check(name="needs", finding=Finding.NOTE, detail="memory is known once weights are here")]
    return [*checks, _room(known, len(references), models.max_parameters)]


def _place(model: ModelRef, root: Path) -> Place:
    """Find a model without fetching anything."""
    if model.model.startswith(PACKAGE):
        module = model.model.removeprefix(PACKAGE).replace("-", "_")
        spec = importlib.util.find_spec(module) if module.isidentifier() else None
        return Place(None if spec is None or spec.origin is None else Path(spec.origin).parent)
    local = root / model.model
    if existing(local):
        return Place(local, count_parameters(local))
    if model.model.count("/") != 1 or model.model.startswith((".", "/")):
        return Place(None)
    try:
        cached = Path(snapshot_download(model.model, revision=model.revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return Place(None)
    return Place(cached, count_parameters(cached))


def count_parameters(folder: Path) -> int | None:
    """Return how many numbers a folder's safetensors files hold, from their headers; None where there are none."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            head = file.read(8)
            if len(head) < 8 or (size := struct.unpack("<Q", head)[0]) > HEADER_LIMIT:
                return None
            try:
                header = json.loads(file.read(size))
            except ValueError:
                return None
        total += sum(prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
    return total or None


def _weights(model: ModelRef, place: Place, settings: Settings) -> Check:
    name = f"model {model.name}"
    if place.folder is not None:
        size = "" if place.parameters is None else f", {place.parameters / 1e6:.0f} M parameters"
        return Check(name=name, finding=Finding.OK, detail=f"{model.model} is here{size}")
    if model.model.startswith(PACKAGE):
        package = model.model.removeprefix(PACKAGE)
        return Check(name=name, finding=Finding.MISSING, detail=f"{package} is not installed", fix="pip install it.")
    if model.model.startswith((".", "/")) or model.model.count("/") != 1:
        return Check(name=name, finding=Finding.MISSING, detail=f"no folder {model.model}", fix="Correct the path.")
    fix = f"It is fetched from {settings.hub_url} at the run's start; that must be reachable."
    return Check(name=name, finding=Finding.NOTE, detail=f"{model.model} is not in the hub's cache here", fix=fix)


def _licence(model: ModelRef, allowed: tuple[str, ...] | None) -> Check:
    name = f"licence {model.name}"
    if model.licence is None:
        return Check(name=name, finding=Finding.NOTE, detail="not stated in the SoW")
    if allowed is not None and model.licence not in allowed:
        detail = f"{model.licence} is not among {', '.join(allowed)}"
        return Check(name=name, finding=Finding.MISSING, detail=detail, fix="Use another model, or allow its licence.")
    return Check(name=name, finding=Finding.OK, detail=model.licence)


def _room(parameters: int, models: int, limit: int | None) -> Check:
    """Say whether the models and the merged one fit beside each other, on the GPU or in memory."""
    if limit is not None and parameters > limit:
        detail = f"{parameters} parameters, and the SoW allows {limit}"
        return Check(name="needs", finding=Finding.MISSING, detail=detail, fix="Raise models.max_parameters.")
    gpu = gpu_memory_gb()
    width = BYTES_GPU if gpu else BYTES_CPU
    needed = (models + 1) * parameters * width / GB + OVERHEAD_GB
    have = gpu or psutil.virtual_memory().total / GB
    where = "GPU memory" if gpu else "memory"
    detail = f"about {needed:.1f} GB of {where} for {models} models and their merge; {have:.1f} GB are here"
    if needed > have:
        return Check(name="needs", finding=Finding.MISSING, detail=detail, fix="Use a larger machine or fewer experts.")
    if not gpu and parameters > GPU_ADVISED_PARAMETERS:
        return Check(name="needs", finding=Finding.NOTE, detail=f"{detail}; without a GPU this takes very long")
    return Check(name="needs", finding=Finding.OK, detail=detail)


def _data(name: str, dataset: str, root: Path) -> Check:
    label = f"data {name}"
    if existing(root / dataset):
        return Check(name=label, finding=Finding.OK, detail=f"{dataset} is here")
    if dataset.startswith((".", "/")) or Path(dataset).suffix in {".jsonl", ".gz", ".json", ".parquet", ".bib"}:
        return Check(name=label, finding=Finding.MISSING, detail=f"no file {dataset}", fix=f"Looked in {root}.")
    return Check(name=label, finding=Finding.NOTE, detail=f"{dataset} is fetched when it is first used")
