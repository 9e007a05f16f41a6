"""One Triton kernel for all element-wise rules; which steps it takes is decided when it is compiled.

Imported only where Triton is installed. Pointers of absent experts repeat the first one and are never read.
"""
# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

_BLOCK = 2048
_SLOTS = 8


@dataclass(frozen=True)
class Options:
    """Weights of the experts; masks (booleans) or thresholds on |delta|; for an election its scale and divisor."""

    weights: Sequence[float]
    masks: Sequence[torch.Tensor] | None = None
    thresholds: Sequence[float] | None = None
    elect: bool = False
    mean: bool = False
    scale: float = 1.0


@triton.jit
def _delta(expert, mask, start, weight, threshold, at, inside, DELTAS: tl.constexpr, KEEP: tl.constexpr):
    value = tl.load(expert + at, mask=inside, other=0.0).to(tl.float32)
    if DELTAS:
        value = value - start
    if KEEP == 1:
        value = tl.where(tl.load(mask + at, mask=inside, other=0) != 0, value, 0.0)
    if KEEP == 2:
        value = tl.where(tl.abs(value) >= threshold, value, 0.0)
    return value * weight


@triton.jit
def _agreeing(value, weight, positive, total, divisor):
    agrees = tl.where(positive, value > 0, value < 0)
    return total + tl.where(agrees, value, 0.0), divisor + tl.where(agrees, weight, 0.0)


@triton.jit
def _merge(
    out, base, e0, e1, e2, e3, e4, e5, e6, e7, m0, m1, m2, m3, m4, m5, m6, m7,
    w0, w1, w2, w3, w4, w5, w6, w7, t0, t1, t2, t3, t4, t5, t6, t7, scale, count,
    N: tl.constexpr, DELTAS: tl.constexpr, KEEP: tl.constexpr, ELECT: tl.constexpr, MEAN: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    start = tl.zeros([BLOCK], dtype=tl.float32)
    if DELTAS:
        start = tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
    d0 = _delta(e0, m0, start, w0, t0, at, inside, DELTAS, KEEP)
    total = d0
    if N > 1:
        d1 = _delta(e1, m1, start, w1, t1, at, inside, DELTAS, KEEP)
        total += d1
    if N > 2:
        d2 = _delta(e2, m2, start, w2, t2, at, inside, DELTAS, KEEP)
        total += d2
    if N > 3:
        d3 = _delta(e3, m3, start, w3, t3, at, inside, DELTAS, KEEP)
        total += d3
    if N > 4:
        d4 = _delta(e4, m4, start, w4, t4, at, inside, DELTAS, KEEP)
        total += d4
    if N > 5:
        d5 = _delta(e5, m5, start, w5, t5, at, inside, DELTAS, KEEP)
        total += d5
    if N > 6:
        d6 = _delta(e6, m6, start, w6, t6, at, inside, DELTAS, KEEP)
        total += d6
    if N > 7:
        d7 = _delta(e7, m7, start, w7, t7, at, inside, DELTAS, KEEP)
        total += d7
    if ELECT:
        positive = total >= 0
        total = tl.zeros([BLOCK], dtype=tl.float32)
        divisor = tl.zeros([BLOCK], dtype=tl.float32)
        total, divisor = _agreeing(d0, w0, positive, total, divisor)
        if N > 1:
            total, divisor = _agreeing(d1, w1, positive, total, divisor)
        if N > 2:
            total, divisor = _agreeing(d2, w2, positive, total, divisor)
        if N > 3:
            total, divisor = _agreeing(d3, w3, positive, total, divisor)
        if N > 4:
            total, divisor = _agreeing(d4, w4, positive, total, divisor)
        if N > 5:
            total, divisor = _agreeing(d5, w5, positive, total, divisor)
        if N > 6:
            total, divisor = _agreeing(d6, w6, positive, total, divisor)
        if N > 7:
            total, divisor = _agreeing(d7, w7, positive, total, divisor)
        if MEAN:
            total = total / tl.where(divisor == 0, 1.0, divisor)
    merged = start + total * scale
    tl.store(out + at, merged.to(out.dtype.element_ty), mask=inside)


def launch(out: torch.Tensor, base: torch.Tensor | None, experts: Sequence[torch.Tensor], options: Options) -> None:
    """Write the rule's result into `out`; all tensors are contiguous and of one shape."""
    count, n = out.numel(), len(experts)
    masks = [m.view(torch.uint8) for m in options.masks] if options.masks is not None else [experts[0]] * n
    keep = 1 if options.masks is not None else 2 if options.thresholds is not None else 0
    thresholds = list(options.thresholds) if options.thresholds is not None else [0.0] * n
    _merge[(triton.cdiv(count, _BLOCK),)](
        out, experts[0] if base is None else base,
        *_filled(list(experts)), *_filled(masks), *_filled([float(w) for w in options.weights]),
        *_filled([float(t) for t in thresholds]), float(options.scale), count,
        N=n, DELTAS=base is not None, KEEP=keep, ELECT=options.elect, MEAN=options.mean, BLOCK=_BLOCK,
    )  # fmt: skip


def _filled(values: list) -> list:  # type: ignore[type-arg]
    return values + values[:1] * (_SLOTS - len(values))
