"""A reproduction as a step of a run: repository and models in, an agent at work, its submission evaluated by workers.

Whatever happens, the work keeps a row; what an agent says about its success is never used.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from agents.context import RunContext
from agents.experiment.agent import evaluate_candidate
from agents.experiment.claims import claims_of
from agents.experiment.clone import clonable
from agents.experiment.repository import Fetched, fetch, fetchable, on_github
from agents.experiment.reproduce import Reproduced, Reproduction, reproduce
from agents.experiment.sandbox_network import network_of, network_words
from agents.experiment.sandboxes import SANDBOX_MB, Sandboxes
from agents.experiment.screening import STOPPED
from agents.experiment.submission import Submission, SubmissionKind
from agents.run_budget import RESERVE, check_budget
from agents.sandbox.port import Limits, SandboxUnavailableError
from core.errors import BudgetExceededError, JobFailedError, NotFoundError, SourceError
from core.recipes import baseline_recipe
from core.types.candidate import Candidate, Fidelity
from core.types.job import Exported, ItemTexts, ListItems, MergeExport
from core.types.reproduction import ReproductionRow, SubmittedFiles, Verdict
from core.types.run import Stage
from core.types.sow import ModelRef, Models, Role
from core.types.work import Survey, Work

DOCUMENT = "reproduction."
MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
LEAST_S = 30.0
CANARY_CHARACTERS = 40
"""Shorter prompts could be met by chance."""


async def reproduce_candidate(context: RunContext, candidate_id: str) -> bool:
    """Reproduce the work that a candidate stands for and evaluate what is handed in; return whether it has a score."""
    candidate = await context.records.candidate(context.run_id, candidate_id)
    row = await _known(context, candidate_id)
    if row is None or not row.settled:
        row = await _settled(context, candidate)
    if row.artifact is None:
        await context.records.put_candidate(context.run_id, candidate.evolve(note=row.reason))
        await context.runs.advance(context.run_id, Stage.EXPERIMENT)
        return False
    await context.records.put_candidate(context.run_id, _submitted(context, candidate, row))
    done = await evaluate_candidate(context, candidate_id)
    note = (await context.records.candidate(context.run_id, candidate_id)).note
    failed = Verdict.BEHIND if note.startswith(STOPPED) else Verdict.FAILED
    verdict, reason = (Verdict.RANKED, row.reason) if done else (failed, note)
    await _put(context, row.evolve(verdict=verdict, reason=reason))
    return done


async def _known(context: RunContext, candidate_id: str) -> ReproductionRow | None:
    try:
        return await context.records.get(context.run_id, f"{DOCUMENT}{candidate_id}", ReproductionRow)
    except NotFoundError:
        return None


async def _put(context: RunContext, row: ReproductionRow) -> None:
    await context.records.put(context.run_id, f"{DOCUMENT}{row.candidate_id}", row)


def _submitted(context: RunContext, candidate: Candidate, row: ReproductionRow) -> Candidate:
    """Return the candidate with what was handed in; a recipe is also shown, and can be searched from."""
    return candidate.evolve(
        artifact=row.artifact, fidelity=Fidelity.REPRODUCED, recipe=row.recipe,
        note=f"{row.submission} reproduced by an agent from {row.repository} at {row.revision[:12] or 'HEAD'}",
    )  # fmt: skip


async def _settled(context: RunContext, candidate: Candidate) -> ReproductionRow:
    """Return the row once the agent is done, or the reason why there is none to be done."""
    work = await _work(context, candidate)
    row = ReproductionRow(
        work_key=work.key, work_title=work.title, candidate_id=candidate.id, claims=claims_of(work),
        sandbox=f"{context.run_id}-{candidate.id.rpartition('-')[2]}", verdict=Verdict.RUNNING, reason="",
    )  # fmt: skip
    try:
        sandboxes = _sandboxes(context)
        async with sandboxes.slots, sandboxes.lock(row.sandbox):
            # Whoever drove this run before may have finished it meanwhile.
            known = await _known(context, candidate.id)
            if known is not None and known.settled:
                return known
            await check_budget(context)
            return await _reproduced(context, work, row, sandboxes)
    except BudgetExceededError as error:
        row = row.evolve(verdict=Verdict.OUT_OF_BUDGET, reason=error.message)
    except (SandboxUnavailableError, SourceError, JobFailedError) as error:
        row = row.evolve(verdict=Verdict.UNAVAILABLE, reason=error.message)
    await _put(context, row)
    await context.journal.event(
        f"reproduction.{row.verdict}", f"{work.title}: {row.reason}", stage=Stage.EXPERIMENT, sandbox=row.sandbox,
        work=work.key,
    )  # fmt: skip
    return row


def _sandboxes(context: RunContext) -> Sandboxes:
    if context.sandboxes is None:
        raise SandboxUnavailableError("No language model is configured, so nothing is reproduced.")
    return context.sandboxes


async def _work(context: RunContext, candidate: Candidate) -> Work:
    survey = await context.records.get(context.run_id, "survey", Survey)
    return next(w for w in survey.works if w.key == candidate.work_key)


async def _reproduced(context: RunContext, work: Work, row: ReproductionRow, sandboxes: Sandboxes) -> ReproductionRow:
    folder = context.settings.state_dir.resolve() / "reproductions" / row.sandbox
    around = await sandboxes.surroundings(context.journal, context.llm_budget)
    fetched = await _fetched(context, work, folder / "repository")
    row = row.evolve(repository=fetched.url, revision=fetched.revision, tier=around.tier.name)
    await _put(context, row)
    task = await _task(context, work, (row.sandbox, folder), fetched)
    words = network_words(task.network, context.sow.experiments)
    await context.journal.event("reproduction.network", words, stage=Stage.EXPERIMENT, sandbox=row.sandbox)
    made: list[ReproductionRow] = []

    async def keep(said: Reproduced) -> None:
        made.append(await _with_outcome(context, row, said))
        await _put(context, made[0])

    await reproduce(task, around, keep)
    await asyncio.to_thread(partial(shutil.rmtree, folder, ignore_errors=True))
    return made[0]


async def _fetched(context: RunContext, work: Work, folder: Path) -> Fetched:
    """Return a work's repository, or where the sandbox is to clone it from."""
    hosts = network_of(context.settings, context.sow.experiments).hosts
    repository = fetchable(work, hosts)
    if repository is None:
        raise SourceError("No repository that can be fetched is known.")
    if on_github(repository):
        return await fetch(context.settings, repository, folder)
    return Fetched(folder=None, url=clonable(repository.url, hosts) or repository.url, revision="")


