"""TIES as mergekit computes it (arXiv 2306.01708): each tensor trimmed by itself, exactly k entries kept.

Where more entries equal the threshold than may be kept, mergekit keeps those that an unstable sort happens to put
first. To give the very same tensors this method then takes the sort's own partitions; `ra_ties` with `scope: tensor`
keeps the first of them by place. Half precisions, whose differences lie on a coarse grid, are treated so without
looking for a threshold first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worker.merge.kernels.elementwise import as_numbers, elect_into, working_dtype
from worker.merge.kernels.select import Threshold, exact_threshold, keeper
from worker.merge.kernels.sort_order import sorted_between
from worker.merge.kernels.threads import later
from worker.merge.method import MergeMethod, ignored, per_expert, shared

KEEP_ALL = Threshold(-1.0)
KEEP_NONE = Threshold(float("inf"))
AMBIGUOUS = Threshold(float("nan"), ambiguous=True)
_COARSE = frozenset({torch.bfloat16, torch.float16})


def tensor_threshold(base: torch.Tensor, expert: torch.Tensor, density: float) -> Threshold:
    """Return the threshold that keeps the `density` largest entries of one task vector's tensor, at least one."""
    if density >= 1:
        return KEEP_ALL
    if density <= 0 or expert is base:
        return KEEP_NONE
    keep = max(1, int(density * base.numel()))
    if base.dtype is torch.float64:
        ordered = (expert - base).abs().reshape(-1).sort(descending=True).values
        value = ordered[keep - 1].item()
        ties = keep - int((ordered > value).sum())
        return Threshold(value, ties, ambiguous=int((ordered == value).sum()) > ties)
    return exact_threshold(lambda: iter([(base, expert)]), keep)


def _threshold(base: torch.Tensor, expert: torch.Tensor, density: float) -> Threshold:
    if 0 < density < 1 and expert is not base and {base.dtype, expert.dtype} <= _COARSE:
        return AMBIGUOUS
    return tensor_threshold(base, expert, density)


@dataclass(frozen=True)
class TiesSettings:
    """Per expert: weight and share to keep; λ, and whether agreeing entries are averaged or summed."""

    weight: Sequence[float]
    density: Sequence[float]
    scale: float = 1.0
    normalize: bool = True


def ties_into(out: torch.Tensor, base: torch.Tensor, experts: Sequence[torch.Tensor], settings: TiesSettings) -> None:
    """Trim each tensor to its largest entries, elect signs, merge those that agree."""
    if not any(settings.weight):
        out.copy_(base)
        return
    thresholds = [
        _threshold(base, x, d) if w else KEEP_NONE
        for x, d, w in zip(experts, settings.density, settings.weight, strict=True)
    ]
    unclear = [i for i, t in enumerate(thresholds) if t.ambiguous]
    masks = {i: later(largest, base, experts[i], settings.density[i]) for i in unclear}
    sorted_masks = {i: mask.result() for i, mask in masks.items()}
    by_threshold = keeper(thresholds)

    def keep(expert: int, delta: torch.Tensor, part: slice) -> torch.Tensor:
        mask = sorted_masks.get(expert)
        return by_threshold(expert, delta, part) if mask is None else delta * as_numbers(mask[part])

    elect_into(out, base, experts, settings.weight, (keep, settings.scale, settings.normalize))


def largest(base: torch.Tensor, expert: torch.Tensor, density: float) -> torch.Tensor:
    """Return the flat mask of the largest entries in the order of torch's own sort, as mergekit takes them."""
    origin, other, dtype = base.reshape(-1), expert.reshape(-1), working_dtype(base)

    def magnitudes(part: slice) -> torch.Tensor:
        found = other[part].to(dtype, copy=True).sub_(origin[part]).abs_()
        return found.float() if found.device.type == "cpu" else found

    return sorted_between(magnitudes, len(other), (0, max(1, int(density * len(other)))), descending=True)


METHOD = MergeMethod(
    "ties",
    into=ties_into,
    settings=TiesSettings,
    parameters=(
        per_expert("weight"), per_expert("density", 1.0), shared("lambda", 1.0), shared("normalize", True, bool),
        ignored("int8_mask"),
    ),
)  # fmt: skip
