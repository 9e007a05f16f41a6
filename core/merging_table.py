"""The rows of the method table (merging.md), one declaration a method; the order is that of the table."""

from core.errors import NotFoundError
from core.merging import Engine, Fidelity, Kind, MethodDeclaration, Need, ParameterValue

_MERGEKIT = "mergekit's own"
_TEXT = frozenset({Need.WEIGHTS, Need.CALIBRATION})
_GRADIENTS = _TEXT | {Need.GRADIENTS}
_WEIGHT_ZERO = ("weight", 0.0)


def _mergekit(name: str, title: str, arxiv_id: str | None, **more: object) -> MethodDeclaration:
    return MethodDeclaration(name, title, _MERGEKIT, arxiv_id, engine=Engine.MERGEKIT, **more)  # type: ignore[arg-type]


_MERGEKIT_METHODS = (
    MethodDeclaration(
        "linear", "Linear average (model soup)", _MERGEKIT, "2203.05482",
        defaults={"normalize": True}, neutral=_WEIGHT_ZERO,
    ),
    _mergekit("slerp", "SLERP", None, defaults={"t": 0.5}, neutral=("t", 0.0), experts=(1, 1)),
    _mergekit("nuslerp", "NuSLERP", None, defaults={"weight": 0.5}, experts=(2, 2)),
    # Against a base it fails on a tensor that no expert has changed, and adapters leave many such.
    _mergekit(
        "multislerp", "Multi-SLERP", None, defaults={"weight": 1.0, "normalize_weights": True}, against_base=False
    ),
    _mergekit("karcher", "Karcher mean", "2603.04972", defaults={"max_iter": 10, "tol": 1e-5}),
    _mergekit(
        "dare_linear", "DARE (rescaled to the L1 norm) + task arithmetic", "2311.03099",
        defaults={"weight": 0.4, "density": 0.5}, neutral=_WEIGHT_ZERO, random=True,
    ),
    _mergekit(
        "dare_ties", "DARE (rescaled to the L1 norm) + TIES election", "2311.03099",
        defaults={"weight": 0.4, "density": 0.5}, neutral=_WEIGHT_ZERO, random=True,
    ),
    _mergekit(
        "della", "DELLA", "2406.11617",
        defaults={"weight": 0.4, "density": 0.5, "epsilon": 0.15}, neutral=_WEIGHT_ZERO, random=True,
    ),
    _mergekit(
        "della_linear", "DELLA, linear", "2406.11617",
        defaults={"weight": 0.4, "density": 0.5, "epsilon": 0.15}, neutral=_WEIGHT_ZERO, random=True,
    ),
    _mergekit(
        "breadcrumbs", "Model Breadcrumbs", "2312.06795",
        defaults={"weight": 0.4, "density": 0.9, "gamma": 0.01}, neutral=_WEIGHT_ZERO,
    ),
    _mergekit(
        "breadcrumbs_ties", "Model Breadcrumbs + TIES election", "2312.06795",
        defaults={"weight": 0.4, "density": 0.9, "gamma": 0.01}, neutral=_WEIGHT_ZERO,
    ),
    _mergekit("sce", "SCE", "2408.07990", defaults={"select_topk": 0.5}, neutral=("select_topk", 0.0)),
    _mergekit("ram", "Reinforced Agent Merging", "2601.13572", defaults={"epsilon": 1e-5}, neutral=("epsilon", 1e30)),
    _mergekit("model_stock", "Model Stock", "2403.19522", defaults={"filter_wise": False}, experts=(2, None)),
    _mergekit("nearswap", "NearSwap", None, defaults={"t": 1e-3}, neutral=("t", 0.0), experts=(1, 1)),
    _mergekit("arcee_fusion", "Arcee Fusion", None, experts=(1, 1), random=True),
)  # fmt: skip

