"""The element-wise rules as Triton kernels: every input read once, fp32 inside; linear rules in one launch for many
tensors, the others in one a tensor.

Only for contiguous CUDA tensors where Triton is installed (it comes with torch's CUDA builds; its launcher needs a C
compiler). `usable` says whether; the chunked torch code does the same where it is not. `TRITON_INTERPRET=1` runs the
kernels on the CPU, which is how their arithmetic is tested without a GPU.
"""

import importlib.util
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

if importlib.util.find_spec("triton") is not None:
    from worker.merge.kernels import triton_linear, triton_rules
else:  # a torch build without CUDA
    triton_linear = triton_rules = None  # type: ignore[assignment]

Tensor = torch.Tensor
MAX_EXPERTS = 8
_FLOATS = {torch.bfloat16, torch.float16, torch.float32}


@dataclass(frozen=True)
class Election:
    """What TIES' election keeps: entries under each expert's mask, or of at least its threshold; scale and divisor."""

    masks: Sequence[Tensor] | None = None
    thresholds: Sequence[float] | None = None
    scale: float = 1.0
    mean: bool = True


@dataclass(frozen=True)
class Mix:
    """A linear rule for one tensor: out = base + Σ wᵢ (xᵢ - base), or Σ wᵢ xᵢ without a base."""

    out: Tensor
    base: Tensor | None
    inputs: Sequence[Tensor]
    weights: Sequence[float]

    def lean(self) -> "Mix":
        """Return the same rule without inputs that add nothing."""
        kept = [i for i, x in enumerate(self.inputs) if self.weights[i] != 0.0 and x is not self.base]
        return Mix(self.out, self.base, [self.inputs[i] for i in kept], [self.weights[i] for i in kept])

    @property
    def tensors(self) -> list[Tensor]:
        """Return all tensors of the rule."""
        return [self.out, *([] if self.base is None else [self.base]), *self.inputs]


@cache
def _installed() -> bool:
    return triton_rules is not None and any(shutil.which(c) for c in (os.environ.get("CC", "cc"), "gcc", "clang"))


def usable(out: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Return whether the kernels can take these tensors."""
    tensors = [out, *inputs]
    return (
        out.is_cuda
        and len(inputs) <= MAX_EXPERTS + 1
        and all(t.dtype in _FLOATS and t.device == out.device and t.is_contiguous() for t in tensors)
        and _installed()
    )


def mixable(mix: Mix) -> bool:
    """Return whether `mix_all` can take this rule: the kernels' tensors, of one dtype, long and aligned enough."""
    tensors = mix.tensors
    return (
        len(mix.inputs) > 0
        and usable(mix.out, tensors[1:])
        and mix.out.numel() % triton_linear.ALIGNED_ELEMENTS == 0
        and all(t.dtype == mix.out.dtype and t.data_ptr() % triton_linear.ALIGNED_BYTES == 0 for t in tensors)
    )


def mix_all(mixes: Sequence[Mix]) -> None:
    """Compute mixable rules: one launch for all with as many inputs."""
    alike: dict[tuple[object, ...], list[Mix]] = {}
    for mix in mixes:
        alike.setdefault((len(mix.inputs), mix.base is None, mix.out.dtype), []).append(mix)
    for group in alike.values():
        bases = [m.base for m in group if m.base is not None]
        outs, inputs, weights = [m.out for m in group], [m.inputs for m in group], [m.weights for m in group]
        triton_linear.launch(outs, bases or None, inputs, weights)


def weighted_sum(out: Tensor, inputs: Sequence[Tensor], weights: Sequence[float]) -> None:
    """Write Σ wᵢ·xᵢ."""
    triton_rules.launch(out, None, inputs, triton_rules.Options(weights))


def add_deltas(
    out: Tensor, base: Tensor, experts: Sequence[Tensor], weights: Sequence[float], masks: Sequence[Tensor] | None
) -> None:
    """Write base + Σ wᵢ·mᵢ·(xᵢ - base)."""
    triton_rules.launch(out, base, experts, triton_rules.Options(weights, masks=masks))


def elect(out: Tensor, base: Tensor, experts: Sequence[Tensor], weights: Sequence[float], election: Election) -> None:
    """Write base + scale · (consensus of the kept, weighted deltas)."""
    options = triton_rules.Options(
        weights, election.masks, election.thresholds, elect=True, mean=election.mean, scale=election.scale
    )
    triton_rules.launch(out, base, experts, options)
