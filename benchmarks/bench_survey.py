"""Measure the survey agent on a world of reading lists served over real formats, with faults.

The list whose titles name the topic most is in scope, the others are distractors. Two surveys are run, with policies
alone: in the whole world, and in the world without curated lists and survey papers. Category accuracy is over the
in-scope works found whose headings name one of the topic's known categories (for merging the four method families), or
for a topic without such, one of the categories that the list's own headings make. In the whole world the agent may read
headings in the curated list, as it would outside; the figures above the last line leave out the works that the list
shows, and are without any list, by titles alone. Sentence embeddings are used where the worker's packages are
installed; `--no-embeddings` leaves them out. The last line is JSON.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.decision import PolicyBrain
from agents.survey.agent import survey
from agents.survey.desk import Desk
from agents.survey.merging_taxonomy import MERGING, applies_to_merging
from agents.survey.sources.connect import connect
from agents.survey.sources.disk_cache import DirectoryCache
from agents.survey.sources.http import Fetcher, RequestBudget
from agents.survey.sources.settings import SourceSettings
from agents.survey.taxonomy import SURVEY, extend
from agents.survey.text import stems
from app.embedder import EmbedderProcess, can_embed
from core.types.sow import StatementOfWork
from core.types.transcript import Transcript
from core.types.work import Survey, Work
from tests.fakes.literature_world import World, WorldWork, build_world, normal

SOURCES = ("arxiv", "semantic_scholar", "openalex", "hub", "github")
MAX_REQUESTS = 6000


class Quiet:
    """A journal that counts and keeps nothing."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    async def event(self, kind: str, message: str, **_: object) -> None:
        if self.verbose:
            print(f"  {kind}: {message}")

    async def transcript(self, transcript: Transcript) -> None:
        pass

    async def progress(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Outcome:
    survey: Survey
    requests: Counter[str]
    seconds: float


@contextlib.contextmanager
def serving(files: Sequence[Path], *, lists: bool) -> Iterator[str]:
    """Serve the world from another process, so that memory measured here is the agent's."""
    command = [sys.executable, "-m", "tests.fakes.literature_server", "--faults", "--world", *map(str, files)]
    process = subprocess.Popen(
        command + ([] if lists else ["--without-lists"]),
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(timeout=20)


def settings_for(url: str) -> SourceSettings:
    return SourceSettings(
        arxiv_url=f"{url}/arxiv",
        semantic_scholar_url=f"{url}/semantic_scholar",
        openalex_url=f"{url}/openalex",
        github_url=f"{url}/github",
        hub_url=f"{url}/hub",
        openalex_key="bench",
        seconds_between={},
        back_off_s=0.05,
        timeout_s=1.5,
    )


async def run(topic: str, url: str, *, verbose: bool, embeddings: bool) -> Outcome:
    journal = Quiet(verbose)
    sow = StatementOfWork(sow=1, title=topic, kind="command")
    budget = RequestBudget(MAX_REQUESTS)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        async with (
            Fetcher(settings_for(url), DirectoryCache(Path(directory)), budget) as fetcher,
            EmbedderProcess() as embedder,
        ):
            desk = Desk(PolicyBrain(journal), journal, embedder if embeddings else None)
            found = await survey(sow, connect(SOURCES, fetcher), desk)
    return Outcome(found, Counter(budget.by_source), time.perf_counter() - start)


def in_scope_file(files: Sequence[Path], topic: str) -> Path:
    """Return the list whose name and titles hold the topic's words the most."""
    wanted = set(stems(topic))

    def affinity(path: Path) -> float:
        titles = [stems(json.loads(line)["title"]) for line in path.read_text(encoding="utf-8").splitlines()]
        named = len(wanted & set(stems(path.stem.replace("_", " ")))) / len(wanted)
        return named + sum(len(wanted & set(t)) / len(wanted) for t in titles) / max(1, len(titles))

    return max(files, key=affinity)


class Judge:
    """Knows which work of the world a found work is."""

    def __init__(self, world: World, topic: str, surveys: bool) -> None:
        self.truth = {w.uid for w in world.works.values() if w.topic == topic and (surveys or not w.is_survey)}
        self.world = world
        paths = [path for w in world.works.values() if w.topic == topic for path in w.sections]
        stated = frozenset(stems(topic.replace("_", " ")))
        self.taxonomy = MERGING if applies_to_merging((topic.replace("_", " "),)) else extend(None, paths, stated)
        self._ids: dict[str, str] = {}
        for work in world.works.values():
            for identity in (work.arxiv, work.doi, work.s2, work.openalex, normal(work.title)):
                if identity:
                    self._ids[identity] = work.uid

    def uid(self, work: Work) -> str | None:
        ids = work.ids
        found = (self._ids.get(i) for i in (ids.arxiv, ids.doi, ids.s2, ids.openalex, normal(work.title)) if i)
        return next((u for u in found if u), None)

    def scores(self, survey: Survey) -> dict[str, float]:
        uids = [self.uid(w) for w in survey.works]
        hits = {u for u in uids if u in self.truth}
        resolved = [u for u in uids if u]
        return {
            "recall": len(hits) / len(self.truth),
            "precision": sum(u in self.truth for u in uids) / max(1, len(uids)),
            "duplicates": (len(resolved) - len(set(resolved))) / max(1, len(uids)),
            "unresolved": uids.count(None),
        }

    def families(self, work: WorldWork) -> set[str]:
        named = (self.taxonomy.of_heading(path) for path in work.sections)
        return {c.key for c in named if c} - {SURVEY}

    def accuracy(self, survey: Survey, *, unlisted_by: str | None = None) -> float | None:
        """Return the share of found works of known category whose first category is one of theirs."""
        right = total = 0
        for found in survey.works:
            uid = self.uid(found)
            families = self.families(self.world.works[uid]) if uid in self.truth and uid else set()
            if not families or (unlisted_by and unlisted_by in found.evidence):
                continue
            total += 1
            right += found.categories[0] in families
        return right / total if total else None

    def blind_accuracy(self, survey: Survey) -> float | None:
        """Return the accuracy where no list names the categories: only for topics that bring their own."""
        return self.accuracy(survey) if self.taxonomy is MERGING else None


def rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--no-embeddings", dest="embeddings", action="store_false")
    return parser.parse_args()


def details(whole: Judge, full: Outcome, bare: Judge, without: Outcome) -> dict[str, object]:
    """Return what the one line leaves out, of the run with survey lists and of the one without."""
    survey = full.survey
    return {
        "stopped": survey.stop_reason,
        "coverage": survey.coverage and f"{survey.coverage.method}. {survey.coverage.note}",
        "works": f"{len(survey.works)} kept, {len(survey.borderline)} borderline, {survey.dropped} dropped",
        "requests": dict(full.requests),
        "without lists": {k: rounded(v) for k, v in bare.scores(without.survey).items()},
        "requests without lists": dict(without.requests),
        "seconds without lists": round(without.seconds, 1),
        "coverage without lists": without.survey.coverage and without.survey.coverage.note,
        "category accuracy of works the list does not show": rounded(
            whole.accuracy(survey, unlisted_by="lists it under")
        ),
        "category accuracy without lists": rounded(bare.blind_accuracy(without.survey)),
    }


def line(whole: Judge, full: Outcome, bare: Judge, without: Outcome) -> dict[str, object]:
    """Return the benchmark's figures."""
    scores, coverage, kept = whole.scores(full.survey), full.survey.coverage, len(full.survey.works)
    low, high = (
        (kept / coverage.high, kept / coverage.low) if coverage and coverage.low and coverage.high else (0.0, 1.0)
    )
    return {
        "bench": "survey",
        "recall": rounded(scores["recall"]),
        "precision": rounded(scores["precision"]),
        "recall_without_lists": rounded(bare.scores(without.survey)["recall"]),
        "category_accuracy": rounded(whole.accuracy(full.survey)),
        "duplicates": rounded(scores["duplicates"], 4),
        "unresolved": int(scores["unresolved"]),
        "coverage": [rounded(low), rounded(high)],
        "true_coverage": rounded(scores["recall"]),
        "requests": sum(full.requests.values()),
        "seconds": round(full.seconds, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> None:
    options = arguments()
    how = {"verbose": options.verbose, "embeddings": options.embeddings and can_embed()}
    scope = in_scope_file(options.world, options.topic)
    files = [scope, *(f for f in options.world if f != scope)]
    whole, bare = Judge(build_world(files), scope.stem, True), Judge(build_world(files), scope.stem, False)
    print(f"machine: {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"in scope: {scope.name} ({len(whole.truth)} works), {len(whole.world.works)} works in the world, {how}")
    with serving(files, lists=True) as url:
        full = asyncio.run(run(options.topic, url, **how))
    with serving(files, lists=False) as url:
        without = asyncio.run(run(options.topic, url, **how))
    for name, value in details(whole, full, bare, without).items():
        print(f"{name}: {value}")
    print(json.dumps(line(whole, full, bare, without)))


if __name__ == "__main__":
    main()
