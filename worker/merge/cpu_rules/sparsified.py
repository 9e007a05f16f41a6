"""mergekit's DARE, DELLA and Breadcrumbs without whole-tensor temporaries: masks first, then one pass that merges.

Masks are those of mergekit to the entry: random ones are drawn from torch's global generator in mergekit's order (a
Bernoulli draw is a uniform draw below the probability), ranked ones follow torch's own sort, whose order among equal
magnitudes decides. Only their use is chunked. What is drawn is drawn when a rule is called; the rest may be done later.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import cast

import torch

from worker.merge.cpu_rules.differences import delta_chunks, total
from worker.merge.kernels.elementwise import as_numbers, elect
from worker.merge.kernels.sort_order import sorted_between, sorted_rows
from worker.merge.kernels.threads import later

Tensor = torch.Tensor
_TINY = 1e-7  # mergekit rescales nothing whose L1 norm is below this
_ROWS = 1 << 17
_RANKED = 1 << 18  # entries a job of DELLA's: sorting outweighs what leaves the cache


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


@dataclass(frozen=True)
class Mask:
    """What is kept of an expert's differences (None: all), and their L1 norms before and after, where known."""

    kept: Tensor | None = None
    norms: tuple[Tensor, Tensor] | None = None


Masks = list[Mask]
Masker = Callable[[Tensor, Sequence[Tensor], Sparsified], Callable[[], Masks]]


def sparsified_rule(masks: Masker, *, elected: bool, random: bool) -> Callable[..., bool]:
    """Return the rule that masks, rescales to the L1 norm from before, weighs, elects signs if asked, and adds."""

    def rule(out: Tensor, base: Tensor, experts: Sequence[Tensor], **parameters: object) -> bool:
        settings = Sparsified(**parameters)  # type: ignore[arg-type]
        if not any(settings.weight):
            if random:
                _skip_draws(base, settings)
            out.copy_(base)
            return True
        later(_merge, out, base, experts, (masks(base, experts, settings), settings, elected))
        return True

    return rule


def _merge(
    out: Tensor, base: Tensor, experts: Sequence[Tensor], how: tuple[Callable[[], Masks], Sparsified, bool]
) -> None:
    masks, settings, elected = how
    kept = masks()
    _combine(out, base, experts, (kept, _factors(base, experts, kept, settings), settings, elected))


def dare_masks(base: Tensor, experts: Sequence[Tensor], settings: Sparsified) -> Callable[[], Masks]:
    """Draw masks that are true with probability `density`."""
    masks = [Mask(None if share >= 1 else _below(base.numel(), share)) for share in settings.density[: len(experts)]]
    return lambda: masks


def _below(count: int, share: float) -> Tensor:
    mask, drawn = torch.empty(count, dtype=torch.bool), torch.empty(min(count, _ROWS))
    for part in mask.split(_ROWS):
        draw = drawn[: len(part)].uniform_()
        part.copy_(torch.lt(draw, torch.tensor(share), out=draw))
    return mask


def _skip_draws(base: Tensor, settings: Sparsified) -> None:
    """Advance the generator as if the masks of a tensor that no expert changes had been drawn."""
    for share in settings.density:
        if share < 1 and (share > 0 or not settings.epsilon):
            # As many of the generator's numbers as for floats, and quicker.
            draws = torch.empty(min(base.numel(), _ROWS), dtype=torch.int32)
            for start in range(0, base.numel(), _ROWS):
                draws[: base.numel() - start].random_()


def della_masks(base: Tensor, experts: Sequence[Tensor], settings: Sparsified) -> Callable[[], Masks]:
    """Draw masks that are true with a probability that grows with the magnitude's rank in its row."""
    length = base.shape[-1] if base.ndim == 1 else base[0].numel()
    found = [
        _drawn(base.reshape(-1, length), x.reshape(-1, length), _ladder(length, share, epsilon), kept=share > 0)
        for x, share, epsilon in zip(experts, settings.density, settings.epsilon, strict=True)
    ]
    return lambda: [mask() for mask in found]


