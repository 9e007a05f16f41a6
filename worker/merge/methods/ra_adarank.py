"""AdaRank (arXiv 2503.22178): choose singular components of each τ by learnt binary masks (straight-through sigmoid),
with layer-wise coefficients, minimizing the entropy of the next token on calibration text.

The spectrum is truncated to `rank` components; all of them start selected.
"""

from collections.abc import Mapping, Sequence

import torch

from worker.merge.bank import BASE
from worker.merge.context import HeldStatistics, MergeContext, Resolution
from worker.merge.gradients import entropy_loss, load_model, matrices, streaming
from worker.merge.kernels.spectral import factors
from worker.merge.method import MergeMethod, prepared
from worker.merge.plan import layer_index
from worker.merge.targets import resident_targets

Tensor = torch.Tensor
_START = 0.3


def adarank(base: Tensor, experts: Sequence[Tensor], *, statistics: Mapping[str, Tensor]) -> Tensor:
    """Return base + Σᵢ (Uᵢ · diag(kept sᵢ) · Vᵢᵀ), the kept values already multiplied by the coefficients."""
    out = base.clone()
    for i in range(len(experts)):
        if f"values{i}" in statistics:
            u, s, v = (statistics[f"{key}{i}"].to(base) for key in ("left", "values", "right"))
            out.add_((u * s) @ v.T)
    return out


class RankMasks:
    """Singular triplets of every matrix and expert, with the logits of their masks and the layers' coefficients."""

    def __init__(self, context: MergeContext) -> None:
        options = context.plan.parameters_for(context.bank.names[0]).shared
        self.bank, self.experts, self.names = context.bank, context.plan.experts, matrices(context.bank)
        self.temperature = options["temperature"]
        self.triplets: dict[tuple[str, int], tuple[Tensor, Tensor, Tensor]] = {}
        for name in self.names:
            base, *others = (t.float() for t in self.bank.tensors(name, (BASE, *self.experts)))
            for i, x in enumerate(others):
                self.triplets[name, i] = factors(x - base, options["rank"])
        self.logits = {k: torch.full_like(s, _START) for k, (_, s, _) in self.triplets.items()}
        self.coefficients = torch.full((len(self.experts), self.bank.layers), options["prior"])
        for value in (self.coefficients, *self.logits.values()):
            value.requires_grad_().grad = torch.zeros_like(value)
        learnt = [self.coefficients, *self.logits.values()]
        self.optimizer = torch.optim.Adam(learnt, lr=options["learning_rate"])

    def consume(self, name: str, _weight: Tensor, gradient: Tensor) -> None:
        """Add the gradients of masks (straight-through: of their sigmoid) and coefficients: both from uᵀ(∂L/∂W)v."""
        layer = layer_index(name)
        for i in range(len(self.experts)):
            u, s, v = self.triplets[name, i]
            inner = ((u.T @ gradient.float()) * v.T).sum(1) * s
            logit = self.logits[name, i]
            soft = torch.sigmoid(self.temperature * logit)
            slope = self.temperature * soft * (1 - soft)
            logit.grad += inner * self.coefficients.detach()[i, layer].to(inner) * slope  # type: ignore[operator]
            kept = (inner * (logit > 0)).sum().cpu()
            self.coefficients.grad[i, layer] += kept  # type: ignore[index]

    def statistics(self) -> HeldStatistics:
        """Return the kept triplets by tensor, multiplied by their coefficients."""
        found: dict[str, dict[str, Tensor]] = {}
        for (name, i), (u, s, v) in self.triplets.items():
            keep = self.logits[name, i].detach() > 0
            factor = self.coefficients.detach()[i, layer_index(name)].to(s)
            found.setdefault(name, {}).update(
                {f"left{i}": u[:, keep], f"values{i}": s[keep] * factor, f"right{i}": v[:, keep]}
            )
        return HeldStatistics(found)

    def write(self, targets: Mapping[str, Tensor]) -> None:
        """Write the present merge into the resident model."""
        statistics = self.statistics()
        for name in self.names:
            base = self.bank.tensor(BASE, name).float()
            targets[name].copy_(adarank(base, self.experts, statistics=statistics.for_tensor(name)))  # type: ignore[arg-type]


def resolve(context: MergeContext) -> Resolution:
    """Learn masks and coefficients; raise InvalidInputError without text or model."""
    model = context.need_model()
    targets = resident_targets(model, context.bank.shapes)
    load_model(targets, context.bank, BASE)
    masks, device = RankMasks(context), next(model.parameters()).device
    for _ in range(context.plan.parameters_for(context.bank.names[0]).shared["steps"]):
        masks.write(targets)
        masks.optimizer.zero_grad(set_to_none=False)
        with streaming(model, masks.names, masks.consume):
            for expert in context.plan.experts:
                for batch in context.need_batches(expert):
                    entropy_loss(model, batch.to(device)).backward()
        masks.optimizer.step()
    return Resolution(context.plan, masks.statistics())


METHOD = MergeMethod(
    "ra_adarank",
    rule=adarank,
    resolve=resolve,
    statistics=True,
    parameters=(
        prepared("prior", 0.3), prepared("rank", 64, int), prepared("steps", 30, int), prepared("learning_rate", 1e-2),
        prepared("temperature", 10.0),
    ),
)  # fmt: skip
