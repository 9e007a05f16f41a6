"""Screening over seeds: who may still be the best once all items were seen is measured again, under other seeds.

Rungs double the seeds: 1, 2, 4, … up to the SoW's `experiments.seeds`. All who go on are asked for together, and a rung
is judged when it is complete, on everything that is measured by then. So who goes on does not depend on who came
first, and a run that was killed finds the same jobs again; workers lose nothing, since new jobs queue behind the ones
they have. Who is worse than the best beyond chance stops and keeps its result; who can't be told from it goes on.

A seed is one of the whole method: completions are drawn anew where decoding is sampled, and the merge itself where the
method draws at random. What was submitted for a reproduction is fixed: there, only decoding is repeated. Calibration
text stays the same, so that a recipe means one model.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from agents.context import RunContext
from agents.experiment.screening import DROP_P, RESAMPLES, over_budget
from agents.run_budget import check_budget
from agents.tasks import task_pack
from core.errors import BudgetExceededError, JobFailedError
from core.leaderboard import Standings, standings
from core.recipes import draws_at_random, redrawn
from core.types.candidate import Candidate, Leaderboard
from core.types.evaluation import Evaluation
from core.types.job import EvaluateArtifact, JobPayload, MergeEvaluate
from core.types.run import Stage
from core.types.sow import Benchmark, Role, StatementOfWork

STRIDE = 104_729
"""Between the seeds of repetitions: far from seeds that a SoW is likely to name."""
UNMOVED = "another seed changes nothing: greedy decoding, and a model without chance"


@dataclass
class Repeated:
    """A candidate's evaluations, one list a seed (the SoW's own first), and why there are no more."""

    candidate: Candidate
    runs: list[list[Evaluation]]
    reason: str = ""
    evaluations: list[Evaluation] = field(init=False)

    def __post_init__(self) -> None:
        self.evaluations = [e for run in self.runs for e in run]

    def add(self, run: list[Evaluation]) -> None:
        """Take the results under one more seed."""
        self.runs.append(run)
        self.evaluations += run


def seed_rungs(most: int) -> tuple[int, ...]:
    """Return after how many seeds it is decided who goes on: doubling, the last is `most`."""
    rungs = [1]
    while rungs[-1] < most:
        rungs.append(min(2 * rungs[-1], most))
    return tuple(rungs)


def repeated_payloads(context: RunContext, candidate: Candidate, number: int) -> list[JobPayload]:
    """Return the jobs of a candidate's repetition (from 1): all that another seed can change."""
    shift = number * STRIDE
    redraw = candidate.artifact is None and candidate.recipe is not None and draws_at_random(candidate.recipe)
    again = candidate.evolve(recipe=redrawn(candidate.recipe, shift)) if redraw and candidate.recipe else candidate
    sow = reseeded(context.sow, shift)
    payloads = task_pack(sow.kind).payloads(sow, again, Role.SCREEN, context.root)
    return [p for p in payloads if redraw or _sampled(p)]


def _sampled(payload: JobPayload) -> bool:
    if isinstance(payload, MergeEvaluate | EvaluateArtifact):
        return payload.benchmark.sampling.temperature > 0
    return True  # a command gets the seed, and what it does with it is its own affair


def reseeded(sow: StatementOfWork, shift: int) -> StatementOfWork:
    """Return the SoW with other seeds on its screen slices, or for its command."""
    if sow.kind != "merge":
        return sow.evolve(seed=(sow.seed + shift) % 2**32)
    return sow.evolve(benchmarks=[_reseeded(b, shift) if b.role is Role.SCREEN else b for b in sow.benchmarks])


def _reseeded(benchmark: Benchmark, shift: int) -> Benchmark:
    sampling = benchmark.sampling
    return benchmark.evolve(sampling=sampling.evolve(seed=(sampling.seed + shift) % 2**31))


async def repeat_survivors(context: RunContext, first: Sequence[Repeated]) -> Mapping[str, Repeated]:
    """Measure again who may be the best, rung by rung, and return all candidates' results by seed.

    `first` has each candidate's results under the SoW's own seed. Called again, it finds what was measured.
    """
    everyone = {r.candidate.id: r for r in first}
    rungs = seed_rungs(context.sow.experiments.seeds)
    for seeds, more in pairwise(rungs):
        racing = [r for r in first if not r.reason]
        _judge(context, everyone, seeds)
        numbers = range(seeds, more)
        ongoing = await _affordable(context, [r for r in racing if not r.reason], numbers)
        await _tell(context, [r for r in racing if r.reason])
        if not ongoing:
            break
        await context.journal.event(
            "seeds.rung", f"{len(ongoing)} of {len(everyone)} candidates may be the best and are measured under "
            f"{more} of {rungs[-1]} seeds: {', '.join(r.candidate.name for r in ongoing)}.",
            stage=Stage.EXPERIMENT, seeds=more, candidates=[r.candidate.id for r in ongoing],
        )  # fmt: skip
        await _measure(context, ongoing, numbers)
        await _tell(context, [r for r in ongoing if r.reason or len(r.runs) == rungs[-1]])
    return everyone


