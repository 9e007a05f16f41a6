"""A command task through the stages after screening: confirmed over fresh seeds by a real command in its sandbox."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.context import RunContext
from agents.experiment.agent import rank_candidates
from agents.optimizer.agent import optimize_leader
from agents.optimizer.confirm import confirm_finalists
from agents.report.agent import write_report
from agents.report.publish import publish_result
from agents.tasks import task_pack
from core.db import Database
from core.errors import JobFailedError
from core.leaderboard import leaderboard
from core.queue import Queue
from core.types.candidate import Applicabilities, Leaderboard
from core.types.evaluation import Evaluation
from core.types.job import CommandEvaluate, JobPayload, JobResult
from core.types.optimization import Confirmation, OptimizationResult
from core.types.sow import CommandEvaluation, OptimizationSpec, Role, StatementOfWork
from core.types.work import Survey
from tests.agents.optimizer.test_stages import run_context
from worker.command import evaluate_command

# Lower is better; noise that both candidates share by seed, and held-out data where the role is to confirm.
SCRIPT = """
level=$(cat $CANDIDATE/level.txt); shift=0
[ "$ROLE" = confirm ] && shift=$(( SEED % 7 ))
rate=$(echo "$PARAMETERS" | sed -n 's/.*"rate": \\([0-9]*\\).*/\\1/p'); rate=${rate:-40}
echo "{\\"loss\\": $(( level + shift + (rate - 70) * (rate - 70) / 10 ))}"
"""


class CommandJobs:
    """Does command jobs as the worker does, once each."""

    def __init__(self, broken: str = "") -> None:
        self.done: dict[str, Evaluation] = {}
        self.asked: list[CommandEvaluate] = []
        self.broken = broken

    async def run(self, payload: JobPayload) -> JobResult:
        assert isinstance(payload, CommandEvaluate)
        if payload.candidate_id == self.broken and payload.role == "confirm":
            raise JobFailedError("broken on purpose")
        if payload.digest not in self.done:
            self.asked.append(payload)
            self.done[payload.digest] = evaluate_command(payload)
        return self.done[payload.digest]

    async def evaluations(self, ids: Sequence[str]) -> Sequence[Evaluation]:
        """Return finished evaluations by their ids."""
        return [self.done[i] for i in ids]

    async def run_all(self, payloads: list[JobPayload]) -> list[JobResult]:
        return [await self.run(p) for p in payloads]


def command_sow(root: Path, levels: dict[str, int], **optimization: object) -> StatementOfWork:
    for name, level in levels.items():
        (root / name).mkdir()
        (root / name / "level.txt").write_text(f"{level}\n")
    return StatementOfWork(
        sow=1, title="Lower the loss", kind="command",
        evaluation=CommandEvaluation(
            command=("/bin/sh", "-c", SCRIPT), metric="loss", direction="minimize", candidates=tuple(levels)
        ),
        optimization=OptimizationSpec.model_validate(optimization),
    )  # fmt: skip


async def screened(db: Database, queue: Queue, folder: Path, sow: StatementOfWork, jobs: CommandJobs) -> RunContext:
    """Do what the experiment stage does."""
    context, _ = await run_context(db, queue, folder / "store", sow, root=str(folder), jobs=jobs)
    pack = task_pack("command")
    tried = pack.candidates(sow, pack.applicability(sow, Survey(works=())))
    for candidate in tried:
        await context.records.put_candidate(context.run_id, candidate)
    found = [await jobs.run(p) for c in tried for p in pack.payloads(sow, c, Role.SCREEN, str(folder))]
    board = leaderboard("screen", tried, [e for e in found if isinstance(e, Evaluation)], ())
    await context.records.put(context.run_id, "leaderboard.screen", board)
    return context


@pytest.mark.parametrize(
    ("levels", "broken", "verdict"),
    [
        ({"old": 900, "new": 850}, "", "improved"),
        ({"old": 900, "new": 900}, "", "tied"),
        ({"old": 900, "new": 850}, "old", "unconfirmed"),
        ({"old": 900}, "", "unconfirmed"),
    ],
)
async def test_a_command_task_is_confirmed_over_fresh_seeds(
    db: Database, queue: Queue, tmp_path: Path, levels: dict[str, int], broken: str, verdict: str
) -> None:
    sow = command_sow(tmp_path, levels)
    context = await screened(db, queue, tmp_path, sow, jobs := CommandJobs(broken))
    board = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    finalists = await optimize_leader(context, board.rows[0].candidate.id)
    improved = await confirm_finalists(context, finalists)
    await publish_result(context)
    await write_report(context)
    confirmation = await context.records.get(context.run_id, "confirmation", Confirmation)
    assert (confirmation.verdict, improved) == (verdict, verdict == "improved")
    report = (await context.artifacts.get(context.run_id, "report.md")).decode()
    if verdict == "improved":
        confirmed = await context.records.get(context.run_id, "leaderboard.confirm", Leaderboard)
        assert [r.candidate.id for r in confirmed.rows] == ["new", "old"]
        assert {len(r.evaluation_ids) for r in confirmed.rows} == {5}
        assert confirmation.comparisons[0].difference.value == pytest.approx(50)
        assert "+50" in report
        assert "5000.0" not in report
        seeds = {p.seed for p in jobs.asked if p.role == "confirm"}
        assert len(seeds) == 5
        assert 0 not in seeds


async def test_numbers_that_the_sow_names_are_searched_and_confirmed(
    db: Database, queue: Queue, tmp_path: Path
) -> None:
    sow = command_sow(tmp_path, {"old": 900, "new": 850}, trials=12, parameters={"rate": (0, 100)}, finalists=1)
    context = await screened(db, queue, tmp_path, sow, jobs := CommandJobs())
    finalists = await optimize_leader(context, "new")
    found = await context.records.get(context.run_id, "optimization", OptimizationResult)
    assert [t.number for t in found.trials] == list(range(12))
    assert found.start_value == -940
    assert found.best_value is not None
    assert found.best_value >= -880
    asked = len(jobs.asked)
    assert await optimize_leader(context, "new") == finalists
    assert len(jobs.asked) == asked, "a finished search was repeated"
    assert await confirm_finalists(context, finalists)
    await write_report(context)
    confirmation = await context.records.get(context.run_id, "confirmation", Confirmation)
    assert confirmation.winner == finalists[0]
    assert {(c.reference_id, c.verdict) for c in confirmation.comparisons} == {("new", "improved")}
    roles = {(p.candidate_id[:6], p.role) for p in jobs.asked}
    assert ("trial-", "search") in roles
    assert ("trial-", "confirm") not in roles
    report = (await context.artifacts.get(context.run_id, "report.md")).decode()
    assert "in the search went from -940 to" in report


async def test_a_command_is_screened_over_seeds_until_nobody_else_may_be_the_best(
    db: Database, queue: Queue, tmp_path: Path
) -> None:
    sow = command_sow(tmp_path, {"old": 900, "new": 850}).evolve(experiments={"seeds": 4})
    context = await screened(db, queue, tmp_path, sow, jobs := CommandJobs())
    await context.records.put(context.run_id, "applicability", Applicabilities(rows=()))
    assert await rank_candidates(context, ["old", "new"]) == "new"
    board = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    # One run shows no difference; two that no seed moves show it for good.
    assert [(r.candidate.id, r.seeds, r.tie_group) for r in board.rows] == [("new", 2, 1), ("old", 2, 2)]
    assert board.rows[0].seeds_note == "stopped after 2 of 4 seeds: no other candidate may be the best"
    assert "behind new" in board.rows[1].seeds_note
    assert len({p.seed for p in jobs.asked}) == 2
