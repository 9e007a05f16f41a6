"""Affine quantization of task vectors to 2-8 bits (TVQ, arXiv 2503.06921): error ≤ (max - min) / (2 (2^b - 1)).

Packs two 4-bit (or four 2-bit) codes in a byte, so that an expert takes a quarter (an eighth) of its bf16 size.
"""

import math
from dataclasses import dataclass

import torch

GROUP = 4096
_CHUNK = 1 << 24


@dataclass(frozen=True)
class QuantizedTensor:
    """Packed codes of a tensor, with one low value and one step for every `group` entries."""

    codes: torch.Tensor
    low: torch.Tensor
    step: torch.Tensor
    shape: tuple[int, ...]
    bits: int
    group: int

    @property
    def nbytes(self) -> int:
        """Return the size in memory."""
        return self.codes.nbytes + self.low.nbytes + self.step.nbytes


def quantize(tensor: torch.Tensor, bits: int, *, grouped: bool = False) -> QuantizedTensor:
    """Quantize to `bits` bits with one (min, step) a tensor as published, or one for every GROUP entries."""
    flat = tensor.reshape(-1).to(torch.promote_types(tensor.dtype, torch.float32))
    size = GROUP if grouped else max(flat.numel(), 1)
    padding = -flat.numel() % size
    if padding:
        flat = torch.cat([flat, flat[-1:].expand(padding)])
    rows = flat.reshape(-1, size)
    low, high = torch.aminmax(rows, dim=1, keepdim=True)
    step = (high - low) / (2**bits - 1)
    codes = ((rows - low) / torch.where(step > 0, step, 1)).round_().to(torch.uint8)
    return QuantizedTensor(_pack(codes.reshape(-1), bits), low, step, tuple(tensor.shape), bits, size)


def dequantize(quantized: QuantizedTensor) -> torch.Tensor:
    """Return the tensor that the codes stand for, in the precision of its scale (fp32 or fp64)."""
    elements = math.prod(quantized.shape)
    codes = _unpack(quantized.codes, quantized.bits)[: quantized.low.numel() * quantized.group]
    rows = codes.reshape(-1, quantized.group).to(quantized.low.dtype)
    return rows.mul_(quantized.step).add_(quantized.low).reshape(-1)[:elements].reshape(quantized.shape)


def add_dequantized(out: torch.Tensor, base: torch.Tensor, quantized: QuantizedTensor) -> None:
    """Write base + the quantized tensor into `out`, some groups at a time: fp32 copies stay small beside the tensor."""
    target, origin = out.view(-1), base.reshape(-1)
    per_byte = {2: 4, 4: 2}.get(quantized.bits, 1)
    step = max(1, _CHUNK // quantized.group)
    for first in range(0, quantized.low.numel(), step):
        low, width = quantized.low[first : first + step], quantized.step[first : first + step]
        start = first * quantized.group
        end = min(start + low.numel() * quantized.group, target.numel())
        packed = quantized.codes[start // per_byte : -(-(start + low.numel() * quantized.group) // per_byte)]
        codes = _unpack(packed, quantized.bits)[: low.numel() * quantized.group].reshape(-1, quantized.group)
        delta = codes.to(low.dtype).mul_(width).add_(low).reshape(-1)[: end - start]
        target[start:end] = delta.add_(origin[start:end])


def _pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    per_byte = {2: 4, 4: 2}.get(bits, 1)
    if per_byte == 1:
        return codes
    padding = -codes.numel() % per_byte
    if padding:
        codes = torch.cat([codes, codes.new_zeros(padding)])
    rows = codes.reshape(-1, per_byte)
    packed = rows[:, 0].clone()
    for place in range(1, per_byte):
        packed |= rows[:, place] << (bits * place)
    return packed


def _unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    per_byte = {2: 4, 4: 2}.get(bits, 1)
    if per_byte == 1:
        return packed
    mask = 2**bits - 1
    return torch.stack([(packed >> (bits * place)) & mask for place in range(per_byte)], dim=1).reshape(-1)
