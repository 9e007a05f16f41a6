"""RegMean (arXiv 2212.09849) and RegMean++ (2508.03121): per linear layer W = (Σ Gᵢ)⁻¹ Σ Gᵢ Wᵢ, Gᵢ = XᵢᵀXᵢ.

Off-diagonal entries of G are scaled by α. Solved as base + (Σ Gᵢ)⁻¹ Σ Gᵢ τᵢ, the same in exact arithmetic, but the
ridge then pulls towards the base and the small τ keeps its digits. What isn't a linear layer's weight is averaged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from core.errors import RunError
from worker.merge.context import MergeContext, Resolution
from worker.merge.grams import BlockGrams, gram_list
from worker.merge.method import MergeMethod, shared

Tensor = torch.Tensor
_ATTEMPTS = 6


@dataclass(frozen=True)
class RegMeanSettings:
    """The Grams by expert, the factor on their off-diagonals, the relative ridge, and λ."""

    statistics: Mapping[str, Tensor]
    alpha: float = 0.1
    ridge: float = 1e-6
    scale: float = 1.0


def regmean(base: Tensor, experts: Sequence[Tensor], settings: RegMeanSettings) -> Tensor:
    """Return base + λ · (the regression mean of the task vectors)."""
    grams = gram_list(settings.statistics, len(experts))
    if grams is None:
        return base + settings.scale * (torch.stack(list(experts)).mean(0) - base)
    total = torch.zeros_like(grams[0], dtype=base.dtype)
    right = base.new_zeros(base.shape[1], base.shape[0])
    for gram, x in zip(grams, experts, strict=True):
        shrunk = shrink(gram.to(base.dtype), settings.alpha)
        total.add_(shrunk)
        right.addmm_(shrunk, (x - base).T)
    return base + settings.scale * solve(total, right, settings.ridge).T


def shrink(gram: Tensor, alpha: float) -> Tensor:
    """Return the Gram with its off-diagonal entries scaled by α."""
    shrunk = gram * alpha
    shrunk.diagonal().copy_(gram.diagonal())
    return shrunk


def solve(total: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Solve (total + ridge · mean diagonal · I) X = right by Cholesky; the ridge grows tenfold while that fails."""
    mean = total.diagonal().mean()
    if mean == 0:
        return torch.zeros_like(right)
    for attempt in range(_ATTEMPTS):
        regular = total.clone()
        regular.diagonal().add_(mean * ridge * 10**attempt)
        factor, failed = torch.linalg.cholesky_ex(regular)
        if not int(failed):
            return torch.cholesky_solve(right, factor)
    raise RunError("A Gram matrix is not positive definite.", fix="Use more calibration text or a larger ridge.")


def from_experts(context: MergeContext) -> Resolution:
    """Take each expert's inputs from its own layers."""
    return Resolution(context.plan, BlockGrams(context, from_merged=False))


def from_merged(context: MergeContext) -> Resolution:
    """Take inputs from the merged layers before."""
    return Resolution(context.plan, BlockGrams(context, from_merged=True))


_PARAMETERS = (shared("alpha", 0.1), shared("ridge", 1e-6), shared("lambda", 1.0))
REGMEAN = MergeMethod(
    "ra_regmean", rule=regmean, settings=RegMeanSettings, resolve=from_experts, statistics=True, parameters=_PARAMETERS
)
REGMEAN_PP = MergeMethod(
    "ra_regmean_pp",
    rule=regmean,
    settings=RegMeanSettings,
    resolve=from_merged,
    statistics=True,
    parameters=_PARAMETERS,
)
