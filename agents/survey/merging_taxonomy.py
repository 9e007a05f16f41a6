"""The families of model merging: the taxonomy that the merge task classifies by, and the field's own names for itself.

The four families are those of the task's survey; cues are the general terms by which each is defined, none of them the
name of one paper. What lists and surveys add is drafted at run time (taxonomy.py).
"""

from collections.abc import Iterable

from agents.survey.taxonomy import Category, Taxonomy
from agents.survey.text import stems

MERGING = Taxonomy(
    (
        Category(
            "weighted",
            "Weighted merging",
            "chooses the coefficients with which parameters are averaged: per task, layer or parameter, by statistics, "
            "search or learning",
            {
                "weighted averaging": 1.5, "coefficient": 1.5, "fisher": 1.5, "regression": 1.2, "regmean": 1.5,
                "gradient matching": 1.5, "layer wise": 1, "layer aware": 1, "entropy": 1, "bayesian": 1.2,
                "evolutionary": 1.5, "genetic": 1.2, "importance": 1, "sensitivity": 1.2, "uncertainty": 1,
                "soup": 1, "scaling": 0.7, "parameter wise": 1.2, "statistics": 1.2, "variational": 1,
                "weighting": 1.2, "non uniform": 1, "differentiable": 1, "optimization": 0.7, "gradient": 0.7,
                "confidence": 0.7, "hyperparameter": 1, "curvature": 1, "weighted": 1,
            },
            ("weighted", "weighting", "merging coefficients", "weighted based", "weighted averaging"),
            ("one model at inference, no extra cost",),
            ("coefficients must be estimated or searched, often on data",),
        ),
        Category(
            "subspace",
            "Subspace merging",
            "merges in a sparse or low-rank part of the parameters, so that tasks interfere less: pruning, masking, "
            "projection, decomposition, adapters",
            {
                "subspace": 2, "sparse": 1.2, "sparsification": 1.5, "low rank": 1.5, "rank": 1, "lora": 1.2,
                "svd": 1.5, "singular": 1.5, "spectral": 1.5, "spectrum": 1.2, "orthogonal": 1.3,
                "projection": 1.2, "pruning": 1.3, "mask": 1.3, "trim": 1.2, "drop": 1, "interference": 1,
                "conflict": 1, "null space": 1.5, "sign": 1, "compress": 1.2, "quantization": 1.2, "eigen": 1.2,
                "redundancy": 1, "decomposition": 1.3, "delta": 0.8, "basis": 1, "principal": 1, "magnitude": 1,
                "manifold": 1, "frequency": 1, "adapter": 0.8, "dropout": 1, "binary": 1, "truncation": 1.2,
                "rescale": 1, "subnetwork": 1.3, "fourier": 1.2, "redundant": 1, "lottery ticket": 1, "bit": 0.7,
            },
            ("subspace based", "subspace merging", "sparse merging", "low rank merging", "subspace"),
            ("less interference between tasks", "task vectors become small to store"),
            ("rank, density or thresholds must be chosen",),
        ),
        Category(
            "routing",
            "Routing-based (dynamic) merging",
            "decides at inference, by the input, which experts or coefficients are used",
            {
                "routing": 2, "dynamic": 1.3, "mixture of experts": 1.5, "moe": 1.5, "mixture": 1, "gating": 1.5,
                "input adaptive": 1.5, "input dependent": 1.5, "input aware": 1.5, "instance": 1,
                "sample wise": 1.2, "on the fly": 1.2, "token level": 1.2, "retrieval": 1, "retriever": 1,
                "upcycling": 1, "test time": 1, "switch": 0.8, "conditional": 1, "selection": 0.7, "input": 0.7,
                "retrieve": 1, "modular": 0.7, "at inference": 1, "experts": 0.6,
            },
            ("routing", "routing based", "dynamic merging", "router"),
            ("each input gets the experts that suit it",),
            ("several experts stay in memory", "extra work at inference"),
        ),
        Category(
            "post_calibration",
            "Post-calibration",
            "repairs a merged model after merging: representation bias, heads, statistics",
            {
                "calibration": 1.5, "surgery": 2, "representation bias": 2, "representation": 1,
                "post merging": 1.5, "after merging": 1.2, "feature alignment": 1.3, "distillation": 0.8,
                "bias correction": 1.5, "repair": 1, "head": 0.8, "realign": 1, "correction": 0.8, "recover": 0.8,
            },
            ("post calibration", "post merging", "calibration", "after merging"),
            ("recovers accuracy that merging lost",),
            ("needs data and a training step after merging", "corrections may be per task"),
        ),
    ),
    terms=("model merging", "merging models", "weight merging", "model fusion", "task arithmetic", "model soups"),
)  # fmt: skip


def applies_to_merging(topic: Iterable[str]) -> bool:
    """Return whether a topic's words are about merging or fusing models."""
    tokens = {t for text in topic for t in stems(text)}
    return bool(tokens & set(stems("merging fusion soup"))) and bool(
        tokens & set(stems("model weight expert llm lora"))
    )
