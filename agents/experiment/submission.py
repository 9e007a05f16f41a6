"""What comes out of a sandbox: read as hostile, refused with all reasons at once, never executed, never believed.

A score that an agent claims has no place here: the service evaluates. A submission that copies a parent, that is
unrelated to the parents, or that carries a canary of data it must not know, is refused.
"""

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agents.experiment.check_submission import KINDS, checkpoint_header, problems
from core.errors import InvalidInputError, RunError
from core.parentage import Distances
from core.types.base import Value
from core.types.recipe import Recipe

Array = npt.NDArray[Any]
CHUNK = 1 << 22
SLACK_BYTES = 16 * 2**20
MAX_SCANNED_BYTES = 256 * 2**20
MODEL_KEYS = frozenset({"model", "base_model"})


class SubmissionRefusedError(RunError):
    """The submission is not accepted."""

    code = "submission_refused"

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__("The submission is refused: " + " ".join(found))
        self.problems = tuple(found)


class SubmissionKind(StrEnum):
    """What was handed in."""

    RECIPE = "recipe"
    METHOD = "method"
    WEIGHTS = "weights"


class Contract(Value):
    """What may be handed in; the agent sees it as contract.json. `tensors` maps the base's names to shapes."""

    version: int = 1
    base: str
    models: tuple[str, ...]
    tensors: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    max_bytes: int = Field(2 * 2**30, ge=1)


class Submission(Value):
    """An accepted submission: its files are data until the worker runs them in a sandbox of their own."""

    kind: SubmissionKind
    folder: Path
    notes: str
    digest: str
    recipe: Recipe | None = None


def contract_of(base: str, parents: Mapping[str, Path], *, max_bytes: int | None = None) -> Contract:
    """Return the contract for a base and its experts, each a checkpoint folder; `max_bytes` fits a model in fp32."""
    header = checkpoint_header(parents[base])
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    full = 4 * sum(math.prod(shape) for shape in shapes.values())
    return Contract(base=base, models=tuple(parents), tensors=shapes, max_bytes=max_bytes or full + SLACK_BYTES)


def accept(
    folder: Path, contract: Contract, parents: Mapping[str, Path], into: Path, canaries: Sequence[str] = ()
) -> Submission:
    """Validate a submission and copy it out of the sandbox's reach; raise SubmissionRefusedError with every reason.

    Nothing may run in the sandbox meanwhile.
    """
    found = problems(folder, contract.model_dump(mode="json"))
    if not found:
        found = [f"It contains a canary: {name} was read." for name in leaks(folder, canaries)]
    if found:
        raise SubmissionRefusedError(found)
    name = next(n for n in KINDS if (folder / n).exists())
    kind, recipe = SubmissionKind(KINDS[name]), None
    if kind is SubmissionKind.RECIPE:
        recipe = _recipe(folder / name, contract)
    if kind is SubmissionKind.WEIGHTS:
        found = list(weight_problems(folder / name, contract, parents))
        if found:
            raise SubmissionRefusedError(found)
    into.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, into, dirs_exist_ok=True, symlinks=True)
    notes = (into / "notes.md").read_text(encoding="utf-8", errors="replace")[:100_000]
    return Submission(kind=kind, folder=into, notes=notes, digest=_digest(into), recipe=recipe)


def canary(secret: str, name: str) -> str:
    """Return the canary that marks a piece of data, the same each time: it goes into what no sandbox may see."""
    return f"canary-{hashlib.sha256(f'{secret}:{name}'.encode()).hexdigest()[:32]}"


def leaks(folder: Path, canaries: Sequence[str]) -> Iterator[str]:
    """Yield the canaries that files of a folder contain; links are not followed."""
    left = {c: c.encode() for c in canaries}
    for where, _, names in os.walk(folder, followlinks=False):
        for name in sorted(names):
            file = Path(where) / name
            if not left or file.is_symlink() or not file.is_file() or file.stat().st_size > MAX_SCANNED_BYTES:
                continue
            data = file.read_bytes()
            for word in [w for w, code in left.items() if code in data]:
                left.pop(word)
                yield word


def weight_problems(folder: Path, contract: Contract, parents: Mapping[str, Path]) -> Iterator[str]:
    """Yield what is wrong with the values of a checkpoint: not finite, a parent's copy, or no child of the parents."""
    own = checkpoint_header(folder)
    known = {name: checkpoint_header(path) for name, path in parents.items()}
    distances = Distances(contract.base)
    for name in contract.tensors:
        mine = values(own[name])
        if not np.isfinite(mine).all():
            yield f"weights/: {name} has values that are not finite."
            return
        base = rounded(values(known[contract.base][name]), own[name]["dtype"])
        for parent, header in known.items():
            theirs = rounded(values(header[name]), own[name]["dtype"])
            distances.add(parent, _squares(mine, theirs), _squares(theirs, base))
    yield from (f"weights/: {problem}" for problem in distances.problems())


def values(entry: Mapping[str, Any]) -> Array:
    """Return a tensor of a safetensors file as float32 (float64 where it was), flat; mapped, not loaded, first."""
    count = int(np.prod(entry["shape"], dtype=np.int64))
    stored = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}[entry["dtype"]]
    if count == 0:
        return np.zeros(0, np.float32)
    raw = np.memmap(entry["file"], dtype=stored, mode="r", offset=entry["start"], shape=(count,))
    if entry["dtype"] == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(raw, dtype=np.float64 if entry["dtype"] == "F64" else np.float32)


def rounded(array: Array, dtype: str) -> Array:
    """Return values as a dtype would keep them, so that a parent saved in another precision is still recognized."""
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return array.astype(np.float16).astype(np.float32)
    if dtype != "BF16":
        return array
    bits = array.astype(np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def _squares(one: Array, other: Array) -> float:
    total = 0.0
    for start in range(0, one.size, CHUNK):
        step = one[start : start + CHUNK].astype(np.float64) - other[start : start + CHUNK]
        total += float(step @ step)
    return total


def _recipe(file: Path, contract: Contract) -> Recipe:
    try:
        recipe = Recipe.from_yaml(file.read_text(encoding="utf-8"))
    except InvalidInputError as error:
        raise SubmissionRefusedError([error.message]) from error
    strangers = sorted(set(_models(recipe.config)) - set(contract.models))
    if strangers:
        raise SubmissionRefusedError([f"recipe.yaml names {', '.join(strangers)[:200]}, not of the given models."])
    return recipe


def _models(config: object) -> Iterator[str]:
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key in MODEL_KEYS:
                yield value if isinstance(value, str) else repr(value)
            else:
                yield from _models(value)
    elif isinstance(config, list):
        for item in config:
            yield from _models(item)


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        with file.open("rb") as stream:
            found.update(str(file.relative_to(folder)).encode() + hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()
