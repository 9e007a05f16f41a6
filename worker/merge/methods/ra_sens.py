"""Sens-Merging (arXiv 2502.12420): θ0 + Σ K·σᵢˡ·wᵢ·τᵢ with σˡ = softmaxᵢ(αᵢˡ · tᵢ / T).

α is the L2-normalized sensitivity Σ|w·∂L/∂w| of an expert's layers on its own text; t the L1-normalized transfer score:
how far an expert's logits on each task lie from that task's expert. It resolves to task arithmetic.
"""

import torch

from worker.merge.bank import BASE
from worker.merge.coefficients import as_task_arithmetic, planned_weights
from worker.merge.context import MergeContext, Resolution
from worker.merge.gradients import language_loss, load_model, streaming
from worker.merge.method import MergeMethod, per_expert, shared
from worker.merge.plan import layer_index
from worker.merge.targets import resident_targets

Tensor = torch.Tensor


def scaling(sensitivity: Tensor, transfer: Tensor, temperature: float) -> Tensor:
    """Return K · softmax over experts of α·t/T: sensitivity (experts, layers), transfer (experts)."""
    alpha = sensitivity / sensitivity.norm(dim=1, keepdim=True).clamp_min(1e-30)
    share = transfer / transfer.sum().clamp_min(1e-30)
    return len(transfer) * torch.softmax(alpha * share[:, None] / temperature, dim=0)


def sensitivities(context: MergeContext) -> tuple[Tensor, Tensor]:
    """Return sensitivities (experts, layers) and transfer scores (experts), one expert resident at a time."""
    model, experts = context.need_model(), context.plan.experts
    targets = resident_targets(model, context.bank.shapes)
    layers = [n for n in context.bank.names if layer_index(n) is not None]
    sensitivity = torch.zeros(len(experts), context.bank.layers, dtype=torch.float64)
    logits: list[list[Tensor]] = []
    device = next(model.parameters()).device
    for place, expert in enumerate(experts):
        load_model(targets, context.bank, expert)

        def consume(name: str, weight: Tensor, gradient: Tensor, row: Tensor = sensitivity[place]) -> None:
            row[layer_index(name)] += (weight.float() * gradient.float()).abs().sum().double().cpu()

        with streaming(model, layers, consume):
            for batch in context.need_batches(expert):
                language_loss(model, batch.to(device)).backward()
        logits.append(_last_logits(context, model))
    return sensitivity, _transfer(logits)


def _last_logits(context: MergeContext, model: torch.nn.Module) -> list[Tensor]:
    """Return the logits at the last token of every sequence, a tensor for each expert's text."""
    device = next(model.parameters()).device
    with torch.no_grad():
        return [
            torch.cat([model(input_ids=b.to(device), use_cache=False).logits[:, -1].float().cpu() for b in batches])
            for batches in (context.need_batches(e) for e in context.plan.experts)
        ]


def _transfer(logits: list[list[Tensor]]) -> Tensor:
    scores = [sum(float((own[j] - logits[j][j]).norm(dim=-1).mean()) for j in range(len(logits))) for own in logits]
    return torch.tensor(scores, dtype=torch.float64)


def resolve(context: MergeContext) -> Resolution:
    """Measure sensitivity and transfer, and scale the recipe's weights by layer."""
    sensitivity, transfer = sensitivities(context)
    load_model(resident_targets(context.need_model(), context.bank.shapes), context.bank, BASE)
    temperature = context.plan.parameters_for(context.bank.names[0]).shared["temperature"]
    factors = scaling(sensitivity, transfer, temperature)
    weights = planned_weights(context)
    found = {
        e: {n: w * (1.0 if (at := layer_index(n)) is None else float(factors[i, at])) for n, w in weights[e].items()}
        for i, e in enumerate(context.plan.experts)
    }
    return as_task_arithmetic(context, found)


METHOD = MergeMethod("ra_sens", resolve=resolve, parameters=(per_expert("weight"), shared("temperature", 2.0)))
