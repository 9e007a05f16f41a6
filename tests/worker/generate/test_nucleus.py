"""The kernel runs in Triton's interpreter here: its arithmetic is checked without a GPU, its speed is not."""

import os
import subprocess
import sys

import pytest
import torch

from worker.generate import nucleus
from worker.generate.sampling import in_one_launch

CHECK = """
import torch
from worker.generate import nucleus
from worker.generate.draw_rows import DrawRows
from worker.generate.sampling import by_sorting

def check(logits, temperature, top_p):
    count = len(logits)
    numbers = torch.arange(count)
    rows = DrawRows(
        torch.tensor(temperature).repeat(count)[:count], torch.tensor(top_p).repeat(count)[:count],
        numbers * 7_000_000_000_001 - 5, numbers % 3,
    )
    assert torch.equal(nucleus.draw(logits, rows), by_sorting(logits, rows)), (temperature, top_p, logits.dtype)

made = torch.Generator().manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    logits = (2 * torch.randn((16, 3000), generator=made)).to(dtype)
    check(logits, [0.0, 0.2, 0.7, 1.3], [0.95, 0.9, 0.5, 0.01, 1.0])
    check((logits * 2).round() / 2, [1.0], [0.9])  # ties by the hundred
    masked = logits.clone()
    masked[:, ::3] = -torch.inf
    check(masked[:, 7:2500], [0.5, 3.0], [0.95])  # rows that don't lie one after the other
    check(logits[:, :5], [1.0], [0.99])
    check(logits[:0], [1.0], [0.99])
    nucleus._ROOM = 16  # candidates have no room: the whole vocabulary is looked at again
    check(logits, [0.2, 2.0], [0.95, 0.999])
    nucleus._ROOM = 1 << 14
none = torch.full((1, 50), torch.nan)
one = torch.ones(1)
assert 0 <= nucleus.draw(none, DrawRows(one, one, one.long(), one.long())).item() < 50  # ends
print("equal")
"""


@pytest.mark.skipif(nucleus.triton is None, reason="Triton is not installed")
def test_the_kernel_draws_what_sorting_draws() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_not_used_without_a_gpu() -> None:
    assert not in_one_launch(torch.device("cpu"))
