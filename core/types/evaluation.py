"""Outcomes of evaluations: what one item of a benchmark gave, and what they add up to."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from core.types.base import Value


class Verdict(StrEnum):
    """How one graded sample ended (evaluation.md, 'Verdicts per item')."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    FORBIDDEN = "forbidden"
    UNPARSABLE = "unparsable"


class Sampling(Value):
    """How completions are drawn. `max_length` counts prompt and completion tokens, `max_new_tokens` only new ones."""

    temperature: float = Field(0.0, ge=0.0, le=5.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    n_samples: int = Field(1, ge=1, le=1000)
    max_length: int | None = Field(None, ge=1, le=131072)
    max_new_tokens: int | None = Field(None, ge=1, le=131072)
    seed: int = Field(0, ge=0)


class SampleOutcome(Value):
    """One completion of one item and its verdict. `detail` names the first failing input or the error's type."""

    index: int = Field(ge=0)
    completion: str
    verdict: Verdict
    detail: str = ""
    tokens: int = Field(0, ge=0)


class ItemOutcome(Value):
    """All samples of one benchmark item. `labels` are the item's own (skill, family, seen), for reports apart."""

    item_id: str
    samples: tuple[SampleOutcome, ...]
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def passed(self) -> int:
        """Return how many samples passed."""
        return sum(s.verdict is Verdict.PASSED for s in self.samples)

    @property
    def score(self) -> float:
        """Return the fraction of samples that passed: the item's unbiased pass@1."""
        return self.passed / len(self.samples)


class Interval(Value):
    """A confidence interval and how it was made."""

    low: float
    high: float
    level: float = 0.95
    method: str


class Score(Value):
    """A metric's value on a scale of 0 to 1 with its interval, from `items` items."""

    metric: str
    value: float
    interval: Interval | None = None
    items: int = Field(ge=0)


class EvaluationCost(Value):
    """What an evaluation took: seconds by part, and tokens generated."""

    load_s: float = 0.0
    merge_s: float = 0.0
    generate_s: float = 0.0
    grade_s: float = 0.0
    tokens: int = 0
    items: int = 0


class Evaluation(Value):
    """One candidate on one slice of one benchmark, under one protocol.

    `id` is content-addressed (the job's key), so that the same work has the same id everywhere.
    """

    id: str
    candidate_id: str
    benchmark: str
    protocol: str
    role: Literal["search", "screen", "confirm", "show"]
    sampling: Sampling
    outcomes: tuple[ItemOutcome, ...]
    score: Score
    cost: EvaluationCost = EvaluationCost()
    grader: str = ""
    engine: str = ""
    model_checksum: str = ""
    task_vectors: dict[str, float] = Field(default_factory=dict, description="length of each expert's task vector")


class EvaluationSummary(Value):
    """An evaluation without its items: what lists show."""

    id: str
    candidate_id: str
    benchmark: str
    protocol: str
    role: str
    score: Score
    cost: EvaluationCost = EvaluationCost()
    engine: str = ""
