"""The leaderboard: candidates ranked by a weighted mean over benchmarks, with intervals, differences and tie groups.

Per-item scores are used as they are stored (the unbiased pass@1); a benchmark of another metric contributes its score
and its interval, and is compared item by item in the same way as the metric's own items allow (`item_scores`).

Candidates may be measured under several seeds, not all under as many: an item's score is its mean over a candidate's
seeds, so that more seeds make a score more precise, never more items. Where seeds made other models (their checksums
differ), what the draws add is in every interval and test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from core.passk import pass_at_k
from core.statistics.bootstrap import Difference, paired_difference, score_interval
from core.statistics.noise import NoiseFloor
from core.statistics.repeats import repeated_difference, repeated_interval
from core.statistics.strata import Stratum, weighted_mean
from core.statistics.ties import tie_groups
from core.types.candidate import Candidate, Leaderboard, Ranked
from core.types.evaluation import Evaluation, ItemOutcome, Score
from core.types.sow import Benchmark, Role

METRIC = "weighted mean"
_RESAMPLES = 1999


def item_score(outcome: ItemOutcome, metric: str) -> float:
    """Return one item's score under a benchmark's metric."""
    if metric.startswith("pass@"):
        return pass_at_k(len(outcome.samples), outcome.passed, int(metric[5:]))
    return outcome.score


def item_scores(evaluations: Sequence[Evaluation], metric: str) -> dict[str, float]:
    """Return scores by item over evaluations of one candidate on one slice: blocks join, repeated seeds average."""
    found: dict[str, list[float]] = {}
    for evaluation in evaluations:
        for outcome in evaluation.outcomes:
            found.setdefault(outcome.item_id, []).append(item_score(outcome, metric))
    return {item: sum(values) / len(values) for item, values in found.items()}


def strata_of(
    candidate_id: str, evaluations: Sequence[Evaluation], benchmarks: Sequence[Benchmark]
) -> tuple[Stratum, ...] | None:
    """Return a candidate's scores by benchmark, or None unless it was evaluated on every one."""
    strata = []
    for benchmark in benchmarks:
        own = [e for e in evaluations if e.candidate_id == candidate_id and e.benchmark == benchmark.name]
        scores = item_scores(own, benchmark.metric)
        if not scores:
            return None
        strata.append(Stratum(scores, benchmark.weight, _draws(own, benchmark.metric)))
    return tuple(strata)


def _draws(own: Sequence[Evaluation], metric: str) -> tuple[Mapping[str, float], ...]:
    """Return the scores of each seed's model, where seeds made more than one."""
    runs = by_seed(own)
    if len(runs) < 2 or len({e.model_checksum for e in own}) < 2:
        return ()
    return tuple(item_scores(found, metric) for found in runs.values())


def by_seed(evaluations: Sequence[Evaluation]) -> dict[int, list[Evaluation]]:
    """Return evaluations of one slice by the seed they were drawn with."""
    found: dict[int, list[Evaluation]] = {}
    for evaluation in evaluations:
        found.setdefault(evaluation.sampling.seed, []).append(evaluation)
    return found


def seeds_of(evaluations: Sequence[Evaluation]) -> int:
    """Return under how many seeds a candidate was measured; a slice that no seed moves is measured once."""
    names = {e.benchmark for e in evaluations}
    return max((len(by_seed([e for e in evaluations if e.benchmark == n])) for n in names), default=1)


@dataclass(frozen=True)
class Standings:
    """Candidates that can be compared, by what is measured so far: their means, and what compares two of them."""

    means: Mapping[str, float]
    compare: Callable[[str, str], Difference]

    @property
    def best(self) -> str:
        """Return who has the highest mean; among equals the first by id, as on the leaderboard."""
        return min(self.means, key=lambda i: (-self.means[i], i))


def standings(
    ids: Sequence[str], evaluations: Sequence[Evaluation], slices: Sequence[Benchmark], *, resamples: int
) -> Standings:
    """Return how candidates stand: by items where there are slices, else by a command's numbers."""
    if not slices:
        runs = {i: found for i in ids if (found := runs_of(i, evaluations))}
        means = {i: sum(found.values()) / len(found) for i, found in runs.items()}
        return Standings(means, lambda a, b: _over_common(runs[a], runs[b]))
    complete = {i: s for i in ids if (s := strata_of(i, evaluations, slices)) is not None}
    usual = _usual_items(list(complete.values()))
    scored = {i: s for i, s in complete.items() if _items(s) == usual}
    compare = cache(lambda a, b: paired_difference(scored[a], scored[b], resamples=resamples))
    return Standings({i: weighted_mean(s) for i, s in scored.items()}, compare)


def leaderboard(
    role: Role | str,
    candidates: Sequence[Candidate],
    evaluations: Sequence[Evaluation],
    benchmarks: Sequence[Benchmark],
) -> Leaderboard:
    """Rank candidates by their weighted mean over a role's benchmarks.

    Candidates without an evaluation on every benchmark of the role, or with other items than most, are left out and
    named in the note: a mean over other items is no rank. Equal scores are ordered by id, so ranks are repeatable.
    """
    role = Role(role)
    own = tuple(e for e in evaluations if e.role == role.value)
    slices = tuple(b for b in benchmarks if b.role is role)
    if not benchmarks:
        return _by_score(role, candidates, own)
    found = {c.id: strata_of(c.id, own, slices) for c in candidates} if slices else {}
    complete = {key: strata for key, strata in found.items() if strata is not None}
    usual = _usual_items(list(complete.values()))
    scored = {key: strata for key, strata in complete.items() if _items(strata) == usual}
    by_id = {c.id: c for c in candidates}
    order = sorted(scored, key=lambda key: (-weighted_mean(scored[key]), key))
    rows = _rows([by_id[key] for key in order], [scored[key] for key in order], own, slices)
    missing = [c.name for c in candidates if c.id not in scored]
    note = f"not ranked (evaluated on other items or not on all): {', '.join(missing)}" if missing and slices else ""
    return Leaderboard(role=role.value, metric=METRIC, rows=rows, note=note)


