"""Confirmation: finalists and references under the full protocol, fresh seeds, on items that nothing was chosen by.

References are the best baseline and the best screened method. A gain counts where the paired difference to every
reference holds after Holm's correction over all comparisons; otherwise the words are 'tied' or 'worse'.
"""

from collections.abc import Sequence
from typing import Literal

from agents.context import RunContext
from agents.optimizer.agent import FINAL_PREFIX
from core.calibration import calibration_for
from core.errors import JobFailedError
from core.leaderboard import as_score, leaderboard, strata_of
from core.ports import Jobs
from core.splits import TRIAL_PREFIX, check_stage
from core.statistics.binomial import holm
from core.statistics.bootstrap import Difference, paired_difference
from core.types.candidate import Candidate, CandidateKind, Leaderboard
from core.types.evaluation import Evaluation
from core.types.job import MergeEvaluate
from core.types.optimization import Comparison, Confirmation
from core.types.run import Stage
from core.types.sow import Benchmark, Role, StatementOfWork

Verdict = Literal["improved", "tied", "worse"]
DOCUMENT = "confirmation"
ALPHA = 0.05
# Far from any seed that a SoW is likely to name, and another stream than the search's.
FRESH = 7_919


async def confirm_finalists(context: RunContext, finalists: Sequence[str]) -> bool:
    """Confirm the finalists, keep the confirmation and its leaderboard, and return whether one is an improvement."""
    chosen = [await context.records.candidate(context.run_id, i) for i in finalists]
    screened = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    references = references_of(screened, {c.id for c in chosen})
    confirmation, board, evaluations = await confirm(context.jobs, context.sow, context.root, (chosen, references))
    await context.records.put(context.run_id, "leaderboard.confirm", board)
    await context.records.put(context.run_id, DOCUMENT, confirmation)
    if confirmation.winner:
        await context.runs.set_best(context.run_id, confirmation.winner)
    await context.journal.event(
        "confirmation.finished", confirmation.words, stage=Stage.CONFIRM, verdict=confirmation.verdict,
        winner=confirmation.winner, evaluations=[e.id for e in evaluations],
    )  # fmt: skip
    await context.journal.progress(Stage.CONFIRM, len(board.rows), len(chosen) + len(references))
    return confirmation.improved


def references_of(board: Leaderboard, finalists: set[str]) -> list[Candidate]:
    """Return the best baseline and the best screened method; a finalist is not its own reference."""
    rows = [r.candidate for r in board.rows if r.candidate.id not in finalists]
    baseline = [c for c in rows if c.kind is CandidateKind.BASELINE][:1]
    method = [c for c in rows if c.kind in {CandidateKind.METHOD, CandidateKind.REPRODUCTION}][:1]
    return [*baseline, *method]


async def confirm(
    jobs: Jobs, sow: StatementOfWork, root: str, groups: tuple[Sequence[Candidate], Sequence[Candidate]]
) -> tuple[Confirmation, Leaderboard, list[Evaluation]]:
    """Return the confirmation of finalists against references, the leaderboard over both, and their evaluations."""
    finalists, references = groups
    empty = Leaderboard(role="confirm", metric="weighted mean", rows=())
    slices = fresh_sow(sow).benchmarks_of(Role.CONFIRM)
    if sow.kind != "merge" or not slices:
        words = "The Statement of Work has no benchmark with role 'confirm': the result is not confirmed."
        return _unconfirmed(finalists, words), empty, []
    everyone = list({c.id: c for c in (*finalists, *references)}.values())
    evaluations: list[Evaluation] = []
    failures: list[str] = []
    for candidate in everyone:
        try:
            evaluations += [await _evaluate(jobs, sow, candidate, b, root) for b in slices]
        except JobFailedError as error:
            failures.append(f"{candidate.name}: {error.message}")
    board = leaderboard(Role.CONFIRM, everyone, evaluations, slices)
    if failures:
        board = board.evolve(note="; ".join((*failures, board.note)).strip("; "))
    return _judge(groups, evaluations, slices), board, evaluations


def fresh_sow(sow: StatementOfWork) -> StatementOfWork:
    """Return the SoW with seeds of its confirm slices that no earlier stage used."""
    seed = (sow.seed + FRESH) % 2**31
    slices = [
        b.evolve(sampling=b.sampling.evolve(seed=b.sampling.seed + seed)) if b.role is Role.CONFIRM else b
        for b in sow.benchmarks
    ]
    return sow.evolve(benchmarks=slices)


