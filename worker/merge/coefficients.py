"""Learnt or measured coefficients as a task_arithmetic recipe: one weight an expert and tensor, written as filters.

So that what a calibrated method found can be rerun with mergekit alone, without text or gradients.
"""

from collections.abc import Mapping
from typing import Any

from worker.merge.context import MergeContext, Resolution
from worker.merge.methods import task_arithmetic
from worker.merge.plan import layer_index

Coefficients = Mapping[str, Mapping[str, float]]


def as_task_arithmetic(context: MergeContext, found: Coefficients) -> Resolution:
    """Return the resolution to θ0 + Σ wᵢ[tensor] · τᵢ; tensors that `found` lacks keep the base (weight 0)."""
    settings = {expert: {"weight": compact(dict(values), context.bank.names)} for expert, values in found.items()}
    return Resolution(context.plan.with_weights(task_arithmetic.METHOD, settings))


def compact(values: dict[str, float], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return filters that give each tensor its value: one for a layer whose tensors agree, else one a tensor."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_group(name), []).append(name)
    setting: list[dict[str, Any]] = []
    for group, members in groups.items():
        given = [values.get(name, 0.0) for name in members]
        if len(set(given)) == 1:
            setting.append({"filter": group, "value": given[0]})
        else:
            setting += [{"filter": n, "value": v} for n, v in sorted(zip(members, given, strict=True))]
    return [*setting, {"value": 0.0}]


def planned_weights(context: MergeContext) -> dict[str, dict[str, float]]:
    """Return the recipe's own weight of each expert for each tensor."""
    resolved = {name: context.plan.parameters_for(name).by_input for name in context.bank.names}
    return {e: {n: float(resolved[n][e]["weight"]) for n in context.bank.names} for e in context.plan.experts}


def _group(name: str) -> str:
    """Return the common part of the names of a layer's tensors, or the name itself outside the layers."""
    index = layer_index(name)
    return name if index is None else name[: name.index(f".{index}.") + len(f".{index}.")]
