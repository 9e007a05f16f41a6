"""Which of mergekit's methods are computed by a rule of ours on a CPU.

A rule writes into `out` and returns True, or returns False (nothing written, nothing drawn) for mergekit's own code.
"""

from collections.abc import Callable, Mapping

from worker.merge.cpu_rules.consensus import ram_into, sce_into
from worker.merge.cpu_rules.fusion import arcee_fusion_into, nearswap_into
from worker.merge.cpu_rules.sparsified import breadcrumbs_masks, dare_masks, della_masks, sparsified_rule
from worker.merge.cpu_rules.spherical import karcher_into, model_stock_into, multislerp_into, nuslerp_into, slerp_into

CPU_RULES: Mapping[str, Callable[..., bool]] = {
    "slerp": slerp_into,
    "nuslerp": nuslerp_into,
    "multislerp": multislerp_into,
    "karcher": karcher_into,
    "dare_linear": sparsified_rule(dare_masks, elected=False, random=True),
    "dare_ties": sparsified_rule(dare_masks, elected=True, random=True),
    "della": sparsified_rule(della_masks, elected=True, random=True),
    "della_linear": sparsified_rule(della_masks, elected=False, random=True),
    "breadcrumbs": sparsified_rule(breadcrumbs_masks, elected=False, random=False),
    "breadcrumbs_ties": sparsified_rule(breadcrumbs_masks, elected=True, random=False),
    "sce": sce_into,
    "ram": ram_into,
    "model_stock": model_stock_into,
    "nearswap": nearswap_into,
    "arcee_fusion": arcee_fusion_into,
}
