"""Reads a recipe's mergekit configuration into the parameters of each tensor, without mergekit.

Filters (substring of the tensor's name) and gradients (lists interpolated over the depth) mean what they mean to
mergekit, so that one YAML gives the same tensors in both. Layer stacking (`slices`, `modules`) and tokenizer surgery
change the architecture: they are refused here, a resident model can't take them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from core.errors import InvalidInputError, Problem
from worker.merge.bank import ExpertBank
from worker.merge.method import MergeMethod, Scope

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_REFUSED = ("slices", "modules", "tokenizer", "tokenizer_source")
_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class TensorParameters:
    """A method's parameters for one tensor: shared ones, and per input those of each input."""

    shared: Mapping[str, Any]
    by_input: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class MergePlan:
    """A recipe bound to a bank: which inputs in which order, and where each parameter comes from.

    `inputs` are names of the bank in mergekit's order (as listed; an unlisted base last).
    """

    method: MergeMethod
    inputs: tuple[str, ...]
    base: str | None
    shared: Mapping[str, Any]
    by_input: Mapping[str, Mapping[str, Any]]
    layers: int
    dtype: torch.dtype = torch.float32
    out_dtype: torch.dtype | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def experts(self) -> tuple[str, ...]:
        """Return the inputs that are not the base (all of them for a method that ignores the base)."""
        return tuple(n for n in self.inputs if n != self.base or self.method.base is None)

    def parameters_for(self, name: str) -> TensorParameters:
        """Resolve every parameter of the method for the tensor; raise InvalidInputError for one that is missing."""
        filters, graded = self._variants
        # Tensors that match the same filters at the same depth get the same parameters: few of hundreds differ.
        key = (tuple(f in name for f in filters), self.depth(name) if graded else 0.0)
        if key not in self._resolved:
            self._resolved[key] = self._parameters_for(name)
        return self._resolved[key]

    @cached_property
    def _variants(self) -> tuple[tuple[str, ...], bool]:
        """Return the filters that the recipe uses, and whether any setting is a gradient over the depth."""
        settings = [s for scope in (self.shared, *self.by_input.values()) for s in scope.values()]
        return tuple(sorted(set(_filters(settings)))), any(map(_graded, settings))

    @cached_property
    def _resolved(self) -> dict[tuple[tuple[bool, ...], float], TensorParameters]:
        return {}

    def _parameters_for(self, name: str) -> TensorParameters:
        depth = self.depth(name)
        shared = {
            p.name: p.check(_first(name, depth, p.name, (self.shared,), p.default))
            for p in self.method.parameters
            if p.scope is Scope.SHARED
        }
        by_input = {
            model: {
                p.name: p.check(_first(name, depth, p.name, (self.by_input.get(model, {}), self.shared), p.default))
                for p in self.method.parameters
                if p.scope is Scope.EXPERT
            }
            for model in self.experts
        }
        return TensorParameters(shared, by_input)

    def depth(self, name: str) -> float:
        """Return the tensor's place in the depth, 0 to 1, as mergekit counts it (0 outside the layers)."""
        index = layer_index(name)
        if index is None:
            return 0.0
        return index / (self.layers - 1) if self.layers > 1 else 1.0

    def with_weights(self, method: MergeMethod, by_input: Mapping[str, Mapping[str, Any]]) -> "MergePlan":
        """Return the plan of another method with per-input parameters filled in (a resolved recipe)."""
        return replace(self, method=method, by_input=by_input)


def _filters(setting: Any) -> Iterator[str]:
    if isinstance(setting, Mapping):
        wanted = setting.get("filter")
        yield from ([wanted] if isinstance(wanted, str) and wanted != "*" else [])
    elif isinstance(setting, Sequence) and not isinstance(setting, str):
        for entry in setting:
            yield from _filters(entry)


def _graded(setting: Any) -> bool:
    if isinstance(setting, Mapping):
        return _graded(setting.get("value"))
    if isinstance(setting, Sequence) and not isinstance(setting, str):
        return any(not isinstance(entry, Mapping) or _graded(entry) for entry in setting)
    return False


