"""Connect the sources that a SoW names."""

from collections.abc import Sequence

from agents.survey.desk import Sources
from agents.survey.sources.arxiv import ArxivSource
from agents.survey.sources.catalogue import CatalogueSource
from agents.survey.sources.github import GitHubSource
from agents.survey.sources.http import Fetcher
from agents.survey.sources.hub import HubSource
from agents.survey.sources.openalex import OpenAlexSource
from agents.survey.sources.semantic_scholar import SemanticScholarSource
from core.errors import InvalidInputError
from core.ports import CitationSource, LiteratureSource

NAMES = ("catalogue", "arxiv", "semantic_scholar", "openalex", "hub", "github")


def connect(names: Sequence[str], fetcher: Fetcher) -> Sources:
    """Return the named sources; raise InvalidInputError for a name that is none, or a catalogue without a file."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise InvalidInputError(f"There is no source {', '.join(unknown)}.", fix=f"Sources are {', '.join(NAMES)}.")
    settings = fetcher.settings
    arxiv = ArxivSource(fetcher)
    scholar = SemanticScholarSource(fetcher, settings.semantic_scholar_key)
    openalex = OpenAlexSource(fetcher, settings.openalex_key)
    hub = HubSource(fetcher, settings.hub_token)
    github = GitHubSource(fetcher, settings.github_token)
    made: dict[str, LiteratureSource] = {"arxiv": arxiv, "semantic_scholar": scholar, "openalex": openalex, "hub": hub}
    if "catalogue" in names:
        if settings.catalogue is None:
            raise InvalidInputError("The catalogue source needs a file.", fix="Set survey.catalogue in the SoW.")
        made = {"catalogue": CatalogueSource(settings.catalogue), **made}
    citing: dict[str, CitationSource] = {"semantic_scholar": scholar, "openalex": openalex}
    return Sources(
        literature=tuple(source for name, source in made.items() if name in names),
        citations=tuple(source for name, source in citing.items() if name in names),
        resolvers=tuple(s for s in (scholar, arxiv, openalex) if s.name in names),
        lists=github if "github" in names else None,
        code=github if "github" in names else None,
        hub=hub if "hub" in names else None,
    )
