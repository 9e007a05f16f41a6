"""Evolutionary merge in parameter space (arXiv 2403.13187): CMA-ES over TIES + DARE weights and densities by depth.

A search strategy, not a rule: the best vector becomes an ordinary ra_dare_ties recipe whose parameters are gradients
over the depth. All values start at 0.5 with σ = 1/6 in [0, 1]; the population has 4 + ⌊3 ln n⌋ members.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.merge.bank import BASE
from worker.merge.context import MergeContext, Resolution
from worker.merge.kernels.random_mask import mix_seed
from worker.merge.method import MergeMethod, shared
from worker.merge.methods import ra_dare
from worker.merge.optional import load_library
from worker.merge.targets import resident_targets

_LEAST_DENSITY = 0.05


def settings_of(vector: Sequence[float], experts: Sequence[str], groups: int) -> dict[str, dict[str, Any]]:
    """Return per-expert weights and densities: `groups` points over the depth each, embeddings from the base."""
    settings, at = {}, 0
    for expert in experts:
        weight = [float(v) for v in vector[at : at + groups]]
        density = [max(_LEAST_DENSITY, float(v)) for v in vector[at + groups : at + 2 * groups]]
        outside = [{"filter": "embed_tokens", "value": 0.0}, {"filter": "lm_head", "value": 0.0}]
        settings[expert] = {"weight": [*outside, {"value": weight}], "density": density}
        at += 2 * groups
    return settings


def score_of(context: MergeContext, settings: dict[str, dict[str, Any]]) -> float:
    """Merge the settings into the resident model and score it."""
    model, plan = context.need_model(), context.plan.with_weights(ra_dare.TIES, settings)
    targets = resident_targets(model, context.bank.shapes)
    for name in context.bank.names:
        values = plan.parameters_for(name)
        base, *experts = context.bank.tensors(name, (BASE, *plan.experts))
        weight, density = ([values.by_input[e][k] for e in plan.experts] for k in ("weight", "density"))
        settings_here = ra_dare.DareSettings(weight, density, 1.0, mix_seed(values.shared["seed"], name))
        ra_dare.dare_ties_into(targets[name], base, experts, settings_here)
    return context.need_score()(model)


def resolve(context: MergeContext) -> Resolution:
    """Search and return the best recipe; raise InvalidInputError without a score or a model."""
    context.need_score()
    options = context.plan.parameters_for(context.bank.names[0]).shared
    experts, groups = context.plan.experts, options["groups"]
    size = 2 * groups * len(experts)
    search = load_library("cmaes").CMA(
        mean=np.full(size, options["initial"]), sigma=options["sigma"], seed=options["seed"],
        bounds=np.tile([0.0, 1.0], (size, 1)), population_size=4 + int(3 * np.log(size)),
    )  # fmt: skip
    best, left = (float("-inf"), np.full(size, options["initial"])), options["trials"]
    while left > 0:
        told = []
        for _ in range(search.population_size):
            vector = search.ask()
            value = score_of(context, settings_of(vector.tolist(), experts, groups)) if left > 0 else best[0]
            left -= 1
            best = max(best, (value, vector), key=lambda pair: pair[0])
            told.append((vector, -value))
        search.tell(told)
    return Resolution(context.plan.with_weights(ra_dare.TIES, settings_of(best[1].tolist(), experts, groups)))


METHOD = MergeMethod(
    "ra_evolutionary",
    resolve=resolve,
    parameters=(
        shared("groups", 4, int), shared("initial", 0.5), shared("sigma", 1 / 6), shared("trials", 1000, int),
        shared("seed", 0, int),
    ),
)  # fmt: skip