async def _task(context: RunContext, work: Work, place: tuple[str, Path], fetched: Fetched) -> Reproduction:
    sow, (sandbox, folder) = context.sow, place
    models = _models(context)
    parents = await parent_folders(context, models)
    size = sum(p.stat().st_size for p in parents[models.base.name].glob("*.safetensors")) // 2**20
    limits = Limits(memory_mb=SANDBOX_MB, disk_mb=2048 + 3 * size, seconds=await _seconds(context))
    data, canaries = await _data(context, folder / "data")
    return Reproduction(
        id=sandbox, work=work, base=models.base.name, parents=parents, out=folder / "accepted",
        repository=fetched.folder, clone_from=None if fetched.folder else fetched.url, data=data, limits=limits,
        budget_usd=sow.experiments.budget_usd_per_method, canaries=canaries,
        network=network_of(context.settings, sow.experiments),
    )  # fmt: skip


async def _seconds(context: RunContext) -> float:
    """Return how long one agent may work: its own budget, and no longer than the run has time for."""
    minutes, budget = context.sow.experiments.budget_minutes_per_method, context.sow.budget.wall_clock_minutes
    own = 60 * minutes if minutes else Limits().seconds
    if budget is None:
        return own
    spent = (await context.runs.get(context.run_id)).spent.wall_clock_s
    return max(LEAST_S, min(own, 60 * budget * (1 - RESERVE) - spent))


def _models(context: RunContext) -> Models:
    if context.sow.models is None:
        raise TypeError("a merge task has models: intake checks it")
    return context.sow.models


async def parent_folders(context: RunContext, models: Models) -> Mapping[str, Path]:
    """Return each model as a folder of plain safetensors: its own, or one that a worker has written."""
    references = (models.base, *models.experts)
    own = {m.name: _own_folder(m, context.root) for m in references}
    payloads = {
        name: MergeExport(
            candidate_id=name if name == models.base.name else f"expert-{name}", models=models,
            recipe=baseline_recipe(models, name), card="", root=context.root,
        )
        for name, path in own.items() if path is None
    }  # fmt: skip
    found = {name: path for name, path in own.items() if path is not None}
    for name, exported in zip(payloads, await context.jobs.run_all(list(payloads.values())), strict=True):
        found[name] = await asyncio.to_thread(_linked, context, exported)
    return {name: found[name] for name in own}


