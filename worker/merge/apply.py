"""Merges a recipe straight into the resident model: recipe to a model ready to generate, nothing on disk.

`merge_tensors` yields the same tensors one by one for an export. Routed and extra-module methods end in a model, too,
but need more than weights: see `MergeMethod.route` and `MergeMethod.attach`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from core.errors import InvalidInputError
from worker.merge.apply_rules import draws_in_order, ordered_names, stays_base
from worker.merge.bank import BASE, ExpertBank, Placement
from worker.merge.context import Calibration, Extension, MergeContext, Resolution, RoutedGroup
from worker.merge.kernels import fused
from worker.merge.kernels.random_mask import mix_seed
from worker.merge.kernels.threads import lanes, later
from worker.merge.memory import keep_freed_memory, peak_mb, reset_peak, return_freed_memory
from worker.merge.plan import MergePlan, make_plan
from worker.merge.registry import method
from worker.merge.targets import Probe, checksum, probe, resident_targets

if TYPE_CHECKING:
    from core.types.recipe import Recipe

Tensor = torch.Tensor
# The device starts on the first tensors while the host prepares the next.
_MIXED_AT_ONCE = 64


@dataclass(frozen=True)
class MergeReport:
    """What a merge took and made. `probe` is None for engines that can't be called directly."""

    method: str
    seconds: float
    checksum: str
    probe: Probe | None
    peak_mb: float


@torch.no_grad()
def merge_into(
    model: nn.Module, bank: ExpertBank, recipe: "Recipe", calibration: Calibration | None = None
) -> MergeReport:
    """Write the recipe's merge into the model's parameters; raise InvalidInputError before any of them is changed."""
    start = time.perf_counter()
    reset_peak(bank.device)
    targets = resident_targets(model, bank.shapes)
    resolution = resolve(recipe.config, bank, model, calibration)
    write_targets(targets, bank, resolution)
    _synchronize(bank.device)
    seconds = time.perf_counter() - start
    return MergeReport(recipe.method, seconds, checksum(model.named_parameters()), probe(model), peak_mb(bank.device))


@torch.no_grad()
def attach_into(
    model: nn.Module, bank: ExpertBank, recipe: "Recipe", calibration: Calibration | None = None
) -> tuple[MergeReport, Extension]:
    """Merge and attach the recipe's extra modules; they act until they are removed.

    Raises:
        InvalidInputError: the method adds no modules, or asks for something that is not there.
    """
    start = time.perf_counter()
    reset_peak(bank.device)
    chosen = method(recipe.method)
    if chosen.attach is None:
        raise InvalidInputError(f"{chosen.name} adds no modules.")
    plan = make_plan(recipe.config, chosen, bank)
    extension = chosen.attach(MergeContext(bank, plan, model, calibration or Calibration()))
    _synchronize(bank.device)
    seconds = time.perf_counter() - start
    weights = checksum([*model.named_parameters(), *extension.tensors()])
    return MergeReport(recipe.method, seconds, weights, probe(model), peak_mb(bank.device)), extension


@torch.no_grad()
def route_prompts(
    model: nn.Module, bank: ExpertBank, recipe: "Recipe", prompts: Sequence[Tensor]
) -> tuple[RoutedGroup, ...]:
    """Return which prompts (by place) are answered by which merge; the resident weights are overwritten."""
    chosen = method(recipe.method)
    if chosen.route is None:
        raise InvalidInputError(f"{chosen.name} does not route prompts.")
    return chosen.route(MergeContext(bank, make_plan(recipe.config, chosen, bank), model), prompts)


def resolve(
    config: Mapping[str, Any], bank: ExpertBank, model: nn.Module | None = None, calibration: Calibration | None = None
) -> Resolution:
    """Bind a configuration to the bank and run its preparation (thresholds, Grams, learnt coefficients), if any."""
    chosen = method(str(config.get("merge_method")))
    plan = make_plan(config, chosen, bank)
    if plan.dtype is torch.float64:  # the fused rules compute in fp32
        plan = replace(plan, method=replace(chosen, rule=chosen.compute, into=None, mix=None, settings=None))
    if chosen.attach is not None or (chosen.route is not None and "share" not in plan.shared):
        step = "attach" if chosen.attach is not None else "route"
        raise InvalidInputError(f"{chosen.name} is not one set of weights.", fix=f"Use its `{step}` step.")
    if chosen.resolve is None:
        return Resolution(plan)
    with torch.no_grad():
        return chosen.resolve(MergeContext(bank, plan, model, calibration or Calibration()))


