"""Successive halving on a real database: who is clearly behind stops early, who might win sees every item."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from agents.experiment.agent import evaluate_candidate, rank_candidates
from agents.experiment.screening import FIRST_RUNG, make_ladder
from core.db import Database
from core.journal import JournalReader
from core.queue import Queue
from core.types.candidate import Applicabilities, Leaderboard
from tests.fakes.table_jobs import TableJobs, context_of, sow


async def test_who_is_clearly_behind_stops_and_keeps_its_row(db: Database, queue: Queue, tmp_path: Path) -> None:
    context = await context_of(db, queue, tmp_path, sow())
    jobs = context.jobs
    assert isinstance(jobs, TableJobs)
    # One after the other as a worker would take them: the strong ones first, so that there is something to be behind.
    order = ["base", "ties", "linear", "task_arithmetic", "della", "dare_ties", "breadcrumbs"]
    done = [name for name in order if await evaluate_candidate(context, name)]
    assert done == ["base", "ties", "linear", "task_arithmetic"]
    assert {n: jobs.asked[n] for n in order} == {n: 160 if n in done else FIRST_RUNG for n in order}
    assert await rank_candidates(context, done) == "ties"
    board = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    assert [r.candidate.id for r in board.rows] == ["ties", "linear", "task_arithmetic", "base"]
    assert {r.score.items for r in board.rows} == {160}
    assert sum(jobs.asked.values()) == 4 * 160 + 3 * FIRST_RUNG, "ranking computed something again"
    assert "greedy" in board.note
    (row,) = (await context.records.get(context.run_id, "applicability", Applicabilities)).rows
    assert "Stopped after 40 of 160 items" in row.outcome
    assert "points behind ties" in row.outcome
    kinds = Counter(e.kind for e in await JournalReader(db).events(context.run_id, 0, 100))
    assert (kinds["candidate.evaluated"], kinds["candidate.stopped"], kinds["candidate.failed"]) == (4, 3, 0)


async def test_a_candidate_stops_at_its_own_budget(db: Database, queue: Queue, tmp_path: Path) -> None:
    context = await context_of(db, queue, tmp_path, sow(budget_minutes_per_method=2.0))
    assert not await evaluate_candidate(context, "ties")
    note = (await context.records.candidate(context.run_id, "ties")).note
    assert note == "Stopped after 80 of 160 items: its budget of 2 min is used up."


async def test_the_noise_floor_is_measured_where_completions_are_sampled(
    db: Database, queue: Queue, tmp_path: Path
) -> None:
    context = await context_of(db, queue, tmp_path, sow(0.2, noise_seeds=2))
    done = [name for name in ("base", "ties") if await evaluate_candidate(context, name)]
    await rank_candidates(context, done)
    board = await context.records.get(context.run_id, "leaderboard.screen", Leaderboard)
    assert board.noise_floor is not None
    assert 0.0 < board.noise_floor < 0.2
    events = await JournalReader(db).events(context.run_id, 0, 100)
    (measured,) = [e for e in events if e.kind == "noise.measured"]
    assert measured.data["seeds"] == 3
    assert measured.data["difference"] == pytest.approx(board.noise_floor)


def test_a_ladder_doubles_mixes_and_covers_everything_once() -> None:
    items = {"a": [f"a{n}" for n in range(300)], "b": [f"b{n}" for n in range(60)]}
    ladder = make_ladder(items, seed=3)
    assert ladder == make_ladder(items, seed=3)
    sizes = [ladder.items(n + 1) for n in range(ladder.rungs)]
    assert sizes[0] >= FIRST_RUNG
    assert sizes[-1] == 360
    assert all(1.9 <= later / sooner <= 2.1 for sooner, later in pairwise(sizes))
    for name, ids in items.items():
        seen = [i for block in ladder.blocks for i in block.get(name, ())]
        assert sorted(seen) == sorted(ids)
    assert ladder.blocks[0]["a"] != tuple(items["a"][: len(ladder.blocks[0]["a"])])
    assert make_ladder({"a": items["a"][:100]}, 0).rungs == 1