def _own_folder(model: ModelRef, root: str) -> Path | None:
    folder = (Path(root) / model.model).resolve()
    if model.adapter is not None or not folder.is_dir():
        return None
    return folder if any(not p.is_symlink() for p in folder.glob("*.safetensors")) else None


def _linked(context: RunContext, exported: object) -> Path:
    """Return a folder with an export's files, the store's own bytes under their names."""
    if not isinstance(exported, Exported):
        raise TypeError("an export job gave something else")
    folder = context.settings.state_dir.resolve() / "parents" / exported.checksum
    folder.mkdir(parents=True, exist_ok=True)
    for name, digest in exported.files.items():
        target = folder / name
        if (name.endswith(".safetensors") or name in MODEL_FILES) and not target.exists():
            # Reproductions run side by side: another may have made the same link just now.
            with contextlib.suppress(FileExistsError):
                target.hardlink_to(context.artifacts.path_of(digest))
    return folder


async def _data(context: RunContext, folder: Path) -> tuple[Path | None, Sequence[str]]:
    """Write the search items' prompts for the sandbox; return their folder, and the prompts it must not contain."""
    shown = await _prompts(context, {Role.SEARCH})
    hidden = await _prompts(context, {Role.SCREEN, Role.CONFIRM})
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    for texts in shown:
        lines = [json.dumps({"id": key, "prompt": prompt}) for key, prompt in texts.prompts.items()]
        (folder / f"{texts.benchmark}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    known = {p.strip() for texts in shown for p in texts.prompts.values()}
    secret = {p.strip() for texts in hidden for p in texts.prompts.values()} - known
    return (folder if shown else None), [p for p in sorted(secret) if len(p) >= CANARY_CHARACTERS]


async def _prompts(context: RunContext, roles: Set[Role]) -> list[ItemTexts]:
    asked = [ListItems(benchmark=b, root=context.root) for b in context.sow.benchmarks if b.role in roles]
    return [r for r in await context.jobs.run_all(asked) if isinstance(r, ItemTexts)]


async def _with_outcome(context: RunContext, row: ReproductionRow, said: Reproduced) -> ReproductionRow:
    made: dict[str, Any] = {"artifact": None, "submission": None, "recipe": None, "notes": ""}
    if said.submission is not None:
        made = {
            "artifact": await _store(context, row, said.submission), "submission": said.submission.kind.value,
            "recipe": said.submission.recipe, "notes": said.submission.notes,
        }  # fmt: skip
    return row.evolve(
        verdict=said.verdict, reason=said.reason, usage=said.usage, seconds=said.seconds, events=said.events,
        transcripts=said.transcripts, revision=said.revision or row.revision, **made,
    )  # fmt: skip


async def _store(context: RunContext, row: ReproductionRow, submission: Submission) -> str:
    """Put the submission's files into the artifact store, under names of ours, and return its manifest's digest."""
    base = f"reproductions/{row.candidate_id}"
    kept: dict[str, Path] = {"notes.md": submission.folder / "notes.md"}
    if submission.kind is SubmissionKind.WEIGHTS:
        shards = sorted((submission.folder / "weights").glob("*.safetensors"))
        kept |= {f"weights/{n:05}.safetensors": shard for n, shard in enumerate(shards)}
    else:
        name = "recipe.yaml" if submission.kind is SubmissionKind.RECIPE else "method.py"
        kept[name] = submission.folder / name
    for path in kept.values():
        path.chmod(0o644)
    files = {
        name: await context.artifacts.put_file(context.run_id, f"{base}/{name}", path, _media(name))
        for name, path in kept.items()
    }
    manifest = SubmittedFiles(kind=submission.kind.value, files=files)
    return await context.artifacts.put(
        context.run_id, f"{base}/manifest.json", manifest.model_dump_json().encode(), "application/json"
    )


def _media(name: str) -> str:
    return "application/octet-stream" if name.endswith(".safetensors") else "text/plain; charset=utf-8"
