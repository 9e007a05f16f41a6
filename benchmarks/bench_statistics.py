"""Coverage and error rates of the statistics, by simulation: `python -m benchmarks.bench_statistics [--full]`.

Each row says what was claimed and what happened over many simulated experiments whose truth is known. The last line is
JSON; the table is kept in benchmarks/results/statistics.json.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.statistics.binomial import holm, mcnemar_exact, wilson
from core.statistics.bootstrap import paired_difference, score_interval
from core.statistics.noise import noise_floor
from core.statistics.sequential import TrailingTest
from core.statistics.strata import Stratum
from core.statistics.ties import tie_groups
from core.statistics.winner import corrected_winner

RESULTS = Path(__file__).parent / "results" / "statistics.json"
ITEMS = 164
RESAMPLES = 799
Random = np.random.Generator


def stratum(values: object, weight: float = 1.0) -> Stratum:
    return Stratum({f"{i:04d}": float(v) for i, v in enumerate(np.asarray(values))}, weight)


def shared(rate: Callable[[Random], bool], runs: int, seed: int) -> float:
    """Return how often something happens over seeded runs."""
    return float(np.mean([rate(np.random.default_rng((seed, run))) for run in range(runs)]))


def wilson_covers(g: Random) -> bool:
    found = wilson(int(g.binomial(ITEMS, 0.3)), ITEMS)
    return found.low <= 0.3 <= found.high


def items(g: Random, count: int, *, mean: float = 0.5, samples: int = 10) -> np.ndarray:
    """Draw items whose difficulty varies widely, ten samples each."""
    return g.binomial(samples, g.beta(0.6 * mean / 0.5, 0.6 * (1 - mean) / 0.5, size=count)) / samples


def bootstrap_covers(g: Random) -> bool:
    found = score_interval([stratum(items(g, ITEMS))], resamples=RESAMPLES)
    return found.low <= 0.5 <= found.high


def stratified_covers(g: Random) -> bool:
    strata = [stratum(items(g, ITEMS), 3), stratum(items(g, 60, mean=0.3), 1)]
    found = score_interval(strata, resamples=RESAMPLES)
    return found.low <= 0.75 * 0.5 + 0.25 * 0.3 <= found.high


def pair(g: Random, gain: float) -> tuple[list[Stratum], list[Stratum]]:
    """Draw two candidates on the same items, the first better by `gain` on average."""
    ease = g.uniform(0.1, 0.8, size=ITEMS)
    return [stratum(g.binomial(10, ease + gain) / 10)], [stratum(g.binomial(10, ease) / 10)]


def difference_covers(g: Random) -> bool:
    found = paired_difference(*pair(g, 0.05), resamples=RESAMPLES)
    return found.interval.low <= 0.05 <= found.interval.high


def small_pair(g: Random, gain: float) -> tuple[list[Stratum], list[Stratum]]:
    """Draw two candidates on three benchmarks of 24 yes-or-no items: the worked example's screening."""
    eases = [g.uniform(0.1, 0.8, size=24) for _ in range(3)]
    return (
        [stratum(g.random(24) < ease + gain) for ease in eases],
        [stratum(g.random(24) < ease) for ease in eases],
    )


def small_difference_covers(g: Random) -> bool:
    found = paired_difference(*small_pair(g, 0.1), resamples=RESAMPLES)
    return found.interval.low <= 0.1 <= found.interval.high


def small_flips_reject_equals(g: Random) -> bool:
    return paired_difference(*small_pair(g, 0.0), resamples=RESAMPLES).p_value <= 0.05


def flips_reject_equals(g: Random) -> bool:
    return paired_difference(*pair(g, 0.0), resamples=RESAMPLES).p_value <= 0.05


def mcnemar_rejects_equals(g: Random) -> bool:
    first, second = g.random((2, ITEMS)) < g.uniform(0.1, 0.9, size=ITEMS)
    return mcnemar_exact(int((first & ~second).sum()), int((second & ~first).sum())) <= 0.05


