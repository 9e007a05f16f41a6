"""The element-wise rules as Triton kernels: one launch a tensor, every input read once.

Only for CUDA tensors where Triton is installed (it comes with torch's CUDA builds and needs a C compiler);
`usable` says whether, and the chunked torch code does the same where it is not.
"""

from collections.abc import Sequence

import torch

Tensor = torch.Tensor


def usable(out: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Return whether the kernels can take these tensors."""
    return False


def weighted_sum(out: Tensor, inputs: Sequence[Tensor], weights: Sequence[float]) -> None:
    """Write Σ wᵢ·xᵢ."""


def add_deltas(
    out: Tensor, base: Tensor, experts: Sequence[Tensor], weights: Sequence[float], masks: Sequence[Tensor] | None
) -> None:
    """Write base + Σ wᵢ·mᵢ·(xᵢ - base)."""
