"""What an agent works with in one run. Everything durable is behind a port; nothing here is kept in a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agents.budget import LlmBudget
from agents.decision import Brain
from agents.experiment.sandboxes import Sandboxes
from core.ports import Artifacts, Cache, Jobs, Journal
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings
from core.types.sow import StatementOfWork


@dataclass(frozen=True)
class RunContext:
    """One run's surroundings. `root` is the folder that the SoW's relative paths start from."""

    run_id: str
    sow: StatementOfWork
    root: str
    settings: Settings
    brain: Brain
    journal: Journal
    jobs: Jobs
    runs: RunStore
    records: RunRecords
    artifacts: Artifacts
    cache: Cache
    database_url: str
    llm_budget: LlmBudget = field(default_factory=LlmBudget)
    sandboxes: Sandboxes | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
