"""Which tensors a recipe leaves to the base, and in which order tensors are computed."""

from collections.abc import Sequence

from core.merging import Engine
from worker.merge.plan import MergePlan, layer_index


def ordered_names(plan: MergePlan, names: Sequence[str]) -> list[str]:
    """Return names sorted as mergekit's executor computes them, or by layer for methods that follow the layers."""
    if not plan.method.statistics:
        return sorted(names)
    depth = {name: layer_index(name) for name in names}
    return sorted(names, key=lambda name: (-1 if depth[name] is None else depth[name], name))


def stays_base(plan: MergePlan, name: str) -> bool:
    """Return whether the recipe keeps this tensor from the base, so that nothing has to be computed.

    mergekit's randomised methods are never cut short: they would draw other numbers for the tensors that follow.
    """
    neutral_setting = plan.method.declaration.neutral
    if neutral_setting is None or draws_in_order(plan):
        return False
    key, neutral = neutral_setting
    values = plan.parameters_for(name)
    given = [values.shared[key]] if key in values.shared else [v[key] for v in values.by_input.values()]
    return all(value == neutral for value in given)


def draws_in_order(plan: MergePlan) -> bool:
    """Return whether the method draws from torch's global generator, tensor by tensor."""
    entry = plan.method.declaration
    return entry.random and entry.engine is Engine.MERGEKIT
