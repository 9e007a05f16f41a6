"""Representation Surgery (arXiv 2402.02705) and V2 (2410.14389), adapted to one target expert of a decoder.

On top of a task-arithmetic merge, z' = z - W_up ReLU(W_down z) is trained by L1 to the target expert's representation:
at the input of lm_head (V1), or after every decoder layer (V2, losses summed). The first expert listed is the target.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from core.errors import InvalidInputError
from worker.merge.bank import BASE
from worker.merge.blocks import decoder_layers
from worker.merge.context import MergeContext
from worker.merge.gradients import load_model
from worker.merge.method import MergeMethod, per_expert, shared
from worker.merge.methods.task_arithmetic import task_arithmetic_into
from worker.merge.targets import resident_targets

Tensor = torch.Tensor


class Correction(nn.Module):
    """z - W_up ReLU(W_down z); W_up starts at zero, so that the module starts as the identity."""

    def __init__(self, width: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, width, generator=generator) / width**0.5)
        self.up = nn.Parameter(torch.zeros(width, rank))

    def forward(self, z: Tensor) -> Tensor:
        """Return the corrected representation in the dtype of z."""
        work = z.to(self.up.dtype)
        return (work - torch.relu(work @ self.down.T) @ self.up.T).to(z.dtype)


class Surgery:
    """Corrections on a resident model, active until removed."""

    def __init__(self, model: nn.Module, places: Sequence[nn.Module], rank: int, *, before: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        config: Any = model.config
        width, device = int(config.hidden_size), next(model.parameters()).device
        self.corrections = nn.ModuleList(Correction(width, rank, generator) for _ in places).to(device)
        self._places, self._before = list(places), before
        self._handles = [self._hook(p, c) for p, c in zip(places, self.corrections, strict=True)]

    def remove(self) -> None:
        """Take the corrections off."""
        for handle in self._handles:
            handle.remove()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the corrections' parameters."""
        return iter(self.corrections.named_parameters())

    def _hook(self, place: nn.Module, correction: nn.Module) -> torch.utils.hooks.RemovableHandle:
        if self._before:
            return place.register_forward_pre_hook(lambda _m, args: (correction(args[0]), *args[1:]))
        return place.register_forward_hook(
            lambda _m, _args, out: (correction(out[0]), *out[1:]) if isinstance(out, tuple) else correction(out)
        )


def representations(model: nn.Module, places: Sequence[nn.Module], ids: Tensor, *, before: bool) -> list[Tensor]:
    """Return what passes each place for one batch: inputs (`before`) or outputs."""
    seen: list[Tensor] = []
    if before:
        handles = [p.register_forward_pre_hook(lambda _m, args: seen.append(args[0])) for p in places]
    else:
        handles = [
            p.register_forward_hook(lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out))
            for p in places
        ]
    model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def _places(model: nn.Module, *, every_layer: bool) -> list[nn.Module]:
    if every_layer:
        return list(decoder_layers(model)[1])
    head = model.get_output_embeddings()  # type: ignore[operator]
    if head is None:
        raise InvalidInputError("The model has no output embeddings to correct before.")
    return [head]


def _attach(context: MergeContext, *, every_layer: bool) -> Surgery:
    model, before = context.need_model(), not every_layer
    target, bank = context.plan.experts[0], context.bank
    options = context.plan.parameters_for(bank.names[0]).shared
    batches = [b.to(next(model.parameters()).device) for b in context.need_batches(target)]
    targets, places = resident_targets(model, bank.shapes), _places(model, every_layer=every_layer)
    load_model(targets, bank, target)
    with torch.no_grad():
        wanted = [representations(model, places, ids, before=before) for ids in batches]
    _write_merge(context, targets)
    surgery = Surgery(model, places, options["rank"], before=before)
    _train(model, surgery, (batches, wanted), options)
    return surgery


def _write_merge(context: MergeContext, targets: dict[str, Tensor]) -> None:
    for name in context.bank.names:
        base, *experts = context.bank.tensors(name, (BASE, *context.plan.experts))
        values = context.plan.parameters_for(name).by_input
        weight = [0.0 if "embed" in name or "lm_head" in name else values[e]["weight"] for e in context.plan.experts]
        task_arithmetic_into(targets[name], base, experts, weight=weight)


def _train(
    model: nn.Module, surgery: Surgery, data: tuple[list[Tensor], list[list[Tensor]]], options: Mapping[str, float]
) -> None:
    """Minimize the L1 distance of the corrected representations; the model's own weights stay frozen."""
    optimizer = torch.optim.Adam(surgery.corrections.parameters(), lr=options["learning_rate"])
    frozen = {p: p.requires_grad for p in model.parameters()}
    for parameter in frozen:
        parameter.requires_grad_(False)
    batches, wanted = data
    with torch.enable_grad():
        for step in range(int(options["steps"])):
            place = step % len(batches)
            seen = representations(model, surgery._places, batches[place], before=surgery._before)
            loss = sum((z.float() - w.float()).abs().mean() for z, w in zip(seen, wanted[place], strict=True))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()
    for parameter, before in frozen.items():
        parameter.requires_grad_(before)


def attach_final(context: MergeContext) -> Surgery:
    """Merge, then train and attach one correction before lm_head."""
    return _attach(context, every_layer=False)


def attach_layers(context: MergeContext) -> Surgery:
    """Merge, then train and attach a correction after every decoder layer."""
    return _attach(context, every_layer=True)


_PARAMETERS = (
    per_expert("weight", 0.4), shared("rank", 16, int), shared("steps", 500, int), shared("learning_rate", 1e-3),
)  # fmt: skip
SURGERY = MergeMethod("ra_surgery", attach=attach_final, parameters=_PARAMETERS)
SURGERY_V2 = MergeMethod("ra_surgery_v2", attach=attach_layers, parameters=_PARAMETERS)