@torch.no_grad()
def write_targets(targets: Mapping[str, Tensor], bank: ExpertBank, resolution: Resolution) -> None:
    """Merge every tensor of the bank into its target (a parameter, or a view of a fused one)."""
    plan = resolution.plan
    keep_freed_memory()
    _seed_global(plan)
    with _side_by_side(bank, plan):
        _write_all(targets, bank, resolution)
    if bank.device.type == "cpu":
        return_freed_memory()


def _write_all(targets: Mapping[str, Tensor], bank: ExpertBank, resolution: Resolution) -> None:
    plan = resolution.plan
    write = plan.method.write if draws_in_order(plan) else partial(later, plan.method.write)
    mixes: list[fused.Mix] = []
    for name in ordered_names(plan, bank.names):
        target = targets[name]
        if plan.base is not None and stays_base(plan, name):
            target.copy_(bank.tensor(plan.base, name))
        elif (mix := _mix(target, bank, resolution, name)) is not None:
            mixes.append(mix)
            if len(mixes) == _MIXED_AT_ONCE:
                fused.mix_all(mixes)
                mixes = []
        elif plan.method.into is not None and target.is_contiguous() and same_place(target.device, bank.device):
            base, experts, parameters = _inputs(bank, resolution, name)
            write(target, base, experts, **parameters)
        else:
            target.copy_(merged_tensor(bank, resolution, name))
        resolution.statistics.merged(name, target)
    fused.mix_all(mixes)


def _side_by_side(bank: ExpertBank, plan: MergePlan) -> AbstractContextManager[None]:
    """Return lanes for tensors that don't wait for each other and are computed chunk by chunk, on a CPU."""
    apart = bank.device.type == "cpu" and plan.method.into is not None and not plan.method.statistics
    return lanes() if apart else nullcontext()


def _mix(target: Tensor, bank: ExpertBank, resolution: Resolution, name: str) -> fused.Mix | None:
    """Return the tensor's linear rule where the method is one and the device can compute many at once."""
    plan = resolution.plan
    if plan.method.mix is None or not target.is_cuda or bank.placement is not Placement.GPU:
        return None
    base, experts, parameters = _inputs(bank, resolution, name)
    mix = fused.Mix(target, base, experts, plan.method.mix(**parameters)).lean()
    return mix if fused.mixable(mix) else None


@torch.no_grad()
def merge_tensors(bank: ExpertBank, resolution: Resolution) -> Iterator[tuple[str, Tensor]]:
    """Yield each merged tensor in the recipe's output dtype, in the order of the bank's names."""
    plan = resolution.plan
    keep_freed_memory()
    _seed_global(plan)
    for name in ordered_names(plan, bank.names):
        merged = merged_tensor(bank, resolution, name)
        resolution.statistics.merged(name, merged)
        yield name, merged.to(plan.out_dtype)


def merged_tensor(bank: ExpertBank, resolution: Resolution, name: str) -> Tensor:
    """Return one merged tensor in the precision it is computed in."""
    plan = resolution.plan
    if plan.base is not None and stays_base(plan, name):
        return bank.tensor(plan.base, name)
    base, experts, parameters = _inputs(bank, resolution, name)
    aligned = [x.to(plan.dtype) for x in experts]
    with _side_by_side(bank, plan):
        return plan.method.compute(None if base is None else base.to(plan.dtype), aligned, **parameters)


def _inputs(
    bank: ExpertBank, resolution: Resolution, name: str
) -> tuple[Tensor | None, tuple[Tensor, ...], dict[str, Any]]:
    plan = resolution.plan
    values = plan.parameters_for(name)
    arguments: dict[str, Any] = {}
    for parameter in plan.method.parameters:
        if not parameter.used:
            continue
        if parameter.name in values.shared:
            arguments[parameter.argument] = values.shared[parameter.name]
        else:
            arguments[parameter.argument] = tuple(values.by_input[e][parameter.name] for e in plan.experts)
    if "seed" in arguments:
        arguments["seed"] = mix_seed(arguments["seed"], name)
    if plan.method.statistics:
        arguments["statistics"] = resolution.statistics.for_tensor(name)
    with_base = plan.base is not None and plan.method.base is not None
    base, *experts = bank.tensors(name, (BASE, *plan.experts))
    return (base if with_base else None), tuple(experts), arguments


def _seed_global(plan: MergePlan) -> None:
    """Seed torch's generator for mergekit's randomised methods, which draw from it tensor by tensor."""
    if plan.method.declaration.random:
        torch.manual_seed(int(plan.shared.get("seed", 0)))


def same_place(first: torch.device, second: torch.device) -> bool:
    """Return whether two devices are one: `cuda` and `cuda:0` are unequal to torch, and the same to us."""
    return (first.type, first.index or 0) == (second.type, second.index or 0)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
