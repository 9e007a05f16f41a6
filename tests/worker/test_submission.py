"""Submitted artifacts in a worker's session: merged, or refused as copies and strangers."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.artifacts import Blobs
from core.errors import InvalidInputError, JobFailedError
from core.recipes import baseline_recipe, method_recipe
from core.settings import Settings
from core.types.reproduction import SubmittedFiles
from core.types.sow import ModelRef, Models
from tests.worker.merge.models import write_models
from worker.session import Session

AVERAGE = "def merge(base, experts, **_): return {n: sum(e[n] for e in experts.values()) / len(experts) for n in base}"
COPY = "def merge(base, experts, **_): return dict(experts['expert2'])"
MODELS = Models(
    base=ModelRef(name="origin", model="base"),
    experts=tuple(ModelRef(name=f"expert{n}", model=f"expert{n}") for n in (1, 2)),
)


class Desk:
    """A worker's session on tiny models, and a store to submit to."""

    def __init__(self, folder: Path) -> None:
        self.root = write_models(folder / "models", "llama", experts=2)
        self.settings = Settings(state_dir=folder / "state", device="cpu", threads=1)
        self.session = Session(self.settings)
        self.session.load(MODELS, str(self.root))
        self._staging = folder / "staging"
        self._staging.mkdir()

    def submit(self, kind: str, files: Mapping[str, bytes]) -> str:
        blobs = Blobs(self.settings.artifact_dir)
        digests = {name: self._keep(blobs, data) for name, data in files.items()}
        manifest = SubmittedFiles(kind=kind, files=digests).model_dump_json().encode()
        return self._keep(blobs, manifest)

    def _keep(self, blobs: Blobs, data: bytes) -> str:
        blobs.path_of("x" * 64).parent.parent.mkdir(parents=True, exist_ok=True)
        path = self._staging / "file"
        path.write_bytes(data)
        return blobs.adopt(path)[0]

    def put(self, kind: str, files: Mapping[str, bytes]) -> None:
        self.session.put_submitted(self.submit(kind, files), MODELS)

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.root / name / "model.safetensors")

    def resident(self) -> dict[str, torch.Tensor]:
        return {n: p.detach() for n, p in self.session.engine.model.named_parameters()}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def safetensors(folder: Path, tensors: Mapping[str, torch.Tensor]) -> bytes:
    file = folder / "made.safetensors"
    save_file({n: t.contiguous() for n, t in tensors.items()}, file)
    return file.read_bytes()


def test_a_method_is_run_once_and_what_it_made_is_resident(desk: Desk) -> None:
    digest = desk.submit("method", {"method.py": AVERAGE.encode()})
    first = desk.session.put_submitted(digest, MODELS)
    one, two = desk.weights("expert1"), desk.weights("expert2")
    for name, parameter in desk.resident().items():
        assert torch.equal(parameter.to(one[name].dtype), (one[name] + two[name]) / 2), name
    assert desk.session.put_submitted(digest, MODELS).merge_s == 0.0
    # Another session, as for the confirmation hours later, measures the very same weights without running it again.
    kept = desk.settings.cache_dir / "submitted" / digest / "model.safetensors"
    written = kept.stat().st_mtime_ns
    again = Session(desk.settings)
    again.load(MODELS, str(desk.root))
    assert again.put_submitted(digest, MODELS).checksum == first.checksum
    assert kept.stat().st_mtime_ns == written


def test_a_recipe_and_weights_are_put_too(desk: Desk, tmp_path: Path) -> None:
    recipe = method_recipe("linear", MODELS)
    desk.put("recipe", {"recipe.yaml": recipe.to_yaml().encode()})
    by_recipe = {n: t.clone() for n, t in desk.resident().items()}
    one, two = desk.weights("expert1"), desk.weights("expert2")
    mean = {n: ((t.float() + two[n].float()) / 2).to(t.dtype) for n, t in one.items()}
    half = len(mean) // 2
    shards = {
        "weights/00000.safetensors": safetensors(tmp_path, dict(list(mean.items())[:half])),
        "weights/00001.safetensors": safetensors(tmp_path, dict(list(mean.items())[half:])),
    }
    desk.put("weights", shards)
    for name, parameter in desk.resident().items():
        # A recipe keeps the embeddings from the base.
        if "embed" not in name:
            assert torch.allclose(parameter.float(), by_recipe[name].float(), atol=1e-2)


def test_copies_are_refused_whatever_they_come_as(desk: Desk, tmp_path: Path) -> None:
    lone = baseline_recipe(MODELS, "expert1")
    stolen = {n: t + 1e-6 for n, t in desk.weights("expert1").items()}
    cases = {
        "this is expert2 itself": ("method", {"method.py": COPY.encode()}),
        "this is expert1 itself": ("recipe", {"recipe.yaml": lone.to_yaml().encode()}),
        "expert1 itself, handed in": ("weights", {"weights/0.safetensors": safetensors(tmp_path, stolen)}),
        "this is origin itself": ("method", {"method.py": b"def merge(base, experts, **_): return dict(base)"}),
    }
    for reason, (kind, files) in cases.items():
        with pytest.raises(JobFailedError, match=reason):
            desk.put(kind, files)
    # A refused artifact leaves nothing behind that the next candidate could be taken for.
    desk.session.put(method_recipe("linear", MODELS), "origin")


def test_strangers_and_damaged_files_are_refused(desk: Desk, tmp_path: Path) -> None:
    one = desk.weights("expert1")
    name = next(iter(one))
    far = {n: torch.randn(t.shape).to(t.dtype) for n, t in one.items()}
    cases = {
        "no merge of the given models": far,
        "lacks": {n: t for n, t in one.items() if n != name},
        "which the base does not have": {**one, "extra": torch.zeros(1)},
        "another shape": {**one, name: one[name][:1]},
        "not finite": {**one, name: one[name] * float("nan")},
    }
    for reason, tensors in cases.items():
        with pytest.raises(JobFailedError, match=reason):
            desk.put("weights", {"weights/0.safetensors": safetensors(tmp_path, tensors)})
    with pytest.raises(JobFailedError, match="not safetensors"):
        desk.put("weights", {"weights/0.safetensors": b"\x80\x04pickled"})
    digest = desk.submit("method", {"method.py": AVERAGE.encode()})
    with pytest.raises(InvalidInputError, match="not in the store"):
        desk.session.put_submitted("0" * 64, MODELS)
    Blobs(desk.settings.artifact_dir).path_of(digest).write_text('{"kind": "method", "files": {}}')
    with pytest.raises(InvalidInputError, match="damaged"):
        desk.session.put_submitted(digest, MODELS)
