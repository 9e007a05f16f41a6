"""What a merging method is to the worker: its declaration, its parameters and plain functions of tensors.

A rule sees one tensor at a time: `rule(base, experts, **parameters)`; per-expert parameters come as tuples in the
experts' order, `seed` comes mixed with the tensor's name. Methods that must see more (the whole task vector, text,
gradients) say so by a `resolve` step, which turns their recipe into parameters or statistics for such a rule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import torch

from core.errors import InvalidInputError
from core.merging import MethodDeclaration
from core.merging_table import declaration

if TYPE_CHECKING:
    from worker.merge.context import Extension, MergeContext, Resolution, RoutedGroup

Tensor = torch.Tensor
Rule = Callable[..., Tensor]


class Scope(StrEnum):
    """Whether a parameter has one value, or one for each expert."""

    SHARED = "shared"
    EXPERT = "expert"


@dataclass(frozen=True)
class Parameter:
    """A parameter of a rule. A `default` of None makes it required; the rule isn't given an unused one."""

    name: str
    default: float | int | bool | str | None = None
    scope: Scope = Scope.SHARED
    type: type = float
    used: bool = True

    @property
    def argument(self) -> str:
        """Return the rule's keyword (`lambda` is taken in Python)."""
        return "scale" if self.name == "lambda" else self.name

    def check(self, value: Any) -> Any:
        """Return the value in the parameter's type; raise InvalidInputError when it isn't one."""
        try:
            return self.type(value) if not isinstance(value, bool) or self.type is bool else _refuse(self.name, value)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"Parameter {self.name!r} can't be {value!r}.") from error


def _refuse(name: str, value: Any) -> Any:
    raise InvalidInputError(f"Parameter {name!r} can't be {value!r}.")


@dataclass(frozen=True)
class MergeMethod:
    """A runnable method. `base` is None where the base is an input like any other (linear).

    `into` is the fused form of an element-wise rule; `mix` gives the weights of a linear one (base + Σ wᵢ (xᵢ - base),
    or Σ wᵢ xᵢ where `base` is None) from its parameters, so that many tensors are computed at once; `settings` is the
    value class that a rule with many parameters takes them as. `resolve` prepares; `statistics` tells that the rule
    takes what the preparation found for the tensor as `statistics: Mapping[str, Tensor]`, and that tensors are computed
    in the order of the layers. `route` gives groups of prompts a recipe each; `attach` adds modules to a merged
    resident model.
    """

    name: str
    rule: Rule | None = None
    parameters: tuple[Parameter, ...] = ()
    base: Literal["required", "optional"] | None = "required"
    into: Callable[..., None] | None = None
    mix: Callable[..., Sequence[float]] | None = None
    resolve: "Callable[[MergeContext], Resolution] | None" = None
    statistics: bool = False
    settings: Callable[..., Any] | None = None
    route: "Callable[[MergeContext, Sequence[Tensor]], tuple[RoutedGroup, ...]] | None" = None
    attach: "Callable[[MergeContext], Extension] | None" = None

    @property
    def declaration(self) -> MethodDeclaration:
        """Return the method's row of the table."""
        return declaration(self.name)

    def compute(self, base: Tensor | None, experts: Sequence[Tensor], **parameters: Any) -> Tensor:
        """Return the merged tensor in the inputs' dtype; the inputs are aligned (fp32 or fp64)."""
        if self.rule is not None:
            return self._call(self.rule, (base, experts), parameters)
        out = torch.empty_like(experts[0] if base is None else base)
        self.write(out, base, experts, **parameters)
        return out

    def write(self, out: Tensor, base: Tensor | None, experts: Sequence[Tensor], **parameters: Any) -> None:
        """Merge into `out` by the fused form; raise InvalidInputError for a method without one."""
        if self.into is None:
            raise InvalidInputError(f"{self.name} has no rule for a single tensor.")
        self._call(self.into, (out, base, experts), parameters)

    def _call(self, function: Callable[..., Any], tensors: tuple[Any, ...], parameters: dict[str, Any]) -> Any:
        if self.settings is not None:
            return function(*tensors, self.settings(**parameters))
        return function(*tensors, **parameters)


def shared(name: str, default: Any = None, kind: type = float) -> Parameter:
    """Declare a parameter with one value."""
    return Parameter(name, default, Scope.SHARED, kind)


def per_expert(name: str, default: Any = None) -> Parameter:
    """Declare a parameter with a value for each expert."""
    return Parameter(name, default, Scope.EXPERT, float)


def prepared(name: str, default: Any, kind: type = float) -> Parameter:
    """Declare a parameter that only the preparation reads."""
    return Parameter(name, default, Scope.SHARED, kind, used=False)


def ignored(name: str, default: Any = False) -> Parameter:
    """Declare a parameter that mergekit accepts and that can't change this method's result."""
    return Parameter(name, default, Scope.SHARED, type(default), used=False)
