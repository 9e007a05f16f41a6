import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from agents.experiment import check_submission
from agents.experiment.check_submission import problems, safetensors_header
from agents.experiment.submission import SubmissionRefusedError, accept, canary, contract_of, leaks, rounded, values
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Weights

METHOD = "def merge(base, experts, **parameters):\n    return base\n"


class Desk:
    def __init__(self, folder: Path) -> None:
        self.parents = checkpoints.family(folder / "models")
        self.contract = contract_of("base", self.parents, max_bytes=100_000)
        self.submission = folder / "submission"
        self.submission.mkdir()
        (self.submission / "notes.md").write_text("score: 100%")
        self.out = folder / "out"

    def merged(self) -> Weights:
        base, code, math = (checkpoints.read(self.parents[n]) for n in ("base", "code", "math"))
        return {n: base[n] + 0.6 * (code[n] - base[n]) + 0.6 * (math[n] - base[n]) for n in base}

    def accept(self, canaries: tuple[str, ...] = ()) -> object:
        return accept(self.submission, self.contract, self.parents, self.out, canaries)

    def refused(self) -> str:
        with pytest.raises(SubmissionRefusedError) as caught:
            self.accept()
        assert not self.out.exists()
        return caught.value.message


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_weights_are_accepted(desk: Desk) -> None:
    checkpoints.write(desk.submission / "weights", desk.merged())
    got = desk.accept()
    assert (got.kind, got.notes, len(got.digest)) == ("weights", "score: 100%", 64)
    assert (desk.out / "weights" / "model.safetensors").is_file()


def test_a_method_and_a_recipe_are_accepted(desk: Desk) -> None:
    (desk.submission / "method.py").write_text(METHOD)
    assert desk.accept().kind == "method"
    (desk.submission / "method.py").unlink()
    (desk.submission / "recipe.yaml").write_text(
        "merge_method: linear\nmodels:\n- model: code\n  parameters: {weight: 1}\n- model: math\n"
    )
    assert desk.accept().recipe.method == "linear"


def nan(w: Weights) -> Weights:
    w["model.norm.weight"][3] = np.nan
    return w


def shape(w: Weights) -> Weights:
    return {**w, "model.norm.weight": np.zeros(9, np.float32)}


def missing(w: Weights) -> Weights:
    return {n: t for n, t in w.items() if n != "model.norm.weight"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nan, "not finite"),
        (shape, r"has shape [9], the base has [8]"),
        (missing, "model.norm.weight is missing"),
        (lambda w: {**w, "extra": np.zeros(1, np.float32)}, "extra is not a tensor of the base"),
        (lambda w: {n: t * 0 + 7 for n, t in w.items()}, "no merge of the given models"),
        (lambda w: {n: t.astype(np.int64) for n, t in w.items()}, "has dtype I64"),
    ],
)
def test_bad_weights_are_refused(desk: Desk, change: Callable[[Weights], Weights], reason: str) -> None:
    checkpoints.write(desk.submission / "weights", change(desk.merged()))
    assert reason in desk.refused()


@pytest.mark.parametrize("parent", ["base", "code", "math"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("noise", [0.0, 1e-5])
def test_a_copy_of_a_parent_is_refused_in_any_precision(
    desk: Desk, parent: str, dtype: torch.dtype, noise: float
) -> None:
    torch.manual_seed(0)
    own = {n: torch.from_numpy(t) for n, t in checkpoints.read(desk.parents[parent]).items()}
    (desk.submission / "weights").mkdir()
    save_file(
        {n: (t + noise * torch.randn_like(t)).to(dtype) for n, t in own.items()},
        desk.submission / "weights" / "model.safetensors",
    )
    assert f"this is {parent} itself" in desk.refused()


def test_links_never_leave_the_sandbox(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(METHOD)
    (desk.submission / "method.py").symlink_to(tmp_path / "secret")
    assert "is a link" in desk.refused()
    (desk.submission / "method.py").unlink()
    (tmp_path / "elsewhere").mkdir()
    (desk.submission / "weights").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in desk.refused()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("method.py", "def merge(base: return", "can't be parsed"),
        ("method.py", "print('no merge')", "defines no function merge"),
        ("method.py", "def merge(base): return base", "must take base and experts"),
        ("method.py", "x = " + "(" * 5000, "can't be parsed"),
        ("recipe.yaml", "models: [code]", "no merge_method"),
        ("recipe.yaml", "merge_method: linear\nmodels: [{model: code}, {model: /etc}]", "/etc, not of the given"),
        ("recipe.yaml", "merge_method: linear\nbase_model: other/hub\n# code", "other/hub, not of the given"),
        ("recipe.yaml", "merge_method: !!python/object/apply:os.system ['x'] # code", "not YAML"),
        ("notes2.md", "x", "exactly one of"),
        ("big.bin", "x" * 200_000, "100000 are allowed"),
    ],
)
def test_other_forms_are_refused(desk: Desk, name: str, content: str, reason: str) -> None:
    (desk.submission / name).write_text(content)
    assert reason in desk.refused()


def test_exactly_one_kind_and_notes(desk: Desk) -> None:
    (desk.submission / "method.py").write_text(METHOD)
    (desk.submission / "recipe.yaml").write_text("merge_method: linear # code")
    assert "exactly one" in desk.refused()
    (desk.submission / "recipe.yaml").unlink()
    (desk.submission / "notes.md").unlink()
    assert "notes.md is missing" in desk.refused()


def test_canaries_are_found(desk: Desk, tmp_path: Path) -> None:
    mark = canary("run-secret", "confirm items")
    assert mark == canary("run-secret", "confirm items") != canary("other", "confirm items")
    (desk.submission / "method.py").write_text(METHOD + f"# {mark}\n")
    with pytest.raises(SubmissionRefusedError, match="contains a canary"):
        desk.accept((mark, canary("run-secret", "evaluator")))
    assert list(leaks(tmp_path, [mark])) == [mark]


def test_the_check_command_says_the_same_alone(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(desk.contract.model_dump_json())
    (tmp_path / "check").write_bytes(Path(check_submission.__file__).read_bytes())

    def check() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "check"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    assert check() == (1, "- Hand in exactly one of recipe.yaml, method.py, weights; there is none.\n")
    checkpoints.write(desk.submission / "weights", desk.merged())
    assert check() == (0, "The form of the submission is fine.\n")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_header_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "weights").mkdir()
    (folder / "notes.md").write_text("x")
    (folder / "weights" / "model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)
    contract = {"max_bytes": 10_000, "models": ["a"], "tensors": {"t": [1]}}
    assert problems(folder, contract)


@pytest.mark.parametrize(
    "header",
    [
        {"t": {"dtype": "F32", "shape": [4], "data_offsets": [0, 999]}},
        {"t": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}},
        {"t": {"dtype": "F32", "shape": [-4], "data_offsets": [0, -16]}},
        {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {"t": {"dtype": "F32"}},
        {"t": None},
    ],
)
def test_lying_headers(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises((ValueError, KeyError, TypeError)):
        safetensors_header(file)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_rounding_is_torchs(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    for name, dtype in (("BF16", torch.bfloat16), ("F16", torch.float16)):
        theirs = torch.from_numpy(array).to(dtype).float().numpy()
        assert np.array_equal(rounded(array, name), theirs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_values_are_read_as_torch_reads_them(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    save_file({"a": torch.zeros(2), "t": tensor, "empty": torch.zeros(0)}, tmp_path / "m.safetensors")
    header = safetensors_header(tmp_path / "m.safetensors")
    assert np.array_equal(values(header["t"]), tensor.double().numpy().ravel())
    assert values(header["empty"]).size == 0
