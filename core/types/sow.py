"""The Statement of Work: what a user asks for (contracts.md, 'Statement of Work', version 1)."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from core.types.base import Value
from core.types.evaluation import Sampling
from core.types.host_rule import HostRule

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=80)]


def _host_pattern(text: str) -> str:
    HostRule.wanted(text)  # what the operator does not allow is left out, and said
    return text


HostPattern = Annotated[str, Field(max_length=260), AfterValidator(_host_pattern)]


class ModelRef(Value):
    """A model: a hub id or a local path, with an optional adapter that is folded into it on load."""

    name: Name
    model: str = Field(min_length=1, max_length=500, description="hub id, local path, or package:NAME")
    adapter: str | None = Field(None, max_length=500)
    revision: str | None = Field(None, max_length=100)
    licence: str | None = Field(None, max_length=100, description="SPDX id")
    skill: Name | None = Field(None, description="what this expert is an expert of")


class Models(Value):
    """The models of a merge task: one base, its experts, and what the result may be."""

    base: ModelRef
    experts: tuple[ModelRef, ...] = Field(min_length=1, max_length=32)
    max_parameters: int | None = Field(None, ge=1)
    allowed_licences: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [self.base.name, *(e.name for e in self.experts)]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two models share the name {', '.join(twice)}; give each its own")
        return self


class Role(StrEnum):
    """What a benchmark slice may decide. `show` is reported beside the rest and decides nothing."""

    SEARCH = "search"
    SCREEN = "screen"
    CONFIRM = "confirm"
    SHOW = "show"


class Benchmark(Value):
    """One slice of one dataset, how it is scored and what it may decide."""

    name: Name
    dataset: str = Field(min_length=1, max_length=500, description="hub id, local file, or package:NAME")
    split: str | None = Field(None, max_length=80)
    limit: int | None = Field(None, ge=1, description="take only the first items of the slice")
    metric: str = Field("pass@1", pattern=r"^(pass@\d{1,3}|exact_match|constraint_match)$")
    protocol: Name = "bigcode"
    sampling: Sampling = Sampling()
    weight: float = Field(1.0, gt=0)
    role: Role = Role.SCREEN
    skill: Name | None = Field(None, description="columns of the leaderboard; default: the name")

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.metric.startswith("pass@") and int(self.metric[5:]) > self.sampling.n_samples:
            raise ValueError(f"{self.metric} needs sampling.n_samples >= {self.metric[5:]}")
        return self

    @property
    def column(self) -> str:
        """Return the skill that this benchmark measures."""
        return self.skill or self.name


class CommandEvaluation(Value):
    """Command kind: the program that scores a candidate's directory and prints a metric as JSON."""

    command: tuple[str, ...] = Field(min_length=1)
    image: str | None = None
    timeout_s: float = Field(600.0, gt=0, le=86400)
    memory_mb: int = Field(2048, ge=64)
    metric: Name = "score"
    direction: Literal["maximize", "minimize"] = "maximize"
    candidates: tuple[str, ...] = Field((), description="directories to start from")


class SurveySpec(Value):
    """What to look for, where, and what belongs to the topic."""

    questions: tuple[str, ...] = ()
    seeds: tuple[str, ...] = Field((), description="arXiv ids, DOIs or titles of known works")
    sources: tuple[Name, ...] = Field(("catalogue",), min_length=1)
    catalogue: str | None = Field(None, description="BibTeX, CSL-JSON or JSONL file")
    years: tuple[int, int] | None = None
    include: tuple[str, ...] = Field((), description="terms, at least one of which an in-scope work has")
    exclude: tuple[str, ...] = ()
    target_per_category: int | None = Field(None, ge=1)
    max_requests: int = Field(2000, ge=1)


