"""Hi-Merging (arXiv 2506.12379), adapted: prune and scale each τ, then settle conflicts layer group by layer group.

A group's contribution is what the score loses when it is removed from the merge plus what it gains when it alone is
added to the base. Where several experts contribute negatively, only the best one's update stays; where one does, it is
pruned and scaled again by half; else nothing changes.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch

from worker.merge.bank import BASE
from worker.merge.coefficients import compact
from worker.merge.context import MergeContext, Resolution
from worker.merge.kernels.elementwise import working_dtype
from worker.merge.method import MergeMethod, per_expert, prepared
from worker.merge.methods.ties import largest
from worker.merge.plan import layer_index
from worker.merge.targets import resident_targets

Tensor = torch.Tensor
Levels = dict[tuple[str, int], float]


def pruned_sum(base: Tensor, experts: Sequence[Tensor], *, weight: Sequence[float], density: Sequence[float]) -> Tensor:
    """Return base + Σ wᵢ · (the largest `density` entries of τᵢ in this tensor)."""
    out = base.clone()
    for x, w, share in zip(experts, weight, density, strict=True):
        if w and share > 0:
            delta = x - base
            keep = largest(base, x, share).reshape(base.shape) if share < 1 else torch.ones_like(base)
            out.add_(delta * keep, alpha=w)
    return out


def settle(contributions: Mapping[str, float]) -> dict[str, float]:
    """Return the factor on density and scale of each expert in one group: 1, 1/2 or 0."""
    negative = [e for e, c in contributions.items() if c < 0]
    if len(negative) > 1:
        best = max(contributions, key=lambda e: contributions[e])
        return {e: float(e == best) for e in contributions}
    return {e: 0.5 if e in negative else 1.0 for e in contributions}


class Contributions:
    """Scores merges in which each expert's groups are in or out."""

    def __init__(self, context: MergeContext) -> None:
        options = context.plan.parameters_for(context.bank.names[0]).shared
        self.context, self.bank, self.experts = context, context.bank, context.plan.experts
        self.scale, self.density, self.groups = options["scale"], options["base_density"], options["groups"]
        self.model = context.need_model()
        self.targets = resident_targets(self.model, self.bank.shapes)

    def group(self, name: str) -> int | None:
        """Return the group of a tensor's layer, None outside the layers."""
        index = layer_index(name)
        return None if index is None else index * self.groups // max(self.bank.layers, 1)

    def score(self, levels: Levels) -> float:
        """Write base + the groups at their levels, and score it."""
        for name in self.bank.names:
            base, *others = self.bank.tensors(name, (BASE, *self.experts))
            level = [levels.get((e, g), 0.0) if (g := self.group(name)) is not None else 0.0 for e in self.experts]
            aligned = [t.to(working_dtype(base)) for t in (base, *others)]
            weight, density = [self.scale * v for v in level], [self.density * v for v in level]
            self.targets[name].copy_(pruned_sum(aligned[0], aligned[1:], weight=weight, density=density))
        return self.context.need_score()(self.model)

    def levels(self) -> Levels:
        """Measure every group of every expert and settle each group."""
        full = dict.fromkeys(self._keys(), 1.0)
        merged, empty = self.score(full), self.score({})
        found = {
            key: (merged - self.score({**full, key: 0.0})) + (self.score({key: 1.0}) - empty) for key in self._keys()
        }
        settled: Levels = {}
        for group in range(self.groups):
            factors = settle({e: found[e, group] for e in self.experts})
            settled |= {(e, group): factor for e, factor in factors.items()}
        return settled

    def _keys(self) -> Iterator[tuple[str, int]]:
        return ((e, g) for e in self.experts for g in range(self.groups))


def resolve(context: MergeContext) -> Resolution:
    """Measure contributions and write weights and densities by layer; raise InvalidInputError without a score."""
    measured = Contributions(context)
    levels, names = measured.levels(), context.bank.names
    settings = {}
    for expert in context.plan.experts:
        level = {n: levels[expert, g] if (g := measured.group(n)) is not None else 0.0 for n in names}
        settings[expert] = {
            "weight": compact({n: measured.scale * v for n, v in level.items()}, names),
            "density": compact({n: measured.density * v for n, v in level.items()}, names),
        }
    return Resolution(context.plan.with_weights(RULE, settings))


_PARAMETERS = (
    per_expert("weight", 0.0), per_expert("density", 1.0), prepared("base_density", 0.2), prepared("scale", 0.5),
    prepared("groups", 4, int),
)  # fmt: skip


RULE = MergeMethod("ra_hi", rule=pruned_sum, parameters=_PARAMETERS)
METHOD = MergeMethod("ra_hi", rule=pruned_sum, resolve=resolve, parameters=_PARAMETERS)
