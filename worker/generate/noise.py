"""Counter-based Gumbel noise: a pure function of (sample, position, token).

The token with the largest log-probability plus Gumbel noise is an exact sample of the distribution (the Gumbel-max
trick). As the noise belongs to the token id and not to a place in a batch or a sorted list, a sample does not depend on
who shares its batch, and two similar models given the same seed mostly agree (common random numbers).
Not cryptographic.
"""

import torch

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right logically: torch shifts signed integers arithmetically."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: torch.Tensor) -> torch.Tensor:
    """Scramble 64-bit integers (the finalizer of splitmix64: Steele, Lea and Flood 2014); products wrap on purpose."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def gumbel(seeds: torch.Tensor, steps: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Return standard Gumbel noise in float32, shape of `token_ids`.

    `seeds` and `steps` are int64 of shape [rows]; `token_ids` int64 of shape [rows, candidates].
    """
    state = _mix(seeds + (steps + 1) * _GOLDEN)
    bits = _shift(_mix(state[:, None] + (token_ids + 1) * _GOLDEN), 12)
    uniform = (bits.double() + 0.5) * 2.0**-52
    return (-torch.log(-torch.log(uniform))).float()
