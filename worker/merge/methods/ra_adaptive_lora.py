"""Adaptive LoRA merge (arXiv 2505.24174), adapted: stack the experts' adapters, tune them on a little labelled text,
drop the modules of least update.

Adapters are the truncated SVDs of the task vectors, which is exact for LoRA experts of that rank or less.
"""

from collections.abc import Mapping, Sequence

import torch

from worker.merge.bank import BASE
from worker.merge.context import HeldStatistics, MergeContext, Resolution
from worker.merge.gradients import language_loss, load_model, matrices, streaming
from worker.merge.kernels.spectral import factors
from worker.merge.method import MergeMethod, prepared
from worker.merge.targets import resident_targets

Tensor = torch.Tensor


def low_rank(base: Tensor, _experts: Sequence[Tensor], *, statistics: Mapping[str, Tensor]) -> Tensor:
    """Return base + left · right, or the base where the module was pruned or never had an adapter."""
    if "left" not in statistics:
        return base
    return base + statistics["left"].to(base) @ statistics["right"].to(base)


class StackedAdapters:
    """The concatenated factors of all experts' adapters by matrix; their product starts as the mean of the τ."""

    def __init__(self, context: MergeContext) -> None:
        self.options = context.plan.parameters_for(context.bank.names[0]).shared
        self.bank, self.names = context.bank, matrices(context.bank)
        experts = context.plan.experts
        self.left: dict[str, Tensor] = {}
        self.right: dict[str, Tensor] = {}
        for name in self.names:
            base, *others = (t.float() for t in self.bank.tensors(name, (BASE, *experts)))
            found = [factors(x - base, self.options["rank"]) for x in others]
            self.left[name] = torch.cat([u * s.sqrt() / len(experts) for u, s, _ in found], dim=1)
            self.right[name] = torch.cat([(v * s.sqrt()).T for _, s, v in found], dim=0)
        learnt = [*self.left.values(), *self.right.values()]
        for value in learnt:
            value.requires_grad_().grad = torch.zeros_like(value)
        self.optimizer = torch.optim.Adam(learnt, lr=self.options["learning_rate"])

    def consume(self, name: str, _weight: Tensor, gradient: Tensor) -> None:
        """Add ∂L/∂left = ∂L/∂W · rightᵀ and ∂L/∂right = leftᵀ · ∂L/∂W."""
        left, right = self.left[name], self.right[name]
        left.grad += gradient.float() @ right.detach().T  # type: ignore[operator]
        right.grad += left.detach().T @ gradient.float()  # type: ignore[operator]

    def write(self, targets: Mapping[str, Tensor]) -> None:
        """Write base + left · right into the resident model."""
        for name in self.names:
            base = self.bank.tensor(BASE, name).float()
            targets[name].copy_(base + self.left[name].detach() @ self.right[name].detach())

    def statistics(self) -> HeldStatistics:
        """Return the factors of the modules that stay: all but the share of least update relative to the base."""
        importance = {
            n: float((self.left[n] @ self.right[n]).norm() / self.bank.tensor(BASE, n).float().norm().clamp_min(1e-30))
            for n in self.names
        }
        ordered = sorted(self.names, key=lambda n: importance[n])
        kept = ordered[int(self.options["prune"] * len(ordered)) :]
        return HeldStatistics({n: {"left": self.left[n].detach(), "right": self.right[n].detach()} for n in kept})


def resolve(context: MergeContext) -> Resolution:
    """Tune the stacked adapters; raise InvalidInputError without text or model."""
    model = context.need_model()
    targets = resident_targets(model, context.bank.shapes)
    load_model(targets, context.bank, BASE)
    adapters, device = StackedAdapters(context), next(model.parameters()).device
    for _ in range(adapters.options["steps"]):
        adapters.write(targets)
        adapters.optimizer.zero_grad(set_to_none=False)
        with streaming(model, adapters.names, adapters.consume):
            for expert in context.plan.experts:
                for batch in context.need_batches(expert):
                    language_loss(model, batch.to(device)).backward()
        adapters.optimizer.step()
    return Resolution(context.plan, adapters.statistics())


METHOD = MergeMethod(
    "ra_adaptive_lora",
    rule=low_rank,
    resolve=resolve,
    statistics=True,
    parameters=(
        prepared("rank", 16, int), prepared("steps", 50, int), prepared("learning_rate", 1e-3), prepared("prune", 0.2),
    ),
)  # fmt: skip
