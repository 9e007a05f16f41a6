"""LoRI (arXiv 2504.07448) for experts that were not trained as LoRI adapters: an approximation.

All experts share one frozen random A; B = τ A⁺ is the best fit on it, of which the largest entries are kept. A rank-r
random subspace of an n-dimensional input holds about r/n of an arbitrary τ, so little of it survives: the table says so.
"""

from collections.abc import Sequence

import torch

from worker.merge.method import MergeMethod, per_expert, shared

Tensor = torch.Tensor


def lori(
    base: Tensor, experts: Sequence[Tensor], *, weight: Sequence[float], rank: int = 32, sparsity: float = 0.9,
    seed: int = 0,
) -> Tensor:  # fmt: skip
    """Return base + Σ wᵢ · mask(τᵢ A⁺) A; what isn't a matrix stays that of the base."""
    if base.ndim != 2:
        return base
    generator = torch.Generator().manual_seed(seed)
    size = min(rank, base.shape[1])
    shared_a = torch.randn(size, base.shape[1], generator=generator, dtype=torch.float64).to(base)
    inverse = torch.linalg.pinv(shared_a)
    out = base.clone()
    for x, w in zip(experts, weight, strict=True):
        b = (x - base) @ inverse
        keep = max(1, round((1 - sparsity) * b.numel()))
        threshold = b.abs().reshape(-1).topk(keep).values[-1]
        out.add_((b * (b.abs() >= threshold)) @ shared_a, alpha=w)
    return out


METHOD = MergeMethod(
    "ra_lori",
    rule=lori,
    parameters=(per_expert("weight"), shared("rank", 32, int), shared("sparsity", 0.9), shared("seed", 0, int)),
)
