"""Tie groups: which candidates the evidence can't tell apart."""

from collections.abc import Callable, Sequence

from core.statistics.binomial import holm

Compare = Callable[[int, int], float]


def tie_groups(count: int, p_value: Compare, *, alpha: float = 0.05) -> tuple[int, ...]:
    """Return the group (from 1) of each of `count` candidates, given best first.

    The best candidate without a group leads the next one and takes along all that can't be told from it (Holm over
    the leader's comparisons at level alpha). So a group's members are all tied with its leader; a candidate measured on
    fewer items may be tied with the leader though a better-looking one is not. `p_value(i, j)` compares two candidates.
    """
    groups = [0] * count
    group = 0
    while 0 in groups:
        group += 1
        leader = groups.index(0)
        groups[leader] = group
        for index in _tied_with(leader, [i for i in range(count) if groups[i] == 0], p_value, alpha):
            groups[index] = group
    return tuple(groups)


def _tied_with(leader: int, others: Sequence[int], p_value: Compare, alpha: float) -> list[int]:
    adjusted = holm([p_value(leader, other) for other in others])
    return [other for other, p in zip(others, adjusted, strict=True) if p > alpha]
