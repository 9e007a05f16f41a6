"""TIES as mergekit computes it (arXiv 2306.01708): each tensor trimmed by itself, exactly k entries kept.

Entries equal to the threshold are kept in the order of their place, as mergekit's stable CPU sort does.
"""

from collections.abc import Sequence

import torch

from worker.merge.kernels.elementwise import elect_into
from worker.merge.kernels.select import Threshold, exact_threshold, keeper
from worker.merge.method import MergeMethod, ignored, per_expert, shared

KEEP_ALL = Threshold(-1.0, 0)
KEEP_NONE = Threshold(float("inf"), 0)


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
        return Threshold(value, keep - int((ordered > value).sum()))
    return exact_threshold(lambda: iter([(base, expert)]), keep)


def ties_into(
    out: torch.Tensor, base: torch.Tensor, experts: Sequence[torch.Tensor], *, weight: Sequence[float],
    density: Sequence[float], scale: float = 1.0, normalize: bool = True,
) -> None:  # fmt: skip
    """Trim each tensor to its largest entries, elect signs, merge those that agree."""
    if not any(weight):
        out.copy_(base)
        return
    thresholds = [
        tensor_threshold(base, x, d) if w else KEEP_NONE for x, d, w in zip(experts, density, weight, strict=True)
    ]
    elect_into(out, base, experts, weight, (keeper(thresholds), scale, normalize))


METHOD = MergeMethod(
    "ties",
    into=ties_into,
    parameters=(
        per_expert("weight"), per_expert("density", 1.0), shared("lambda", 1.0), shared("normalize", True, bool),
        ignored("int8_mask"),
    ),
)  # fmt: skip