_WEIGHTS_ONLY = (
    MethodDeclaration(
        "task_arithmetic", "Task arithmetic", "Task arithmetic", "2212.04089",
        defaults={"weight": 0.4, "lambda": 1.0, "normalize": False}, neutral=_WEIGHT_ZERO,
    ),
    MethodDeclaration(
        "ties", "TIES, trimmed per tensor as mergekit does", "TIES", "2306.01708",
        fidelity=Fidelity.ADAPTED, difference="Trims each tensor by itself; the paper trims over the whole vector.",
        defaults={"weight": 1.0, "density": 0.2, "lambda": 1.0, "normalize": True}, neutral=_WEIGHT_ZERO,
    ),
    MethodDeclaration(
        "ra_ties", "TIES, trimmed over the whole task vector", "TIES", "2306.01708",
        defaults={"weight": 1.0, "density": 0.2, "lambda": 1.0, "scope": "model", "merge": "mean"},
        neutral=_WEIGHT_ZERO,
    ),
    MethodDeclaration(
        "ra_dare_linear", "DARE (rescaled by 1/(1-p)) + task arithmetic", "DARE", "2311.03099",
        defaults={"weight": 0.4, "density": 0.5, "lambda": 1.0, "seed": 0}, neutral=_WEIGHT_ZERO, random=True,
    ),
    MethodDeclaration(
        "ra_dare_ties", "DARE (rescaled by 1/(1-p)) + TIES election", "DARE", "2311.03099",
        defaults={"weight": 0.4, "density": 0.5, "lambda": 1.0, "seed": 0}, neutral=_WEIGHT_ZERO, random=True,
    ),
    MethodDeclaration(
        "ra_star", "STAR", "STAR", "2502.10339",
        defaults={"eta": 40.0, "lambda": 1.0}, neutral=("lambda", 0.0),
    ),
    MethodDeclaration(
        "ra_metagpt", "MetaGPT", "MetaGPT", "2406.11385", defaults={"lambda": 1.0}, neutral=("lambda", 0.0),
    ),
    MethodDeclaration(
        "ra_tvq", "Task-vector quantization + task arithmetic", "TVQ / RTVQ", "2503.06921",
        defaults={"weight": 0.4, "bits": 4}, neutral=_WEIGHT_ZERO,
    ),
    MethodDeclaration(
        "ra_rtvq", "Residual task-vector quantization + task arithmetic", "TVQ / RTVQ", "2503.06921",
        defaults={"weight": 0.4, "base_bits": 3, "offset_bits": 2}, neutral=_WEIGHT_ZERO,
    ),
    MethodDeclaration(
        "ra_evolutionary", "Evolutionary merge (CMA-ES over TIES + DARE per layer group)", "Evolutionary merge",
        "2403.13187", needs=frozenset({Need.WEIGHTS, Need.SCORE}), kind=Kind.SEARCH,
        defaults={"groups": 4, "initial": 0.5, "sigma": 1 / 6, "trials": 1000, "seed": 0}, random=True,
    ),
)  # fmt: skip

_CALIBRATED = (
    MethodDeclaration(
        "ra_regmean", "RegMean", "RegMean, RegMean++", "2212.09849", needs=_TEXT,
        defaults={"alpha": 0.1, "ridge": 1e-6, "lambda": 1.0}, neutral=("lambda", 0.0),
    ),
    MethodDeclaration(
        "ra_regmean_pp", "RegMean++", "RegMean, RegMean++", "2508.03121", needs=_TEXT,
        defaults={"alpha": 0.1, "ridge": 1e-6, "lambda": 1.0}, neutral=("lambda", 0.0),
    ),
    MethodDeclaration(
        "ra_calm", "CALM", "CALM", "2506.13406", needs=_GRADIENTS, fidelity=Fidelity.ADAPTED,
        difference="Published for image classifiers. Masks hold one value an output row; the loss is the language "
        "model loss on each expert's own credible (lowest-entropy) greedy predictions.",
        defaults={"weight": 0.4, "epochs": 3, "learning_rate": 10.0, "l1": 1e-4, "credible": 0.9, "initial": 0.3},
        neutral=None,
    ),
    MethodDeclaration(
        "ra_sens", "Sens-Merging", "Sens-Merging", "2502.12420", needs=_GRADIENTS,
        defaults={"weight": 0.4, "temperature": 2.0}, neutral=_WEIGHT_ZERO,
    ),
    MethodDeclaration(
        "ra_hi", "Hi-Merging", "Hi-Merging", "2506.12379", needs=frozenset({Need.WEIGHTS, Need.SCORE}),
        fidelity=Fidelity.ADAPTED,
        difference="Extended from two models to any number. One score takes the place of the per-task ones: an expert "
        "conflicts in a group of layers where its measured contribution is negative; groups share one measurement.",
        defaults={"base_density": 0.2, "scale": 0.5, "groups": 4}, neutral=None,
    ),
    MethodDeclaration(
        "ra_adaptive_lora", "Adaptive LoRA merge", "Adaptive LoRA merge", "2505.24174",
        needs=frozenset({Need.WEIGHTS, Need.LABELS, Need.GRADIENTS}), fidelity=Fidelity.ADAPTED,
        difference="The adapters are truncated SVDs of the task vectors (exact for LoRA experts of that rank or less), "
        "and modules are pruned by the norm of their update; in a run the labels are each expert's own answers.",
        defaults={"rank": 16, "steps": 50, "learning_rate": 1e-3, "prune": 0.2}, neutral=None,
    ),
    MethodDeclaration(
        "ra_lori", "LoRI", "LoRI", "2504.07448", fidelity=Fidelity.ADAPTED,
        difference="LoRI freezes a random A while training; here experts trained otherwise are projected on a shared "
        "random A, and B is masked by magnitude: an approximation.",
        defaults={"weight": 0.5, "rank": 32, "sparsity": 0.9, "seed": 0}, neutral=_WEIGHT_ZERO, random=True,
    ),
    MethodDeclaration(
        "ra_adarank", "AdaRank", "AdaRank", "2503.22178", needs=_GRADIENTS, fidelity=Fidelity.ADAPTED,
        difference="Published for classifiers. Truncated rank; next-token entropy on calibration text in place of the "
        "test stream.",
        defaults={"prior": 0.3, "rank": 64, "steps": 30, "learning_rate": 1e-2, "temperature": 10.0}, neutral=None,
    ),
)  # fmt: skip

