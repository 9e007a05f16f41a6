"""The resident model's parameters under their checkpoint names, as views that a merge writes into.

Plain HF models have one parameter a name. Engines that fuse projections (vLLM: q, k, v and gate, up in one matrix)
get views of the rows that belong to each name. A fingerprint and a probe tell one set of weights from another.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from core.errors import InvalidInputError, RunError

FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
# vLLM pads the vocabulary to a round number of rows.
_PADDED = ("embed_tokens.weight", "lm_head.weight")
_PROBE_TOKENS = 8
_INT = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Probe:
    """The logits of fixed tokens after a fixed prompt."""

    logits: tuple[float, ...]


def resident_targets(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return a writable tensor for each checkpoint name; raise InvalidInputError where the model has none or another.

    Fused parameters are recognized by their names (`qkv_proj`, `gate_up_proj`) and cut by the checkpoint's shapes.
    """
    own = {name: parameter.data for name, parameter in model.named_parameters(remove_duplicate=False)}
    targets = {}
    for name, shape in shapes.items():
        target = own[name] if name in own else _fused_view(name, own, shapes)
        if target is not None and name.endswith(_PADDED) and target.shape[0] > shape[0]:
            target = target.narrow(0, 0, shape[0])
        if target is None or tuple(target.shape) != tuple(shape):
            found = None if target is None else tuple(target.shape)
            raise InvalidInputError(f"The resident model's {name!r} is {found}, the bank's {tuple(shape)}.")
        targets[name] = target
    return targets


def _fused_view(
    name: str, own: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> torch.Tensor | None:
    for fused, parts in FUSED.items():
        for place, part in enumerate(parts):
            if f".{part}." not in name:
                continue
            whole = own.get(name.replace(f".{part}.", f".{fused}."))
            rows = [shapes[name.replace(f".{part}.", f".{p}.")][0] for p in parts]
            if whole is not None and whole.shape[0] == sum(rows):
                return whole.narrow(0, sum(rows[:place]), rows[place])
    return None


@torch.no_grad()
def checksum(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return a fingerprint of named tensors: SHA-256 over the exact sums of each row's bit patterns.

    It costs one pass on the tensors' own device; it tells candidates apart and notices a damaged swap, it is not a
    defence against someone who forges weights.
    """
    digest = hashlib.sha256()
    named = sorted(tensors, key=lambda item: item[0])
    # All sums are issued before the first is fetched: a device is waited for once.
    sums = [_row_sums(tensor) for _, tensor in named]
    fetched = torch.cat(sums).cpu().split([len(s) for s in sums]) if sums else ()
    for (name, tensor), rows in zip(named, fetched, strict=True):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(rows.numpy().tobytes())
    return digest.hexdigest()[:16]


def _row_sums(tensor: torch.Tensor) -> torch.Tensor:
    bits = tensor.detach().view(_INT[tensor.element_size()])
    rows = bits.reshape(bits.shape[0], -1) if bits.ndim > 1 else bits.reshape(1, -1)
    return rows.sum(dim=1, dtype=torch.int64)


@torch.no_grad()
def probe(model: nn.Module) -> Probe:
    """Return the probe's logits; raise RunError when the merged model yields NaN or infinite ones."""
    weight = next(model.parameters())
    vocabulary = int(getattr(model, "config", None).vocab_size)  # type: ignore[union-attr]
    ids = torch.arange(1, _PROBE_TOKENS + 1, device=weight.device) * 7919 % vocabulary
    logits = model(input_ids=ids[None], use_cache=False).logits[0, -1, ids].float()
    if not bool(torch.isfinite(logits).all()):
        raise RunError("The merged model yields NaN or infinite logits.", fix="Use smaller weights.")
    return Probe(tuple(round(v, 6) for v in logits.tolist()))
