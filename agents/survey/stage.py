"""The survey as a stage of a run: connect the SoW's sources, survey, keep works, ledger and exports."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from agents.context import RunContext
from agents.survey.agent import survey
from agents.survey.command import render
from agents.survey.desk import Desk
from agents.survey.sources.connect import connect
from agents.survey.sources.http import Fetcher, RequestBudget
from agents.survey.sources.settings import SECONDS_BETWEEN, SourceSettings
from core.ports import Jobs
from core.settings import Settings
from core.types.job import Embeddings, EmbedTexts
from core.types.run import Stage
from core.types.sow import StatementOfWork

MEDIA_TYPES = {"md": "text/markdown", "html": "text/html", "bib": "application/x-bibtex", "csv": "text/csv"}


async def survey_task(context: RunContext) -> None:
    """Survey the task's literature and keep the outcome as the document `survey` and the artifacts `survey/…`."""
    settings = source_settings(context.settings, context.sow, context.root)
    budget = RequestBudget(context.sow.survey.max_requests)
    async with Fetcher(settings, context.cache, budget) as fetcher:
        sources = connect(context.sow.survey.sources, fetcher)
        texts = None if context.sow.survey.sources == ("catalogue",) else JobTexts(context.jobs)
        found = await survey(context.sow, sources, Desk(context.brain, context.journal, texts))
    await context.records.put(context.run_id, "survey", found)
    for name, text in render(found, context.sow.title, context.sow.language).items():
        media_type = MEDIA_TYPES.get(name.rsplit(".", 1)[-1], "application/json")
        await context.artifacts.put(context.run_id, f"survey/{name}", text.encode(), media_type)
    await context.journal.event(
        "survey.finished",
        f"{len(found.works)} works are in scope, {len(found.borderline)} borderline, {found.dropped} dropped.",
        stage=Stage.SURVEY, works=len(found.works), stop=found.stop_reason,
    )  # fmt: skip
    await context.journal.progress(Stage.SURVEY, len(found.works), len(found.works))


def source_settings(settings: Settings, sow: StatementOfWork, root: str) -> SourceSettings:
    """Return where and how the sources are asked, from the process's settings and the SoW."""

    def secret(name: str) -> str | None:
        value = getattr(settings, name)
        return value.get_secret_value() if value else None

    addresses = {"arxiv": settings.arxiv_url, "semantic_scholar": settings.semantic_scholar_url,
                 "openalex": settings.openalex_url, "github": settings.github_url, "hub": settings.hub_url}  # fmt: skip
    near = {name for name, url in addresses.items() if _on_this_machine(url)}
    return SourceSettings(
        seconds_between={name: 0.0 if name in near else rate for name, rate in SECONDS_BETWEEN.items()},
        arxiv_url=settings.arxiv_url,
        semantic_scholar_url=settings.semantic_scholar_url,
        openalex_url=settings.openalex_url,
        github_url=settings.github_url,
        hub_url=settings.hub_url,
        semantic_scholar_key=secret("semantic_scholar_key"),
        openalex_key=secret("openalex_key"),
        github_token=secret("github_token"),
        hub_token=secret("hub_token"),
        catalogue=Path(root) / sow.survey.catalogue if sow.survey.catalogue else None,
    )


def _on_this_machine(url: str) -> bool:
    """Return whether an address is a mirror on this machine, which may be asked as fast as it answers."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


class JobTexts:
    """Embeddings by a worker's job: torch stays in the worker."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one unit vector a text."""
        result = await self._jobs.run(EmbedTexts(texts=tuple(texts)))
        if not isinstance(result, Embeddings):
            raise TypeError("an embedding job gave something else")
        return list(result.vectors)