_ROUTED = (
    MethodDeclaration(
        "ra_df", "DF-Merge", "DF-Merge", "2504.18992",
        needs=frozenset({Need.WEIGHTS, Need.LABELS, Need.GRADIENTS, Need.SCORE}), fidelity=Fidelity.ADAPTED,
        difference="The diagonal Fisher is computed once, at each expert, instead of anew at every proposed λ; in a "
        "run the labels are each expert's own answers.",
        defaults={"weight": 0.4, "initial": 10, "iterations": 50, "seed": 0}, neutral=_WEIGHT_ZERO,
    ),
    MethodDeclaration(
        "ra_mass", "MASS", "MASS", "2504.05342", fidelity=Fidelity.ADAPTED, kind=Kind.ROUTED,
        needs=_TEXT,
        difference="Published for CLIP. A prompt is routed by its mean hidden state at one layer and prompts are "
        "grouped by the chosen subset of experts, so that at most 2^n - 1 merges are made; no classification heads.",
        defaults={"threshold": 0.2, "top_k": 3, "layer": 0.5}, neutral=None,
    ),
    MethodDeclaration(
        "ra_camex", "CAMEx", "CAMEx", "2502.18821", needs=_TEXT, fidelity=Fidelity.ADAPTED,
        difference="Curvature is learnt in a mixture-of-experts layer as published; here it is fixed to the Kronecker "
        "factor of the calibration inputs' covariance, and merges dense experts.",
        defaults={"weight": 0.4, "ridge": 1e-2}, neutral=_WEIGHT_ZERO,
    ),
    MethodDeclaration(
        "ra_dawin", "DaWin", "DaWin", "2410.03782", needs=_TEXT, fidelity=Fidelity.ADAPTED, kind=Kind.ROUTED,
        difference="Published for CLIP. Entropy of the next token over a prompt; prompts are clustered, each cluster "
        "gets one static merge. It looks at the evaluated prompts (transductive).",
        defaults={"scale": 0.3, "clusters": 1, "seed": 0}, neutral=None,
    ),
    MethodDeclaration(
        "ra_phatgoose", "PHATGOOSE", "PHATGOOSE", "2402.05859",
        needs=_GRADIENTS | {Need.EXTRA_MODULES}, fidelity=Fidelity.ADAPTED, kind=Kind.MODULES,
        difference="The adapters are truncated SVDs of the task vectors (exact for LoRA experts); transformers engine "
        "only.",
        defaults={"rank": 16, "top_k": 2, "steps": 100, "learning_rate": 5e-3}, neutral=None,
    ),
    MethodDeclaration(
        "ra_symerge", "Model Tinting / SyMerge", "Model Tinting / SyMerge", "2412.19098", needs=_GRADIENTS,
        fidelity=Fidelity.ADAPTED,
        difference="Published for classifiers. The tuned layer is one late decoder layer, the loss the KL divergence "
        "to each expert's next-token distribution on its own text.",
        defaults={"prior": 0.3, "steps": 50, "learning_rate": 1e-2, "layer_learning_rate": 1e-5}, neutral=None,
    ),
    MethodDeclaration(
        "ra_moma", "FT-Classifier / MOMA", "FT-Classifier / MOMA", "2412.13526",
        needs=frozenset({Need.WEIGHTS, Need.LABELS}), fidelity=Fidelity.NOT_APPLICABLE, kind=Kind.NONE,
        difference="It aligns classification heads; a generative model has none (its lm_head is the tied embedding).",
    ),
    MethodDeclaration(
        "ra_surgery", "Representation Surgery", "Representation Surgery", "2402.02705",
        needs=_GRADIENTS | {Need.EXTRA_MODULES}, fidelity=Fidelity.ADAPTED, kind=Kind.MODULES,
        difference="One correction module for one target expert on a decoder's final hidden state; the module is not "
        "foldable into the weights: transformers engine only.",
        defaults={"weight": 0.4, "rank": 16, "steps": 500, "learning_rate": 1e-3}, neutral=None,
    ),
    MethodDeclaration(
        "ra_surgery_v2", "Representation Surgery V2", "Representation Surgery", "2410.14389",
        needs=_GRADIENTS | {Need.EXTRA_MODULES}, fidelity=Fidelity.ADAPTED, kind=Kind.MODULES,
        difference="As Representation Surgery, a module after every decoder layer, the losses of all layers summed.",
        defaults={"weight": 0.4, "rank": 16, "steps": 500, "learning_rate": 1e-3}, neutral=None,
    ),
)  # fmt: skip

