"""Simulate how often the survey's coverage interval holds the truth, over worlds that differ in who knows what.

Each world is a random part of the reading lists, with its own seed of source spread: who holds which work, who cites
whom. The truth is the share of the in-scope works of the world that the survey kept. Half of the worlds have no curated
list and no survey papers. The last line is JSON, with a Wilson interval of the share.
"""

import argparse
import asyncio
import json
import random
import tempfile
from pathlib import Path

from statsmodels.stats.proportion import proportion_confint

from agents.decision import PolicyBrain
from agents.survey.agent import survey
from agents.survey.desk import Desk
from agents.survey.sources.connect import connect
from agents.survey.sources.disk_cache import DirectoryCache
from agents.survey.sources.http import Fetcher, RequestBudget
from benchmarks.bench_survey import MAX_REQUESTS, SOURCES, Judge, Quiet, in_scope_file, settings_for
from core.types.sow import StatementOfWork
from tests.fakes.literature_server import serve
from tests.fakes.literature_world import build_world


def sampled(files: list[Path], sizes: dict[Path, int], seed: int, folder: Path) -> list[Path]:
    """Write a random part of each list."""
    drawn, paths = random.Random(seed), []
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        part = drawn.sample(lines, min(len(lines), sizes[path]))
        paths.append(folder / path.name)
        paths[-1].write_text("\n".join(part) + "\n", encoding="utf-8")
    return paths


async def one(topic: str, files: list[Path], seed: int, lists: bool) -> tuple[float, float, float]:
    """Return the interval's ends and the true coverage in one world."""
    journal = Quiet(False)
    world = build_world(files, lists=lists, surveys=lists, seed=seed)
    with serve(world) as server, tempfile.TemporaryDirectory() as cache:
        fetcher = Fetcher(settings_for(server.url), DirectoryCache(Path(cache)), RequestBudget(MAX_REQUESTS))
        async with fetcher:
            sow = StatementOfWork(sow=1, title=topic, kind="command")
            found = await survey(sow, connect(SOURCES, fetcher), Desk(PolicyBrain(journal), journal))
    truth = Judge(world, files[0].stem, True).scores(found)["recall"]
    coverage, kept = found.coverage, len(found.works)
    if coverage is None or not coverage.low or not coverage.high:
        return 0.0, 1.0, truth
    return kept / coverage.high, kept / coverage.low, truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--size", type=int, default=200, help="in-scope works of a world")
    parser.add_argument("--first-seed", type=int, default=1)
    options = parser.parse_args()
    scope = in_scope_file(options.world, options.topic)
    files = [scope, *(f for f in options.world if f != scope)]
    sizes = {f: options.size if f == scope else options.size // 2 for f in files}
    inside, widths = 0, []
    for number in range(options.worlds):
        seed = options.first_seed + number
        with tempfile.TemporaryDirectory() as folder:
            parts = sampled(files, sizes, seed, Path(folder))
            low, high, truth = asyncio.run(one(options.topic, parts, seed, number % 2 == 0))
        holds = low <= truth <= high
        inside, widths = inside + holds, [*widths, high - low]
        print(f"seed {seed}: [{low:.3f}, {high:.3f}] truth {truth:.3f} {'holds' if holds else 'MISSES'}", flush=True)
    low, high = proportion_confint(inside, options.worlds, method="wilson")
    print(
        json.dumps(
            {
                "bench": "survey_coverage", "worlds": options.worlds, "holds": round(inside / options.worlds, 3),
                "interval": [round(low, 3), round(high, 3)], "median_width": round(sorted(widths)[len(widths) // 2], 3),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
