"""Runs mergekit's methods on tensors in memory: no planner graph, no loader, no tokenizer, no disk.

mergekit's methods are callables on groups of tensors; this module gives them one group at a time with the parameters
that the recipe resolves to. Randomised methods draw from torch's global generator in the order in which mergekit's
executor computes tensors (sorted by name), so that `mergekit-yaml --random-seed` draws the same.

On a CPU most of them are computed by rules of our own that stay in the cache (`worker.merge.cpu_rules`); on a GPU, in
fp64, and for the variants that these leave out, mergekit's code runs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mergekit.merge_methods import (
    BasePolicy,
    ParameterScope,
    TensorGroup,
    get,
)
from mergekit.merge_methods.base import MISSING, ParameterSpec

from worker.merge.cpu_rules.table import CPU_RULES
from worker.merge.kernels.elementwise import working_dtype
from worker.merge.method import MergeMethod, Parameter, Scope

Tensor = torch.Tensor
_BASE = {BasePolicy.REQUIRED: "required", BasePolicy.OPTIONAL: "optional"}


def mergekit_method(name: str) -> MergeMethod:
    """Return mergekit's method as one of ours: its parameters, and its fused form."""
    method = get(name)
    fast = CPU_RULES.get(name)

    def rule(base: Tensor | None, experts: Sequence[Tensor], **parameters: Any) -> Tensor:
        tensors = [*experts] if base is None else [*experts, base]
        group = TensorGroup.from_tensors(tensors, base_index=None if base is None else len(experts))
        settings = {"lambda" if k == "scale" else k: v for k, v in parameters.items()}
        (result,) = method((group,), parameters=settings, dtype=working_dtype(tensors[0]))
        return result

    def into(out: Tensor, base: Tensor | None, experts: Sequence[Tensor], **parameters: Any) -> None:
        on_cpu = out.device.type == "cpu" and working_dtype(experts[0]) is torch.float32
        if not (fast and on_cpu and fast(out, base, experts, **parameters)):
            out.copy_(rule(base, experts, **parameters))

    policy = method.spec.contract.base
    base_policy: Any = _BASE.get(policy)
    return MergeMethod(name, into=into, base=base_policy, parameters=tuple(map(_parameter, method.spec.parameters)))


def _parameter(spec: ParameterSpec) -> Parameter:
    scope = Scope.SHARED if spec.scope is ParameterScope.SHARED else Scope.EXPERT
    kind = spec.value_type if spec.value_type in {bool, int, float} else float
    return Parameter(spec.name, None if spec.default is MISSING else spec.default, scope, kind)
