"""Items of benchmarks: a prompt, what is asked for, and the labels that reports tell apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.grade.problems import CodeProblem
from worker.protocols.constraints import Constraint


@dataclass(frozen=True, slots=True)
class Question:
    """A question with one number for an answer."""

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction whose constraints a program can check."""

    text: str
    constraints: tuple[Constraint, ...]


Task = CodeProblem | Question | Instruction


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a benchmark. `labels` are its own (family, seen), carried to its outcome."""

    item_id: str
    task: Task
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """Return what the item asks, without its answer or tests."""
        return self.task.prompt if isinstance(self.task, CodeProblem) else self.task.text
