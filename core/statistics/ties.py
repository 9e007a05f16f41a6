"""Tie groups: which candidates the evidence can't tell apart."""

from collections.abc import Callable

from core.statistics.binomial import holm

Compare = Callable[[int, int], float]


def tie_groups(count: int, p_value: Compare, *, alpha: float = 0.05) -> tuple[int, ...]:
    """Return the group (from 1) of each of `count` candidates, given best first.

    A group is a run of ranks: it ends where every candidate below it is shown to be worse than its leader. So whoever
    is in a lower group is worse, beyond chance, and what can't be told from the leader never lies below the line; one
    in between that could be told stays above it, which claims less than the data shows, never more.

    Holm over a leader's comparisons, times half the count: leaders are chosen by looking, so that any of the
    count · (count − 1) / 2 pairs may be compared. Equals are parted with probability alpha at most. `p_value(i, j)`
    compares two candidates.
    """
    groups: list[int] = []
    while len(groups) < count:
        leader = len(groups)
        adjusted = holm([p_value(leader, other) for other in range(leader + 1, count)])
        told = [min(1.0, p * max(1.0, count / 2)) <= alpha for p in adjusted]
        last = max((place for place, apart in enumerate(told) if not apart), default=-1)
        group = groups[-1] + 1 if groups else 1
        groups += [group] * (last + 2)
    return tuple(groups)
