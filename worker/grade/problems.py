"""Problems of the code benchmarks and the files they come in.

Five forms, told apart by their fields: EvalPlus's HumanEval+ (inputs, `test` of the original), its original-format
export (all inputs inside `test`; the hub's HumanEval+), MBPP+ (inputs, no `test`), the hub's MBPP+ (`code`, and a test
that only its inputs are taken from), and plain HumanEval. Plain or gzipped JSON lines.
"""

import ast
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.errors import InvalidInputError, NotFoundError
from worker.grade.mbpp_inputs import read_inputs
from worker.grade.original_format import read_original_format

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
    def loops(self) -> bool:
        """Tell whether the canonical program has a loop without bounds: programs like it are those that may not end."""
        return any(isinstance(node, ast.While) for node in ast.walk(ast.parse(self.reference)))

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


def with_inputs(problem: CodeProblem) -> CodeProblem:
    """Return the problem with its inputs, which may have to be read from its test: all of them count as base inputs.

    Raises:
        InvalidInputError: it has none, or they can't be read.
    """
    if problem.base_input:
        return problem
    found = read_original_format(problem.test, problem.task_id) if problem.test else None
    if found is None or not found.inputs:
        raise InvalidInputError(f"{problem.task_id} has no inputs, which the evalplus protocol compares on.")
    return replace(problem, base_input=found.inputs, atol=found.atol)


def _hub_mbpp(row: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """Return a row of the hub's MBPP+ as EvalPlus's release has it: the prompt is the text and its first assertion."""
    listed = row["test_list"]
    if not (isinstance(row["test"], str) and len(listed)):
        raise InvalidInputError(f"Problem {number} of the benchmark ({row.get('task_id')}) has no test.")
    found = read_original_format(row["test"], str(row["task_id"]))
    if found is None or not found.called:
        raise InvalidInputError(f"The test of problem {number} of the benchmark ({row['task_id']}) holds no inputs.")
    return {
        "task_id": row["task_id"],
        "prompt": f'"""\n{row["prompt"]}\n{listed[0]}\n"""\n',
        "entry_point": found.called,
        "canonical_solution": "\n" + row["code"].strip() + "\n",
        "base_input": found.inputs,
        "atol": found.atol,
    }


def _problem(row: Mapping[str, Any], number: int) -> CodeProblem:
    if {"task_id", "prompt", "code", "test_list", "test"} <= row.keys():
        row = _hub_mbpp(row, number)
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
    if isinstance(calls, tuple):  # Python's own values, from a test
        return calls
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
