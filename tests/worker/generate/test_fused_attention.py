"""The kernel runs in Triton's interpreter here: its arithmetic is checked without a GPU, its speed is not."""

import subprocess
import sys

import pytest
import torch

from worker.generate import fused_attention

CHECK = """
import torch
from worker.generate import fused_attention as f
torch.manual_seed(0)
cases = [(4, 2, 32, None, None), (16, 8, 64, 5.0, None), (9, 3, 64, None, 20), (8, 1, 32, 2.0, 7)]
for heads, kv, dim, softcap, window in cases:
    rows, span = 3, 75
    query = torch.randn(rows, heads, 1, dim)
    key, value = torch.randn(2, rows * kv, 128, dim)[:, :, :span]
    lengths = torch.tensor([0, 31, 74])
    shape = f.Shape(dim ** -0.5, softcap, window)
    ours, wanted = (way(query, key, value, lengths, shape) for way in (f.attend, f.reference))
    torch.testing.assert_close(ours, wanted, atol=2e-5, rtol=1e-4)
print("equal")
"""


@pytest.mark.skipif(fused_attention.triton is None, reason="Triton is not installed")
def test_the_kernel_equals_the_formula() -> None:
    environment = {"TRITON_INTERPRET": "1", "PATH": "/usr/bin:/bin", "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_not_used_without_a_gpu() -> None:
    shape = fused_attention.Shape(0.1)
    assert not fused_attention.agrees((4, 2, 64), shape, torch.bfloat16, torch.device("cpu"))
