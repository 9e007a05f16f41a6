"""Top-p sampling on a GPU in one launch: a program a row, no sort, no wait for the host.

A token whose probability is below (1 - top_p) / vocabulary can't be in the nucleus: more than top_p lies before it. The
others are few. Among them the one with the largest logit plus Gumbel noise is drawn if less than top_p lies before it;
if not, neither it nor what comes after it is in the nucleus, and the next largest is looked at. That is the token that
`worker.generate.sampling` finds by sorting, by the same noise.
"""

import logging

import torch

from worker.generate.draw_rows import DrawRows

try:
    import triton
    import triton.language as tl
    from triton.errors import TritonError
except ImportError:
    triton = None

_ROOM = 1 << 14  # candidates a row that are listed; where they are more, the whole vocabulary is looked at again
_BLOCK = 2048
_log = logging.getLogger(__name__)


if triton is not None:

    @triton.jit
    def _mixed(x):  # type: ignore[no-untyped-def]
        """Scramble 64-bit integers as `noise` does."""
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB
        return x ^ (x >> 31)

    @triton.jit
    def _noise(state, ids):  # type: ignore[no-untyped-def]
        """Return the Gumbel noise of token ids in a row of this state."""
        bits = _mixed(state + (ids + 1).to(tl.uint64) * 0x9E3779B97F4A7C15) >> 12
        uniform = (bits.to(tl.float64) + 0.5) * 2.220446049250313e-16
        return (-tl.log(-tl.log(uniform))).to(tl.float32)

    @triton.jit
    def _scaled(row, at, inside):  # type: ignore[no-untyped-def]
        """Return logits of a row (its address and temperature), divided by the temperature."""
        return tl.load(row[0] + at, mask=inside, other=-float("inf")).to(tl.float32) / row[1]

    @triton.jit
    def _log_mass(row, size, block: tl.constexpr):  # type: ignore[no-untyped-def]
        """Return the log of the mass of a row's scaled logits, and the largest of them."""
        best = tl.full((block,), -3e38, tl.float32)
        mass = tl.zeros((block,), tl.float32)
        for start in range(0, size, block):
            at = start + tl.arange(0, block)
            scaled = _scaled(row, at, at < size)
            peak = tl.maximum(best, scaled)
            mass = mass * tl.exp(best - peak) + tl.exp(scaled - peak)
            best = peak
        top = tl.max(best, 0)
        return top + tl.log(tl.sum(mass * tl.exp(best - top), 0)), top

    @triton.jit
    def _listed(row, floor, ids, size, sizes: tl.constexpr):  # type: ignore[no-untyped-def]
        """List the tokens whose scaled logit reaches the floor, in order; return how many there are."""
        count = 0
        for start in range(0, size, sizes[1]):
            at = start + tl.arange(0, sizes[1])
            kept = (_scaled(row, at, at < size) >= floor) & (at < size)
            found = tl.sum(kept.to(tl.int32), 0)
            if found > 0:
                place = count + tl.cumsum(kept.to(tl.int32), 0) - 1
                tl.store(ids + place, at, mask=kept & (place < sizes[0]))
            count += found
        return count

    @triton.jit
    def _earlier(among, row, at, mark):  # type: ignore[no-untyped-def]
        """Return tokens, their scaled logits and whether they come before a mark (level, id) in the order.

        Larger logits come first, then smaller ids. `among` is a list, its length, and whether all tokens are meant.
        """
        ids, count, whole = among
        listed = tl.load(ids + at, mask=(at < count) & (not whole), other=0)
        token = tl.where(whole, at, listed)
        scaled = _scaled(row, token, at < count)
        before = (scaled > mark[0]) | ((scaled == mark[0]) & (token < mark[1]))
        return token, scaled, before & (at < count)

    @triton.jit
    def _loudest(among, row, mark, state, block: tl.constexpr):  # type: ignore[no-untyped-def]
        """Return the token before the mark with the largest logit plus noise (no noise if the row is greedy)."""
        last = 0x7FFFFFFF
        best = tl.full((block,), -float("inf"), tl.float32)
        chosen = tl.full((block,), last, tl.int32)
        for start in range(0, among[1], block):
            token, scaled, before = _earlier(among, row, start + tl.arange(0, block), mark)
            score = tl.where(state[1], scaled, scaled + _noise(state[0], token))
            better = before & (score > best)
            best = tl.where(better, score, best)
            chosen = tl.where(better, token, chosen)
        return tl.min(tl.where(best == tl.max(best, 0), chosen, last), 0)

    @triton.jit
    def _mass_before(among, row, mark, log_mass, block: tl.constexpr):  # type: ignore[no-untyped-def]
        """Return the share of the row's mass that lies before the mark."""
        mass = tl.zeros((block,), tl.float32)
        for start in range(0, among[1], block):
            _, scaled, before = _earlier(among, row, start + tl.arange(0, block), mark)
            mass += tl.where(before, tl.exp(scaled - log_mass), 0.0)
        return tl.sum(mass, 0)

    @triton.jit
    def _kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917
        logits, width, temperatures, top_ps, seeds, steps, lists, drawn, size,
        room: tl.constexpr, block: tl.constexpr,
    ):  # fmt: skip
        """Draw the token of one row."""
        number = tl.program_id(0).to(tl.int64)
        temperature, top_p = tl.load(temperatures + number), tl.load(top_ps + number)
        greedy = temperature <= 0
        row, ids = (logits + number * width, tl.maximum(temperature, 1e-5)), lists + number * room
        log_mass, top = _log_mass(row, size, block)
        # A hundredth below what suffices: rounding must not leave a candidate out.
        floor = log_mass - tl.log(size / tl.maximum(1 - top_p, 1e-30)) - 0.01
        floor = tl.where(greedy, top, tl.where(top_p < 1, floor, -3e38))
        count = _listed(row, floor, ids, size, (room, block))
        tl.debug_barrier()  # from here on each thread reads what the others have listed
        among = (ids, tl.where(count > room, size, count), count > room)
        step = (tl.load(steps + number) + 1).to(tl.uint64)
        state = (_mixed(tl.load(seeds + number).to(tl.uint64) + step * 0x9E3779B97F4A7C15), greedy)
        level, chosen, searching = -float("inf"), size, True
        while searching:
            chosen = _loudest(among, row, (level, chosen), state, block)
            found = chosen < size
            chosen = tl.where(found, chosen, 0)  # a row without a number in it ends here
            level = tl.load(row[0] + chosen).to(tl.float32) / row[1]
            mass = _mass_before(among, row, (level, chosen), log_mass, block)
            searching = found & (not greedy) & (top_p < 1) & (mass > 0) & (mass >= top_p)
        tl.store(drawn + number, chosen.to(tl.int64))


def draw(logits: torch.Tensor, rows: DrawRows) -> torch.Tensor:
    """Return one token id a row (int64 [rows]) from logits [rows, vocabulary] whose last axis is contiguous."""
    count, size = logits.shape
    drawn = torch.empty(count, dtype=torch.int64, device=logits.device)
    if not count:
        return drawn
    lists = torch.empty((count, _ROOM), dtype=torch.int32, device=logits.device)
    _kernel[(count,)](
        logits, logits.stride(0), rows.temperature, rows.top_p, rows.seeds, rows.steps, lists, drawn, size,
        room=_ROOM, block=_BLOCK, num_warps=8,
    )  # fmt: skip
    return drawn


def attempt(logits: torch.Tensor, rows: DrawRows) -> torch.Tensor | None:
    """Draw, or return None where the kernel does not work."""
    if triton is None:
        return None
    try:
        return draw(logits, rows)
    except (TritonError, RuntimeError) as error:
        _log.warning("the sampling kernel does not work here: %s", error)
        return None