def layer_index(name: str) -> int | None:
    """Return the index of the decoder layer that a tensor belongs to, or None."""
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def make_plan(config: Mapping[str, Any], method: MergeMethod, bank: ExpertBank) -> MergePlan:
    """Bind a configuration to the bank; raise one InvalidInputError naming everything that is wrong with it."""
    problems = [
        _problem(key, "not allowed", f"{key!r} can't be merged in memory.") for key in _REFUSED if config.get(key)
    ]
    entries = config.get("models")
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        problems.append(_problem("models", "a list of models", "The recipe lists no models."))
        entries = []
    base_reference = config.get("base_model")
    base = bank.resolve(str(base_reference)) if base_reference else None
    by_input: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        name = bank.resolve(str(entry["model"])) if isinstance(entry, Mapping) and "model" in entry else None
        if name is None or name in by_input:
            problems.append(_problem("models", "distinct models", f"{entry!r} names no model, or one named before."))
            continue
        by_input[name] = entry.get("parameters") or {}
        problems += _unknown(f"models.{name}", by_input[name], method)
    shared = config.get("parameters") or {}
    problems += _unknown("parameters", shared, method)
    if base is not None and base not in by_input:
        by_input[base] = {}
    problems += _input_problems(method, tuple(by_input), base)
    dtypes = {
        key: _DTYPES.get(str(config[key]).removeprefix("torch.")) for key in ("dtype", "out_dtype") if config.get(key)
    }
    problems += [
        _problem(k, ", ".join(_DTYPES), f"{k} {config[k]!r} is unknown.") for k, v in dtypes.items() if v is None
    ]
    if problems:
        raise InvalidInputError(
            "The recipe can't be run: " + " ".join(str(p["message"]) for p in problems), problems=tuple(problems)
        )
    return MergePlan(
        method, tuple(by_input), base, shared, by_input, bank.layers,
        torch.float64 if dtypes.get("dtype") is torch.float64 else torch.float32,
        dtypes.get("out_dtype") or bank.dtype, dict(config),
    )  # fmt: skip


def _problem(path: str, allowed: object, message: str) -> Problem:
    return Problem(path=path, given=None, allowed=allowed, message=message)


def _unknown(path: str, settings: Mapping[str, Any], method: MergeMethod) -> list[Problem]:
    known = {p.name for p in method.parameters} | {"seed", "statistics"}
    return [
        _problem(f"{path}.{key}", ", ".join(sorted(known)), f"{method.name} has no parameter {key!r}.")
        for key in settings
        if key not in known
    ]


def _input_problems(method: MergeMethod, inputs: tuple[str, ...], base: str | None) -> list[Problem]:
    if method.base == "required" and base is None:
        return [_problem("base_model", "the base", f"{method.name} needs base_model.")]
    experts = len([n for n in inputs if n != base or method.base is None])
    if not method.declaration.accepts(experts):
        least, most = method.declaration.experts
        message = f"{method.name} takes {least} to {most or 'any number of'} experts, not {experts}."
        return [_problem("models", method.declaration.experts, message)]
    return []


def _first(name: str, depth: float, key: str, settings: Sequence[Mapping[str, Any]], default: Any) -> Any:
    for scope in settings:
        if key in scope and (value := evaluate(scope[key], name, depth)) is not None:
            return value
    if default is None:
        raise InvalidInputError(f"The recipe gives no {key!r} for {name!r}.")
    return default


def evaluate(setting: Any, name: str, depth: float) -> Any:
    """Return a setting's value for a tensor: a scalar, a gradient over the depth, or the first filter that matches."""
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, Sequence) or isinstance(setting, str):
        return setting
    if not setting:
        return None
    if not any(isinstance(entry, Mapping) for entry in setting):
        return _gradient(setting, depth)
    for entry in setting:
        wanted = entry.get("filter")
        if wanted is None or wanted == "*" or wanted in name:
            return evaluate(entry["value"], name, depth)
    return None


def _gradient(values: Sequence[Any], depth: float) -> Any:
    if any(isinstance(v, bool | str) for v in values):
        return values[int(depth * (len(values) - 1))]
    scaled = depth * (len(values) - 1)
    low = int(scaled)
    part = scaled - low
    return (1 - part) * values[low] + part * values[min(len(values) - 1, low + 1)]
