"""DARE as published (arXiv 2311.03099): drop entries of τ with probability p, rescale by 1/(1-p), then combine.

mergekit's `dare_linear` and `dare_ties` rescale to the L1 norm instead. Here the masks depend on the seed, the tensor
and the expert's place, not on the order of computing: see `kernels.random_mask`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worker.merge.kernels import fused
from worker.merge.kernels.elementwise import add_deltas_into, elect_into
from worker.merge.kernels.random_mask import keep_mask, mix_seed
from worker.merge.method import MergeMethod, per_expert, shared

Tensor = torch.Tensor


@dataclass(frozen=True)
class DareSettings:
    """Per expert: weight and share to keep (1 - p); λ and the seed."""

    weight: Sequence[float]
    density: Sequence[float]
    scale: float = 1.0
    seed: int = 0


def dare_masks(base: Tensor, experts: Sequence[Tensor], density: Sequence[float], seed: int) -> list[Tensor]:
    """Return each expert's keep mask: true with probability density = 1 - p."""
    return [
        keep_mask(base, max(0.0, min(1.0, share)), mix_seed(seed, place))
        for place, (_, share) in enumerate(zip(experts, density, strict=True))
    ]


def _rescaled(weight: Sequence[float], density: Sequence[float], scale: float) -> list[float]:
    return [w * scale / d if d > 0 else 0.0 for w, d in zip(weight, density, strict=True)]


def dare_linear_into(out: Tensor, base: Tensor, experts: Sequence[Tensor], settings: DareSettings) -> None:
    """Write base + λ Σ wᵢ mᵢ τᵢ / (1 - pᵢ)."""
    if not any(settings.weight):
        out.copy_(base)
        return
    masks = dare_masks(base, experts, settings.density, settings.seed)
    add_deltas_into(out, base, experts, _rescaled(settings.weight, settings.density, settings.scale), masks)


def dare_ties_into(out: Tensor, base: Tensor, experts: Sequence[Tensor], settings: DareSettings) -> None:
    """Write base + λ · (signed consensus sum of wᵢ mᵢ τᵢ / (1 - pᵢ))."""
    if not any(settings.weight):
        out.copy_(base)
        return
    masks = dare_masks(base, experts, settings.density, settings.seed)
    weights = _rescaled(settings.weight, settings.density, 1.0)
    if fused.usable(out, [base, *experts]):
        fused.elect(out, base, experts, weights, fused.Election(masks=masks, scale=settings.scale, mean=False))
        return
    flat = [m.view(-1) for m in masks]
    elect_into(out, base, experts, weights, (lambda i, delta, part: delta * flat[i][part], settings.scale, False))


_PARAMETERS = (per_expert("weight"), per_expert("density", 0.5), shared("lambda", 1.0), shared("seed", 0, int))
LINEAR = MergeMethod("ra_dare_linear", into=dare_linear_into, settings=DareSettings, parameters=_PARAMETERS)
TIES = MergeMethod("ra_dare_ties", into=dare_ties_into, settings=DareSettings, parameters=_PARAMETERS)
