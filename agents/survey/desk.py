"""What a survey works with: its sources, who decides, where it is written down, and its limits."""

from dataclasses import dataclass, field

from agents.decision import Brain
from agents.survey.dedupe import Pool
from agents.survey.ledger import Ledger
from agents.survey.sources.ports import CodeHost, ListHost, PaperHub, Resolver
from core.ports import CitationSource, Journal, LiteratureSource, Texts


@dataclass(frozen=True)
class Sources:
    """Where works, references, lists and code are found. Any of them may be missing."""

    literature: tuple[LiteratureSource, ...]
    citations: tuple[CitationSource, ...] = ()
    resolvers: tuple[Resolver, ...] = ()
    lists: ListHost | None = None
    code: CodeHost | None = None
    hub: PaperHub | None = None


@dataclass(frozen=True)
class Limits:
    """How far a survey goes. The stop rule of snowballing: `quiet_rounds` in a row, each adding less than `yield_`."""

    pages: int = 20
    grown_queries: int = 8
    lists: int = 5
    rounds: int = 20
    round_share: float = 0.1
    round_least: int = 40
    quiet_yield: float = 0.02
    quiet_rounds: int = 2
    code_searches: int = 60
    failures: int = 3
    concurrency: int = 8


@dataclass(frozen=True)
class Desk:
    """Who decides and where it is written down."""

    brain: Brain
    journal: Journal
    texts: Texts | None = None
    limits: Limits = Limits()


@dataclass
class Workbench:
    """The state of a survey under way."""

    pool: Pool = field(default_factory=Pool)
    ledger: Ledger = field(default_factory=Ledger)
    stop_reason: str = ""