async def _evaluate(
    jobs: Jobs, sow: StatementOfWork, candidate: Candidate, benchmark: Benchmark, root: str
) -> Evaluation:
    if candidate.recipe is None or sow.models is None:
        raise JobFailedError("only recipes can be confirmed")
    payload = MergeEvaluate(
        candidate_id=candidate.id, models=sow.models, recipe=candidate.recipe, benchmark=benchmark, root=root,
        calibration=calibration_for(sow, candidate.recipe.method),
    )  # fmt: skip
    check_stage(payload, Stage.CONFIRM, sow)
    result = await jobs.run(payload)
    if not isinstance(result, Evaluation) or not result.outcomes:
        raise JobFailedError("the worker gave no outcomes")
    return result


def _judge(
    groups: tuple[Sequence[Candidate], Sequence[Candidate]],
    evaluations: Sequence[Evaluation],
    slices: Sequence[Benchmark],
) -> Confirmation:
    finalists, references = groups
    names = {c.id: c.name for c in (*finalists, *references)}
    scores = {i: s for i in names if (s := strata_of(i, evaluations, slices)) is not None}
    measured = [c.id for c in finalists if c.id in scores]
    against = [c.id for c in references if c.id in scores]
    if not measured or not against:
        return _unconfirmed(finalists, "Confirmation could not be measured: a finalist or every reference failed.")
    found = [(f, r, paired_difference(scores[f], scores[r])) for f in measured for r in against]
    comparisons = _compare(found, names)
    winner, verdict = _winner(measured, comparisons)
    return Confirmation(
        done=True, winner=winner, verdict=verdict, words=_conclusion(winner, verdict, comparisons, names),
        comparisons=tuple(comparisons), seed=slices[0].sampling.seed,
        aliases={i: TRIAL_PREFIX + i.removeprefix(FINAL_PREFIX) for i in measured if i.startswith(FINAL_PREFIX)},
    )  # fmt: skip


def _compare(found: Sequence[tuple[str, str, Difference]], names: dict[str, str]) -> list[Comparison]:
    adjusted = holm([d.p_value for _, _, d in found])
    comparisons = []
    for (finalist, reference, difference), p in zip(found, adjusted, strict=True):
        verdict: Verdict = "tied" if p > ALPHA else "improved" if difference.value > 0 else "worse"
        comparison = Comparison(
            candidate_id=finalist, reference_id=reference, difference=as_score(difference),
            p_value=difference.p_value, adjusted_p=p, test=difference.test, verdict=verdict,
            words=_words(names[finalist], names[reference], difference, verdict),
        )  # fmt: skip
        comparisons.append(comparison)
    return comparisons


def _words(finalist: str, reference: str, difference: Difference, verdict: str) -> str:
    low, high = difference.interval.low * 100, difference.interval.high * 100
    gap = f"{difference.value * 100:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}, {difference.items} items)"
    said = {"improved": "is better than", "tied": "is tied with", "worse": "is worse than"}[verdict]
    return f"{finalist} {said} {reference}: {gap}."


def _verdict(finalist: str, comparisons: Sequence[Comparison]) -> Verdict:
    """Return 'improved' only where a finalist beats every reference, 'worse' where one of them beats it."""
    verdicts = {c.verdict for c in comparisons if c.candidate_id == finalist}
    return "improved" if verdicts == {"improved"} else "worse" if "worse" in verdicts else "tied"


def _winner(finalists: Sequence[str], comparisons: Sequence[Comparison]) -> tuple[str, Verdict]:
    """Return the candidate to report: the first finalist, in the search's order, with the best verdict.

    Confirm scores choose nothing among equals, or the winner's curse would come back. Where every finalist is worse,
    the reference that beats the first one is reported.
    """
    for wanted in ("improved", "tied"):
        for finalist in finalists:
            if (verdict := _verdict(finalist, comparisons)) == wanted:
                return finalist, verdict
    beaten_by = [c.reference_id for c in comparisons if c.candidate_id == finalists[0] and c.verdict == "worse"]
    return beaten_by[0], "worse"


def _conclusion(winner: str, verdict: Verdict, comparisons: Sequence[Comparison], names: dict[str, str]) -> str:
    own = " ".join(c.words for c in comparisons if c.candidate_id == winner) or " ".join(c.words for c in comparisons)
    said = {
        "improved": f"{names[winner]} is a confirmed improvement over every reference.",
        "tied": "No finalist can be told from the best reference on these items.",
        "worse": "No finalist holds up: a reference is better on items that the search did not see.",
    }[verdict]
    return f"{said} {own}"


def _unconfirmed(finalists: Sequence[Candidate], words: str) -> Confirmation:
    return Confirmation(done=False, winner=finalists[0].id if finalists else None, verdict="unconfirmed", words=words)
