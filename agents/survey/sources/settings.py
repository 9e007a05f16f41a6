"""Where the sources are and how politely they are asked; the process's settings are mapped to this value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import InvalidInputError

# arXiv asks for three seconds, Semantic Scholar allows one request a second with a key.
SECONDS_BETWEEN: Mapping[str, float] = {
    "arxiv": 3.0, "semantic_scholar": 1.1, "openalex": 0.15, "github": 2.0, "hub": 0.5,
}  # fmt: skip


@dataclass(frozen=True)
class SourceSettings:
    """Base addresses, keys and limits of the sources.

    Rates are the least seconds between two requests to a source; `timeout_s` limits each wait, `answer_s` a whole
    answer. Keys are never part of a cache key, a message or a log.
    """

    arxiv_url: str = "https://export.arxiv.org"
    semantic_scholar_url: str = "https://api.semanticscholar.org"
    openalex_url: str = "https://api.openalex.org"
    github_url: str = "https://api.github.com"
    hub_url: str = "https://huggingface.co"
    semantic_scholar_key: str | None = field(default=None, repr=False)
    openalex_key: str | None = field(default=None, repr=False)
    github_token: str | None = field(default=None, repr=False)
    hub_token: str | None = field(default=None, repr=False)
    contact: str = ""
    catalogue: Path | None = None
    seconds_between: Mapping[str, float] = field(default_factory=lambda: SECONDS_BETWEEN)
    extra_hosts: tuple[str, ...] = ()
    cache_days: float = 14.0
    timeout_s: float = 30.0
    answer_s: float = 90.0
    attempts: int = 5
    back_off_s: float = 0.5
    longest_wait_s: float = 120.0
    max_response_bytes: int = 16 * 2**20

    def __post_init__(self) -> None:
        for name, url in self.addresses.items():
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
                raise InvalidInputError(f"The address of {name} must be http(s)://host, not {url!r}.")

    @property
    def addresses(self) -> dict[str, str]:
        """Return the base address of each source, without a final slash."""
        return {
            "arxiv": self.arxiv_url.rstrip("/"),
            "semantic_scholar": self.semantic_scholar_url.rstrip("/"),
            "openalex": self.openalex_url.rstrip("/"),
            "github": self.github_url.rstrip("/"),
            "hub": self.hub_url.rstrip("/"),
        }

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Return the `host[:port]`s that may be contacted; a redirect elsewhere is refused."""
        return frozenset({urlsplit(url).netloc.lower() for url in self.addresses.values()} | set(self.extra_hosts))
