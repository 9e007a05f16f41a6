"""DF-Merge (arXiv 2504.18992): θ0 + M · Σ Fᵢ⊙λᵢτᵢ / Σ Fᵢ, F the diagonal Fisher on task i, λ by GP optimization.

The Fisher is computed once, at each expert itself; λ starts as the recipe's weights and is searched (`initial` random
points, then `iterations` of a Gaussian process) only where a validation score is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from worker.merge.bank import BASE
from worker.merge.coefficients import compact, planned_weights
from worker.merge.context import HeldStatistics, MergeContext, Resolution
from worker.merge.gradients import language_loss, load_model, streaming
from worker.merge.method import MergeMethod, per_expert, prepared
from worker.merge.optional import load_library
from worker.merge.targets import resident_targets

Tensor = torch.Tensor
_FLOOR = 1e-12


def fisher_merge(
    base: Tensor, experts: Sequence[Tensor], *, statistics: Mapping[str, Tensor], weight: Sequence[float]
) -> Tensor:
    """Return base + M · Σ Fᵢ wᵢ τᵢ / Σ Fᵢ; without a Fisher every entry counts alike."""
    total, mixed = torch.zeros_like(base), torch.zeros_like(base)
    for i, (x, w) in enumerate(zip(experts, weight, strict=True)):
        fisher = statistics[f"fisher{i}"].to(base) + _FLOOR if f"fisher{i}" in statistics else torch.ones_like(base)
        total.add_(fisher)
        mixed.add_(fisher * (x - base), alpha=w)
    return base + len(experts) * mixed / total


def fishers(context: MergeContext) -> HeldStatistics:
    """Return the mean squared gradient of each expert on its own text, a sequence at a time, in the bank's dtype."""
    model = context.need_model()
    held: dict[str, dict[str, Tensor]] = {}
    targets = resident_targets(model, context.bank.shapes)
    device = next(model.parameters()).device
    for place, expert in enumerate(context.plan.experts):
        load_model(targets, context.bank, expert)
        sequences = [s for batch in context.need_batches(expert) for s in batch]

        def consume(
            name: str, _: Tensor, gradient: Tensor, key: str = f"fisher{place}", n: int = len(sequences)
        ) -> None:
            entry = held.setdefault(name, {})
            square = gradient.float().square() / n
            entry[key] = square if key not in entry else entry[key].add_(square)

        with streaming(model, context.bank.names, consume):
            for ids in sequences:
                language_loss(model, ids[None].to(device)).backward()
    load_model(targets, context.bank, BASE)
    return HeldStatistics(held)


def resolve(context: MergeContext) -> Resolution:
    """Compute the Fishers; search λ where there is a score."""
    statistics = fishers(context)
    if context.calibration.score is None:
        return Resolution(context.plan, statistics)
    options = context.plan.parameters_for(context.bank.names[0]).shared
    optuna = load_library("optuna")
    sampler = optuna.samplers.GPSampler(seed=options["seed"], n_startup_trials=options["initial"])
    study = optuna.create_study(direction="maximize", sampler=sampler)
    planned = planned_weights(context)
    for _ in range(options["initial"] + options["iterations"]):
        trial = study.ask()
        with torch.enable_grad():  # the sampler fits its Gaussian process by gradients
            found = {e: trial.suggest_float(e, 0.0, 1.0) for e in context.plan.experts}
        study.tell(trial, _score(context, _with(context, planned, found), statistics))
    return Resolution(_with(context, planned, study.best_params).plan, statistics)


def _with(context: MergeContext, planned: Mapping[str, Mapping[str, float]], found: Mapping[str, float]) -> Resolution:
    """Give each expert its λ wherever the recipe has a weight at all (embeddings stay with the base)."""
    settings = {
        e: {"weight": compact({n: found[e] if w else 0.0 for n, w in planned[e].items()}, context.bank.names)}
        for e in context.plan.experts
    }
    return Resolution(replace(context.plan, by_input=settings))


def _score(context: MergeContext, resolution: Resolution, statistics: HeldStatistics) -> float:
    model = context.need_model()
    targets = resident_targets(model, context.bank.shapes)
    plan = resolution.plan
    for name in context.bank.names:
        base, *experts = (t.to(plan.dtype) for t in context.bank.tensors(name, (BASE, *plan.experts)))
        weights = [plan.parameters_for(name).by_input[e]["weight"] for e in plan.experts]
        targets[name].copy_(fisher_merge(base, experts, statistics=statistics.for_tensor(name), weight=weights))
    return context.need_score()(model)


METHOD = MergeMethod(
    "ra_df",
    rule=fisher_merge,
    resolve=resolve,
    statistics=True,
    parameters=(
        per_expert("weight"), prepared("initial", 10, int), prepared("iterations", 50, int), prepared("seed", 0, int),
    ),
)  # fmt: skip