def holm_rejects_any_of_ten_equals(g: Random) -> bool:
    chances = g.uniform(0.1, 0.9, size=ITEMS)
    first, *others = g.random((11, ITEMS)) < chances
    p_values = [mcnemar_exact(int((first & ~o).sum()), int((o & ~first).sum())) for o in others]
    return min(holm(p_values)) <= 0.05


def groups_of(table: np.ndarray) -> dict[int, int]:
    """Return the tie group of each row of outcomes (candidates × items)."""
    order = table.mean(axis=1).argsort()[::-1]
    ranked = table[order]

    def p_value(i: int, j: int) -> float:
        return mcnemar_exact(int((ranked[i] & ~ranked[j]).sum()), int((ranked[j] & ~ranked[i]).sum()))

    return dict(zip(order.tolist(), tie_groups(len(ranked), p_value), strict=True))


def ties_separate_equals(g: Random) -> bool:
    return len(set(groups_of(g.random((8, ITEMS)) < g.uniform(0.1, 0.9, size=ITEMS)).values())) > 1


def ties_separate_equals_among_worse(g: Random) -> bool:
    chances = g.uniform(0.3, 0.9, size=ITEMS)
    table = np.vstack([g.random((4, ITEMS)) < chances, g.random((4, ITEMS)) < chances - 0.25])
    groups = groups_of(table)
    return any(len({groups[i] for i in part}) > 1 for part in (range(4), range(4, 8)))


def noise_exceeded(g: Random) -> bool:
    chances = g.beta(0.5, 0.5, size=ITEMS)
    runs = [stratum(g.binomial(10, chances) / 10).scores for _ in range(4)]
    floor = noise_floor(runs[:2])
    return abs(np.mean(list(runs[2].values())) - np.mean(list(runs[3].values()))) > floor.difference


def drops_an_equal(g: Random) -> bool:
    values = g.permutation(np.repeat([1.0, -1.0, 0.0], [25, 25, ITEMS - 50]))
    return TrailingTest(ITEMS, error=0.05).update(values)