def _judge(context: RunContext, everyone: Mapping[str, Repeated], seeds: int) -> None:
    """Give who is out of the race its reason: clearly behind the best, or alone at the top, or out of budget."""
    evaluations = [e for r in everyone.values() for e in r.evaluations]
    found = standings(list(everyone), evaluations, context.sow.benchmarks_of(Role.SCREEN), resamples=RESAMPLES)
    behind = clearly_behind(found)
    done = _done(context, seeds)
    alone = len(found.means) > 1 and len(behind) == len(found.means) - 1
    for name, own in everyone.items():
        if own.reason:
            continue
        if not repeated_payloads(context, own.candidate, 1):
            own.reason = UNMOVED
        elif name not in found.means:
            own.reason = f"{done}: it was measured on other items than most"
        elif name in behind:
            own.reason = f"{done}: {behind[name]}"
        elif alone:
            own.reason = f"{done}: no other candidate may be the best"
        elif limit := over_budget(context, own.evaluations):
            own.reason = f"{done}: {limit}"


def clearly_behind(found: Standings) -> dict[str, str]:
    """Return who is worse than the best beyond chance, and by how much."""
    behind = {}
    for name in found.means:
        gap = found.compare(found.best, name) if name != found.best else None
        if gap is not None and gap.p_value < DROP_P:
            points = f"{gap.value * 100:.1f} points" if "seed" not in gap.interval.method else f"{gap.value:.4g}"
            behind[name] = f"{points} behind {found.best} (p = {gap.p_value:.3f})"
    return behind


async def _affordable(context: RunContext, racing: Sequence[Repeated], numbers: range) -> list[Repeated]:
    """Return who is measured under these seeds: nobody once the run's budget is spent, but for what is there already.

    A run that goes on after a kill uses what it had measured, though time has passed.
    """
    try:
        await check_budget(context)
    except BudgetExceededError as error:
        for own in racing:
            payloads = [p for n in numbers for p in repeated_payloads(context, own.candidate, n)]
            if len(await context.jobs.finished(payloads)) < len(payloads):
                own.reason = f"{_done(context, numbers.start)}: {error.message.removesuffix('.')}"
    return [r for r in racing if not r.reason]


def _done(context: RunContext, seeds: int) -> str:
    return f"stopped after {seeds} of {context.sow.experiments.seeds} seeds"


async def _measure(context: RunContext, ongoing: Sequence[Repeated], numbers: range) -> None:
    """Measure candidates under further seeds; one that fails keeps the seeds that it has."""
    asked = {r.candidate.id: [repeated_payloads(context, r.candidate, n) for n in numbers] for r in ongoing}
    # Asked for at once, so that workers have them all; who failed shows below.
    with contextlib.suppress(JobFailedError):
        await context.jobs.run_all([p for runs in asked.values() for run in runs for p in run])
    for own in ongoing:
        try:
            for payloads in asked[own.candidate.id]:
                results = await context.jobs.run_all(payloads)
                own.add([r for r in results if isinstance(r, Evaluation)])
        except JobFailedError as error:
            own.reason = f"{_done(context, len(own.runs))}: {error.message.removesuffix('.')}"


async def _tell(context: RunContext, settled: Sequence[Repeated]) -> None:
    """Write down under how many seeds a candidate was measured, and why under no more."""
    for own in settled:
        words = own.reason or f"measured under all {len(own.runs)} seeds"
        await context.journal.event(
            "candidate.repeated", f"{own.candidate.name}: {words}.", stage=Stage.EXPERIMENT,
            candidate=own.candidate.id, seeds=len(own.runs), reason=own.reason,
        )  # fmt: skip


def with_reasons(board: Leaderboard, everyone: Mapping[str, Repeated]) -> Leaderboard:
    """Return the board with the reason in each row why it was measured under no more seeds."""
    rows = [r.evolve(seeds_note=everyone[r.candidate.id].reason) for r in board.rows]
    return board.evolve(rows=rows)
