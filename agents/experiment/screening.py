"""Screening by successive halving over items: a candidate that is clearly behind stops before it has seen all of them.

Rungs double the items. A candidate goes on unless it is in the lower half of what was measured on its rung so far and
the best of them is better beyond chance: what the evidence can't separate is never dropped. Decisions are made as
results come (candidates don't wait for each other); baselines see everything. With few items there is one rung.

Rungs over seeds follow once all items are seen: `agents.experiment.seeds`.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.context import RunContext
from agents.tasks import task_pack
from core.errors import JobFailedError
from core.leaderboard import strata_of
from core.statistics.bootstrap import paired_difference
from core.statistics.strata import Stratum, weighted_mean
from core.types.candidate import Candidate, CandidateKind
from core.types.evaluation import Evaluation
from core.types.job import EvaluateArtifact, ItemTexts, JobPayload, ListItems, MergeEvaluate
from core.types.sow import Benchmark, Role

FIRST_RUNG = 40
"""Items below which hardly any difference can be told from chance."""
LEAST_ITEMS = 4 * FIRST_RUNG
LEAST_RIVALS = 4
STOPPED = "Stopped after"
DROP_P = 0.05
RESAMPLES = 999

Block = Mapping[str, tuple[str, ...]]


class StoppedEarlyError(JobFailedError):
    """The candidate was stopped before it had seen all items."""


@dataclass(frozen=True)
class Ladder:
    """The blocks of new items of each rung, by benchmark; no blocks: one rung of everything."""

    blocks: tuple[Block, ...] = ()

    @property
    def rungs(self) -> int:
        """Return how many rungs there are."""
        return max(1, len(self.blocks))

    def items(self, rungs: int) -> int:
        """Return how many items the first rungs have."""
        return sum(len(ids) for block in self.blocks[:rungs] for ids in block.values())


async def ladder_of(context: RunContext) -> Ladder:
    """Return the run's ladder: the same for every candidate and after a restart."""
    slices = context.sow.benchmarks_of(Role.SCREEN)
    if context.sow.kind != "merge" or _few(slices):
        return Ladder()
    results = await context.jobs.run_all([ListItems(benchmark=b, root=context.root) for b in slices])
    found = {r.benchmark: list(r.prompts) for r in results if isinstance(r, ItemTexts)}
    return make_ladder(found, context.sow.seed)


def _few(slices: Sequence[Benchmark]) -> bool:
    return all(b.limit is not None for b in slices) and sum(b.limit or 0 for b in slices) < LEAST_ITEMS


def make_ladder(items: Mapping[str, Sequence[str]], seed: int) -> Ladder:
    """Return rungs that double, the first of at least FIRST_RUNG items, each with every benchmark's share."""
    total = sum(map(len, items.values()))
    if total < LEAST_ITEMS:
        return Ladder()
    doublings = int(math.log2(total / FIRST_RUNG))
    shares = [2.0 ** (rung - doublings) for rung in range(doublings + 1)]
    mixed = {name: random.Random(f"{seed}:{name}").sample(ids, len(ids)) for name, ids in items.items()}  # noqa: S311
    blocks, before = [], dict.fromkeys(mixed, 0)
    for share in shares:
        until = {name: max(before[name] + 1, math.ceil(len(ids) * share)) for name, ids in mixed.items()}
        block = {name: tuple(sorted(ids[before[name] : until[name]])) for name, ids in mixed.items()}
        blocks.append({name: ids for name, ids in block.items() if ids})
        before = until
    return Ladder(tuple(blocks))


def payloads_of(context: RunContext, candidate: Candidate, ladder: Ladder, rung: int) -> list[JobPayload]:
    """Return a candidate's jobs on one rung."""
    whole = task_pack(context.sow.kind).payloads(context.sow, candidate, Role.SCREEN, context.root)
    if not ladder.blocks:
        return list(whole)
    block = ladder.blocks[rung]
    sliced = [p for p in whole if isinstance(p, MergeEvaluate | EvaluateArtifact) and p.benchmark.name in block]
    return [p.evolve(item_ids=block[p.benchmark.name]) for p in sliced]


async def screened(context: RunContext, candidate: Candidate) -> list[Evaluation]:
    """Return a candidate's evaluations on all screen items; raise StoppedEarlyError where it does not get there.

    Raises JobFailedError when a job has no result. Asked again, it finds what was measured.
    """
    ladder = await ladder_of(context)
    found: list[Evaluation] = []
    for rung in range(ladder.rungs):
        results = await context.jobs.run_all(payloads_of(context, candidate, ladder, rung))
        found += [r for r in results if isinstance(r, Evaluation)]
        if rung + 1 < ladder.rungs:
            reason = over_budget(context, found) or await _behind(context, candidate, ladder, rung)
            if reason:
                seen = f"{ladder.items(rung + 1)} of {ladder.items(ladder.rungs)} items"
                raise StoppedEarlyError(f"{STOPPED} {seen}: {reason}.")
    return found


def over_budget(context: RunContext, found: Sequence[Evaluation]) -> str:
    """Return that a candidate's evaluations used up its budget, or an empty text."""
    minutes = context.sow.experiments.budget_minutes_per_method
    used = sum(e.cost.load_s + e.cost.merge_s + e.cost.generate_s + e.cost.grade_s for e in found) / 60
    return f"its budget of {minutes:g} min is used up" if minutes is not None and used >= minutes else ""


async def _behind(context: RunContext, candidate: Candidate, ladder: Ladder, rung: int) -> str:
    """Return why a candidate is out of the race on a rung, or an empty text."""
    if candidate.kind is CandidateKind.BASELINE:
        return ""
    measured = await _measured(context, ladder, rung)
    own = measured.pop(candidate.id, None)
    if own is None or len(measured) + 1 < LEAST_RIVALS:
        return ""
    mean = weighted_mean(own)
    better = [i for i, scores in measured.items() if weighted_mean(scores) > mean]
    if len(better) < (len(measured) + 1) / 2:
        return ""
    best = max(better, key=lambda i: (weighted_mean(measured[i]), i))
    gap = paired_difference(measured[best], own, resamples=RESAMPLES)
    if gap.p_value >= DROP_P:
        return ""
    return f"{mean:.1%}, {gap.value * 100:.1f} points behind {best} (p = {gap.p_value:.3f}) and in the lower half"


async def _measured(context: RunContext, ladder: Ladder, rung: int) -> dict[str, tuple[Stratum, ...]]:
    """Return the scores, up to a rung, of all candidates whose results are there."""
    slices = context.sow.benchmarks_of(Role.SCREEN)
    scores = {}
    for candidate in await context.records.candidates(context.run_id):
        if candidate.recipe is None and candidate.artifact is None:
            continue
        payloads = [p for r in range(rung + 1) for p in payloads_of(context, candidate, ladder, r)]
        results = [e for e in await context.jobs.finished(payloads) if isinstance(e, Evaluation)]
        if len(results) == len(payloads):
            strata = strata_of(candidate.id, results, slices)
            if strata is not None:
                scores[candidate.id] = strata
    return scores
