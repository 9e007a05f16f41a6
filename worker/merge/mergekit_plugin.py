"""Registers our methods with mergekit under their stable names, so that one YAML runs in both.

Import this only where mergekit is installed. A registered method sees what mergekit shows it: one tensor's inputs and
the parameters. What a whole-model preparation found is in the exported recipe as parameters, or in the file that its
`statistics` parameter names.
"""

from collections.abc import Mapping
from typing import Any

import torch
from mergekit.merge_methods import (
    BasePolicy,
    GroupMergeMethod,
    InputContract,
    MergeMethodSpec,
    ParameterScope,
    TensorGroup,
    register,
    registered_methods,
)
from mergekit.merge_methods.base import MISSING, ParameterSpec

from worker.merge.kernels.random_mask import mix_seed
from worker.merge.method import MergeMethod, Scope
from worker.merge.registry import OWN
from worker.merge.statistics_file import read_statistics

_BASE = {"required": BasePolicy.REQUIRED, "optional": BasePolicy.OPTIONAL, None: BasePolicy.IGNORED}
_FILE = "statistics"


class PluginMethod(GroupMergeMethod):
    """One of our methods as mergekit sees it."""

    def __init__(self, method: MergeMethod) -> None:
        self._method = method
        entry = method.declaration
        file = (ParameterSpec(_FILE, str, ParameterScope.SHARED),) if method.statistics else ()
        parameters = tuple(
            ParameterSpec(
                p.name, p.type, ParameterScope.SHARED if p.scope is Scope.SHARED else ParameterScope.NON_BASE,
                default=MISSING if p.default is None else p.default,
            )
            for p in method.parameters
        )  # fmt: skip
        self.spec = MergeMethodSpec(
            name=method.name,
            pretty_name=entry.title,
            reference_url=f"https://arxiv.org/abs/{entry.arxiv_id}" if entry.arxiv_id else None,
            parameters=(*parameters, *file),
            contract=InputContract(base=_BASE[method.base]),
        )

    def merge_group(self, group: TensorGroup, /, **parameters: Any) -> torch.Tensor:
        """Merge one tensor as the worker would."""
        name, experts = group.metadata.name or "", group.non_base
        arguments: dict[str, Any] = {}
        for parameter in self._method.parameters:
            if parameter.used:
                value = parameters[parameter.name]
                per_expert = isinstance(value, Mapping)
                arguments[parameter.argument] = tuple(value[e.id] for e in experts) if per_expert else value
        if "seed" in arguments:
            arguments["seed"] = mix_seed(arguments["seed"], name)
        if self._method.statistics:
            arguments["statistics"] = read_statistics(parameters[_FILE], name)
        base = group.base.tensor if group.base else None
        return self._method.compute(base, [e.tensor for e in experts], **arguments)


def register_all() -> None:
    """Register every own method that has a rule for single tensors; doing it again changes nothing."""
    known = {m.spec.name for m in registered_methods()}
    for method in OWN.values():
        if method.name not in known and (method.rule is not None or method.into is not None):
            register(PluginMethod(method))
