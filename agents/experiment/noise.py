"""The noise floor of a run: the best baseline under other seeds, so that a gain can be told from luck.

Seeds under which screening has measured it are used as they are; only those that are missing are asked for.
"""

from collections.abc import Mapping, Sequence

from agents.context import RunContext
from agents.experiment.seeds import Repeated, repeated_payloads
from core.errors import JobFailedError
from core.leaderboard import item_scores, with_noise_floor
from core.statistics.noise import noise_floor
from core.types.candidate import CandidateKind, Leaderboard
from core.types.evaluation import Evaluation
from core.types.run import Stage
from core.types.sow import Benchmark, Role

GREEDY = "Decoding is greedy: another seed gives the same completions, so only the choice of items is left to chance."


async def with_noise(context: RunContext, board: Leaderboard, measured: Mapping[str, Repeated]) -> Leaderboard:
    """Return the board with its noise floor; where decoding is greedy, or nothing was repeated, say so."""
    slices = context.sow.benchmarks_of(Role.SCREEN)
    if context.sow.kind != "merge" or not slices:
        return board
    if all(b.sampling.temperature == 0 for b in slices):
        return board.evolve(note=" ".join(part for part in (board.note, GREEDY) if part))
    baseline = next((r.candidate for r in board.rows if r.candidate.kind is CandidateKind.BASELINE), None)
    if baseline is None:
        return board
    try:
        runs = await _runs(context, measured[baseline.id])
    except JobFailedError as error:
        return board.evolve(note=f"{board.note} The noise floor could not be measured: {error.message}".strip())
    if len(runs) < 2:
        return board
    floor = noise_floor([weighted_items(found, slices) for found in runs])
    await context.journal.event(
        "noise.measured",
        f"{baseline.name} under {floor.seeds} seeds: two runs of one candidate differ by less than "
        f"{floor.difference * 100:.1f} points in {floor.level:.0%} of cases.",
        stage=Stage.EXPERIMENT, candidate=baseline.id, difference=floor.difference, deviation=floor.deviation,
        seeds=floor.seeds,
    )  # fmt: skip
    return with_noise_floor(board, floor)


async def _runs(context: RunContext, baseline: Repeated) -> list[list[Evaluation]]:
    """Return the baseline's evaluations by seed, each completed by the greedy slices, which no seed moves."""
    first, *runs = baseline.runs
    for number in range(len(baseline.runs), context.sow.experiments.noise_seeds + 1):
        results = await context.jobs.run_all(repeated_payloads(context, baseline.candidate, number))
        runs.append([r for r in results if isinstance(r, Evaluation)])
    names = [{e.benchmark for e in run} for run in runs]
    rest = [[e for e in first if e.benchmark not in moved] for moved in names]
    return [first, *([*run, *greedy] for run, greedy in zip(runs, rest, strict=True))]


def weighted_items(evaluations: Sequence[Evaluation], slices: Sequence[Benchmark]) -> Mapping[str, float]:
    """Return scores by item, scaled so that their plain mean is the leaderboard's weighted mean."""
    scores = {b.name: item_scores([e for e in evaluations if e.benchmark == b.name], b.metric) for b in slices}
    total, weights = sum(map(len, scores.values())), sum(b.weight for b in slices)
    return {
        f"{b.name}/{item}": value * b.weight / weights * total / len(scores[b.name])
        for b in slices
        for item, value in scores[b.name].items()
    }
