"""The noise floor of a run: the best baseline under other seeds, so that a gain can be told from luck."""

from collections.abc import Mapping, Sequence

from agents.context import RunContext
from agents.tasks import task_pack
from core.errors import JobFailedError
from core.leaderboard import item_scores, with_noise_floor
from core.statistics.noise import noise_floor
from core.types.candidate import Candidate, CandidateKind, Leaderboard
from core.types.evaluation import Evaluation
from core.types.run import Stage
from core.types.sow import Benchmark, Role, StatementOfWork

STRIDE = 104_729
"""Between the seeds of repetitions: far from seeds that a SoW is likely to name."""
GREEDY = "Decoding is greedy: another seed gives the same completions, so only the choice of items is left to chance."


async def with_noise(context: RunContext, board: Leaderboard, evaluations: Sequence[Evaluation]) -> Leaderboard:
    """Return the board with its noise floor; where decoding is greedy, or nothing was to be repeated, say so."""
    slices = context.sow.benchmarks_of(Role.SCREEN)
    if context.sow.kind != "merge" or not slices:
        return board
    if all(b.sampling.temperature == 0 for b in slices):
        return board.evolve(note=" ".join(part for part in (board.note, GREEDY) if part))
    baseline = next((r.candidate for r in board.rows if r.candidate.kind is CandidateKind.BASELINE), None)
    if baseline is None or context.sow.experiments.noise_seeds == 0:
        return board
    try:
        repeated = await _repeated(context, baseline)
    except JobFailedError as error:
        return board.evolve(note=f"{board.note} The noise floor could not be measured: {error.message}".strip())
    first = [e for e in evaluations if e.candidate_id == baseline.id]
    floor = noise_floor([weighted_items(found, slices) for found in (first, *repeated)])
    await context.journal.event(
        "noise.measured",
        f"{baseline.name} under {floor.seeds} seeds: two runs of one candidate differ by less than "
        f"{floor.difference * 100:.1f} points in {floor.level:.0%} of cases.",
        stage=Stage.EXPERIMENT, candidate=baseline.id, difference=floor.difference, deviation=floor.deviation,
        seeds=floor.seeds,
    )  # fmt: skip
    return with_noise_floor(board, floor)


async def _repeated(context: RunContext, baseline: Candidate) -> list[list[Evaluation]]:
    """Return the baseline's evaluations under each other seed; greedy slices give the same each time."""
    pack = task_pack(context.sow.kind)
    found = []
    for number in range(1, context.sow.experiments.noise_seeds + 1):
        again = reseeded(context.sow, number * STRIDE)
        results = await context.jobs.run_all(pack.payloads(again, baseline, Role.SCREEN, context.root))
        found.append([r for r in results if isinstance(r, Evaluation)])
    return found


def reseeded(sow: StatementOfWork, shift: int) -> StatementOfWork:
    """Return the SoW with other seeds on its sampled screen slices."""
    slices = [
        b.evolve(sampling=b.sampling.evolve(seed=(b.sampling.seed + shift) % 2**31))
        if b.role is Role.SCREEN and b.sampling.temperature > 0
        else b
        for b in sow.benchmarks
    ]
    return sow.evolve(benchmarks=slices)


def weighted_items(evaluations: Sequence[Evaluation], slices: Sequence[Benchmark]) -> Mapping[str, float]:
    """Return scores by item, scaled so that their plain mean is the leaderboard's weighted mean."""
    scores = {b.name: item_scores([e for e in evaluations if e.benchmark == b.name], b.metric) for b in slices}
    total, weights = sum(map(len, scores.values())), sum(b.weight for b in slices)
    return {
        f"{b.name}/{item}": value * b.weight / weights * total / len(scores[b.name])
        for b in slices
        for item, value in scores[b.name].items()
    }
