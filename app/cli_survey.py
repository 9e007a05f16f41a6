"""The `survey` command: survey a SoW's literature on this machine alone; nothing else has to run.

Answers of sources are kept in the state directory, so that a command that was stopped goes on where it was.
"""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.budget import LlmBudget
from agents.decision import Brain
from agents.llm import ModelBrain, make_brain
from agents.provider import llm_settings
from agents.survey.command import EXPORTS, run_survey_command
from agents.survey.desk import Desk
from agents.survey.sources.connect import connect
from agents.survey.sources.disk_cache import DirectoryCache
from agents.survey.sources.http import Fetcher, RequestBudget
from agents.survey.stage import source_settings
from app.cli_client import load_settings, read_sow_file
from app.cli_follow import Bars
from app.cli_text import styled
from app.embedder import EmbedderProcess, can_embed
from core.errors import SourceError
from core.settings import Settings
from core.sow_reader import format_of_suffix, read_sow
from core.types.run import Stage
from core.types.sow import StatementOfWork
from core.types.transcript import Transcript
from core.types.work import Survey

DECISIONS = "decisions.jsonl"


@dataclass
class TerminalJournal:
    """Writes what happens to the terminal, and each decision to a file."""

    bars: Bars
    decisions: Path
    _stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    _decided: int = 0

    async def event(self, kind: str, message: str, *, stage: Stage | None = None, **data: Any) -> None:
        """Print a line."""
        self.bars.say(f"{time.strftime('%H:%M:%S')}  {message}")

    async def transcript(self, transcript: Transcript) -> int:
        """Append a decision with all that led to it; return its number."""
        with self.decisions.open("a", encoding="utf-8") as file:
            file.write(transcript.model_dump_json() + "\n")
        self._decided += 1
        return self._decided

    async def progress(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        """Move the bar."""
        self._stages[stage.value] = {"done": done, "total": total, "note": note}
        self.bars.show({"progress": self._stages})


@dataclass(frozen=True)
class Outcome:
    """What a command's survey came to."""

    survey: Survey
    requests: dict[str, int]
    seconds: float

    def summary(self, out: Path) -> dict[str, Any]:
        """Return the outcome for scripts."""
        failed = Counter(r.source for r in self.survey.ledger if r.reason.startswith("failed"))
        return {
            "works": len(self.survey.works),
            "borderline": len(self.survey.borderline),
            "dropped": self.survey.dropped,
            "categories": dict(Counter(w.categories[0] for w in self.survey.works if w.categories).most_common()),
            "coverage": self.survey.coverage.model_dump(mode="json") if self.survey.coverage else None,
            "stop_reason": self.survey.stop_reason,
            "model_used": self.survey.model_used,
            "failures": dict(failed),
            "requests": self.requests,
            "seconds": round(self.seconds, 1),
            "files": [str(out / name) for name in (*EXPORTS, DECISIONS)],
        }


@dataclass(frozen=True)
class SurveyOptions:
    """The command's options. `embeddings` are used where the worker's packages are installed."""

    out: Path
    max_requests: int | None
    embeddings: bool
    as_json: bool


def survey(sow: Path, options: SurveyOptions) -> None:
    """Survey a SoW's literature and write all exports into a folder; raise SourceError when no source answered."""
    file = read_sow_file(sow)
    document = read_sow(file.body, format_of_suffix(sow.suffix), survey_only=True)
    if options.max_requests is not None:
        document = document.evolve(survey=document.survey.evolve(max_requests=options.max_requests))
    console, told = Console(), Console(stderr=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / DECISIONS).write_text("")
    outcome = asyncio.run(_survey(document, file.folder, options, told))
    if options.as_json:
        console.print_json(data=outcome.summary(options.out))
    else:
        _print(console, outcome, options.out)
    _insist(outcome.survey)


async def _survey(sow: StatementOfWork, folder: Path, options: SurveyOptions, console: Console) -> Outcome:
    settings = load_settings()
    budget, started = RequestBudget(sow.survey.max_requests), time.perf_counter()
    cache = DirectoryCache(settings.cache_dir / "survey")
    async with contextlib.AsyncExitStack() as stack:
        journal = TerminalJournal(stack.enter_context(Bars(console)), options.out / DECISIONS)
        fetcher = await stack.enter_async_context(Fetcher(source_settings(settings, sow, str(folder)), cache, budget))
        sources = connect(sow.survey.sources, fetcher)
        brain = _brain(settings, sow, journal, stack)
        embeds = options.embeddings and can_embed() and sow.survey.sources != ("catalogue",)
        texts = await stack.enter_async_context(EmbedderProcess()) if embeds else None
        found = await run_survey_command(sow, options.out, sources, Desk(brain, journal, texts))
    return Outcome(found, budget.by_source, time.perf_counter() - started)


def _brain(
    settings: Settings, sow: StatementOfWork, journal: TerminalJournal, stack: contextlib.AsyncExitStack
) -> Brain:
    brain = make_brain(llm_settings(settings), journal, LlmBudget(sow.budget.llm_usd))
    if isinstance(brain, ModelBrain):
        stack.push_async_callback(brain.aclose)
    return brain


def _print(console: Console, outcome: Outcome, out: Path) -> None:
    found = outcome.survey
    console.print(
        styled(
            f"{len(found.works)} works in scope, {len(found.borderline)} borderline, {found.dropped} dropped", "bold"
        )
    )
    for key, count in Counter(w.categories[0] for w in found.works if w.categories).most_common():
        console.print(styled(f"  {count:5}  {found.taxonomy.get(key, key).partition(': ')[0]}"))
    if found.coverage:
        console.print(styled(found.coverage.note, "dim"))
    console.print(styled(f"Stopped because {found.stop_reason}; {sum(outcome.requests.values())} requests."))
    for name in (*EXPORTS, DECISIONS):
        console.print(styled(out / name), soft_wrap=True)


def _insist(found: Survey) -> None:
    """Raise SourceError when no source answered anything: an empty survey says nothing about the literature."""
    if not any(r.found or not r.reason for r in found.ledger):
        failed = {r.source: r.reason for r in found.ledger if r.reason.startswith("failed")}
        why = "; ".join(f"{source} {reason}" for source, reason in sorted(failed.items())) or found.stop_reason
        raise SourceError(
            f"No source answered: {why}", fix="Check the network, and the addresses with `research-agent settings`."
        )
