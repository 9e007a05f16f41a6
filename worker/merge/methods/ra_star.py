"""STAR (arXiv 2502.10339): keep the leading singular directions of each τ that hold η % of its nuclear norm, rescale
them to the whole norm, average.
"""

from collections.abc import Sequence

import torch

from worker.merge.kernels.spectral import project, spectrum
from worker.merge.method import MergeMethod, shared

Tensor = torch.Tensor


def truncate(delta: Tensor, eta: float) -> Tensor:
    """Return the task vector of one matrix, truncated to η % of its nuclear norm and rescaled to all of it."""
    found = spectrum(delta)
    total = found.values.sum()
    if total == 0:
        return delta
    rank = int(torch.searchsorted(found.values.cumsum(0), eta / 100 * total)) + 1
    rank = min(rank, len(found.values))
    factor = total / found.values[:rank].sum()
    return project(delta, found.vectors[:, :rank], found.rows).mul_(factor)


def star(base: Tensor, experts: Sequence[Tensor], *, eta: float = 40.0, scale: float = 1.0) -> Tensor:
    """Return base + λ · mean of the truncated task vectors; what isn't a matrix is averaged whole."""
    deltas = [x - base for x in experts]
    kept = [truncate(d, eta) if d.ndim == 2 else d for d in deltas]
    return base + scale * torch.stack(kept).mean(0)


METHOD = MergeMethod("ra_star", rule=star, parameters=(shared("eta", 40.0), shared("lambda", 1.0)))
