"""Put a submitted artifact into the resident model: a recipe, a method's result, or weights, each checked first.

What is submitted is hostile: a method runs in a sandbox of its own (submitted_method.py), tensors are read as
safetensors alone, and whatever it is, a copy of a parent or what is no merge of the parents is refused here, where the
weights themselves are seen.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from core.artifacts import Blobs
from core.errors import InvalidInputError, JobFailedError
from core.parentage import Distances
from core.recipes import baseline_recipe
from core.types.recipe import Recipe
from core.types.reproduction import SubmittedFiles
from core.types.sow import Models
from worker.merge.bank import BASE, ExpertBank
from worker.merge.export import ExportOptions, export
from worker.recipes import bank_recipe
from worker.submitted_method import MethodCall, MethodLimits, run_submitted_method

METHOD, RECIPE = "method.py", "recipe.yaml"
MAX_MANIFEST = 1 << 20


@dataclass(frozen=True)
class Submitted:
    """An artifact's kind and where its files are on this machine."""

    digest: str
    kind: str
    files: Mapping[str, Path]

    @classmethod
    def open(cls, blobs: Blobs, digest: str) -> "Submitted":
        """Read a manifest and find its files; raise InvalidInputError where something is missing or was changed."""
        manifest = SubmittedFiles.model_validate_json(_whole(blobs, digest).read_bytes()[:MAX_MANIFEST])
        return cls(digest, manifest.kind, {name: _whole(blobs, d) for name, d in manifest.files.items()})

    def recipe(self) -> Recipe:
        """Return the recipe of a recipe submission."""
        return Recipe.from_yaml(self.files[RECIPE].read_text(encoding="utf-8"))


def _whole(blobs: Blobs, digest: str) -> Path:
    path = blobs.path_of(digest)
    if not path.is_file():
        raise InvalidInputError(f"The artifact {digest[:12]} is not in the store of this worker.")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise InvalidInputError(f"The artifact {digest[:12]} is damaged.")
    return path


def merged_files(submitted: Submitted, models: Models, bank: ExpertBank, cache: Path) -> list[Path]:
    """Return the safetensors files of a method's or a weights submission.

    A method runs once: its result is kept in `cache` by the submission's digest, so that every later slice is measured
    on the very same weights.
    """
    if submitted.kind == "weights":
        return [path for name, path in sorted(submitted.files.items()) if name.endswith(".safetensors")]
    kept = cache / submitted.digest
    if not kept.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as staging:
            parents = _parents(models, bank, Path(staging))
            call = MethodCall(submitted.files[METHOD], models.base.name, parents, {})
            made = run_submitted_method(call, Path(staging) / "made", MethodLimits())
            # Another worker of this host may have been first.
            with contextlib.suppress(OSError):
                made.rename(kept)
    return sorted(kept.glob("*.safetensors"))


def _parents(models: Models, bank: ExpertBank, folder: Path) -> dict[str, Path]:
    """Return each model's checkpoint folder: its own where it is plain files, else written out with its adapter."""
    found = {}
    for name in (models.base.name, *(e.name for e in models.experts)):
        reference = bank.references[BASE if name == models.base.name else name]
        plain = [p for p in Path(reference.path).glob("*.safetensors") if not p.is_symlink()]
        if reference.adapter is None and plain:
            found[name] = Path(reference.path)
        else:
            recipe = bank_recipe(baseline_recipe(models, name), models.base.name)
            found[name] = export(bank, recipe, folder / name, ExportOptions(name=name)).path
    return found


@torch.no_grad()
def write_files(files: list[Path], targets: Mapping[str, torch.Tensor]) -> None:
    """Copy tensors into the resident model; raise JobFailedError where one is missing, strange or not finite."""
    left = set(targets)
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 it is no mapping
                    if name not in left:
                        raise JobFailedError(f"The submission holds {name}, which the base does not have.")
                    tensor = file.get_tensor(name)
                    if tensor.shape != targets[name].shape or not bool(torch.isfinite(tensor).all()):
                        raise JobFailedError(f"The submission's {name} has another shape, or is not finite.")
                    targets[name].copy_(tensor)
                    left.discard(name)
        except SafetensorError as error:
            raise JobFailedError(f"What was submitted is not safetensors: {error}") from error
    if left:
        raise JobFailedError(f"The submission lacks {sorted(left)[0]}.")


@torch.no_grad()
def check_parentage(targets: Mapping[str, torch.Tensor], bank: ExpertBank, base_name: str) -> None:
    """Raise JobFailedError unless the resident weights are a merge of the bank's models and a copy of none."""
    distances = Distances(base_name)
    for name, target in targets.items():
        mine = target.to(torch.float32)
        base = bank.tensor(BASE, name).to(mine)
        for parent in (BASE, *bank.experts):
            theirs = base if parent == BASE else bank.tensor(parent, name).to(mine)
            shown = base_name if parent == BASE else parent
            distances.add(shown, _squares(mine - theirs), _squares(theirs - base))
    problems = list(distances.problems())
    if problems:
        raise JobFailedError("The submission is refused: " + " ".join(problems))


def _squares(difference: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(difference, dtype=torch.float64) ** 2)
