"""mergekit's NearSwap and Arcee Fusion, chunk by chunk: one expert's entries taken over where a measure says so."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from worker.merge.kernels.elementwise import chunks
from worker.merge.kernels.threads import later

Tensor = torch.Tensor
_SAMPLE = 1_000_000  # mergekit's: beyond it quartiles come from a sample drawn with torch's global generator
_ROWS = 1 << 17
_FLOOR = 1e-8


def nearswap_into(out: Tensor, base: Tensor, experts: Sequence[Tensor], t: float) -> bool:
    """Move to the expert by t / |difference|, at most the whole way: what is near is swapped."""
    target, origin, other = out.view(-1), base.reshape(-1), experts[0].reshape(-1)
    for part in chunks(out):
        here, there = origin[part].float(), other[part].float()
        share = (here - there).abs_().clamp_(min=1e-6).reciprocal_().mul_(t).clamp_(0, 1)
        target[part] = (there * share).add_((1 - share).mul_(here))
    return True


def arcee_fusion_into(out: Tensor, base: Tensor, experts: Sequence[Tensor]) -> bool:
    """Take the expert's entries whose importance (|difference| times the row's KL divergence) is an upper outlier."""
    if base.ndim == 0 or not base.numel():
        return False
    drawn = torch.randint(base.numel(), (_SAMPLE,)).int() if base.numel() > _SAMPLE else None
    later(_fuse, out, base, experts[0], drawn)
    return True


def _fuse(out: Tensor, base: Tensor, expert: Tensor, drawn: Tensor | None) -> None:
    divergence = torch.cat([_divergence(here, there) for _, here, there in _row_chunks(base, expert)])
    threshold = _fence(base, expert, divergence, drawn)
    target = out.view(-1, base.shape[-1])
    for rows, here, there in _row_chunks(base, expert):
        off = there - here
        target[rows] = (off.abs().mul_(divergence[rows]) >= threshold).float().mul_(off).add_(here)


def _row_chunks(base: Tensor, expert: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    length = base.shape[-1]
    origin, other = base.reshape(-1, length), expert.reshape(-1, length)
    step = max(1, _ROWS // length)
    for first in range(0, len(origin), step):
        rows = slice(first, min(first + step, len(origin)))
        yield rows, origin[rows].float(), other[rows].float()


def _divergence(base: Tensor, expert: Tensor) -> Tensor:
    """Return KL(softmax of the expert's row, softmax of the base's), a column."""
    chance, reference = torch.softmax(expert, -1).add_(_FLOOR), torch.softmax(base, -1).add_(_FLOOR)
    return (chance / reference).log_().mul_(chance).sum(-1, keepdim=True)


def _fence(base: Tensor, expert: Tensor, divergence: Tensor, drawn: Tensor | None) -> Tensor:
    """Return median + 1.5 · (third - first quartile) of the importance, at the places drawn or everywhere."""
    origin, other, of_row = base.reshape(-1), expert.reshape(-1), divergence.reshape(-1)
    if drawn is not None:
        scores = (other[drawn].float() - origin[drawn].float()).abs_().mul_(of_row[drawn // base.shape[-1]])
    else:
        scores = (other.float() - origin.float()).abs_().view(len(of_row), -1).mul_(divergence).view(-1)
    places = (torch.tensor([0.25, 0.5, 0.75]) * (len(scores) - 1)).long()
    first, median, third = torch.from_numpy(np.partition(scores.numpy(), places.numpy()))[places]
    return median + 1.5 * (third - first)