def _by_score(role: Role, candidates: Sequence[Candidate], evaluations: Sequence[Evaluation]) -> Leaderboard:
    """Rank by the evaluations' own scores: a command's metric is one number a seed, without items."""
    found = {c.id: runs_of(c.id, evaluations) for c in candidates}
    # Who was stopped has the first seeds of the others: everyone ranked has at least the seed that all began with.
    first = next((e.sampling.seed for e in evaluations), None)
    scored = sorted((c for c in candidates if first in found[c.id]), key=lambda c: _order(found, c))
    compared = [[_parted(found[a.id], found[b.id]) for b in scored] for a in scored]
    groups = tie_groups(len(scored), lambda i, j: compared[i][j].p_value)
    metric = next((e.score.metric for e in evaluations), METRIC)
    rows = tuple(
        Ranked(
            rank=place + 1, tie_group=groups[place], candidate=c, score=_repeated(metric, found[c.id]),
            evaluation_ids=tuple(e.id for e in evaluations if e.candidate_id == c.id),
            difference=as_score(compared[place][0], f"difference of {metric}") if place else None,
            seeds=len(found[c.id]),
        )
        for place, c in enumerate(scored)
    )  # fmt: skip
    note = "one number a candidate: no test" if rows and all(r.seeds == 1 for r in rows) else ""
    return Leaderboard(role=role.value, metric=metric, rows=rows, note=note)


def runs_of(candidate_id: str, evaluations: Sequence[Evaluation]) -> dict[int, float]:
    """Return a candidate's numbers by seed, for evaluations without items."""
    return {e.sampling.seed: e.score.value for e in evaluations if e.candidate_id == candidate_id}


def _order(found: Mapping[str, Mapping[int, float]], candidate: Candidate) -> tuple[float, str]:
    runs = found[candidate.id]
    return -sum(runs.values()) / len(runs), candidate.id


def _repeated(metric: str, runs: Mapping[int, float]) -> Score:
    return Score(metric=metric, value=sum(runs.values()) / len(runs), interval=repeated_interval(runs), items=len(runs))


def _parted(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Return a difference; with one number each, different numbers are what there is and take different ranks."""
    found = _over_common(first, second)
    return replace(found, p_value=float(found.value == 0)) if len(first) == len(second) == 1 else found


def _over_common(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Return the difference over the seeds that both have."""
    both = first.keys() & second.keys()
    return repeated_difference({s: first[s] for s in both}, {s: second[s] for s in both})


def with_noise_floor(board: Leaderboard, floor: NoiseFloor) -> Leaderboard:
    """Return the leaderboard with its noise floor: the difference two runs of one candidate exceed in 5 % of cases."""
    return board.evolve(noise_floor=float(floor.difference))


def as_score(difference: Difference, metric: str = "difference") -> Score:
    """Return a paired difference as a score value."""
    return Score(metric=metric, value=difference.value, interval=difference.interval, items=difference.items)


def _rows(
    order: Sequence[Candidate],
    scores: Sequence[tuple[Stratum, ...]],
    evaluations: Sequence[Evaluation],
    slices: Sequence[Benchmark],
) -> tuple[Ranked, ...]:
    @cache
    def compare(first: int, second: int) -> Difference:
        return paired_difference(scores[first], scores[second], resamples=_RESAMPLES)

    groups = tie_groups(len(order), lambda i, j: compare(i, j).p_value)
    rows = []
    for index, candidate in enumerate(order):
        own = [e for e in evaluations if e.candidate_id == candidate.id]
        row = Ranked(
            rank=index + 1,
            tie_group=groups[index],
            candidate=candidate,
            score=_score(METRIC, scores[index]),
            skills=_skills(scores[index], slices),
            evaluation_ids=tuple(e.id for e in own),
            difference=as_score(compare(index, 0)) if index else None,
            seeds=seeds_of(own),
        )
        rows.append(row)
    return tuple(rows)


def _score(metric: str, strata: Sequence[Stratum]) -> Score:
    items = sum(len(s.scores) for s in strata)
    interval = score_interval(strata, resamples=_RESAMPLES)
    return Score(metric=metric, value=weighted_mean(strata), interval=interval, items=items)


def _skills(strata: Sequence[Stratum], slices: Sequence[Benchmark]) -> dict[str, Score]:
    columns: dict[str, list[tuple[Stratum, str]]] = {}
    for stratum, benchmark in zip(strata, slices, strict=True):
        columns.setdefault(benchmark.column, []).append((stratum, benchmark.metric))
    return {
        skill: _score(pairs[0][1] if len({m for _, m in pairs}) == 1 else METRIC, [s for s, _ in pairs])
        for skill, pairs in columns.items()
    }


def _items(strata: Sequence[Stratum]) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(s.scores) for s in strata)


def _usual_items(candidates: Sequence[tuple[Stratum, ...]]) -> tuple[frozenset[str], ...] | None:
    """Return the items that the most candidates have; among equals the larger set."""
    seen = [_items(strata) for strata in candidates]
    return max(seen, key=lambda items: (seen.count(items), sum(map(len, items))), default=None)
