"""Where a bank's tensors lie: in memory (a device's or the host's), in files, or as quantized deltas.

A store gives a tensor by name and nothing else; the bank decides which store fits the machine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary, finalize

import torch

from worker.merge.kernels.quantization import QuantizedTensor, add_dequantized
from worker.merge.memory import let_go_of_pages, mapped_from_files
from worker.merge.validation import Source


class TensorStore(Protocol):
    """Gives tensors by name."""

    def get(self, name: str) -> torch.Tensor:
        """Return the tensor; it is borrowed and must not be changed."""
        ...


class MemoryStore:
    """Tensors held in memory; names it lacks are those of `fallback` (a LoRA expert's untouched weights)."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], fallback: TensorStore | None = None) -> None:
        self._tensors = dict(tensors)
        self._fallback = fallback

    def get(self, name: str) -> torch.Tensor:
        """Return the held tensor."""
        if name not in self._tensors and self._fallback is not None:
            return self._fallback.get(name)
        return self._tensors[name]


class MappedStore(MemoryStore):
    """Tensors in mapped files, lent: when nobody holds one any more its pages leave the process, until the next loan.

    Without this a merge would hold base and experts whole, though it looks at each tensor once. The system's file cache
    keeps them in any case, as long as it has room.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], fallback: TensorStore | None = None) -> None:
        super().__init__(tensors, fallback)
        self._mapped = mapped_from_files(tensors)
        self._lent: WeakValueDictionary[str, torch.Tensor] = WeakValueDictionary()
        for name in self._mapped:
            let_go_of_pages(tensors[name])

    def get(self, name: str) -> torch.Tensor:
        """Return the mapped tensor: the same object to all who hold it at once."""
        tensor = super().get(name)
        if name not in self._mapped:
            return tensor
        lent = self._lent.get(name)
        if lent is None:
            lent = self._lent[name] = tensor.view_as(tensor)
            finalize(lent, let_go_of_pages, tensor).atexit = False
        return lent


class FileStore:
    """Tensors read from safetensors each time, with the adapter folded in."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def get(self, name: str) -> torch.Tensor:
        """Read the tensor."""
        return read_tensor(self._source, name)


class DeltaStore:
    """An expert kept as quantized differences from the base (TVQ): 4 bits a parameter in place of 16."""

    def __init__(self, base: TensorStore, deltas: Mapping[str, QuantizedTensor]) -> None:
        self._base = base
        self._deltas = dict(deltas)

    def get(self, name: str) -> torch.Tensor:
        """Return base + delta in the base's dtype."""
        base = self._base.get(name)
        if name not in self._deltas:
            return base
        out = torch.empty_like(base)
        add_dequantized(out, base, self._deltas[name])
        return out


def read_tensor(source: Source, name: str) -> torch.Tensor:
    """Read one tensor of a checkpoint, adapter folded in."""
    tensor = source.checkpoint.tensor(name)
    return tensor if source.adapter is None else source.adapter.fold(name, tensor)


def changed_names(source: Source, base_path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that may differ from the base: only an adapter's targets when it sits on the base itself."""
    if source.adapter is not None and source.checkpoint.path.resolve() == base_path.resolve():
        return tuple(n for n in source.adapter.targets if n in set(names))
    return names
