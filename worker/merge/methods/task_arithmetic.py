"""Task arithmetic (arXiv 2212.04089): θ0 + λ Σ wᵢ τᵢ; MergeBench's setting is w = 0.4."""

from collections.abc import Sequence

import torch

from worker.merge.kernels.elementwise import add_deltas_into
from worker.merge.method import MergeMethod, ignored, per_expert, shared

Tensor = torch.Tensor


def task_arithmetic_into(
    out: Tensor, base: Tensor, experts: Sequence[Tensor], weight: Sequence[float], factor: float = 1.0
) -> None:
    """Write base + factor · Σ wᵢ·(xᵢ - base)."""
    add_deltas_into(out, base, experts, [w * factor for w in weight])


def _into(out: Tensor, base: Tensor, experts: Sequence[Tensor], weight: Sequence[float], **options: float) -> None:
    """Divide by Σ wᵢ when normalized, and multiply by λ."""
    total, factor = sum(weight), options["scale"]
    if options["normalize"] and abs(total) >= 1e-8:
        factor /= total
    task_arithmetic_into(out, base, experts, weight, factor)


METHOD = MergeMethod(
    "task_arithmetic",
    into=_into,
    parameters=(
        per_expert("weight"), shared("lambda", 1.0), shared("normalize", False, bool),
        ignored("density", 1.0), ignored("rescale"), ignored("int8_mask"),
    ),
)  # fmt: skip
