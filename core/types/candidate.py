"""A candidate: what is evaluated in a run, and why it is there."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from core.types.base import Value
from core.types.evaluation import Score
from core.types.recipe import Recipe


class Fidelity(StrEnum):
    """How closely what runs follows what was published."""

    EXACT = "exact"
    ADAPTED = "adapted"
    NOT_APPLICABLE = "not_applicable"
    NOT_BUILT_IN = "not_built_in"
    REPRODUCED = "reproduced"


class Applicability(Value):
    """Whether and how a work runs on this task, and the reason."""

    work_key: str | None = None
    work_title: str = ""
    method: str | None = None
    fidelity: Fidelity
    reason: str = ""
    candidate_id: str | None = Field(None, description="what stands for the work in this run, where it is tried")
    outcome: str = Field("", description="what became of it: its place, or why it has none")


class Applicabilities(Value):
    """All works of a survey and what became of each: no row is lost."""

    rows: tuple[Applicability, ...]

    @property
    def by_work(self) -> dict[str, Applicability]:
        """Return one row a work: of several methods that implement it the one that was tried, else the first."""
        tried = [row for row in self.rows if row.candidate_id]
        return {row.work_key: row for row in (*reversed(self.rows), *reversed(tried)) if row.work_key}


class CandidateKind(StrEnum):
    """Where a candidate comes from."""

    BASELINE = "baseline"
    METHOD = "method"
    REPRODUCTION = "reproduction"
    TRIAL = "trial"


class Candidate(Value):
    """A recipe, or a submitted artifact, in a run. `id` is content-addressed within the run."""

    id: str
    name: str
    kind: CandidateKind
    stage: Literal["experiment", "optimize", "confirm"] = "experiment"
    recipe: Recipe | None = None
    artifact: str | None = Field(None, description="digest of a submitted artifact")
    work_key: str | None = None
    fidelity: Fidelity = Fidelity.EXACT
    note: str = ""
    parameters: dict[str, float] = Field(default_factory=dict)


class Ranked(Value):
    """One row of a leaderboard. Whoever is in a lower `tie_group` is worse than a higher one's best, beyond chance."""

    rank: int
    tie_group: int
    candidate: Candidate
    score: Score
    skills: dict[str, Score] = Field(default_factory=dict)
    evaluation_ids: tuple[str, ...] = ()
    difference: Score | None = Field(None, description="paired difference to the leader")
    seeds: int = Field(1, ge=1, description="seeds it was measured under; an item's score is its mean over them")
    seeds_note: str = Field("", description="why it was measured under no more seeds; empty: all that were asked for")


class Leaderboard(Value):
    """Candidates of one run under one role, best first."""

    role: Literal["search", "screen", "confirm", "show"]
    metric: str
    rows: tuple[Ranked, ...]
    noise_floor: float | None = None
    note: str = ""

    @property
    def repeated(self) -> bool:
        """Return whether rows differ in how often they were measured, or were measured more than once."""
        return any(r.seeds > 1 or r.seeds_note for r in self.rows)
