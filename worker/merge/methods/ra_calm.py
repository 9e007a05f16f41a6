"""CALM (arXiv 2506.13406), adapted: experts join one after another, each through a mask learnt on credible text.

θ = θ0 + (1 - m)⊙τ_seq + m⊙τ_t with m = σ(S), one value an output row. The loss is the language-model loss on greedy
pseudo-labels at the tokens of lowest entropy; the mask is made binary before the next expert joins.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from worker.merge.bank import BASE
from worker.merge.context import HeldStatistics, MergeContext, Resolution
from worker.merge.gradients import load_model, matrices, streaming
from worker.merge.method import MergeMethod, per_expert, prepared
from worker.merge.targets import resident_targets

Tensor = torch.Tensor
_SURE = 5.0
Labels = list[tuple[Tensor, Tensor, Tensor]]


def calm(
    base: Tensor, experts: Sequence[Tensor], *, statistics: Mapping[str, Tensor], weight: Sequence[float]
) -> Tensor:
    """Return base + the sequence of grafts: rows where `mask{i}` is true come from expert i; no mask keeps the base."""
    if "mask1" not in statistics and len(experts) > 1:
        return base
    merged = weight[0] * (experts[0] - base)
    for i, x in enumerate(experts[1:], 1):
        merged = torch.where(statistics[f"mask{i}"].to(base.device)[:, None], weight[i] * (x - base), merged)
    return base + merged


@torch.no_grad()
def credible_labels(model: nn.Module, batches: Sequence[Tensor], share: float) -> Labels:
    """Return (ids, greedy next tokens, mask of the `share` of positions with the lowest entropy) for each batch."""
    device, found = next(model.parameters()).device, []
    for batch in batches:
        log = model(input_ids=batch.to(device), use_cache=False).logits.float().log_softmax(-1)
        entropy = -(log.exp() * log).sum(-1)
        limit = entropy.flatten().sort().values[max(0, round(share * entropy.numel()) - 1)]
        found.append((batch.to(device), log.argmax(-1), entropy <= limit))
    return found


def pseudo_loss(model: nn.Module, labels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the cross-entropy on the credible positions' pseudo-labels."""
    ids, targets, mask = labels
    logits = model(input_ids=ids, use_cache=False).logits.float()
    return functional.cross_entropy(logits[mask], targets[mask])


class RowMasks:
    """The row logits S of the expert that joins, and the merged τ of those before it."""

    def __init__(self, context: MergeContext) -> None:
        self.context, self.names = context, matrices(context.bank)
        self.options = context.plan.parameters_for(context.bank.names[0]).shared
        self.weights = {n: context.plan.parameters_for(n).by_input for n in self.names}
        self.found: dict[str, dict[str, Tensor]] = {n: {} for n in self.names}
        self.logits: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}

    def deltas(self, name: str, place: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return base, the merged τ before the expert at `place`, and that expert's weighted τ."""
        experts = self.context.plan.experts
        base, *others = (t.float() for t in self.context.bank.tensors(name, (BASE, *experts[: place + 1])))
        weight = [self.weights[name][e]["weight"] for e in experts[: place + 1]]
        before = calm(base, others[:place], statistics=self.found[name], weight=weight[:place]) - base
        return base, before, weight[place] * (others[place] - base)

    def start(self, place: int) -> None:
        """Begin with the rows of largest update at +5, all others at -5."""
        for name in self.names:
            _, _, joining = self.deltas(name, place)
            norms = joining.norm(dim=1)
            keep = norms.topk(max(1, round(self.options["initial"] * len(norms)))).indices
            self.logits[name] = torch.full_like(norms, -_SURE)
            self.logits[name][keep] = _SURE

    def learn(self, place: int, model: nn.Module, labels: Labels) -> None:
        """Take `epochs` steps on S, then make it binary."""
        targets = resident_targets(model, self.context.bank.shapes)

        def consume(name: str, _: Tensor, gradient: Tensor) -> None:
            _, before, joining = self.deltas(name, place)
            m = torch.sigmoid(self.logits[name])
            found = (gradient.float() * (joining - before)).sum(1) * m * (1 - m)
            self.gradients[name] = self.gradients.get(name, torch.zeros_like(found)) + found

        for _ in range(self.options["epochs"]):
            self._write(place, targets)
            self.gradients.clear()
            with streaming(model, self.names, consume):
                for batch in labels:
                    (pseudo_loss(model, batch) / len(labels)).backward()
            for name, gradient in self.gradients.items():
                m = torch.sigmoid(self.logits[name])
                self.logits[name] -= self.options["learning_rate"] * (gradient + self.options["l1"] * m * (1 - m))
        for name in self.names:
            self.found[name][f"mask{place}"] = self.logits[name] > 0

    def _write(self, place: int, targets: Mapping[str, Tensor]) -> None:
        for name in self.names:
            base, before, joining = self.deltas(name, place)
            m = torch.sigmoid(self.logits[name])[:, None]
            targets[name].copy_(base + (1 - m) * before + m * joining)


def resolve(context: MergeContext) -> Resolution:
    """Let the experts join in the recipe's order; raise InvalidInputError without text or model."""
    model, masks = context.need_model(), RowMasks(context)
    targets = resident_targets(model, context.bank.shapes)
    labels: Labels = []
    for place, expert in enumerate(context.plan.experts):
        load_model(targets, context.bank, expert)
        labels += credible_labels(model, context.need_batches(expert), masks.options["credible"])
        load_model(targets, context.bank, BASE)
        if place:
            masks.start(place)
            masks.learn(place, model, labels)
    return Resolution(context.plan, HeldStatistics(masks.found))


METHOD = MergeMethod(
    "ra_calm",
    rule=calm,
    resolve=resolve,
    statistics=True,
    parameters=(
        per_expert("weight", 0.4), prepared("epochs", 3, int), prepared("learning_rate", 10.0), prepared("l1", 1e-4),
        prepared("credible", 0.9), prepared("initial", 0.3),
    ),
)  # fmt: skip
