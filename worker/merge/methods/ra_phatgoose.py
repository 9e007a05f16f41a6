"""PHATGOOSE (arXiv 2402.05859), adapted: every linear layer routes every token to the top-k experts' adapters.

Each expert's gate is one vector a module, trained on its own text with σ(gᵀx) before its adapter; at inference inputs
and gates are standardized, and the softmax of their scaled dot products weighs the chosen adapters. Adapters are
truncated SVDs of the task vectors, which is exact for LoRA experts of that rank or less.
"""

from collections.abc import Iterator

import torch
from torch import nn

from worker.merge.bank import BASE
from worker.merge.context import MergeContext
from worker.merge.gradients import language_loss, load_model
from worker.merge.kernels.spectral import factors
from worker.merge.method import MergeMethod, shared
from worker.merge.targets import resident_targets

Tensor = torch.Tensor


class RoutedLinear:
    """The adapters and gates of all experts at one linear layer."""

    def __init__(self, left: Tensor, right: Tensor, top_k: int) -> None:
        self.left, self.right, self.top_k = left, right, top_k
        self.gates = torch.zeros(left.shape[0], right.shape[-1], device=left.device)
        self.training_expert: int | None = None

    def update(self, x: Tensor) -> Tensor:
        """Return what the adapters add to the layer's output for inputs (…, width)."""
        work = x.to(self.left.dtype)
        if self.training_expert is not None:
            i = self.training_expert
            gate = torch.sigmoid(work @ self.gates[i])
            return (gate[..., None] * (work @ self.right[i].T @ self.left[i].T)).to(x.dtype)
        weights = route(work, self.gates, self.top_k)
        return self._mixed(work, weights).to(x.dtype)

    def _mixed(self, work: Tensor, weights: Tensor) -> Tensor:
        total = torch.zeros(*work.shape[:-1], self.left.shape[1], dtype=work.dtype, device=work.device)
        for i in range(len(self.gates)):
            total = total + weights[..., i, None] * (work @ self.right[i].T @ self.left[i].T)
        return total


def route(x: Tensor, gates: Tensor, top_k: int) -> Tensor:
    """Return the weights (…, experts): softmax over the top-k standardized dot products / √width, else 0."""
    scores = _standardized(x) @ _standardized(gates).T / x.shape[-1] ** 0.5
    chosen = scores.topk(min(top_k, len(gates)), dim=-1).indices
    masked = torch.full_like(scores, float("-inf")).scatter(-1, chosen, scores.gather(-1, chosen))
    return masked.softmax(-1)


def _standardized(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)


class Phatgoose:
    """Routed adapters on a resident base, active until removed."""

    def __init__(self, context: MergeContext) -> None:
        model, bank, experts = context.need_model(), context.bank, context.plan.experts
        options = context.plan.parameters_for(bank.names[0]).shared
        load_model(resident_targets(model, bank.shapes), bank, BASE)
        self.layers: dict[str, RoutedLinear] = {}
        self._handles = []
        for name, module in model.named_modules():
            weight = f"{name}.weight"
            if not isinstance(module, nn.Linear) or weight not in bank.shapes or "lm_head" in name:
                continue
            base, *others = (t.float() for t in bank.tensors(weight, (BASE, *experts)))
            found = [factors(x - base, options["rank"]) for x in others]
            left = torch.stack([u * s for u, s, _ in found])
            layer = RoutedLinear(left, torch.stack([v.T for _, _, v in found]), options["top_k"])
            self.layers[name] = layer
            hook = module.register_forward_hook(lambda _m, args, out, layer=layer: out + layer.update(args[0]))
            self._handles.append(hook)

    def remove(self) -> None:
        """Take the adapters off; the base stays."""
        for handle in self._handles:
            handle.remove()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the gates and the adapters that they choose from."""
        for name, layer in self.layers.items():
            yield from ((f"{name}.gates", layer.gates), (f"{name}.left", layer.left), (f"{name}.right", layer.right))

    def train_gates(self, context: MergeContext, place: int, expert: str) -> None:
        """Train one expert's gates on its own text; everything else is frozen."""
        model = context.need_model()
        options = context.plan.parameters_for(context.bank.names[0]).shared
        for layer in self.layers.values():
            layer.training_expert = place
            layer.gates.requires_grad_()
        optimizer = torch.optim.Adam([layer.gates for layer in self.layers.values()], lr=options["learning_rate"])
        batches, device = context.need_batches(expert), next(model.parameters()).device
        with torch.enable_grad():
            for step in range(options["steps"]):
                optimizer.zero_grad()
                language_loss(model, batches[step % len(batches)].to(device)).backward()
                optimizer.step()
        for layer in self.layers.values():
            layer.training_expert = None
            layer.gates = layer.gates.detach()


def attach(context: MergeContext) -> Phatgoose:
    """Attach the adapters and train each expert's gates in turn."""
    model = context.need_model()
    routed = Phatgoose(context)
    frozen = {p: p.requires_grad for p in model.parameters()}
    for parameter in frozen:
        parameter.requires_grad_(False)
    for place, expert in enumerate(context.plan.experts):
        routed.train_gates(context, place, expert)
    for parameter, before in frozen.items():
        parameter.requires_grad_(before)
    return routed


METHOD = MergeMethod(
    "ra_phatgoose",
    attach=attach,
    parameters=(
        shared("rank", 16, int), shared("top_k", 2, int), shared("steps", 100, int), shared("learning_rate", 5e-3),
    ),
)  # fmt: skip
