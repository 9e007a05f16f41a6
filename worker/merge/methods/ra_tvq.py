"""Task-vector quantization, plain and residual (arXiv 2503.06921), followed by task arithmetic.

TVQ quantizes each τ to `bits`; RTVQ quantizes the experts' mean difference to `base_bits` and what is left of each
expert to `offset_bits`, the offsets taken from the quantized mean so that they also correct its error.
"""

from collections.abc import Sequence

import torch

from worker.merge.kernels.quantization import dequantize, quantize
from worker.merge.method import MergeMethod, per_expert, shared

Tensor = torch.Tensor


def tvq(base: Tensor, experts: Sequence[Tensor], *, weight: Sequence[float], bits: int = 4) -> Tensor:
    """Return base + Σ wᵢ · Q(τᵢ)."""
    out = base.clone()
    for x, w in zip(experts, weight, strict=True):
        out.add_(dequantize(quantize(x - base, bits)), alpha=w)
    return out


def rtvq(
    base: Tensor, experts: Sequence[Tensor], *, weight: Sequence[float], base_bits: int = 3, offset_bits: int = 2
) -> Tensor:
    """Return base + Σ wᵢ · (Q(mean τ) + Q(τᵢ - Q(mean τ)))."""
    mean = dequantize(quantize(torch.stack(list(experts)).mean(0) - base, base_bits))
    out = base + mean * sum(weight)
    for x, w in zip(experts, weight, strict=True):
        out.add_(dequantize(quantize(x - base - mean, offset_bits)), alpha=w)
    return out


TVQ = MergeMethod("ra_tvq", rule=tvq, parameters=(per_expert("weight"), shared("bits", 4, int)))
RTVQ = MergeMethod(
    "ra_rtvq",
    rule=rtvq,
    parameters=(per_expert("weight"), shared("base_bits", 3, int), shared("offset_bits", 2, int)),
)
