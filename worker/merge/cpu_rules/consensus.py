"""mergekit's SCE and RAM, chunk by chunk: which entries of the task vectors count, and for how much."""

from collections.abc import Sequence

import torch

from worker.merge.cpu_rules.differences import delta_chunks, total

Tensor = torch.Tensor


def sce_into(
    out: Tensor, base: Tensor, experts: Sequence[Tensor], int8_mask: bool = False, select_topk: float = 1.0
) -> bool:
    """Select what varies most, weigh experts by their energy there, erase minority signs (arXiv 2408.07990)."""
    selected = _most_varying(base, experts, select_topk) if select_topk < 1 else None
    energy: list[Tensor] = []
    for part, _, rows in delta_chunks(base, experts):
        if selected is not None:
            rows.mul_(selected[part])
        energy.append(rows.square_().sum(1))
    weights = total(energy) / base.numel()
    whole = weights.sum().item()
    weights = weights / whole if abs(whole) >= 1e-6 else torch.ones_like(weights) / len(weights)
    target = out.view(-1)
    for part, start, rows in delta_chunks(base, experts):
        if selected is not None:
            rows.mul_(selected[part])
        majority = (rows.sum(0) >= 0).float().mul_(2).sub_(1)
        shares = (rows.sign() == majority).float().mul_(weights[:, None])
        mixed = rows.mul_(shares).sum(0).div_(shares.sum(0).clamp_(min=1e-6))
        target[part] = mixed.add_(start)
    return True


def _most_varying(base: Tensor, experts: Sequence[Tensor], share: float) -> Tensor:
    """Return the flat mask of the `share` of entries (of those that vary) whose variance over the experts is largest.

    Which of equal variances stay is a convention: that of `torch.topk`, which selects the same whether it sorts or not.
    """
    mask = torch.zeros(base.numel(), dtype=torch.bool)
    if share <= 0:
        return mask
    variances = torch.empty(base.numel())
    for part, _, rows in delta_chunks(base, experts):
        variances[part] = variance(rows)
    count = int(torch.count_nonzero(variances) * share)
    if count:
        mask[torch.topk(variances, count, sorted=False).indices] = True
    return mask


def variance(rows: Tensor) -> Tensor:
    """Return each column's variance by Welford's steps in fp64, as `torch.var(rows, 0, unbiased=False)` does."""
    mean, squares = rows[0].double(), torch.zeros(rows.shape[1], dtype=torch.float64)
    for count, row in enumerate(rows[1:], 2):
        off = row - mean
        mean.add_(off / count)
        squares.addcmul_(off, row - mean)
    return squares.div_(len(rows)).float()


def ram_into(out: Tensor, base: Tensor, experts: Sequence[Tensor], epsilon: float = 1e-5) -> bool:
    """Add each entry's mean over the experts that change it by more than `epsilon` (arXiv 2601.13572)."""
    target = out.view(-1)
    for part, start, rows in delta_chunks(base, experts):
        changed = rows.abs() > epsilon
        counts = changed.sum(0).clamp_(min=1)
        target[part] = rows.mul_(changed).div_(counts).sum(0).add_(start)
    return True
