"""What became of each work: how it was run, what came of it, and beside that what its paper claims."""

from enum import StrEnum

from pydantic import Field

from core.types.base import Value
from core.types.evaluation import Score
from core.types.recipe import Recipe
from core.types.transcript import Usage


class Verdict(StrEnum):
    """How a reproduction ended, or where it stands."""

    RUNNING = "running"
    SUBMITTED = "submitted"
    RANKED = "ranked"
    BEHIND = "behind"
    FAILED = "evaluation_failed"
    REFUSED = "refused"
    NOTHING = "nothing_handed_in"
    STUCK = "stuck"
    OUT_OF_TIME = "out_of_time"
    OUT_OF_BUDGET = "out_of_budget"
    LEAK = "leak"
    LOST = "sandbox_lost"
    UNAVAILABLE = "unavailable"


class ReproductionRow(Value):
    """One work's reproduction. `sandbox` names its events, `transcripts` are the numbers of its model calls."""

    work_key: str
    work_title: str
    sandbox: str
    verdict: Verdict
    reason: str
    repository: str = ""
    revision: str = ""
    tier: str = ""
    claims: tuple[str, ...] = ()
    candidate_id: str | None = None
    submission: str | None = Field(None, description="recipe, method or weights")
    artifact: str | None = Field(None, description="digest of the submission's manifest")
    recipe: Recipe | None = None
    notes: str = ""
    score: Score | None = None
    usage: Usage = Usage()
    seconds: float = 0.0
    events: int = 0
    transcripts: tuple[int, ...] = ()

    @property
    def settled(self) -> bool:
        """Return whether the agent is done with it, whatever the evaluation says."""
        return self.verdict is not Verdict.RUNNING


class Reproductions(Value):
    """All reproductions of a run, in the order of their works."""

    rows: tuple[ReproductionRow, ...]


class SubmittedFiles(Value):
    """The manifest of an accepted submission: what it is, and the digests of its files in the artifact store."""

    kind: str = Field(pattern="^(recipe|method|weights)$")
    files: dict[str, str]
