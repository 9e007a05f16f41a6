"""MASS (arXiv 2504.05342), adapted: route each prompt to the experts whose update sees it, merge their low-rank τ.

First pass on the sum of all truncated τ; at one layer the mean hidden state z of the prompt leaves a residual
‖z - V Vᵀ z‖ for each expert's right singular vectors; softmax(-residual), threshold and top-k choose the subset.
"""

from collections.abc import Sequence

import torch
from torch import nn

from worker.merge.bank import BASE
from worker.merge.blocks import decoder_layers
from worker.merge.context import MergeContext, RoutedGroup
from worker.merge.kernels.spectral import factors
from worker.merge.method import MergeMethod, per_expert, prepared, shared
from worker.merge.targets import resident_targets

Tensor = torch.Tensor
_SCALES = {1: 1.0, 2: 0.4, 3: 0.35}


def low_rank_sum(base: Tensor, experts: Sequence[Tensor], *, weight: Sequence[float], share: float = 1.0) -> Tensor:
    """Return base + Σ wᵢ · (τᵢ truncated to `share` of its full rank); what isn't a matrix is added whole."""
    out = base.clone()
    for x, w in zip(experts, weight, strict=True):
        if w == 0:
            continue
        delta = x - base
        if base.ndim == 2 and share < 1:
            u, s, v = factors(delta, max(1, int(share * min(base.shape))))
            delta = (u * s) @ v.T
        out.add_(delta, alpha=w)
    return out


def choose(residuals: Tensor, threshold: float, top_k: int) -> tuple[int, ...]:
    """Return the experts to merge for one prompt: weight over the threshold, at most top_k, at least the best."""
    weights = torch.softmax(-residuals, dim=0)
    ordered = weights.argsort(descending=True)[:top_k].tolist()
    return tuple(sorted([i for i in ordered if weights[i] >= threshold] or ordered[:1]))


@torch.no_grad()
def residuals(context: MergeContext, prompts: Sequence[Tensor], layer: int) -> Tensor:
    """Return ‖z - V Vᵀ z‖ / ‖z‖ (prompts, experts) at the first linear map of the layer."""
    model, bank, experts = context.need_model(), context.bank, context.plan.experts
    prefix, layers = decoder_layers(model)
    inner, module = next((n, m) for n, m in layers[layer].named_modules() if isinstance(m, nn.Linear))
    base, *others = (t.float() for t in bank.tensors(f"{prefix}.{layer}.{inner}.weight", (BASE, *experts)))
    rank = max(1, min(base.shape) // len(experts))
    sides = [factors(x - base, rank)[2] for x in others]
    rows, device = [], next(model.parameters()).device
    for prompt in prompts:
        seen: list[Tensor] = []
        handle = module.register_forward_pre_hook(lambda _m, args, seen=seen: seen.append(args[0]))
        model(input_ids=prompt.reshape(1, -1).to(device), use_cache=False)
        handle.remove()
        z = seen[0].float().reshape(-1, seen[0].shape[-1]).mean(0)
        rows.append(torch.stack([(z - v @ (v.T @ z)).norm() / z.norm() for v in sides]).cpu())
    return torch.stack(rows)


def route(context: MergeContext, prompts: Sequence[Tensor]) -> tuple[RoutedGroup, ...]:
    """Return one recipe for each subset of experts that some prompt was routed to."""
    options = context.plan.parameters_for(context.bank.names[0]).shared
    experts, model = context.plan.experts, context.need_model()
    targets = resident_targets(model, context.bank.shapes)
    share = 1 / len(experts)
    for name in context.bank.names:
        base, *others = (t.float() for t in context.bank.tensors(name, (BASE, *experts)))
        outside = "embed" in name or "lm_head" in name
        weight = [0.0 if outside else _SCALES.get(len(experts), share)] * len(experts)
        targets[name].copy_(low_rank_sum(base, others, weight=weight, share=share))
    found = residuals(context, prompts, min(context.bank.layers - 1, int(options["layer"] * context.bank.layers)))
    subsets: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(found):
        subsets.setdefault(choose(row, options["threshold"], options["top_k"]), []).append(place)
    return tuple(RoutedGroup(tuple(p), _recipe(context, subset, share)) for subset, p in sorted(subsets.items()))


def _recipe(context: MergeContext, subset: tuple[int, ...], share: float) -> dict[str, object]:
    outside = [{"filter": "embed_tokens", "value": 0.0}, {"filter": "lm_head", "value": 0.0}]
    scale = _SCALES.get(len(subset), 1 / len(subset))
    models = [
        {"model": context.plan.experts[i], "parameters": {"weight": [*outside, {"value": scale}]}} for i in subset
    ]
    return {
        "merge_method": "ra_mass", "base_model": BASE, "models": models, "parameters": {"share": share},
        "dtype": "float32",
    }  # fmt: skip


METHOD = MergeMethod(
    "ra_mass",
    rule=low_rank_sum,
    route=route,
    parameters=(
        per_expert("weight", 0.0), shared("share", 1.0), prepared("threshold", 0.2), prepared("top_k", 3, int),
        prepared("layer", 0.5),
    ),
)  # fmt: skip
