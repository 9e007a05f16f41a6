"""CAMEx (arXiv 2502.18821) with fixed curvature: θ0 + Σ wᵢ τᵢ Mᵢ, Mᵢ = n Cᵢ (Σ Cⱼ)⁻¹ from the inputs' covariances.

The paper learns the Kronecker factors of M inside a mixture-of-experts layer; here the input-side factor is measured
once. With equal weights 1/n and no ridge it is RegMean; other weights make it a curvature-aware task arithmetic.
"""

from collections.abc import Mapping, Sequence

import torch

from worker.merge.context import MergeContext, Resolution
from worker.merge.grams import BlockGrams, gram_list
from worker.merge.method import MergeMethod, per_expert, shared
from worker.merge.methods.ra_regmean import solve

Tensor = torch.Tensor


def camex(
    base: Tensor, experts: Sequence[Tensor], *, statistics: Mapping[str, Tensor], weight: Sequence[float],
    ridge: float = 1e-2,
) -> Tensor:  # fmt: skip
    """Return base + Σ wᵢ · τᵢ, preconditioned where the tensor is a linear layer's weight."""
    grams = gram_list(statistics, len(experts))
    if grams is None:
        return base + sum((w * (x - base) for w, x in zip(weight, experts, strict=True)), torch.zeros_like(base))
    covariances = [g.to(base.dtype) / g.diagonal().mean().clamp_min(1e-30) for g in grams]
    right = base.new_zeros(base.shape[1], base.shape[0])
    for covariance, x, w in zip(covariances, experts, weight, strict=True):
        right.addmm_(covariance, (x - base).T, alpha=w * len(experts))
    return base + solve(torch.stack(covariances).sum(0), right, ridge).T


def resolve(context: MergeContext) -> Resolution:
    """Take the covariances from each expert's own layers."""
    return Resolution(context.plan, BlockGrams(context, from_merged=False))


METHOD = MergeMethod(
    "ra_camex", rule=camex, resolve=resolve, statistics=True, parameters=(per_expert("weight"), shared("ridge", 1e-2))
)
