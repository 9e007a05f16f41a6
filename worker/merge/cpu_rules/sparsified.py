"""mergekit's DARE, DELLA and Breadcrumbs without whole-tensor temporaries: masks first, then one pass that merges.

Masks are those of mergekit to the entry: random ones are drawn from torch's global generator in mergekit's order (a
Bernoulli draw is a uniform draw below the probability), sorted ones come from torch's own sort, whose order among
equal magnitudes decides. Only their use is chunked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from worker.merge.cpu_rules.differences import delta_chunks, total
from worker.merge.kernels.elementwise import elect
from worker.merge.kernels.select import sorted_at_once

Tensor = torch.Tensor
_TINY = 1e-7  # mergekit rescales nothing whose L1 norm is below this
_ROWS = 1 << 17


@dataclass(frozen=True)
class Sparsified:
    """mergekit's parameters of a sparsified task arithmetic; per expert those that are sequences."""

    weight: Sequence[float]
    density: Sequence[float]
    rescale: bool = True
    normalize: bool = False
    scale: float = 1.0
    gamma: Sequence[float] = ()
    epsilon: Sequence[float] = ()
    int8_mask: bool = False


Masks = list[Tensor | None]
Masker = Callable[[Tensor, Sequence[Tensor], Sparsified], Masks]


def sparsified_rule(masks: Masker, *, elected: bool, random: bool) -> Callable[..., bool]:
    """Return the rule that masks, rescales to the L1 norm from before, weighs, elects signs if asked, and adds."""

    def rule(out: Tensor, base: Tensor, experts: Sequence[Tensor], **parameters: object) -> bool:
        settings = Sparsified(**parameters)  # type: ignore[arg-type]
        if not any(settings.weight):
            if random:
                _skip_draws(base, settings)
            out.copy_(base)
            return True
        kept = masks(base, experts, settings)
        factors = _factors(base, experts, kept, settings)
        _combine(out, base, experts, (kept, factors, settings, elected))
        return True

    return rule


def dare_masks(base: Tensor, experts: Sequence[Tensor], settings: Sparsified) -> Masks:
    """Return masks that are true with probability `density`."""
    return [None if share >= 1 else _below(base.numel(), share) for share in settings.density[: len(experts)]]


def _below(count: int, share: float) -> Tensor:
    mask = torch.empty(count, dtype=torch.bool)
    for part in mask.split(_ROWS):
        torch.lt(torch.rand(len(part)), torch.tensor(share), out=part)
    return mask


def _skip_draws(base: Tensor, settings: Sparsified) -> None:
    """Advance the generator as if the masks of a tensor that no expert changes had been drawn."""
    for share in settings.density:
        if share < 1 and (share > 0 or not settings.epsilon):
            for part in torch.empty(base.numel(), dtype=torch.bool).split(_ROWS):
                torch.rand(len(part))


def della_masks(base: Tensor, experts: Sequence[Tensor], settings: Sparsified) -> Masks:
    """Return masks that are true with a probability that grows with the magnitude's rank in its row."""
    return [
        _by_rank(base, x, share, eps) for x, share, eps in zip(experts, settings.density, settings.epsilon, strict=True)
    ]


def _by_rank(base: Tensor, expert: Tensor, density: float, epsilon: float) -> Tensor | None:
    if density >= 1:
        return None
    mask = torch.zeros(base.numel(), dtype=torch.bool)
    if density <= 0:
        return mask
    if density + epsilon >= 1 or density - epsilon <= 0:
        raise ValueError("Epsilon must be chosen such that density +/- epsilon is in (0, 1)")
    length = base.shape[-1] if base.ndim == 1 else base[0].numel()
    ladder = (torch.arange(length, dtype=torch.float32) / (length - 1)).clamp_(0, 1)
    ladder = (density - epsilon) + ladder * 2 * epsilon
    rows, place = max(1, _ROWS // length), mask.view(-1, length)
    for below, x, kept in zip(*(t.reshape(-1, length).split(rows) for t in (base, expert, place)), strict=True):
        order = torch.argsort((x.float() - below.float()).abs_(), dim=1)
        chances = torch.empty(x.shape).scatter_(1, order, ladder.expand(x.shape))
        torch.lt(torch.rand(x.shape), chances, out=kept)
    return mask


def breadcrumbs_masks(base: Tensor, experts: Sequence[Tensor], settings: Sparsified) -> Masks:
    """Return masks of the entries between the smallest and the `gamma` largest; experts are sorted at once."""
    jobs = list(zip(experts, settings.density, settings.gamma, strict=True))
    return sorted_at_once(lambda job: _between(base, *job), jobs)


def _between(base: Tensor, expert: Tensor, density: float, gamma: float) -> Tensor | None:
    if density >= 1:
        return None
    count = base.numel()
    kept = int(density * count)
    first = max(0, count - kept - int(gamma * count))
    order = torch.sort(expert.to(torch.float32, copy=True).sub_(base).abs_().reshape(-1)).indices
    mask = torch.zeros(count, dtype=torch.bool)
    mask[order[first : first + kept]] = True
    return mask


def _masked(base: Tensor, experts: Sequence[Tensor], masks: Masks) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield each chunk's place, base, differences and kept differences."""
    for part, start, rows in delta_chunks(base, experts):
        kept = rows.clone()
        for row, mask in zip(kept, masks, strict=True):
            if mask is not None:
                row.mul_(mask[part])
        yield part, start, rows, kept


def _factors(base: Tensor, experts: Sequence[Tensor], masks: Masks, settings: Sparsified) -> list[Tensor | None]:
    """Return what each expert's kept entries are multiplied with, None for 1."""
    if not settings.rescale or all(m is None for m in masks):
        return [None] * len(masks)
    before: list[list[Tensor]] = [[] for _ in masks]
    after: list[list[Tensor]] = [[] for _ in masks]
    for _, _, rows, kept in _masked(base, experts, masks):
        for i, (row, left) in enumerate(zip(rows.abs_(), kept.abs_(), strict=True)):
            before[i].append(row.sum())
            after[i].append(left.sum())
    found: list[Tensor | None] = []
    for mask, whole, left in zip(masks, map(total, before), map(total, after), strict=True):
        found.append(None if mask is None or whole < _TINY or left < _TINY else whole / left)
    return found


def _combine(
    out: Tensor, base: Tensor, experts: Sequence[Tensor],
    how: tuple[Masks, list[Tensor | None], Sparsified, bool],
) -> None:  # fmt: skip
    masks, factors, settings, elected = how
    target, weights = out.view(-1), torch.tensor(list(settings.weight))
    divisor = weights.sum() if settings.normalize and not elected and weights.sum().abs() >= 1e-8 else None
    for part, start, rows in delta_chunks(base, experts):
        for row, mask, factor, weight in zip(rows, masks, factors, weights, strict=True):
            if mask is not None:
                row.mul_(mask[part])
            row.mul_(weight) if factor is None else row.mul_(factor).mul_(weight)
        mixed = elect(rows.unbind(0), settings.weight, mean=settings.normalize) if elected else rows.sum(0)
        if divisor is not None:
            mixed.div_(divisor)
        target[part] = (mixed.mul_(settings.scale) if settings.scale != 1 else mixed).add_(start)
