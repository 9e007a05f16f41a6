"""Task vectors chunk by chunk in fp32, and sums over all chunks.

A chunk and its temporaries stay in the cache. Sums within a chunk are torch's own in fp32; chunks are added in fp64, so
that a long tensor loses no precision, and a tensor of one chunk gives what torch gives for it whole.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch

from worker.merge.kernels.elementwise import chunks

Tensor = torch.Tensor
_STRETCH = 512


def difference_chunks(base: Tensor | None, experts: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor | None, Tensor]]:
    """Yield each chunk's place, the base there, and the differences from it (experts, entries); all are fresh.

    Without a base the second is None and the third holds the experts themselves.
    """
    flat = [x.reshape(-1) for x in experts]
    origin = None if base is None else base.reshape(-1)
    for part in chunks(experts[0]):
        rows = torch.empty(len(flat), part.stop - part.start)
        for row, x in zip(rows, flat, strict=True):
            row.copy_(x[part])
        start = None
        if origin is not None:
            start = torch.empty(part.stop - part.start).copy_(origin[part])
            rows.sub_(start)
        yield part, start, rows


def delta_chunks(base: Tensor, experts: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield the same where there is a base."""
    return cast(Iterator[tuple[slice, Tensor, Tensor]], difference_chunks(base, experts))


def total(sums: Sequence[Tensor]) -> Tensor:
    """Return the sum of what the chunks summed to, in their dtype."""
    return sums[0] if len(sums) == 1 else torch.stack(list(sums)).double().sum(0).to(sums[0].dtype)


def gram(base: Tensor | None, experts: Sequence[Tensor]) -> Tensor:
    """Return all inner products of the differences from the base (of the experts without one), in fp64.

    Products are summed in fp32 over short stretches only: over a whole chunk a matrix product loses two digits.
    """
    found = torch.zeros(len(experts), len(experts), dtype=torch.float64)
    for _, _, rows in difference_chunks(base, experts):
        even = rows.shape[1] // _STRETCH * _STRETCH
        blocks = rows[:, :even].reshape(len(experts), -1, _STRETCH).transpose(0, 1)
        found += (blocks @ blocks.transpose(1, 2)).double().sum(0)
        rest = rows[:, even:].double()
        found += rest @ rest.T
    return found