def _drawn(base: Tensor, expert: Tensor, ladder: Tensor | None, *, kept: bool) -> Callable[[], Mask]:
    if ladder is None:
        return lambda: Mask() if kept else Mask(torch.zeros(base.numel(), dtype=torch.bool))
    mask = torch.empty(base.shape, dtype=torch.bool)
    parts = (t.split(max(1, _RANKED // base.shape[1])) for t in (base, expert, mask))
    decided: list[Future[tuple[Tensor, Tensor]]] = []
    for below, rows, part in zip(*parts, strict=True):  # drawn here, in order
        decided.append(later(_decide, below, rows, (part, torch.rand(rows.shape), ladder)))
    return lambda: Mask(mask.view(-1), _totals([sums.result() for sums in decided]))


def _ladder(length: int, density: float, epsilon: float) -> Tensor | None:
    """Return the probability of each rank, None where nothing is drawn."""
    if density >= 1 or density <= 0:
        return None
    if density + epsilon >= 1 or density - epsilon <= 0:
        raise ValueError("Epsilon must be chosen such that density +/- epsilon is in (0, 1)")
    ladder = (torch.arange(length, dtype=torch.float32) / (length - 1)).clamp_(0, 1)
    return (density - epsilon) + ladder * 2 * epsilon


def _decide(base: Tensor, expert: Tensor, chance: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Fill in which entries of some rows are kept, from a draw each; return their L1 norms before and after."""
    kept, drawn, ladder = chance
    magnitudes = (expert.float() - base.float()).abs_()
    chances = torch.empty(magnitudes.shape)
    chances.scatter_(1, sorted_rows(magnitudes), ladder.expand(magnitudes.shape))
    kept.copy_(torch.lt(drawn, chances, out=chances))  # a product with numbers is faster than with booleans
    return magnitudes.sum(), magnitudes.mul_(chances).sum()


def breadcrumbs_masks(base: Tensor, experts: Sequence[Tensor], settings: Sparsified) -> Callable[[], Masks]:
    """Find masks of the entries between the smallest and the `gamma` largest."""
    jobs = zip(experts, settings.density, settings.gamma, strict=True)
    masks = [later(_between, base, *job) for job in jobs]
    return lambda: [mask.result() for mask in masks]


def _between(base: Tensor, expert: Tensor, density: float, gamma: float) -> Mask:
    if density >= 1:
        return Mask()
    count = base.numel()
    kept = int(density * count)
    first = max(0, count - kept - int(gamma * count))
    origin, other = base.reshape(-1), expert.reshape(-1)

    def magnitudes(part: slice) -> Tensor:
        return other[part].to(torch.float32, copy=True).sub_(origin[part]).abs_()

    mask = sorted_between(magnitudes, count, (first, first + kept))
    norms = []
    for start in range(0, count, _ROWS):
        part = slice(start, start + _ROWS)
        found = magnitudes(part)
        norms.append((found.sum(), found.mul_(as_numbers(mask[part])).sum()))
    return Mask(mask, _totals(norms))


def _totals(norms: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    before, after = zip(*norms, strict=True)
    return total(before), total(after)


def _norms(base: Tensor, experts: Sequence[Tensor], masks: Masks) -> list[tuple[Tensor, Tensor]]:
    """Return the L1 norms of the differences before and after masking."""
    known = [mask.norms for mask in masks]
    if all(norms is not None for norms in known):
        return cast(list[tuple[Tensor, Tensor]], known)
    sums: list[list[tuple[Tensor, Tensor]]] = [[] for _ in masks]
    for part, _, rows in delta_chunks(base, experts):
        for found, row, mask in zip(sums, rows.abs_(), masks, strict=True):
            found.append((row.sum(), row.sum() if mask.kept is None else row.mul_(as_numbers(mask.kept[part])).sum()))
    return [_totals(found) for found in sums]


def _factors(base: Tensor, experts: Sequence[Tensor], masks: Masks, settings: Sparsified) -> list[Tensor | None]:
    """Return what each expert's kept entries are multiplied with, None for 1."""
    if not settings.rescale or all(mask.kept is None for mask in masks):
        return [None] * len(masks)
    found: list[Tensor | None] = []
    for mask, (whole, left) in zip(masks, _norms(base, experts, masks), strict=True):
        found.append(None if mask.kept is None or whole < _TINY or left < _TINY else whole / left)
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
            if mask.kept is not None:
                row.mul_(as_numbers(mask.kept[part]))
            row.mul_(weight) if factor is None else row.mul_(factor).mul_(weight)
        mixed = elect(rows.unbind(0), settings.weight, mean=settings.normalize) if elected else rows.sum(0)
        if divisor is not None:
            mixed.div_(divisor)
        target[part] = (mixed.mul_(settings.scale) if settings.scale != 1 else mixed).add_(start)
