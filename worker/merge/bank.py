"""The expert bank: base and experts, loaded once, given tensor by tensor to every candidate.

Placement is chosen from what fits: all on the GPU; else base on the GPU with experts as 4-bit deltas when asked; else
pinned host memory; else read from the files each time. Loading validates everything first and computes nothing.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import torch

from core.errors import InvalidInputError
from worker.merge.adapter import LoraAdapter
from worker.merge.checkpoint import Checkpoint
from worker.merge.kernels.quantization import quantize
from worker.merge.memory import host_memory_available
from worker.merge.stores import DeltaStore, FileStore, MappedStore, MemoryStore, TensorStore, changed_names, read_tensor
from worker.merge.validation import Source, check_sources, mergeable_names

BASE = "base"
_GPU_SHARE = 0.9
_HOST_SHARE = 0.8


class Placement(StrEnum):
    """Where the bank's tensors lie."""

    AUTO = "auto"
    GPU = "gpu"
    PINNED = "pinned"
    STREAMED = "streamed"
    COMPRESSED = "compressed"


@dataclass(frozen=True)
class ModelRef:
    """A local checkpoint directory, with an adapter that is folded into it on load."""

    path: str
    adapter: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        model = f"{self.path}@{self.revision}" if self.revision else self.path
        return f"{model}+{self.adapter}" if self.adapter else model

    def open(self) -> Source:
        """Open headers and config; raise InvalidInputError when that is not possible."""
        adapter = LoraAdapter.open(self.adapter) if self.adapter else None
        return Source(Checkpoint.open(self.path), adapter)


@dataclass(frozen=True)
class ExpertBank:
    """Base and experts by tensor name. `references` maps input names (`base` and the experts') to their models."""

    stores: Mapping[str, TensorStore]
    shapes: Mapping[str, tuple[int, ...]]
    dtype: torch.dtype
    placement: Placement
    device: torch.device
    layers: int
    references: Mapping[str, ModelRef] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        base: ModelRef,
        experts: Mapping[str, ModelRef],
        placement: Placement = Placement.AUTO,
        *,
        device: torch.device | None = None,
        allow_tokenizer: bool = False,
    ) -> "ExpertBank":
        """Validate, then load; raise one InvalidInputError that names every problem before any tensor is kept."""
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if BASE in experts:
            raise InvalidInputError("An expert can't be called 'base'.")
        origin = base.open()
        sources = {name: ref.open() for name, ref in experts.items()}
        for source in (origin, *sources.values()):
            if source.adapter is not None and (problems := source.adapter.problems(source.checkpoint)):
                raise InvalidInputError(f"{source.adapter.path} is an adapter for another base: {problems[0]}.")
        check_sources(origin.checkpoint, sources, allow_tokenizer=allow_tokenizer)
        names = mergeable_names(origin.checkpoint)
        if placement is Placement.AUTO:
            placement = choose_placement(bank_bytes(origin, sources, names), device)
        stores = _stores(origin, sources, names, (placement, device))
        headers = origin.checkpoint.headers
        dtype = headers[names[0]].dtype or torch.float32
        return cls(
            stores, {n: headers[n].shape for n in names}, dtype, placement, device, origin.checkpoint.layers,
            {BASE: base, **experts}, origin.checkpoint.config,
        )  # fmt: skip

    @classmethod
    def from_tensors(
        cls, base: Mapping[str, torch.Tensor], experts: Mapping[str, Mapping[str, torch.Tensor]], layers: int
    ) -> "ExpertBank":
        """Build a bank of tensors already in memory (an evolved population, a benchmark's random weights)."""
        first = next(iter(base.values()))
        stores: dict[str, TensorStore] = {BASE: MemoryStore(base)}
        stores |= {name: MemoryStore(tensors, stores[BASE]) for name, tensors in experts.items()}
        placement = Placement.GPU if first.is_cuda else Placement.PINNED
        shapes = {name: tuple(tensor.shape) for name, tensor in sorted(base.items())}
        return cls(stores, shapes, first.dtype, placement, first.device, layers)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the tensors' names, sorted: the order in which mergekit computes them."""
        return tuple(self.shapes)

    @property
    def experts(self) -> tuple[str, ...]:
        """Return the experts' names, in the order given."""
        return tuple(name for name in self.stores if name != BASE)

    @property
    def parameters(self) -> int:
        """Return how many parameters one model has."""
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    def tensor(self, model: str, name: str) -> torch.Tensor:
        """Return a model's tensor on the bank's device; `model` is 'base' or an expert's name."""
        return self.stores[model].get(name).to(self.device, non_blocking=True)

    def tensors(self, name: str, models: tuple[str, ...]) -> tuple[torch.Tensor, ...]:
        """Return the tensor of each model; equal entries are the same object (an untouched weight of a LoRA expert)."""
        moved: dict[int, torch.Tensor] = {}
        found = [self.stores[model].get(name) for model in models]
        for tensor in found:
            moved.setdefault(id(tensor), tensor.to(self.device, non_blocking=True))
        return tuple(moved[id(tensor)] for tensor in found)

    def resolve(self, reference: str) -> str:
        """Return the input name of a recipe's model: a name of the bank, or a path as it was given to `load`."""
        if reference in self.stores:
            return reference
        for name, ref in self.references.items():
            if reference == str(ref):
                return name
        known = ", ".join(self.stores)
        raise InvalidInputError(f"The recipe's model {reference!r} is not in the bank.", fix=f"The bank has: {known}.")