def drops_a_worse(points: int) -> Callable[[Random], bool]:
    def drops(g: Random) -> bool:
        worse = round(ITEMS * points / 100)
        values = g.permutation(np.repeat([1.0, -1.0, 0.0], [15, 15 + worse, ITEMS - 30 - worse]))
        return TrailingTest(ITEMS, error=0.05).update(values[: ITEMS // 2])

    return drops


def redrawn(g: Random, hardness: np.ndarray, draws: int, told: int) -> list[Stratum]:
    """Measure one method under several draws, which differ by 0.3 logits on all items and by 0.5 on single ones."""
    logits = hardness + g.normal(0, 0.3, size=(draws, 1)) + g.normal(0, 0.5, size=(draws, ITEMS))
    runs = g.random((draws, ITEMS)) < 1 / (1 + np.exp(-logits))
    mean = stratum(runs.mean(axis=0))
    return [Stratum(mean.scores, 1.0, tuple(stratum(run).scores for run in runs) if told > 1 else ())]


def tells_equal_methods_apart(first: int, second: int, *, told: bool = True) -> Callable[[Random], bool]:
    """Return whether two methods of equal quality are told apart; `told`: the test knows of the draws."""

    def tells(g: Random) -> bool:
        hardness = g.normal(0, 1.5, size=ITEMS)
        one, two = (redrawn(g, hardness, draws, draws if told else 1) for draws in (first, second))
        return paired_difference(one, two, resamples=RESAMPLES).p_value <= 0.05

    return tells


def winner_bias(runs: int, *, corrected: bool) -> tuple[float, float]:
    """Return how much too good the best of ten equal candidates looks, in points, with its standard error."""
    found = []
    for run in range(runs):
        g = np.random.default_rng((17, run))
        result = corrected_winner((g.random((10, ITEMS)) < 0.5).astype(float), resamples=200)
        found.append((result.value if corrected else result.naive) - 0.5)
    return 100 * float(np.mean(found)), 100 * float(np.std(found, ddof=1) / np.sqrt(runs))


CASES: tuple[tuple[str, str, Callable[[Random], bool], int], ...] = (
    ("Wilson interval covers, 164 items", "0.95", wilson_covers, 4000),
    ("bootstrap interval covers, 164 items of 10 samples", "0.95", bootstrap_covers, 400),
    ("stratified interval covers, two benchmarks weighted 3:1", "0.95", stratified_covers, 300),
    ("paired difference covers a gain of 5 points", "0.95", difference_covers, 400),
    ("paired difference covers a gain of 10 points, 3 × 24 yes-or-no items", "0.95", small_difference_covers, 800),
    ("sign flips reject equals", "<= 0.05", flips_reject_equals, 400),
    ("sign flips reject equals, 3 × 24 yes-or-no items", "<= 0.05", small_flips_reject_equals, 800),
    ("exact McNemar rejects equals", "<= 0.05", mcnemar_rejects_equals, 2000),
    ("Holm over ten equals rejects any", "<= 0.05", holm_rejects_any_of_ten_equals, 1000),
    (
        "eight equals fall into more than one tie group, leaders chosen by looking",
        "<= 0.05",
        ties_separate_equals,
        2000,
    ),
    (
        "two of four equals, beside four others that are worse, are parted",
        "<= 0.05",
        ties_separate_equals_among_worse,
        1000,
    ),
    ("two runs differ by more than the noise floor", "0.05", noise_exceeded, 2000),
    ("sequential test drops an equal, looked at after every item", "<= 0.05", drops_an_equal, 2000),
    ("sequential test drops one 10 points worse within half the items", "power", drops_a_worse(10), 1000),
    ("sequential test drops one 20 points worse within half the items", "power", drops_a_worse(20), 1000),
    ("sequential test drops one 30 points worse within half the items", "power", drops_a_worse(30), 1000),
    ("equal methods of 2 draws each are told apart", "<= 0.05", tells_equal_methods_apart(2, 2), 600),
    ("equal methods of 4 draws each are told apart", "<= 0.05", tells_equal_methods_apart(4, 4), 600),
    ("equal methods of 4 and 2 draws are told apart", "<= 0.05", tells_equal_methods_apart(4, 2), 150),
    ("the same, 4 draws each, by items alone", "not used", tells_equal_methods_apart(4, 4, told=False), 150),
    ("equal methods of 4 draws and 1 are told apart", "no claim", tells_equal_methods_apart(4, 1), 150),
)


def main() -> None:
    factor = 5 if "--full" in sys.argv[1:] else 1
    started = time.monotonic()
    rows = []
    for seed, (name, claimed, happens, runs) in enumerate(CASES):
        rate = shared(happens, runs * factor, seed)
        error = float(np.sqrt(max(rate * (1 - rate), 1e-4) / (runs * factor)))
        rows.append(
            {"what": name, "claimed": claimed, "seen": round(rate, 4), "error": round(error, 4), "runs": runs * factor}
        )
        print(f"{rate:7.3f} ± {error:.3f}  (claimed {claimed})  {name}", flush=True)
    for name, corrected in (("naive", False), ("corrected", True)):
        bias, error = winner_bias(400 * factor, corrected=corrected)
        rows.append({"what": f"best of ten equals, {name}, points too good", "claimed": "5.9" if not corrected else "0",
                     "seen": round(bias, 2), "error": round(error, 2), "runs": 400 * factor})  # fmt: skip
        print(f"{bias:7.2f} ± {error:.2f} points too good: best of ten equals, {name}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(json.dumps({"bench": "statistics", "seconds": round(time.monotonic() - started, 1), "rows": len(rows)}))


if __name__ == "__main__":
    main()
