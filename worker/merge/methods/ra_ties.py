"""TIES as published (arXiv 2306.01708): trimmed over the whole task vector, disjoint mean or sum, λ.

`scope` is `model` (one threshold an expert) or `tensor`. The threshold of the whole vector is found before the merge
and written into the recipe as `threshold`, so that mergekit, which sees one tensor at a time, merges the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.errors import InvalidInputError
from worker.merge.context import MergeContext, Resolution
from worker.merge.kernels import fused
from worker.merge.kernels.elementwise import elect_into
from worker.merge.kernels.select import SAMPLE, Threshold, exact_threshold, keeper, sampled_threshold
from worker.merge.method import MergeMethod, per_expert, shared
from worker.merge.methods.ties import KEEP_NONE, tensor_threshold

_NOT_FOUND = -1.0


@dataclass(frozen=True)
class TiesSettings:
    """Per expert: weight, share to keep, threshold once it is known (else negative); then λ and the variants."""

    weight: Sequence[float]
    density: Sequence[float]
    threshold: Sequence[float]
    scale: float = 1.0
    scope: str = "model"
    merge: str = "mean"
    select: str = "auto"


def ra_ties_into(
    out: torch.Tensor, base: torch.Tensor, experts: Sequence[torch.Tensor], settings: TiesSettings
) -> None:
    """Keep |τ| of at least the threshold (or the largest of each tensor), elect signs, merge those that agree."""
    if not any(settings.weight):
        out.copy_(base)
        return
    found = []
    for x, share, value, w in zip(experts, settings.density, settings.threshold, settings.weight, strict=True):
        if not w or x is base:
            found.append(KEEP_NONE)
        elif value >= 0:
            found.append(Threshold(value))
        elif settings.scope == "tensor" and sampled(settings.select, base):
            found.append(sampled_threshold(lambda x=x: iter([(base, x)]), share, base.numel()))  # type: ignore[misc]
        else:
            found.append(tensor_threshold(base, x, share))
    mean, weight = settings.merge == "mean", settings.weight
    if all(t.ties is None for t in found) and fused.usable(out, [base, *experts]):
        values = [t.value for t in found]
        fused.elect(out, base, experts, weight, fused.Election(thresholds=values, scale=settings.scale, mean=mean))
    else:
        elect_into(out, base, experts, weight, (keeper(found), settings.scale, mean))


def sampled(select: str, tensor: torch.Tensor) -> bool:
    """Return whether the threshold is taken from a sample: asked for, or on a GPU where the tensor is long."""
    return select == "sampled" or (select == "auto" and tensor.is_cuda and tensor.numel() > 4 * SAMPLE)


def find_thresholds(context: MergeContext) -> Resolution:
    """Find each expert's threshold over all tensors that it contributes to (weight other than 0)."""
    plan, bank = context.plan, context.bank
    names = [n for n in bank.names if any(p["weight"] for p in plan.parameters_for(n).by_input.values())]
    settings: dict[str, Mapping[str, Any]] = dict(plan.by_input)
    if not names or plan.parameters_for(names[0]).shared["scope"] == "tensor":
        return Resolution(plan)
    for expert in plan.experts:
        densities = {plan.parameters_for(n).by_input[expert]["density"] for n in names}
        if len(densities) > 1:
            raise InvalidInputError(
                f"{expert}: one threshold over the whole task vector allows one density, not {sorted(densities)}.",
                fix="Use scope: tensor for densities by layer or module.",
            )
        density, select = densities.pop(), plan.parameters_for(names[0]).shared["select"]
        threshold = _threshold(context, expert, names, (density, select))
        settings[expert] = {**settings[expert], "threshold": threshold.value}
    return Resolution(plan.with_weights(plan.method, settings))


def _threshold(context: MergeContext, expert: str, names: list[str], how: tuple[float, str]) -> Threshold:
    density, select = how
    bank = context.bank
    if density >= 1:
        return Threshold(0.0)

    def pairs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for name in names:
            base, other = bank.tensors(name, ("base", expert))
            yield base, other

    total = sum(torch.Size(bank.shapes[n]).numel() for n in names)
    on_gpu = bank.device.type == "cuda"
    if select == "sampled" or (select == "auto" and on_gpu):
        return sampled_threshold(pairs, density, total)
    return exact_threshold(pairs, max(1, int(density * total)))


METHOD = MergeMethod(
    "ra_ties",
    into=ra_ties_into,
    settings=TiesSettings,
    resolve=find_thresholds,
    parameters=(
        per_expert("weight", 1.0), per_expert("density", 0.2), per_expert("threshold", _NOT_FOUND),
        shared("lambda", 1.0), shared("scope", "model", str), shared("merge", "mean", str),
        shared("select", "auto", str),
    ),
)  # fmt: skip
