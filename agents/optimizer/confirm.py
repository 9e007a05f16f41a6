"""Confirmation: finalists and references under the full protocol, fresh seeds, on items that nothing was chosen by.

References are the best baseline and the best screened method. A gain counts where the paired difference to every
reference holds after Holm's correction over all comparisons; otherwise the words are 'tied' or 'worse'.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from agents.context import RunContext
from agents.optimizer.finalists import FINAL_PREFIX
from agents.tasks import task_pack
from core.errors import JobFailedError
from core.leaderboard import as_score, leaderboard, runs_of, strata_of
from core.ports import Jobs
from core.splits import TRIAL_PREFIX, check_stage
from core.statistics.binomial import holm
from core.statistics.bootstrap import Difference, paired_difference
from core.statistics.repeats import repeated_difference
from core.types.candidate import Candidate, CandidateKind, Leaderboard
from core.types.evaluation import Evaluation
from core.types.job import CommandEvaluate, JobPayload
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
    fresh, pack = fresh_sow(sow), task_pack(sow.kind)
    everyone = list({c.id: c for c in (*finalists, *references)}.values())
    asked = {c.id: pack.payloads(fresh, c, Role.CONFIRM, root) for c in everyone if c.recipe or c.artifact}
    if not any(asked.values()):
        words = "The Statement of Work has no benchmark with role 'confirm': the result is not confirmed."
        return _unconfirmed(finalists, words), Leaderboard(role="confirm", metric="weighted mean", rows=()), []
    evaluations: list[Evaluation] = []
    failures: list[str] = []
    for candidate in everyone:
        try:
            evaluations += [await _evaluate(jobs, sow, payload) for payload in asked.get(candidate.id, ())]
        except JobFailedError as error:
            failures.append(f"{candidate.name}: {error.message}")
    slices = fresh.benchmarks_of(Role.CONFIRM)
    board = leaderboard(Role.CONFIRM, everyone, evaluations, slices)
    if failures:
        board = board.evolve(note="; ".join((*failures, board.note)).strip("; "))
    return _judge(groups, evaluations, fresh), board, evaluations


def fresh_sow(sow: StatementOfWork) -> StatementOfWork:
    """Return the SoW with seeds that no earlier stage used: of its confirm slices, and of a command's runs."""
    seed = (sow.seed + FRESH) % 2**31
    slices = [
        b.evolve(sampling=b.sampling.evolve(seed=b.sampling.seed + seed)) if b.role is Role.CONFIRM else b
        for b in sow.benchmarks
    ]
    return sow.evolve(benchmarks=slices) if slices else sow.evolve(seed=seed)


async def _evaluate(jobs: Jobs, sow: StatementOfWork, payload: JobPayload) -> Evaluation:
    check_stage(payload, Stage.CONFIRM, sow)
    result = await jobs.run(payload)
    if not isinstance(result, Evaluation) or not (result.outcomes or isinstance(payload, CommandEvaluate)):
        raise JobFailedError("the worker gave no outcomes")
    return result


def _judge(
    groups: tuple[Sequence[Candidate], Sequence[Candidate]], evaluations: Sequence[Evaluation], fresh: StatementOfWork
) -> Confirmation:
    finalists, references = groups
    names = {c.id: c.name for c in (*finalists, *references)}
    difference = _differences(list(names), evaluations, fresh.benchmarks_of(Role.CONFIRM))
    found = [(f.id, r.id, d) for f in finalists for r in references if (d := difference(f.id, r.id)) is not None]
    if not found:
        return _unconfirmed(finalists, "Confirmation could not be measured: a finalist or every reference failed.")
    measured = list(dict.fromkeys(f for f, _, _ in found))
    comparisons = _compare(found, names)
    winner, verdict = _winner(measured, comparisons)
    return Confirmation(
        done=True, winner=winner, verdict=verdict, words=_conclusion(winner, verdict, comparisons, names),
        comparisons=tuple(comparisons), seed=evaluations[0].sampling.seed,
        aliases={i: TRIAL_PREFIX + i.removeprefix(FINAL_PREFIX) for i in measured if i.startswith(FINAL_PREFIX)},
    )  # fmt: skip


def _differences(
    ids: Sequence[str], evaluations: Sequence[Evaluation], slices: Sequence[Benchmark]
) -> Callable[[str, str], Difference | None]:
    """Return what compares two candidates: by items where there are slices, else by seeds; None where one failed."""
    if slices:
        strata = {i: s for i in ids if (s := strata_of(i, evaluations, slices)) is not None}
        return lambda a, b: paired_difference(strata[a], strata[b]) if {a, b} <= strata.keys() else None
    runs = {i: runs_of(i, evaluations) for i in ids}
    full = max((r.keys() for r in runs.values()), key=len)
    whole = {i: r for i, r in runs.items() if r.keys() == full and r}
    return lambda a, b: repeated_difference(whole[a], whole[b]) if {a, b} <= whole.keys() else None


def _compare(found: Sequence[tuple[str, str, Difference]], names: dict[str, str]) -> list[Comparison]:
    adjusted = holm([d.p_value for _, _, d in found])
    comparisons = []
    for (finalist, reference, difference), p in zip(found, adjusted, strict=True):
        verdict: Verdict = "tied" if p > ALPHA else "improved" if difference.value > 0 else "worse"
        comparison = Comparison(
            candidate_id=finalist, reference_id=reference, difference=as_score(difference, _metric(difference)),
            p_value=difference.p_value, adjusted_p=p, test=difference.test, verdict=verdict,
            words=_words(names[finalist], names[reference], difference, verdict),
        )  # fmt: skip
        comparisons.append(comparison)
    return comparisons


def _metric(difference: Difference) -> str:
    """Return 'difference' for shares of items, else a name that no reader takes for points."""
    return "difference" if "seed" not in difference.interval.method else "difference of means over seeds"


def _words(finalist: str, reference: str, difference: Difference, verdict: str) -> str:
    value, low, high = difference.value, difference.interval.low, difference.interval.high
    if _metric(difference) != "difference":
        gap = f"{value:+.4g} (95 % interval {low:+.4g} to {high:+.4g}, {difference.items} seeds)"
    else:
        span = f"95 % interval {low * 100:+.1f} to {high * 100:+.1f}"
        gap = f"{value * 100:+.1f} points ({span}, {difference.items} items)"
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
