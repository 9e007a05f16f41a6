"""LoRI (arXiv 2504.07448) for experts that were not trained as LoRI adapters: an approximation.

All experts share one frozen random A; B = τ A⁺ is the best fit on it, of which the largest entries are kept. A random
subspace of rank r in n dimensions holds about r/n of an arbitrary τ, so little of it survives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worker.merge.method import MergeMethod, per_expert, shared

Tensor = torch.Tensor


@dataclass(frozen=True)
class LoriSettings:
    """Weights of the experts, rank of the shared A, share of B that is dropped, seed of A."""

    weight: Sequence[float]
    rank: int = 32
    sparsity: float = 0.9
    seed: int = 0


def lori(base: Tensor, experts: Sequence[Tensor], settings: LoriSettings) -> Tensor:
    """Return base + Σ wᵢ · mask(τᵢ A⁺) A; what isn't a matrix stays that of the base."""
    if base.ndim != 2:
        return base
    generator = torch.Generator().manual_seed(settings.seed)
    size = min(settings.rank, base.shape[1])
    shared_a = torch.randn(size, base.shape[1], generator=generator, dtype=torch.float64).to(base)
    inverse = torch.linalg.pinv(shared_a)
    out = base.clone()
    for x, w in zip(experts, settings.weight, strict=True):
        b = (x - base) @ inverse
        keep = max(1, round((1 - settings.sparsity) * b.numel()))
        threshold = b.abs().reshape(-1).topk(keep).values[-1]
        out.add_((b * (b.abs() >= threshold)) @ shared_a, alpha=w)
    return out


METHOD = MergeMethod(
    "ra_lori",
    rule=lori,
    settings=LoriSettings,
    parameters=(per_expert("weight"), shared("rank", 32, int), shared("sparsity", 0.9), shared("seed", 0, int)),
)
