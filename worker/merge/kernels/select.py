"""The k-th largest magnitude of a task vector, without sorting.

Exact: two histogram passes over the bit patterns of |x - base| (fp32 patterns of non-negative numbers are ordered),
over one tensor or all of them. Sampled: the quantile of a seeded sample, for vectors so long that a pass over them
costs more than its precision is worth; the kept fraction is then off by about sqrt(d (1 - d) / sample).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from worker.merge.kernels.elementwise import as_numbers, chunks

Tensor = torch.Tensor
Pairs = Callable[[], Iterator[tuple[Tensor, Tensor]]]
SAMPLE = 1 << 20
_HALF = 16


@dataclass(frozen=True)
class Threshold:
    """Keep magnitudes above `value`, and `ties` of those equal to it (all of them when None).

    `ambiguous` says that there are more equal ones than may be kept: which of them stay is then a convention.
    """

    value: float
    ties: int | None = None
    ambiguous: bool = False


def exact_threshold(pairs: Pairs, keep: int) -> Threshold:
    """Return the magnitude of the `keep`-th largest |expert - base| over all pairs (base, expert)."""
    if keep <= 0:
        return Threshold(float("inf"), 0)
    coarse = _histogram(pairs, lambda bits: bits >> _HALF)
    high, above = _bucket(coarse, keep)
    fine = _histogram(pairs, lambda bits: bits[(bits >> _HALF) == high] & 0xFFFF)
    low, above_low = _bucket(fine, keep - above)
    value = torch.tensor((high << _HALF) | low, dtype=torch.int32).view(torch.float32).item()
    ties = keep - above - above_low
    return Threshold(value, ties, ambiguous=int(fine[low]) > ties)


def sampled_threshold(pairs: Pairs, density: float, total: int, seed: int = 0) -> Threshold:
    """Return a threshold that keeps about `density` of the entries; every entry equal to it is kept."""
    if density <= 0:
        return Threshold(float("inf"), 0)
    samples = []
    for number, (base, expert) in enumerate(pairs()):
        count = max(1, round(SAMPLE * base.numel() / total))
        generator = torch.Generator(device=base.device).manual_seed(seed + number)
        index = torch.randint(base.numel(), (count,), device=base.device, generator=generator)
        samples.append((expert.reshape(-1)[index].float() - base.reshape(-1)[index].float()).abs_())
    ordered = torch.cat(samples).sort(descending=True).values
    at = min(len(ordered) - 1, max(0, round(density * len(ordered)) - 1))
    return Threshold(ordered[at].item())


def keeper(thresholds: Sequence[Threshold]) -> Callable[[int, Tensor, slice], Tensor]:
    """Return what `elect_into` keeps: entries above the threshold, and as many of its equals as it has ties."""
    left = [t.ties for t in thresholds]
    below = [torch.nextafter(torch.tensor(t.value), torch.tensor(0.0)).item() for t in thresholds]

    def keep(expert: int, delta: Tensor, _part: slice) -> Tensor:
        value, quota = thresholds[expert].value, left[expert]
        if quota is None:
            return torch.nn.functional.hardshrink(delta, below[expert])
        magnitude = delta.abs()
        mask = magnitude > value
        if quota > 0:  # the first ones by place
            equal = (magnitude == value).nonzero().reshape(-1)[:quota]
            mask[equal] = True
            left[expert] = quota - len(equal)
        return delta * as_numbers(mask)

    return keep


def _histogram(pairs: Pairs, code: Callable[[Tensor], Tensor]) -> Tensor:
    counts = torch.zeros(1 << _HALF, dtype=torch.int64)
    for base, expert in pairs():
        origin, other = base.reshape(-1), expert.reshape(-1)
        for part in chunks(origin):
            bits = (other[part].float() - origin[part].float()).abs_().view(torch.int32)
            found = torch.bincount(code(bits), minlength=1 << _HALF).cpu()
            counts += found
    return counts


def _bucket(counts: Tensor, keep: int) -> tuple[int, int]:
    """Return the bucket of the keep-th largest code and how many codes lie in the buckets above it."""
    from_top = counts.flip(0).cumsum(0)
    at = int(torch.searchsorted(from_top, keep))
    bucket = len(counts) - 1 - at
    return bucket, int(from_top[at]) - int(counts[bucket])
