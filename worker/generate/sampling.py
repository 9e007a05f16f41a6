"""Draw the next token of every row: greedy, temperature, exact top-p.

A sort of the whole vocabulary is the dear part of top-p, and almost never needed: the nucleus lies in a few candidates.
Which candidates are looked at depends on the device, what is drawn does not: rows whose candidates do not hold the
nucleus fall back to the whole vocabulary. On a GPU a kernel of our own does it, where it compiles.
"""

import logging
from dataclasses import dataclass
from functools import cache

import torch

from worker.generate import nucleus
from worker.generate.draw_rows import DrawRows
from worker.generate.noise import gumbel

TOP_CANDIDATES = 256
# exp(-NEGLIGIBLE) summed over a vocabulary of a million is 1e-7: below float32's resolution beside the best token's 1.
NEGLIGIBLE = 30.0
MAX_SPARSE = 1024
_TRIED = 64
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Candidates:
    """Scaled logits in descending order with their token ids [rows, k], and log of the whole vocabulary's mass."""

    scaled: torch.Tensor
    ids: torch.Tensor
    log_mass: torch.Tensor


def draw_tokens(logits: torch.Tensor, rows: DrawRows, *, sampled: bool) -> torch.Tensor:
    """Return one token id a row (int64 [rows]) from logits [rows, vocabulary]; `sampled` is False if all are greedy."""
    if not sampled:
        return logits.argmax(-1)
    if in_one_launch(logits.device):
        return nucleus.draw(logits, rows)
    tokens, held = _draw(_candidates(logits, rows.temperature), rows)
    if not bool(held.all()):
        missed = (~held).nonzero()[:, 0]
        tokens[missed] = by_sorting(logits[missed], rows.select(missed))
    return tokens


def by_sorting(logits: torch.Tensor, rows: DrawRows) -> torch.Tensor:
    """Draw from the whole vocabulary in order: what every other way must agree with."""
    return _draw(_everything(logits, rows.temperature), rows)[0]


@cache
def in_one_launch(device: torch.device) -> bool:
    """Say whether the kernel works on this device and draws what sorting draws."""
    if device.type != "cuda":
        return False
    logits = 3 * torch.randn((_TRIED, 5000), generator=torch.Generator(device).manual_seed(0), device=device)
    numbers = torch.arange(_TRIED, device=device)
    rows = DrawRows((numbers % 4) / 2, torch.full((_TRIED,), 0.95, device=device), numbers, numbers)
    drawn = nucleus.attempt(logits, rows)
    if drawn is None:
        return False
    differ = int((drawn != by_sorting(logits, rows)).sum())
    if differ:
        _log.warning("the sampling kernel drew %d of %d tokens otherwise than sorting: not used", differ, _TRIED)
    return not differ


def _draw(among: _Candidates, rows: DrawRows) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the drawn tokens, and whether each row's candidates held its whole nucleus."""
    mass = torch.exp(among.scaled - among.log_mass[:, None]).double()
    total = mass.cumsum(-1)
    # A token stays while the mass before it is below top_p: the first one always does.
    inside = (total - mass) < rows.top_p[:, None]
    inside[:, 0] = True
    noisy = among.scaled + gumbel(rows.seeds, rows.steps, among.ids)
    noisy = noisy.masked_fill(~inside | (among.scaled == -torch.inf), -torch.inf)
    # Greedy rows take the first candidate: their scaled logits are so far apart that noise decides nothing but ties.
    choice = torch.where(rows.temperature > 0, noisy.argmax(-1), 0)
    tokens = among.ids.gather(1, choice[:, None])[:, 0]
    complete = total[:, -1] >= rows.top_p.double().clamp(max=1 - 1e-6)
    return tokens, complete | (rows.temperature <= 0)


def _scale(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    return logits.float() / temperature.clamp(min=1e-5)[:, None]


def _everything(logits: torch.Tensor, temperature: torch.Tensor) -> _Candidates:
    scaled, ids = _scale(logits, temperature).sort(dim=-1, descending=True, stable=True)
    return _Candidates(scaled, ids, scaled.logsumexp(-1))


def _candidates(logits: torch.Tensor, temperature: torch.Tensor) -> _Candidates:
    if logits.device.type == "cpu":
        sparse = _by_threshold(logits, temperature)
        if sparse is not None:
            return sparse
    return _by_top(logits, temperature)


def _by_top(logits: torch.Tensor, temperature: torch.Tensor) -> _Candidates:
    """Return the best few: on a GPU a top-256 cut takes an eighth of a sort's time."""
    best, ids = logits.topk(min(TOP_CANDIDATES, logits.shape[-1]), dim=-1)
    return _Candidates(_scale(best, temperature), ids, _scale(logits, temperature).logsumexp(-1))


def _by_threshold(logits: torch.Tensor, temperature: torch.Tensor) -> _Candidates | None:
    """Return every token whose mass can be seen in float32 beside the best one's, or None if they are many.

    On a CPU, exponentials and partial sorts of the whole vocabulary cost a third of a step of a small model.
    """
    floor = logits.amax(-1).float() - NEGLIGIBLE * temperature.clamp(min=1e-5)
    row, ids = (logits >= floor[:, None]).nonzero(as_tuple=True)
    counts = torch.bincount(row, minlength=len(logits))
    width = int(counts.max())
    if width > MAX_SPARSE:
        return None
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    scaled = torch.full((len(logits), width), -torch.inf)
    scaled[row, place] = logits[row, ids].float() / temperature.clamp(min=1e-5)[row]
    padded = torch.zeros((len(logits), width), dtype=torch.int64)
    padded[row, place] = ids
    scaled, order = scaled.sort(dim=-1, descending=True, stable=True)
    return _Candidates(scaled, padded.gather(1, order), scaled.logsumexp(-1))
