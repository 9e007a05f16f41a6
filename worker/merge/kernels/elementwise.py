"""Element-wise merges, chunk by chunk in fp32 (fp64 for fp64 inputs), written straight into the target.

A chunk and its few temporaries stay in the cache, so that memory sees each input once and the output once. On a GPU
with Triton the same rules run as one kernel a tensor (`worker.merge.kernels.fused`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import torch

from worker.merge.kernels import fused
from worker.merge.kernels.threads import one_thread

Tensor = torch.Tensor
_CPU_CHUNK = 1 << 17
_GPU_CHUNK = 1 << 24


def working_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype to compute in."""
    return torch.float64 if tensor.dtype is torch.float64 else torch.float32


def chunks(tensor: Tensor) -> Iterator[slice]:
    """Yield slices of the flat tensor that fit the cache; on a CPU, what is done between them runs in one thread.

    Threads would meet after every operation on a chunk, tens of thousands of times a merge: on a machine that does
    something else as well each meeting waits for the scheduler, and a merge takes a minute in place of a second.
    """
    size = _GPU_CHUNK if tensor.is_cuda else _CPU_CHUNK
    with nullcontext() if tensor.is_cuda else one_thread():
        for start in range(0, tensor.numel(), size):
            yield slice(start, min(start + size, tensor.numel()))


def weighted_sum_into(out: Tensor, inputs: Sequence[Tensor], weights: Sequence[float], divisor: float = 1.0) -> None:
    """Write Σ wᵢ·xᵢ / divisor."""
    if fused.usable(out, inputs):
        return fused.weighted_sum(out, inputs, [w / divisor for w in weights])
    dtype, target = working_dtype(inputs[0]), out.view(-1)
    flat = [x.reshape(-1) for x in inputs]
    for part in chunks(out):
        total = torch.zeros(part.stop - part.start, dtype=dtype, device=out.device)
        for x, weight in zip(flat, weights, strict=True):
            total.add_(x[part].to(dtype), alpha=weight)
        target[part] = total.div_(divisor) if divisor != 1.0 else total
    return None


def add_deltas_into(
    out: Tensor,
    base: Tensor,
    experts: Sequence[Tensor],
    weights: Sequence[float],
    masks: Sequence[Tensor] | None = None,
) -> None:
    """Write base + Σ wᵢ·mᵢ·(xᵢ - base); experts that are the base itself, and zero weights, cost nothing."""
    live = [i for i, x in enumerate(experts) if x is not base and weights[i] != 0.0]
    experts, weights = [experts[i] for i in live], [weights[i] for i in live]
    masks = [masks[i] for i in live] if masks is not None else None
    if not live:
        out.copy_(base)
        return None
    if fused.usable(out, [base, *experts]):
        return fused.add_deltas(out, base, experts, weights, masks)
    dtype, target, origin = working_dtype(base), out.view(-1), base.reshape(-1)
    flat = [x.reshape(-1) for x in experts]
    for part in chunks(out):
        start = origin[part].to(dtype)
        mixed = torch.zeros_like(start)
        for i, x in enumerate(flat):
            delta = (x[part].to(dtype) - start).mul_(weights[i])
            mixed.add_(delta if masks is None else delta.mul_(as_numbers(masks[i].view(-1)[part])))
        target[part] = mixed.add_(start)
    return None


def as_numbers(mask: Tensor) -> Tensor:
    """Return a mask of booleans as bytes: on a CPU torch multiplies with those four times as fast."""
    return mask.view(torch.uint8)


Keep = Callable[[int, Tensor, slice], Tensor]


def elect_into(
    out: Tensor, base: Tensor, experts: Sequence[Tensor], weights: Sequence[float], options: tuple[Keep, float, bool]
) -> None:
    """Write base + scale · (signed consensus of the kept, weighted deltas): TIES' elect and merge.

    `options` are: what is kept of an expert's delta (expert, delta chunk, its place; dropped entries are 0), the scale,
    and whether to divide by the weights of the agreeing experts (disjoint mean) or not (disjoint sum).
    """
    keep, scale, mean = options
    dtype, target, origin = working_dtype(base), out.view(-1), base.reshape(-1)
    flat = [x.reshape(-1) for x in experts]
    for part in chunks(out):
        start = origin[part].to(dtype)
        deltas = []
        for i, x in enumerate(flat):
            delta = x[part].to(dtype) - start  # not in place: `to` gives the input itself where dtypes agree
            deltas.append(keep(i, delta, part).mul_(weights[i]))
        mixed = elect(deltas, weights, mean=mean)
        target[part] = mixed.mul_(scale).add_(start) if scale != 1.0 else mixed.add_(start)


def elect(deltas: Sequence[Tensor], weights: Sequence[float], *, mean: bool) -> Tensor:
    """Return the sum (or weighted mean) of the deltas that agree with the sign of their sum (TIES, eq. 2-3)."""
    total = deltas[0].clone()
    for delta in deltas[1:]:
        total.add_(delta)
    sign = torch.ge(total, 0, out=torch.empty_like(total)).mul_(2).sub_(1)  # numbers at once: booleans take longer
    mixed = torch.zeros_like(total)
    divisor = torch.zeros_like(total) if mean else None
    for delta, weight in zip(deltas, weights, strict=True):
        agreeing = (delta * sign).clamp_min_(0)  # what points the other way becomes 0
        mixed.add_(agreeing)
        if divisor is not None:
            divisor.add_(agreeing.sign_(), alpha=weight)
    if divisor is not None:
        mixed.div_(divisor.add_(torch.eq(divisor, 0, out=torch.empty_like(divisor))))
    return mixed.mul_(sign)
