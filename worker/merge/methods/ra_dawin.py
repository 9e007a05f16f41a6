"""DaWin (arXiv 2410.03782), adapted: λᵢ(x) ∝ exp(-entropy of expert i on prompt x), one static merge a cluster.

It reads the prompts that will be evaluated (transductive): whoever reports a score made with it must say so.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from worker.merge.bank import BASE
from worker.merge.context import MergeContext, RoutedGroup
from worker.merge.gradients import load_model
from worker.merge.method import MergeMethod, shared
from worker.merge.targets import resident_targets

Tensor = torch.Tensor


@torch.no_grad()
def prompt_entropies(context: MergeContext, prompts: Sequence[Tensor]) -> Tensor:
    """Return the mean next-token entropy (experts, prompts), one expert resident at a time."""
    model = context.need_model()
    targets, device = resident_targets(model, context.bank.shapes), next(model.parameters()).device
    rows = []
    for expert in context.plan.experts:
        load_model(targets, context.bank, expert)
        row = []
        for prompt in prompts:
            log = model(input_ids=prompt.reshape(1, -1).to(device), use_cache=False).logits.float().log_softmax(-1)
            row.append(float(-(log.exp() * log).sum(-1).mean()))
        rows.append(row)
    load_model(targets, context.bank, BASE)
    return torch.tensor(rows, dtype=torch.float64)


def route(context: MergeContext, prompts: Sequence[Tensor]) -> tuple[RoutedGroup, ...]:
    """Return a task_arithmetic recipe for each cluster of prompts: θ0 + scale · T · Σ λᵢ τᵢ."""
    options = context.plan.parameters_for(context.bank.names[0]).shared
    shares = torch.softmax(-prompt_entropies(context, prompts), dim=0).T.numpy()
    clusters = min(options["clusters"], len(prompts))
    centers, labels = kmeans2(shares, clusters, minit="++", seed=options["seed"])
    groups = []
    for cluster in range(clusters):
        members = tuple(int(i) for i in np.flatnonzero(labels == cluster))
        if members:
            groups.append(RoutedGroup(members, _recipe(context, centers[cluster] * options["scale"] * shares.shape[1])))
    return tuple(groups)


def _recipe(context: MergeContext, weights: Sequence[float]) -> dict[str, object]:
    outside = [{"filter": "embed_tokens", "value": 0.0}, {"filter": "lm_head", "value": 0.0}]
    models = [
        {"model": e, "parameters": {"weight": [*outside, {"value": float(w)}]}}
        for e, w in zip(context.plan.experts, weights, strict=True)
    ]
    return {"merge_method": "task_arithmetic", "base_model": BASE, "models": models, "dtype": "float32"}


METHOD = MergeMethod(
    "ra_dawin", route=route, parameters=(shared("scale", 0.3), shared("clusters", 1, int), shared("seed", 0, int))
)
