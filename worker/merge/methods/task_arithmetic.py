"""Task arithmetic (arXiv 2212.04089): θ0 + λ Σ wᵢ τᵢ; MergeBench's setting is w = 0.4."""

from collections.abc import Sequence

import torch

from worker.merge.kernels.elementwise import add_deltas_into
from worker.merge.method import MergeMethod, ignored, per_expert, shared


def task_arithmetic_into(
    out: torch.Tensor, base: torch.Tensor, experts: Sequence[torch.Tensor], *, weight: Sequence[float],
    scale: float = 1.0, normalize: bool = False,
) -> None:  # fmt: skip
    """Write base + scale · Σ wᵢ·(xᵢ - base), divided by Σ wᵢ when normalized."""
    total = sum(weight)
    factor = scale / total if normalize and abs(total) >= 1e-8 else scale
    add_deltas_into(out, base, experts, [w * factor for w in weight])


METHOD = MergeMethod(
    "task_arithmetic",
    into=task_arithmetic_into,
    parameters=(
        per_expert("weight"), shared("lambda", 1.0), shared("normalize", False, bool),
        ignored("density", 1.0), ignored("rescale"), ignored("int8_mask"),
    ),
)  # fmt: skip
