"""The element-wise rules as Triton kernels: one launch a tensor, every input read once, fp32 inside.

Only for contiguous CUDA tensors where Triton is installed (it comes with torch's CUDA builds; its launcher needs a C
compiler). `usable` says whether; the chunked torch code does the same where it is not. `TRITON_INTERPRET=1` runs the
kernels on the CPU, which is how their arithmetic is tested without a GPU.
"""

import importlib.util
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

if importlib.util.find_spec("triton") is not None:
    from worker.merge.kernels import triton_rules
else:  # a torch build without CUDA
    triton_rules = None  # type: ignore[assignment]

Tensor = torch.Tensor
MAX_EXPERTS = 8
_FLOATS = {torch.bfloat16, torch.float16, torch.float32}


@dataclass(frozen=True)
class Election:
    """What TIES' election keeps: entries under each expert's mask, or of at least its threshold; scale and divisor."""

    masks: Sequence[Tensor] | None = None
    thresholds: Sequence[float] | None = None
    scale: float = 1.0
    mean: bool = True


@cache
def _installed() -> bool:
    return triton_rules is not None and any(shutil.which(c) for c in (os.environ.get("CC", "cc"), "gcc", "clang"))


def usable(out: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Return whether the kernels can take these tensors."""
    tensors = [out, *inputs]
    return (
        out.is_cuda
        and len(inputs) <= MAX_EXPERTS + 1
        and all(t.dtype in _FLOATS and t.device == out.device and t.is_contiguous() for t in tensors)
        and _installed()
    )


def weighted_sum(out: Tensor, inputs: Sequence[Tensor], weights: Sequence[float]) -> None:
    """Write Σ wᵢ·xᵢ."""
    triton_rules.launch(out, None, inputs, triton_rules.Options(weights))


def add_deltas(
    out: Tensor, base: Tensor, experts: Sequence[Tensor], weights: Sequence[float], masks: Sequence[Tensor] | None
) -> None:
    """Write base + Σ wᵢ·mᵢ·(xᵢ - base)."""
    triton_rules.launch(out, base, experts, triton_rules.Options(weights, masks=masks))


def elect(out: Tensor, base: Tensor, experts: Sequence[Tensor], weights: Sequence[float], election: Election) -> None:
    """Write base + scale · (consensus of the kept, weighted deltas)."""
    options = triton_rules.Options(
        weights, election.masks, election.thresholds, elect=True, mean=election.mean, scale=election.scale
    )
    triton_rules.launch(out, base, experts, options)
