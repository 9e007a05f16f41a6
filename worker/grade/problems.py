"""Problems of the code benchmarks and the files they come in.

Four forms, told apart by their fields: EvalPlus's HumanEval+ (inputs, `test` of the original), its original-format
export (all inputs inside `test`), MBPP+ (inputs, no `test`), and plain HumanEval. Plain or gzipped JSON lines.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import InvalidInputError, NotFoundError
from worker.grade.mbpp_inputs import read_inputs

Arguments = tuple[Any, ...]
Dataset = Literal["humaneval", "mbpp"]


@dataclass(frozen=True, slots=True)
class CodeProblem:
    """One problem. `base_input` and `plus_input` are argument tuples; `test` defines `check(candidate)` or is None."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str | None = None
    base_input: tuple[Arguments, ...] = ()
    plus_input: tuple[Arguments, ...] = ()
    atol: float = 0.0

    @property
    def reference(self) -> str:
        """Return the canonical program: the prompt and its solution."""
        return self.prompt + self.canonical_solution

    @property
    def dataset(self) -> Dataset:
        """Return which benchmark's rules of comparison hold."""
        return "mbpp" if self.task_id.startswith("Mbpp/") else "humaneval"


def load_problems(path: Path) -> dict[str, CodeProblem]:
    """Read a benchmark file in any of the four forms, keyed by task id.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: a line that is not a problem, or a task id that comes twice.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no benchmark file {path}.")
    return problems_from_rows(_rows(path))


def problems_from_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, CodeProblem]:
    """Read problems from rows (a file's, or a hub dataset's), keyed by task id.

    Raises:
        InvalidInputError: a row that is not a problem, or a task id that comes twice.
    """
    problems: dict[str, CodeProblem] = {}
    for number, row in enumerate(rows, 1):
        problem = _problem(row, number)
        if problem.task_id in problems:
            raise InvalidInputError(f"{problem.task_id} comes twice in the benchmark.")
        problems[problem.task_id] = problem
    return problems


def _problem(row: Mapping[str, Any], number: int) -> CodeProblem:
    missing = {"task_id", "prompt", "entry_point", "canonical_solution"} - set(row)
    task_id = str(row.get("task_id", ""))
    if task_id.isdigit():  # the hub's MBPP+ numbers its tasks
        task_id = f"Mbpp/{task_id}"
    if missing or not ("test" in row or "base_input" in row):
        lacks = ", ".join(sorted(missing)) or "test or base_input"
        raise InvalidInputError(f"Problem {number} of the benchmark ({task_id or 'no id'}) has no {lacks}.")
    return CodeProblem(
        task_id=task_id,
        prompt=row["prompt"],
        entry_point=row["entry_point"],
        canonical_solution=row["canonical_solution"],
        test=row.get("test"),
        base_input=_inputs(task_id, row.get("base_input")),
        plus_input=_inputs(task_id, row.get("plus_input")),
        atol=float(row.get("atol") or 0.0),
    )


def _inputs(task_id: str, calls: object) -> tuple[Arguments, ...]:
    if not isinstance(calls, list):  # absent; some MBPP+ tasks hold {} for no further inputs
        return ()
    return read_inputs(task_id, calls) if task_id.startswith("Mbpp/") else tuple(tuple(call) for call in calls)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise InvalidInputError(f"{path.name}, line {number}: not JSON ({error}).") from error
                if not isinstance(row, dict):
                    raise InvalidInputError(f"{path.name}, line {number}: not an object.")
                yield row
