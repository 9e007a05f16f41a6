"""Input Grams of each expert's linear layers, found layer by layer as the merge asks for them.

For RegMean an expert's activations come from the expert's own layers; for RegMean++ (arXiv 2508.03121) the inputs of a
layer come from the already merged layer before it. The resident model serves as the place where layers run: an
expert's layer is written there, its Grams are taken, and the merge then overwrites it.
"""

from collections.abc import Mapping

import torch

from worker.merge.blocks import InputGrams, LayerInputs, copy_into, decoder_layers
from worker.merge.context import MergeContext
from worker.merge.plan import layer_index
from worker.merge.targets import resident_targets

Tensor = torch.Tensor


class BlockGrams:
    """Statistics for RegMean-like rules: `gram0`, `gram1`, … in the experts' order, one layer at a time."""

    def __init__(self, context: MergeContext, *, from_merged: bool) -> None:
        self._bank, self._experts = context.bank, context.plan.experts
        self._model = context.need_model()
        self._batches = {e: context.need_batches(e) for e in self._experts}
        self._targets = resident_targets(self._model, context.bank.shapes)
        self._prefix, self._layers = decoder_layers(self._model)
        self._from_merged = from_merged
        self._inputs: dict[str, LayerInputs] = {}
        self._at = -1
        self._found: dict[str, dict[str, Tensor]] = {}

    def for_tensor(self, name: str) -> Mapping[str, Tensor]:
        """Return the Grams of the tensor's inputs, one an expert; none for what is not a linear layer's weight."""
        index = layer_index(name)
        if index is None:
            return {}
        while self._at < index:
            self._next_layer()
        return self._found.get(name, {})

    def merged(self, name: str, tensor: Tensor) -> None:
        """Put the merged tensor into the resident model, where RegMean++ runs it."""
        if self._targets[name] is not tensor:
            self._targets[name].copy_(tensor)

    @torch.no_grad()
    def _next_layer(self) -> None:
        if self._at < 0:
            self._embed()
        elif self._from_merged:
            for inputs in self._inputs.values():
                inputs.hidden = inputs.through(self._layers[self._at], self._at)
        self._at += 1
        self._found = {}
        for place, expert in enumerate(self._experts):
            self._collect(place, expert)

    def _collect(self, place: int, expert: str) -> None:
        block, prefix = self._layers[self._at], f"{self._prefix}.{self._at}."
        names = [n for n in self._bank.names if n.startswith(prefix)]
        copy_into(self._targets, {n: self._bank.tensor(expert, n) for n in names})
        grams, inputs = InputGrams(block), self._inputs[expert]
        with grams.collecting():
            outputs = inputs.through(block, self._at)
        if not self._from_merged:
            inputs.hidden = outputs
        for name in grams.names():
            self._found.setdefault(f"{prefix}{name}.weight", {})[f"gram{place}"] = grams.gram(name)

    def _embed(self) -> None:
        """Record each expert's layer inputs: from its own embeddings (RegMean) or the merged ones (RegMean++)."""
        outside = [n for n in self._bank.names if layer_index(n) is None]
        kept = {n: self._targets[n].clone() for n in outside}
        for expert in self._experts:
            if not self._from_merged:
                copy_into(self._targets, {n: self._bank.tensor(expert, n) for n in outside})
            self._inputs[expert] = LayerInputs.record(self._model, self._batches[expert])
        copy_into(self._targets, kept)


def gram_list(statistics: Mapping[str, Tensor], experts: int) -> list[Tensor] | None:
    """Return the Grams in the experts' order, or None where the tensor has none."""
    return [statistics[f"gram{i}"] for i in range(experts)] if "gram0" in statistics else None


__all__ = ["BlockGrams", "gram_list"]
