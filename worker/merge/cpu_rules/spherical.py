"""mergekit's interpolations on the sphere for long tensors: inner products in one pass, a linear rule in another.

Each of these rules gives a weighted sum of its inputs whose weights depend on norms and angles alone. mergekit computes
them by several passes over whole tensors in fp32; here the angles come from the Gram matrix, accumulated in fp64. The
result differs from mergekit's by the rounding of fp32 passes, and is the nearer one to fp64: after rounding to bf16, an
entry in 10 000 at most is one step off for NuSLERP and Model Stock, a few in 1 000 for Multi-SLERP and Karcher.

A rule returns False for what it leaves to mergekit's code: short tensors, inputs without a direction, variants.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from worker.merge.cpu_rules.differences import gram
from worker.merge.kernels.elementwise import add_deltas_into, chunks, weighted_sum_into

Tensor = torch.Tensor
# Norm vectors and biases cost nothing; mergekit's code gives the very bits for them.
SHORT = 1 << 17
_SLERP_PART = 1 << 20  # mergekit's own chunk: sums are added in its order, the result is its to the bit
_LINEAR_BEYOND = 0.9995


def slerp_into(out: Tensor, base: Tensor, experts: Sequence[Tensor], t: float) -> bool:
    """Write the point at share `t` of the great circle from base to expert; along a line where they are parallel."""
    first, second = base.reshape(-1), experts[0].reshape(-1)
    parts = [slice(i, i + _SLERP_PART) for i in range(0, len(first), _SLERP_PART)]
    norms = []
    for x in (first, second):
        found = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x[p].float()) for p in parts]), dim=0)
        norms.append(found if found > 1e-8 else torch.ones_like(found))
    products = [((first[p].float() / norms[0]) * (second[p].float() / norms[1])).sum() for p in parts]
    cosine = torch.stack(products).sum(0).clamp(-1, 1)
    share = torch.tensor(t)
    here, there = 1 - share, share
    if cosine.abs() <= _LINEAR_BEYOND:
        angle = torch.acos(cosine)
        here, there = torch.sin((1 - share) * angle) / torch.sin(angle), torch.sin(share * angle) / torch.sin(angle)
    target = out.view(-1)
    for part in chunks(out):
        target[part] = (first[part].float() * here).add_(second[part].float() * there)
    return True


@dataclass(frozen=True)
class NuSlerp:
    """mergekit's parameters of NuSLERP."""

    weight: Sequence[float]
    nuslerp_row_wise: bool = False
    nuslerp_flatten: bool = True


def nuslerp_into(out: Tensor, base: Tensor | None, experts: Sequence[Tensor], **parameters: Any) -> bool:
    """Write the point between two task vectors (or models, without a base) on their great circle."""
    settings = NuSlerp(**parameters)
    weight = settings.weight
    if out.numel() <= SHORT or not settings.nuslerp_flatten or settings.nuslerp_row_wise:
        return False
    inner = gram(base, experts).tolist()
    lengths = math.sqrt(inner[0][0] * inner[1][1])
    cosine = inner[0][1] / lengths if lengths else 1.0
    if 1 - cosine * cosine <= 1e-6:  # nearly parallel: the fp32 angle of mergekit's code decides
        return False
    share = 0.5 if abs(sum(weight)) < 1e-6 else weight[1] / sum(weight)
    angle = math.acos(cosine)
    weights = [math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)]
    return _mix(out, base, experts, weights)


@dataclass(frozen=True)
class MultiSlerp:
    """mergekit's parameters of Multi-SLERP."""

    weight: Sequence[float]
    normalize_weights: bool = True
    eps: float = 1e-8


def multislerp_into(out: Tensor, base: Tensor | None, experts: Sequence[Tensor], **parameters: Any) -> bool:
    """Write the mean direction of the task vectors times their mean length.

    The tangent vectors at the mean direction, weighted, sum to zero: the exponential map that follows in mergekit's
    code moves the mean by the rounding of that sum only.
    """
    settings = MultiSlerp(**parameters)
    if out.numel() <= SHORT or len(experts) == 1:
        return False
    weights = torch.tensor(settings.weight, dtype=torch.float64)
    if settings.normalize_weights:
        weights /= weights.sum()
    inner = gram(base, experts)
    lengths = inner.diagonal().sqrt()
    units = weights / (lengths + settings.eps)
    mean_length = math.sqrt(max(0.0, float(units @ inner @ units)))
    if not mean_length > 1e-3:  # directions that cancel out: what is left of them is rounding
        return False
    return _mix(out, base, experts, (units * ((lengths @ weights) / mean_length)).tolist())


def karcher_into(
    out: Tensor, base: Tensor | None, experts: Sequence[Tensor], max_iter: int = 10, tol: float = 1e-5
) -> bool:
    """Write the Karcher mean of the directions times the mean length: iterated on coefficients, not on tensors."""
    if out.numel() <= SHORT or len(experts) == 1:
        return False
    inner = gram(None, experts)
    lengths = inner.diagonal().sqrt()
    if not bool((lengths > tol).all()):
        return False
    coefficients = karcher_coefficients(inner / lengths.outer(lengths), max_iter, tol)
    weighted_sum_into(out, experts, (coefficients * lengths.mean() / lengths).tolist())
    return True


def karcher_coefficients(cosines: Tensor, max_iter: int, tol: float) -> Tensor:
    """Return the coefficients, in the unit vectors with these cosines (n, n; fp64), of their mean on the sphere.

    Each step maps the units to the tangent space at the present mean, averages them there and walks along the average.
    """
    share = 1.0 / len(cosines)
    mean = torch.full((len(cosines),), share, dtype=torch.float64)
    length = _length(mean, cosines)
    mean = torch.eye(len(cosines), dtype=torch.float64)[0] if length < tol else mean / length
    for _ in range(max_iter):
        to_mean = (cosines @ mean).clamp(-1, 1)
        angles = torch.acos(to_mean)
        pull = torch.where(angles < tol, 0.0, share * angles / torch.sin(angles))
        tangent = pull - (pull @ to_mean) * mean
        step = _length(tangent, cosines)
        if step < tol:
            break
        mean = math.cos(step) * mean + math.sin(step) / step * tangent
        mean = mean / _length(mean, cosines)
    return mean


def model_stock_into(out: Tensor, base: Tensor, experts: Sequence[Tensor], filter_wise: bool = False) -> bool:
    """Write the point between base and mean of the experts that their mean angle implies (arXiv 2403.19522)."""
    if out.numel() <= SHORT or filter_wise:
        return False
    inner, count = gram(base, experts), len(experts)
    lengths = inner.diagonal().sqrt()
    if float(lengths.min() ** 2) < 1e-6:  # mergekit's floor for the product of two lengths
        return False
    above = torch.triu_indices(count, count, 1)
    cosine = float((inner / lengths.outer(lengths))[above[0], above[1]].clamp(-1, 1).mean())
    divisor = 1 + (count - 1) * cosine
    if abs(divisor) < 1e-3:
        return False
    add_deltas_into(out, base, experts, [cosine / divisor] * count)
    return True


def _mix(out: Tensor, base: Tensor | None, experts: Sequence[Tensor], weights: Sequence[float]) -> bool:
    if base is None:
        weighted_sum_into(out, experts, weights)
    else:
        add_deltas_into(out, base, experts, weights)
    return True


def _length(coefficients: Tensor, cosines: Tensor) -> float:
    return math.sqrt(max(0.0, float(coefficients @ cosines @ coefficients)))
