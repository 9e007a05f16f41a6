"""Model Tinting / SyMerge (arXiv 2412.19098): tune layer-wise coefficients and one layer towards the experts.

Coefficients start at the prior; the loss is KL to each expert's next-token distribution on its own text. One late
decoder layer (the last) is tuned as well, its update held as statistics of that layer's tensors.
"""

from collections.abc import Mapping, Sequence

import torch

from worker.merge.bank import BASE
from worker.merge.context import HeldStatistics, MergeContext, Resolution
from worker.merge.gradients import imitation_loss, load_model, log_probabilities, matrices, streaming
from worker.merge.method import MergeMethod, prepared
from worker.merge.plan import layer_index
from worker.merge.targets import resident_targets

Tensor = torch.Tensor


def symerge(base: Tensor, experts: Sequence[Tensor], *, statistics: Mapping[str, Tensor]) -> Tensor:
    """Return base + Σ cᵢ τᵢ + the tuned layer's own update; the base where nothing was learnt."""
    if "coefficients" not in statistics:
        return base
    out = base.clone()
    for c, x in zip(statistics["coefficients"].tolist(), experts, strict=True):
        out.add_(x - base, alpha=c)
    return out.add_(statistics["update"].to(base)) if "update" in statistics else out


class Tinting:
    """The learnt values (coefficients by layer, one layer's update) and how gradients reach them."""

    def __init__(self, context: MergeContext) -> None:
        options = context.plan.parameters_for(context.bank.names[0]).shared
        self.bank, self.experts = context.bank, context.plan.experts
        self.names, self.tuned = matrices(context.bank), context.bank.layers - 1
        self.coefficients = torch.full((len(self.experts), context.bank.layers), options["prior"], dtype=torch.float64)
        self.updates = {n: torch.zeros(self.bank.shapes[n]) for n in self.names if layer_index(n) == self.tuned}
        learnt = [
            {"params": [self.coefficients], "lr": options["learning_rate"]},
            {"params": list(self.updates.values()), "lr": options["layer_learning_rate"]},
        ]
        for value in (self.coefficients, *self.updates.values()):
            value.requires_grad_().grad = torch.zeros_like(value)
        self.optimizer = torch.optim.Adam(learnt)

    def consume(self, name: str, _weight: Tensor, gradient: Tensor) -> None:
        """Add ∂L/∂c = ⟨∂L/∂W, τ⟩ and, in the tuned layer, ∂L/∂update = ∂L/∂W."""
        base, *experts = self.bank.tensors(name, (BASE, *self.experts))
        for i, x in enumerate(experts):
            inner = (gradient.float() * (x.float() - base.float())).sum().double().cpu()
            self.coefficients.grad[i, layer_index(name)] += inner  # type: ignore[index]
        if name in self.updates:
            self.updates[name].grad += gradient.float().cpu()  # type: ignore[operator]

    def statistics(self) -> HeldStatistics:
        """Return what was learnt, by tensor."""
        found: dict[str, dict[str, Tensor]] = {}
        for name in self.names:
            found[name] = {"coefficients": self.coefficients.detach()[:, layer_index(name)].clone()}
            if name in self.updates:
                found[name]["update"] = self.updates[name].detach()
        return HeldStatistics(found)

    def write(self, targets: Mapping[str, Tensor]) -> None:
        """Write the present merge into the resident model."""
        statistics = self.statistics()
        for name in self.names:
            base, *experts = (t.float() for t in self.bank.tensors(name, (BASE, *self.experts)))
            targets[name].copy_(symerge(base, experts, statistics=statistics.for_tensor(name)))


def resolve(context: MergeContext) -> Resolution:
    """Learn coefficients and the layer's update by Adam; raise InvalidInputError without text or model."""
    model = context.need_model()
    targets = resident_targets(model, context.bank.shapes)
    teachers = {}
    for expert in context.plan.experts:
        load_model(targets, context.bank, expert)
        teachers[expert] = log_probabilities(model, context.need_batches(expert))
    load_model(targets, context.bank, BASE)
    tinting, device = Tinting(context), next(model.parameters()).device
    for _ in range(context.plan.parameters_for(context.bank.names[0]).shared["steps"]):
        tinting.write(targets)
        tinting.optimizer.zero_grad(set_to_none=False)
        with streaming(model, tinting.names, tinting.consume):
            for expert in context.plan.experts:
                loss = imitation_loss(teachers[expert])
                for place, batch in enumerate(context.need_batches(expert)):
                    loss(model, batch.to(device), place).backward()
        tinting.optimizer.step()
    return Resolution(context.plan, tinting.statistics())


METHOD = MergeMethod(
    "ra_symerge",
    rule=symerge,
    resolve=resolve,
    statistics=True,
    parameters=(
        prepared("prior", 0.3), prepared("steps", 50, int), prepared("learning_rate", 1e-2),
        prepared("layer_learning_rate", 1e-5),
    ),
)  # fmt: skip
