"""Which entries torch's unstable sort puts between two places, without sorting.

mergekit keeps the first entries of a sort, and among thousands of equal bf16 magnitudes the sort's own order says which
those are. torch sorts by introsort (libstdc++: median of three, Hoare partition, insertion below 17 entries), whose
partitions don't depend on each other. So the same partitions are made here, of the ranges that hold a place asked for,
block by block: a fifth of the time. What torch does is checked once; where it sorts otherwise, it sorts here too.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

Packed = NDArray[np.int64]  # a key in the upper half, its place in the tensor in the lower
_SMALL = 16
_BLOCK = 1 << 16
_SAMPLES = 256
_HALF = 32
_WORTH, _MOST = 1 << 13, 1 << 31


def sorted_between(
    magnitudes: Callable[[slice], torch.Tensor], count: int, places: tuple[int, int], *, descending: bool = False
) -> torch.Tensor:
    """Return the mask of the entries that `torch.sort` puts at the places from the first to before the second.

    Args:
        magnitudes: computes a part of the flat tensor: float32, not negative, no NaN.
        count: how many entries there are.
        places: from 0 to `count`.
        descending: whether the largest come first.
    """
    if _WORTH <= count < _MOST and not magnitudes(slice(0, 1)).is_cuda and _sorts_as_expected():
        packed = _packed(magnitudes, count, descending=descending)
        if _partition_around(packed, places):
            return _mask(packed, places)
        del packed
    whole = magnitudes(slice(0, count))
    mask = torch.zeros(count, dtype=torch.bool, device=whole.device)
    mask[torch.sort(whole, descending=descending).indices[slice(*places)]] = True
    return mask


def sorted_rows(magnitudes: torch.Tensor) -> torch.Tensor:
    """Return `argsort` of each row of float32 that is not negative and not NaN: as integers they compare faster."""
    return torch.argsort(magnitudes.view(torch.int32), dim=1)


def _packed(magnitudes: Callable[[slice], torch.Tensor], count: int, *, descending: bool) -> Packed:
    packed = np.arange(count, dtype=np.int64)
    keys = packed.view(np.int32)[1::2]
    for start in range(0, count, _BLOCK):
        part = slice(start, min(start + _BLOCK, count))
        bits = magnitudes(part).contiguous().view(torch.int32).numpy()
        keys[part] = -bits if descending else bits
    return packed


def _mask(packed: Packed, places: tuple[int, int]) -> torch.Tensor:
    mask = np.zeros(len(packed), dtype=np.bool_)
    found = packed.view(np.int32)[::2][slice(*places)]
    for start in range(0, len(found), _BLOCK):  # an index of the whole would be made of 64 bits first
        mask[found[start : start + _BLOCK]] = True
    return torch.from_numpy(mask)


def _partition_around(packed: Packed, places: Sequence[int]) -> bool:
    """Leave at each place what the sort would; return whether it would have come so far by partitions alone."""
    ranges = [(0, len(packed), 2 * (len(packed).bit_length() - 1))]
    while ranges:
        first, last, depth = ranges.pop()
        if not any(first < place < last for place in places):
            continue
        if last - first <= _SMALL:
            part = packed[first:last]
            part[:] = part[np.argsort(part >> _HALF, kind="stable")]
        elif depth == 0:
            return False  # the sort goes on with a heap
        else:
            cut = _partition(packed, first, last)
            ranges += [(first, cut, depth - 1), (cut, last, depth - 1)]
    return True


def _partition(packed: Packed, first: int, last: int) -> int:
    """Partition a range around the median of its second, middle and last entry; return where the right part begins."""
    at = _median(packed, first + 1, first + (last - first) // 2, last - 1)
    packed[[first, at]] = packed[[at, first]]
    pivot = packed[first] >> _HALF << _HALF
    return first + 1 + _hoare(packed[first + 1 : last], pivot, pivot + (1 << _HALF))


def _median(packed: Packed, a: int, b: int, c: int) -> int:
    x, y, z = (int(packed[at] >> _HALF) for at in (a, b, c))
    if x < y:
        return b if y < z else c if x < z else a
    return a if x < z else c if y < z else b


def _hoare(part: Packed, low: np.int64, high: np.int64) -> int:
    """Swap entries that are not less, from the left, with those that are not more, from the right, until they meet.

    Equal ones stop both sides. Pairs are found in blocks whose lengths make about as many on either side.
    """
    first, last = 0, len(part)
    less = float(np.mean(part[:: max(1, len(part) // _SAMPLES)] < low))
    ahead = int(min(max(less, 0.01), 0.99) * _BLOCK)
    behind = _BLOCK - ahead
    while last - first > _BLOCK:
        left = np.flatnonzero(part[first : first + ahead] >= low) + first
        right = np.flatnonzero(part[last - behind : last] < high)[::-1] + (last - behind)
        pairs = min(len(left), len(right))
        _swap(part, left[:pairs], right[:pairs])
        first = int(left[pairs]) if len(left) > pairs else first + ahead
        last = int(right[pairs]) + 1 if len(right) > pairs else last - behind
    left = np.flatnonzero(part[first:last] >= low) + first
    right = np.flatnonzero(part[first:last] < high)[::-1] + first
    some = min(len(left), len(right))
    pairs = int(np.count_nonzero(left[:some] < right[:some]))
    _swap(part, left[:pairs], right[:pairs])
    return min([*left[pairs : pairs + 1].tolist(), *right[:pairs][-1:].tolist(), last])


def _swap(part: Packed, these: NDArray[np.int64], those: NDArray[np.int64]) -> None:
    kept = part[these]
    part[these] = part[those]
    part[those] = kept


@cache
def _sorts_as_expected() -> bool:
    """Try the emulation against torch's own sort, on values with many equals."""
    values = torch.randint(200, (1 << 15,), generator=torch.Generator().manual_seed(0)).float()
    for descending in (False, True):
        order = torch.sort(values, descending=descending).indices
        for start in range(0, len(values), 1999):
            places = (start, min(start + 3000, len(values)))
            packed = _packed(values.__getitem__, len(values), descending=descending)
            if not _partition_around(packed, places):
                return False
            if not torch.equal(_mask(packed, places).nonzero().view(-1), order[slice(*places)].sort().values):
                return False
    return True