def bank_bytes(base: Source, experts: Mapping[str, Source], names: tuple[str, ...]) -> int:
    """Return the memory that base and experts need in full; adapters on the base cost only what they change."""
    headers = base.checkpoint.headers
    total = sum(headers[n].elements * _width(headers[n].dtype) for n in names)
    for source in experts.values():
        changed = changed_names(source, base.checkpoint.path, names)
        theirs = source.checkpoint.headers
        total += sum(theirs[n].elements * _width(theirs[n].dtype) for n in changed)
    return total


def choose_placement(needed: int, device: torch.device) -> Placement:
    """Return the fastest placement that fits: GPU memory, host memory, or none (streamed)."""
    if device.type == "cuda" and needed < _GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
        return Placement.GPU
    return Placement.PINNED if needed < _HOST_SHARE * host_memory_available() else Placement.STREAMED


def _width(dtype: torch.dtype | None) -> int:
    return dtype.itemsize if dtype else 0


def _stores(
    base: Source, experts: Mapping[str, Source], names: tuple[str, ...], where: tuple[Placement, torch.device]
) -> dict[str, TensorStore]:
    placement, device = where
    if placement is Placement.STREAMED:
        for name, source in {BASE: base, **experts}.items():
            for _ in _checked(name, source, names):
                pass
        return {name: FileStore(source) for name, source in {BASE: base, **experts}.items()}
    kind = MemoryStore if device.type == "cuda" else MappedStore
    stores: dict[str, TensorStore] = {BASE: kind(_placed(BASE, base, names, where))}
    for name, source in experts.items():
        changed = changed_names(source, base.checkpoint.path, names)
        if placement is Placement.COMPRESSED:
            origin = stores[BASE]
            deltas = {
                n: quantize(t.to(device, torch.float32) - origin.get(n).to(torch.float32), 4, grouped=True)
                for n, t in _checked(name, source, changed)
            }
            stores[name] = DeltaStore(origin, deltas)
        else:
            stores[name] = kind(_placed(name, source, changed, where), stores[BASE])
    return stores


def _placed(
    name: str, source: Source, names: tuple[str, ...], where: tuple[Placement, torch.device]
) -> dict[str, torch.Tensor]:
    placement, device = where
    if placement in {Placement.GPU, Placement.COMPRESSED}:
        return {n: t.to(device) for n, t in _checked(name, source, names)}
    with source.checkpoint.kept_open():
        return {n: t.pin_memory() if device.type == "cuda" else t for n, t in _checked(name, source, names)}


def _checked(name: str, source: Source, names: tuple[str, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    """Read tensors one by one; raise InvalidInputError at the first NaN or Inf."""
    for tensor_name in names:
        tensor = read_tensor(source, tensor_name)
        low, high = torch.aminmax(tensor)
        if not (math.isfinite(low.item()) and math.isfinite(high.item())):
            raise InvalidInputError(
                f"{name}: {tensor_name!r} holds NaN or infinite values.", fix="Use an undamaged checkpoint."
            )
        yield tensor_name, tensor
