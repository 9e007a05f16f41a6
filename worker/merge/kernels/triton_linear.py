"""One Triton launch for a linear rule over many tensors: out = base + Σ wᵢ (xᵢ - base), or Σ wᵢ xᵢ.

A launch a tensor costs the host more than the device at some hundreds of tensors. Here the device reads which tensor a
program works on, its addresses and its weights from tables. Imported only where Triton is installed.
"""
# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl

_BLOCK = 2048
_STEPS = 8
_TYPES = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}
# What a program reads and writes at once: addresses and lengths must be multiples for it.
ALIGNED_BYTES = 16
ALIGNED_ELEMENTS = 8


@triton.jit
def _mix(
    addresses, weights, owners, firsts, counts,
    N: tl.constexpr, DELTAS: tl.constexpr, TYPE: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    owner = tl.load(owners + tl.program_id(0)).to(tl.int64)
    place = (tl.program_id(0) - tl.load(firsts + owner)).to(tl.int64) * (BLOCK * STEPS)
    count = tl.multiple_of(tl.load(counts + owner), 8)
    row = addresses + owner * (N + 2)
    out = tl.multiple_of(tl.load(row).to(tl.pointer_type(TYPE)), 16)
    base = tl.multiple_of(tl.load(row + 1).to(tl.pointer_type(TYPE)), 16)
    for step in range(STEPS):
        at = tl.multiple_of(place + step * BLOCK, BLOCK) + tl.arange(0, BLOCK)
        inside = at < count
        start = tl.zeros([BLOCK], dtype=tl.float32)
        if DELTAS:
            start = tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
        total = tl.zeros([BLOCK], dtype=tl.float32)
        for i in tl.static_range(N):
            other = tl.multiple_of(tl.load(row + 2 + i).to(tl.pointer_type(TYPE)), 16)
            value = tl.load(other + at, mask=inside, other=0.0).to(tl.float32)
            if DELTAS:
                value = value - start
            total += value * tl.load(weights + owner * N + i)
        tl.store(out + at, (start + total).to(TYPE), mask=inside)


def launch(
    outs: Sequence[torch.Tensor],
    bases: Sequence[torch.Tensor] | None,
    inputs: Sequence[Sequence[torch.Tensor]],
    weights: Sequence[Sequence[float]],
) -> None:
    """Write every tensor's result; all are contiguous, of one dtype and device, aligned, with as many inputs each."""
    device, n = outs[0].device, len(inputs[0])
    starts = outs if bases is None else bases
    table = [
        [out.data_ptr(), base.data_ptr(), *(x.data_ptr() for x in given)]
        for out, base, given in zip(outs, starts, inputs, strict=True)
    ]
    sizes = [out.numel() for out in outs]
    shares = [-(-size // (_BLOCK * _STEPS)) for size in sizes]
    firsts = [0, *accumulate(shares)]

    def placed(values: Sequence[object], dtype: torch.dtype) -> torch.Tensor:
        # Not blocking: a plain copy would wait for the launches before it.
        return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)

    numbers = torch.arange(len(outs), dtype=torch.int32, device=device)
    owners = numbers.repeat_interleave(placed(shares, torch.int64), output_size=firsts[-1])
    _mix[(firsts[-1],)](
        placed(table, torch.int64), placed(weights, torch.float32), owners, placed(firsts, torch.int32),
        placed(sizes, torch.int64), N=n, DELTAS=bases is not None, TYPE=_TYPES[outs[0].dtype], BLOCK=_BLOCK,
        STEPS=_STEPS,
    )  # fmt: skip
