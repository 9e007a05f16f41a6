"""MetaGPT (arXiv 2406.11385): task arithmetic with λᵢ = ‖τᵢ‖² / Σ ‖τⱼ‖², in closed form from the weights alone.

It resolves to a task_arithmetic recipe, so that anyone can rerun it with mergekit as it is.
"""

import torch

from worker.merge.apply_rules import stays_base
from worker.merge.context import MergeContext, Resolution
from worker.merge.kernels.elementwise import chunks, working_dtype
from worker.merge.method import MergeMethod, shared
from worker.merge.methods import task_arithmetic


def squared_norm(base: torch.Tensor, expert: torch.Tensor) -> float:
    """Return ‖expert - base‖² of one tensor, chunk by chunk."""
    if expert is base:
        return 0.0
    dtype, origin, other = working_dtype(base), base.reshape(-1), expert.reshape(-1)
    parts = [(other[p].to(dtype) - origin[p].to(dtype)).square_().sum(dtype=torch.float64) for p in chunks(origin)]
    return float(torch.stack(parts).sum())


def coefficients(context: MergeContext) -> dict[str, float]:
    """Return λᵢ over all tensors that the recipe does not keep from the base."""
    plan, bank = context.plan, context.bank
    norms = dict.fromkeys(plan.experts, 0.0)
    for name in bank.names:
        if stays_base(plan, name):
            continue
        base, *others = bank.tensors(name, ("base", *plan.experts))
        for expert, tensor in zip(plan.experts, others, strict=True):
            norms[expert] += squared_norm(base, tensor)
    total = sum(norms.values())
    return {e: n / total if total else 1 / len(norms) for e, n in norms.items()}


def resolve(context: MergeContext) -> Resolution:
    """Turn the recipe into task arithmetic with the closed-form weights."""
    weights = {e: {"weight": v} for e, v in coefficients(context).items()}
    return Resolution(context.plan.with_weights(task_arithmetic.METHOD, weights))


METHOD = MergeMethod("ra_metagpt", resolve=resolve, parameters=(shared("lambda", 1.0),))