class ExperimentSpec(Value):
    """Which methods are tried, and at what price."""

    methods: Literal["all"] | tuple[Name, ...] = "all"
    budget_minutes_per_method: float | None = Field(None, gt=0)
    budget_usd_per_method: float | None = Field(2.0, gt=0, description="what the agent of one reproduction may spend")
    reproduce: bool = Field(False, description="reproduce works without a built-in method from their repositories")
    seeds: int = Field(
        1,
        ge=1,
        le=64,
        description="most seeds that a candidate is screened under, while it may be the best; 1: the SoW's own alone",
    )
    hosts: tuple[HostPattern, ...] | None = Field(
        None,
        max_length=64,
        description="of the hosts that the operator allows sandboxes, those that this run's may reach (host or *.host,"
        " :port where not 443); unset: all of them",
    )
    noise_seeds: int = Field(
        2,
        ge=0,
        le=20,
        description="other seeds of the best baseline, for the noise floor of sampled benchmarks",
    )
    calibration: tuple[Benchmark, ...] = Field(
        (), description="slices with role search that calibrated methods read; unset: the search slices"
    )

    @model_validator(mode="after")
    def _calibration_decides_nothing(self) -> Self:
        wrong = [b.name for b in self.calibration if b.role is not Role.SEARCH]
        if wrong:
            raise ValueError(f"calibration slices have the role search, not so {wrong[0]}")
        return self


class OptimizationSpec(Value):
    """How the search goes and where it may look."""

    trials: int = Field(20, ge=0, le=10000)
    strategy: Literal["auto", "tpe", "gp", "cmaes", "random", "bandit"] = Field(
        "auto", description="auto: gp; where a language model is configured, bandit, which shares trials with it"
    )
    coefficient_low: float = 0.0
    coefficient_high: float = 1.5
    finalists: int = Field(2, ge=1, le=20)
    layer_groups: int | None = Field(
        None, ge=0, le=8, description="groups × {attention, MLP} of weights an expert; 0: one weight; unset: by trials"
    )
    block_items: int = Field(20, ge=1, description="items of the first racing block; each next one is twice as large")
    parameters: dict[Name, tuple[float, float]] = Field(
        default_factory=dict, max_length=32, description="command kind: numbers that may be varied, with their limits"
    )
    drop_error: float = Field(0.05, gt=0, lt=1, description="chance that a trial is dropped though it would win")

    @model_validator(mode="after")
    def _low_below_high(self) -> Self:
        if self.coefficient_low >= self.coefficient_high:
            raise ValueError("coefficient_low must be below coefficient_high")
        empty = sorted(name for name, (low, high) in self.parameters.items() if not low < high)
        if empty:
            raise ValueError(f"the range of {', '.join(empty)} is empty; give the lower limit first")
        return self


class Budget(Value):
    """Limits of a run: it stops spending there and still reports."""

    wall_clock_minutes: float | None = Field(None, gt=0)
    gpu_minutes: float | None = Field(None, gt=0)
    llm_usd: float | None = Field(None, ge=0)
    trials: int | None = Field(None, ge=0)


class Gate(StrEnum):
    """Points at which a person is asked."""

    AFTER_SURVEY = "after_survey"
    BEFORE_EXPERIMENTS = "before_experiments"
    BEFORE_PUBLISHING = "before_publishing"


class StatementOfWork(Value):
    """What a user asks for."""

    sow: Literal[1]
    title: str = Field(min_length=3, max_length=300)
    motivation: str = Field("", max_length=20000)
    task: str = Field("", max_length=20000)
    kind: Literal["merge", "command"] = "merge"
    models: Models | None = None
    benchmarks: tuple[Benchmark, ...] = ()
    evaluation: CommandEvaluation | None = None
    survey: SurveySpec = SurveySpec()
    experiments: ExperimentSpec = ExperimentSpec()
    optimization: OptimizationSpec = OptimizationSpec()
    budget: Budget = Budget()
    approvals: tuple[Gate, ...] = ()
    seed: int = Field(0, ge=0, lt=2**32)
    language: Literal["en", "zh"] = "en"

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [b.name for b in self.benchmarks]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two benchmarks share the name {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _calibration_is_apart(self) -> Self:
        deciding = {(b.dataset, b.split): b.name for b in self.benchmarks if b.role in {Role.SCREEN, Role.CONFIRM}}
        for text in self.experiments.calibration:
            if (text.dataset, text.split) in deciding:
                name = deciding[text.dataset, text.split]
                raise ValueError(f"calibration slice {text.name} reads the items of {name}, which decides")
        return self

    def benchmarks_of(self, role: Role) -> tuple[Benchmark, ...]:
        """Return the slices that play a role, in order."""
        return tuple(b for b in self.benchmarks if b.role is role)
