"""Runs a decoder layer by layer over calibration batches, so that no more than one layer's statistics exist at once.

Model-agnostic over HF decoders: the layers are the model's longest ModuleList of `num_hidden_layers` entries, and what
each layer is called with (masks, rotary embeddings, which differ by layer in Gemma-2) is recorded from a real call.
The hidden states of all batches stay in memory: tokens × hidden size per expert.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from core.errors import InvalidInputError

Tensor = torch.Tensor
Call = tuple[tuple[Any, ...], dict[str, Any]]


def decoder_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the name and the list of the decoder's layers; raise InvalidInputError when there is none."""
    count = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise InvalidInputError(f"{type(model).__name__} has no list of {count} decoder layers.")


class LayerInputs:
    """The hidden states that enter one layer, a tensor a batch, and what every layer is called with besides."""

    def __init__(self, hidden: list[Tensor], calls: list[list[Call]]) -> None:
        self.hidden = hidden
        self._calls = calls

    @classmethod
    @torch.no_grad()
    def record(cls, model: nn.Module, batches: Sequence[Tensor]) -> "LayerInputs":
        """Embed the batches with the model's present embeddings; no layer is computed."""
        _, layers = decoder_layers(model)
        device = next(model.parameters()).device
        hidden, calls = [], []
        for batch in batches:
            seen: list[tuple[Tensor, Call]] = []
            with _recording(layers, seen):
                model(input_ids=batch.to(device), use_cache=False)
            hidden.append(seen[0][0])
            calls.append([call for _, call in seen])
        return cls(hidden, calls)

    @torch.no_grad()
    def through(self, layer: nn.Module, index: int) -> list[Tensor]:
        """Return the layer's outputs for all batches."""
        outputs = []
        for hidden, calls in zip(self.hidden, self._calls, strict=True):
            args, kwargs = calls[index]
            found = layer(hidden, *args, **kwargs)
            outputs.append(found[0] if isinstance(found, tuple) else found)
        return outputs


@contextmanager
def _recording(layers: nn.ModuleList, seen: list[tuple[Tensor, Call]]) -> Iterator[None]:
    """Replace each layer's forward by one that notes its arguments and passes the hidden states on."""

    def passing(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen.append((hidden_states, (args, kwargs)))
        return hidden_states

    for layer in layers:
        layer.forward = passing
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


class InputGrams:
    """Sums XᵀX of every linear layer's inputs in fp32 (fp64 for fp64 models); layers fed the same X share one sum."""

    def __init__(self, block: nn.Module) -> None:
        self._modules = {n: m for n, m in block.named_modules() if isinstance(m, nn.Linear)}
        self._leader: dict[str, str] = {}
        self._sums: dict[str, Tensor] = {}
        self._last: tuple[Tensor, str] | None = None

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect while the block runs."""
        handles = [m.register_forward_pre_hook(self._hook(n)) for n, m in self._modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._last = None

    def gram(self, name: str) -> Tensor:
        """Return the sum for the linear layer of that name within the block."""
        return self._sums[self._leader[name]]

    def names(self) -> tuple[str, ...]:
        """Return the names of the linear layers that ran."""
        return tuple(self._leader)

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def collect(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0]
            if self._last is not None and self._last[0] is x:
                self._leader[name] = self._last[1]
                return
            self._last = (x, name)
            self._leader[name] = name
            rows = x.reshape(-1, x.shape[-1]).to(torch.promote_types(x.dtype, torch.float32))
            gram = rows.T @ rows
            self._sums[name] = self._sums[name].add_(gram) if name in self._sums else gram

        return collect


def copy_into(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors into the targets of the same names."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            targets[name].copy_(tensor)
