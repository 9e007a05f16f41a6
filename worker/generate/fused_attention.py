"""A fused decoding kernel for CUDA: each row reads only its own tokens, soft-cap and window included.

Without it a step reads every row's columns up to the longest row, writes the scores to memory twice and rounds them.
`agrees` runs the kernel beside the plain formula once, before anything relies on it; where it fails to compile or
differs, the engine goes on without it.
"""

import logging
from dataclasses import dataclass

import torch

try:
    import triton
    import triton.language as tl
    from triton.errors import TritonError
except ImportError:
    triton = None

_BLOCK = 32
_MIN_GROUP = 16
_DIMS = (32, 64, 128, 256)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shape:
    """What changes the formula: the scores' scale, their soft-cap, and the sliding window."""

    scale: float
    softcap: float | None = None
    window: int | None = None


if triton is not None:

    @triton.jit
    def _kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917
        query, key, value, lengths, out, key_row, value_row, scale, softcap, window,
        kv_heads: tl.constexpr, group: tl.constexpr, padded: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
    ):  # fmt: skip
        """Attend from the query heads of one (row, kv head); `lengths` holds the position of the newest token."""
        program = tl.program_id(0).to(tl.int64)
        last = tl.load(lengths + program // kv_heads)
        head = tl.arange(0, padded)
        dim = tl.arange(0, width)
        place = (program * group + head[:, None]) * width + dim[None, :]
        q = tl.load(query + place, mask=head[:, None] < group, other=0.0)
        best = tl.full((padded,), -1e30, tl.float32)
        mass = tl.zeros((padded,), tl.float32)
        total = tl.zeros((padded, width), tl.float32)
        first = tl.maximum(last - window + 1, 0)
        for start in range((first // block) * block, last + 1, block):
            at = start + tl.arange(0, block)
            seen = (at <= last) & (at >= first)
            k = tl.load(key + program * key_row + at[:, None] * width + dim[None, :], mask=seen[:, None], other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            if softcap > 0:
                scores = softcap * (2.0 * tl.sigmoid(2.0 * scores / softcap) - 1.0)
            scores = tl.where(seen[None, :], scores, -1e30)
            peak = tl.maximum(best, tl.max(scores, 1))
            shares = tl.exp(scores - peak[:, None])
            decay = tl.exp(best - peak)
            v = tl.load(value + program * value_row + at[:, None] * width + dim[None, :], mask=seen[:, None], other=0.0)
            mass = mass * decay + tl.sum(shares, 1)
            total = total * decay[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="ieee")
            best = peak
        tl.store(out + place, (total / mass[:, None]).to(out.dtype.element_ty), mask=head[:, None] < group)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: torch.Tensor, shape: Shape
) -> torch.Tensor:
    """Attend from [rows, heads, 1, dim] to views of the slot cache [rows * kv heads, span, dim].

    `lengths` (int64 [rows]) is the position of each row's newest token. Returns [rows, 1, heads, dim].
    """
    rows, heads, _, dim = query.shape
    kv_heads = key.shape[0] // rows
    out = torch.empty((rows, 1, heads, dim), dtype=query.dtype, device=query.device)
    group = heads // kv_heads
    _kernel[(rows * kv_heads,)](
        query.contiguous(), key, value, lengths, out, key.stride(0), value.stride(0),
        shape.scale, shape.softcap or 0.0, shape.window or 1 << 30,
        kv_heads=kv_heads, group=group, padded=max(_MIN_GROUP, triton.next_power_of_2(group)), width=dim, block=_BLOCK,
    )  # fmt: skip
    return out


def reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: torch.Tensor, shape: Shape
) -> torch.Tensor:
    """Compute the same by the plain formula in float32."""
    rows, heads, _, dim = query.shape
    kv_heads = key.shape[0] // rows
    q = query.float().view(rows, kv_heads, heads // kv_heads, dim)
    k, v = (x.float().view(rows, kv_heads, -1, dim) for x in (key, value))
    scores = q @ k.transpose(2, 3) * shape.scale
    if shape.softcap:
        scores = torch.tanh(scores / shape.softcap) * shape.softcap
    column = torch.arange(key.shape[1], device=key.device)[None, :]
    seen = (column <= lengths[:, None]) & (column > lengths[:, None] - (shape.window or 1 << 30))
    shares = scores.masked_fill(~seen[:, None, None, :], -torch.inf).softmax(-1)
    return (shares @ v).view(rows, 1, heads, dim).to(query.dtype)


def agrees(heads: tuple[int, int, int], shape: Shape, dtype: torch.dtype, device: torch.device) -> bool:
    """Say whether the kernel compiles here and equals the plain formula; `heads` is (query heads, kv heads, dim)."""
    query_heads, kv_heads, dim = heads
    if triton is None or device.type != "cuda" or dim not in _DIMS or dtype == torch.float32:
        return False
    made = torch.Generator(device).manual_seed(0)
    rows, span = 3, 3 * _BLOCK + 5
    query = torch.randn((rows, query_heads, 1, dim), generator=made, device=device).to(dtype)
    key, value = (torch.randn((rows * kv_heads, span, dim), generator=made, device=device).to(dtype) for _ in "kv")
    lengths = torch.tensor([0, _BLOCK, span - 1], device=device)
    try:
        ours = attend(query, key, value, lengths, shape)
    except (TritonError, RuntimeError) as error:
        _log.warning("the fused attention kernel does not work here: %s", error)
        return False
    difference = (ours.float() - reference(query, key, value, lengths, shape).float()).abs().max().item()
    if not difference < 0.03:
        _log.warning("the fused attention kernel differs from the plain formula by %.3g: not used", difference)
        return False
    return True
