import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidInputError, JobFailedError
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Weights
from worker.submitted_method import MethodCall, MethodLimits, check_like_base, run_submitted_method

AVERAGE = """
import torch
def merge(base, experts, scale=1.0):
    return {n: t + scale * sum(e[n] - t for e in experts.values()) / len(experts) for n, t in base.items()}
"""


def call(tmp_path: Path, source: str, **limits: float) -> Path:
    method = tmp_path / "method.py"
    method.write_text(source)
    made = MethodCall(
        method, "base", checkpoints.family(tmp_path / "models"), {"scale": 0.5} if "scale" in source else {}
    )
    return run_submitted_method(made, tmp_path / "out", MethodLimits(**{"seconds": 60, "memory_mb": 2048, **limits}))


def test_a_method_merges_and_the_result_is_a_checkpoint(tmp_path: Path) -> None:
    out = call(tmp_path, AVERAGE)
    base, code, math = (checkpoints.read(tmp_path / "models" / n) for n in ("base", "code", "math"))
    for name, got in checkpoints.read(out).items():
        wanted = base[name] + 0.25 * ((code[name] - base[name]) + (math[name] - base[name]))
        assert np.allclose(got, wanted, atol=1e-6)
    assert (out / "config.json").is_file()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('it does not converge')", "it does not converge"),
        ("import os; os.symlink('/etc/passwd', '/out/model.safetensors'); os._exit(0)", "saved no tensors"),
        ("x = [bytearray(b'x' * 10**8) for _ in range(10**6)]", "failed"),
    ],
)
def test_what_goes_wrong_is_said(tmp_path: Path, body: str, reason: str) -> None:
    with pytest.raises(JobFailedError, match=reason):
        call(tmp_path, f"def merge(base, experts):\n    {body}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: {}, "left .* out"),
        (lambda w: {n: t * np.float32("nan") for n, t in w.items()}, "not finite"),
        (lambda w: {n: t.reshape(-1)[:4] for n, t in w.items()}, "the base has"),
        (lambda w: {n: t.astype(np.float64) for n, t in w.items()}, "the base has"),
        (lambda w: {**w, "more": np.zeros(1, np.float32)}, "made more, which the base does not have"),
    ],
)
def test_results_unlike_the_base_are_refused(tmp_path: Path, change: Callable[[Weights], Weights], reason: str) -> None:
    base = checkpoints.family(tmp_path)["base"]
    made = checkpoints.write(tmp_path / "made", change(checkpoints.read(base))) / "model.safetensors"
    with pytest.raises(JobFailedError, match=reason):
        check_like_base(made, base)


def test_junk_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("junk")
    with pytest.raises(JobFailedError, match="not safetensors"):
        check_like_base(tmp_path / "made", checkpoints.family(tmp_path)["base"])


def test_time_is_limited(tmp_path: Path) -> None:
    with pytest.raises(JobFailedError, match="more than 5 s"):
        call(tmp_path, "def merge(base, experts):\n    while True: pass\n", seconds=5)


def test_nothing_of_ours_is_in_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-canary")
    (tmp_path / "secret").write_text("sk-canary")
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"""
import os, socket
def merge(base, experts):
    try:
        open('/models/base/model.safetensors', 'w')
    except OSError: pass
    else: raise AssertionError('models')
    assert 'sk-canary' not in repr(dict(os.environ)), 'environment'
    assert not os.path.exists({str(tmp_path / "secret")!r}), 'files'
    assert not os.path.exists({str(Path(__file__))!r}), 'the project'
    try:
        socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)
    except OSError:
        return base
    raise AssertionError('network')
"""
        call(tmp_path, source)
    assert os.environ["DEEPSEEK_API_KEY"] == "sk-canary"


def test_the_base_must_be_a_parent(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not among the parents"):
        run_submitted_method(MethodCall(tmp_path, "x", {}, {}), tmp_path / "out")
