"""Attention for decoding: grouped queries read each key and value head once, straight from the slot cache.

The library's own paths repeat or concatenate the cache at every step, which costs more than the attention itself.
Soft-capping (Gemma 2) and sliding windows are kept exactly; attention sinks are not known here and are refused.
A model that carries this attention still works in an ordinary forward pass.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from core.errors import InvalidInputError
from worker.generate import fused_attention

NAME = "slot_decode"


def slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend from `query` [rows, heads, length, dim]; return [rows, length, heads, dim].

    Keys and values are [rows * kv heads, span, dim] while decoding (views of the slot cache) and
    [rows, kv heads, length, dim] otherwise.
    """
    if options.get("s_aux") is not None:
        raise InvalidInputError(
            f"{type(module).__name__} uses attention sinks, which this engine does not compute.",
            fix="Choose the vllm engine for this model.",
        )
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    softcap = options.get("softcap")
    if key.dim() == 3:
        lengths = options.get("slot_lengths")
        if lengths is not None:
            shape = fused_attention.Shape(scale, softcap, options.get("sliding_window"))
            return fused_attention.attend(query, key, value, lengths, shape), None
        return _decode(query, key, value, attention_mask, (scale, softcap)), None
    return _prefill(query, key, value, attention_mask, (scale, softcap)), None


def _decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: tuple[float, float | None],
) -> torch.Tensor:
    """Attend from one token a row; `mask` is additive float32 [rows, 1, 1, span]."""
    rows, heads, _, dim = query.shape
    kv_heads = key.shape[0] // rows
    grouped = query.reshape(rows * kv_heads, heads // kv_heads, dim).to(key.dtype)
    scores = torch.bmm(grouped, key.transpose(1, 2))
    weights = _capped(scores.float(), scaling).view(rows, kv_heads, heads // kv_heads, -1)
    if mask is not None:
        weights = weights + mask
    shares = torch.softmax(weights, dim=-1).to(value.dtype).view(scores.shape)
    return torch.bmm(shares, value).view(rows, 1, heads, value.shape[-1]).to(query.dtype)


def _prefill(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: tuple[float, float | None],
) -> torch.Tensor:
    """Attend from whole prompts; `mask` is boolean (True: look) or additive, None is plain causal."""
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    if scaling[1] is None:
        causal = mask is None and query.shape[2] > 1
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, scale=scaling[0]
        )
        return out.transpose(1, 2).contiguous()
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
        mask = mask.tril(key.shape[2] - query.shape[2])
    scores = _capped(torch.matmul(query, key.transpose(2, 3)).float(), scaling)
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return torch.matmul(torch.softmax(scores, dim=-1).to(value.dtype), value).transpose(1, 2).contiguous()


def _capped(scores: torch.Tensor, scaling: tuple[float, float | None]) -> torch.Tensor:
    scale, softcap = scaling
    scores = scores * scale
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


AttentionInterface.register(NAME, slot_attention)
AttentionMaskInterface.register(NAME, eager_mask)
