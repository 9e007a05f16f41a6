"""The Triton kernels' arithmetic, run by Triton's interpreter on the CPU in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import torch
from worker.merge.kernels import elementwise, fused, triton_rules
from worker.merge.kernels.select import Threshold, keeper

torch.manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    for n in (1, 3, 8):
        base = torch.randn(37, 61).to(dtype)
        experts = [(base.float() + 0.1 * torch.randn(37, 61)).to(dtype) for _ in range(n)]
        weights = [0.2 + 0.1 * i for i in range(n)]
        masks = [torch.rand(37, 61) < 0.5 for _ in range(n)]
        tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype is torch.float32 else {"rtol": 8e-3, "atol": 1e-3}

        def check(fast, slow):
            torch.testing.assert_close(fast, slow, **tolerance)

        fast, slow = torch.empty_like(base), torch.empty_like(base)
        fused.weighted_sum(fast, experts, weights)
        elementwise.weighted_sum_into(slow, experts, weights)
        check(fast, slow)
        for chosen in (None, masks):
            fused.add_deltas(fast, base, experts, weights, chosen)
            elementwise.add_deltas_into(slow, base, experts, weights, chosen)
            check(fast, slow)
        for mean in (True, False):
            limits = [0.05 * (i + 1) for i in range(n)]
            fused.elect(fast, base, experts, weights, fused.Election(thresholds=limits, scale=0.7, mean=mean))
            keep = keeper([Threshold(v) for v in limits])
            elementwise.elect_into(slow, base, experts, weights, (keep, 0.7, mean))
            check(fast, slow)
            fused.elect(fast, base, experts, weights, fused.Election(masks=masks, scale=0.7, mean=mean))
            flat = [m.view(-1) for m in masks]
            elementwise.elect_into(slow, base, experts, weights, (lambda i, d, part: d * flat[i][part], 0.7, mean))
            check(fast, slow)
        fused.add_deltas(fast, base, experts, [0.0] * n, None)
        assert torch.equal(fast, base)

    # Many tensors in one launch: sizes within a program, of some programs, and of exactly one.
    sizes = [8, 2048 * 8, 37 * 640, 40_000]
    bases = [torch.randn(size).to(dtype) for size in sizes]
    experts = [[(b.float() + 0.1 * torch.randn(b.shape)).to(dtype) for b in bases] for _ in range(3)]
    for deltas in (True, False):
        outs = [torch.full_like(b, torch.nan) for b in bases]
        weights = [[0.3, 0.0, -0.2], [0.5, 0.1, 0.2], [0.0, 0.0, 1.0], [1.2, 0.4, 0.4]]
        mixes = [
            fused.Mix(out, base if deltas else None, [e[i] for e in experts], weights[i]).lean()
            for i, (out, base) in enumerate(zip(outs, bases))
        ]
        assert [len(m.inputs) for m in mixes] == [2, 3, 1, 3]
        fused.mix_all(mixes)
        for i, (out, base) in enumerate(zip(outs, bases)):
            slow, given = torch.empty_like(base), [e[i] for e in experts]
            if deltas:
                elementwise.add_deltas_into(slow, base, given, weights[i])
            else:
                elementwise.weighted_sum_into(slow, given, weights[i])
            check(out, slow)
print("agree")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="this torch has no Triton")
def test_kernels_agree_with_the_chunked_rules() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "agree"
