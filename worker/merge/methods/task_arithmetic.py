"""Task arithmetic (arXiv 2212.04089): θ0 + λ Σ wᵢ τᵢ; MergeBench's setting is w = 0.4."""

from collections.abc import Sequence
from typing import Any

import torch

from worker.merge.kernels.elementwise import add_deltas_into
from worker.merge.method import MergeMethod, ignored, per_expert, shared

Tensor = torch.Tensor


def task_arithmetic_into(
    out: Tensor, base: Tensor, experts: Sequence[Tensor], weight: Sequence[float], factor: float = 1.0
) -> None:
    """Write base + factor · Σ wᵢ·(xᵢ - base)."""
    add_deltas_into(out, base, experts, [w * factor for w in weight])


def scaled_weights(weight: Sequence[float], scale: float = 1.0, normalize: bool = False) -> list[float]:
    """Return the deltas' weights: divided by Σ wᵢ when normalized, multiplied by λ."""
    total = sum(weight)
    factor = scale / total if normalize and abs(total) >= 1e-8 else scale
    return [w * factor for w in weight]


def _into(out: Tensor, base: Tensor, experts: Sequence[Tensor], **parameters: Any) -> None:
    task_arithmetic_into(out, base, experts, scaled_weights(**parameters))


METHOD = MergeMethod(
    "task_arithmetic",
    into=_into,
    mix=scaled_weights,
    parameters=(
        per_expert("weight"), shared("lambda", 1.0), shared("normalize", False, bool),
        ignored("density", 1.0), ignored("rescale"), ignored("int8_mask"),
    ),
)  # fmt: skip
