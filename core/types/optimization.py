"""What a search did, and what confirmation made of it."""

from typing import Literal

from pydantic import Field

from core.types.base import Value
from core.types.candidate import Candidate
from core.types.evaluation import Score


class TrialRecord(Value):
    """One trial of a search, in the order asked.

    `value` estimates the score over all search items; for a dropped trial it rests on `items` of them, paired with the
    incumbent's. `best` is the best full score so far.
    """

    number: int
    candidate_id: str
    source: str = Field(description="warm start, strategy or proposer")
    state: Literal["complete", "dropped", "failed", "repeated"]
    value: float | None = None
    deviation: float = Field(0.0, description="standard error of the value against the full set of search items")
    best: float | None = None
    items: int = 0
    item_evaluations: int = 0
    parameters: dict[str, float] = Field(default_factory=dict)
    method: str = ""
    reason: str = ""
    evaluation_ids: tuple[str, ...] = ()


class OptimizationResult(Value):
    """A finished search: its trials, the finalists (best first) and what it rests on."""

    strategy: str
    metric: str = "weighted mean"
    study: str = ""
    trials: tuple[TrialRecord, ...] = ()
    finalists: tuple[Candidate, ...] = ()
    start_value: float | None = Field(None, description="full search score of the leader that the search starts from")
    best_value: float | None = None
    optimism: float | None = Field(
        None, description="how much too good the best looks (winner's curse), on search items"
    )
    item_evaluations: int = 0
    items: int = 0
    refused: dict[str, int] = Field(default_factory=dict, description="refused proposals by reason")
    importance: dict[str, float] = Field(default_factory=dict)
    note: str = ""


class Comparison(Value):
    """A finalist against a reference on confirm items: the paired difference and what it shows."""

    candidate_id: str
    reference_id: str
    difference: Score
    p_value: float
    adjusted_p: float = Field(description="adjusted by Holm over all comparisons of the confirmation")
    test: str
    verdict: Literal["improved", "tied", "worse"]
    words: str


class Confirmation(Value):
    """Finalists and references under the full protocol, with fresh seeds, on items that nothing was chosen by."""

    done: bool
    winner: str | None = Field(None, description="the candidate id to report and publish")
    verdict: Literal["improved", "tied", "worse", "unconfirmed"]
    words: str
    comparisons: tuple[Comparison, ...] = ()
    aliases: dict[str, str] = Field(default_factory=dict, description="finalist's id -> id of the trial that it was")
    seed: int = 0

    @property
    def improved(self) -> bool:
        """Return whether a finalist is better than every reference, beyond chance."""
        return self.verdict == "improved"
