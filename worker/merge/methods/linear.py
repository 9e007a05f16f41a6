"""Linear average, or model soup (arXiv 2203.05482): Σ wᵢ θᵢ / Σ wᵢ; the base counts where the recipe lists it."""

from collections.abc import Sequence

import torch

from worker.merge.kernels.elementwise import weighted_sum_into
from worker.merge.method import MergeMethod, per_expert, shared


def linear_into(
    out: torch.Tensor, base: torch.Tensor | None, experts: Sequence[torch.Tensor], weight: Sequence[float],
    normalize: bool = True,
) -> None:  # fmt: skip
    """Write the weighted average."""
    weighted_sum_into(out, experts, weight, sum(weight) if normalize else 1.0)


def linear_weights(weight: Sequence[float], normalize: bool = True) -> list[float]:
    """Return the weights that the inputs are summed with."""
    divisor = sum(weight) if normalize else 1.0
    return [w / divisor for w in weight]


METHOD = MergeMethod(
    "linear", into=linear_into, mix=linear_weights, base=None,
    parameters=(per_expert("weight"), shared("normalize", True, bool)),
)  # fmt: skip