DECLARATIONS: dict[str, MethodDeclaration] = {
    d.name: d for d in (*_MERGEKIT_METHODS, *_WEIGHTS_ONLY, *_CALIBRATED, *_ROUTED)
}
TABLE_ROWS: tuple[str, ...] = tuple(dict.fromkeys(d.row for d in DECLARATIONS.values()))


def declaration(name: str) -> MethodDeclaration:
    """Return the method's declaration; raise NotFoundError when there is no such method."""
    if name not in DECLARATIONS:
        raise NotFoundError(f"There is no merging method {name!r}.", fix=f"Known: {', '.join(sorted(DECLARATIONS))}.")
    return DECLARATIONS[name]


def recipe_config(name: str, base: str, experts: dict[str, float], **parameters: ParameterValue) -> dict[str, object]:
    """Return a mergekit configuration of the method with its defaults, embeddings kept from the base where it can be.

    `experts` maps model references to per-expert weights; methods without a `weight` parameter ignore them.
    """
    entry = declaration(name)
    values = {k: v for k, v in entry.defaults.items() if k != "weight"} | parameters
    weighted = "weight" in entry.defaults or name == "linear"
    by_expert = entry.neutral is not None and entry.neutral[0] == "weight"
    models: list[dict[str, object]] = []
    if name == "linear":
        models.append({"model": base, "parameters": {"weight": _only_embeddings(1.0)}})
    for reference, weight in experts.items():
        setting: object = _except_embeddings(weight, 0.0) if by_expert else weight
        models.append({"model": reference, **({"parameters": {"weight": setting}} if weighted else {})})
    shared: dict[str, object] = dict(values)
    if entry.neutral is not None and not by_expert:
        key, neutral = entry.neutral
        shared[key] = _except_embeddings(values[key], neutral)
    config: dict[str, object] = {"merge_method": name, "models": models}
    if entry.against_base:
        config["base_model"] = base
    return config | ({"parameters": shared} if shared else {}) | {"dtype": "float32"}


def _except_embeddings(value: ParameterValue, neutral: ParameterValue) -> list[dict[str, object]]:
    filters: list[dict[str, object]] = [
        {"filter": "embed_tokens", "value": neutral}, {"filter": "lm_head", "value": neutral}, {"value": value}
    ]  # fmt: skip
    return filters


def _only_embeddings(value: float) -> list[dict[str, object]]:
    return _except_embeddings(0.0, value)
