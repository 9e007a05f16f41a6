"""Completions made elsewhere, and the files an evaluation leaves: the forms of bigcode and of EvalPlus, and our own.

Reads JSON only; programs are never run here.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidInputError
from core.types.evaluation import ItemOutcome, SampleOutcome
from worker.grade.pool import Graded, Sample
from worker.grade.problems import CodeProblem
from worker.items import read_jsonl, read_text
from worker.protocols.base import CodeProtocol, code_problem
from worker.protocols.item import Item


@dataclass(frozen=True, slots=True)
class Submitted:
    """A program to grade, with the fields of the line it came in."""

    task_id: str
    source: str
    fields: Mapping[str, Any]


def read_generations(path: Path, items: Sequence[Item]) -> list[Submitted]:
    """Read EvalPlus's samples (lines with a task_id and a completion or a solution) or bigcode's list of lists.

    Which one it is, and whether it is gzipped, is told by what the file holds, not by its name.

    Raises:
        InvalidInputError: another form, or a sample of an item that is not in the benchmark.
    """
    if not path.is_file():
        raise InvalidInputError(f"There is no file {path}.")
    text = read_text(path)
    submitted = _from_lists(path, text, items) if text.lstrip().startswith("[") else _from_lines(path, items)
    if not submitted:
        raise InvalidInputError(f"{path.name} holds no samples.")
    return submitted


def _from_lines(path: Path, items: Sequence[Item]) -> list[Submitted]:
    by_id = {item.item_id: item for item in items}
    found = []
    for number, row in enumerate(read_jsonl(path), 1):
        task_id = row.get("task_id")
        if not isinstance(task_id, str) or task_id not in by_id:
            raise InvalidInputError(
                f"{path.name}, sample {number}: {str(task_id)[:80]!r} is not in the benchmark.",
                fix=f"Its items are called like {items[0].item_id!r}.",
            )
        if isinstance(row.get("solution"), str):
            source = row["solution"]
        elif isinstance(row.get("completion"), str):
            source = _prompt(by_id[task_id]) + row["completion"]
        else:
            raise InvalidInputError(f"{path.name}, sample {number}: neither a completion nor a solution.")
        found.append(Submitted(task_id, source, row))
    return found


def _from_lists(path: Path, text: str, items: Sequence[Item]) -> list[Submitted]:
    try:
        lists = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path.name} is not JSON: {error}.") from error
    if not isinstance(lists, list) or not all(
        isinstance(programs, list) and all(isinstance(p, str) for p in programs) for programs in lists
    ):
        raise InvalidInputError(f"{path.name} is not a list of lists of programs.")
    if len(lists) != len(items):
        raise InvalidInputError(
            f"{path.name} holds {len(lists)} tasks, the benchmark {len(items)}.", fix="Name the slice it was made from."
        )
    return [
        Submitted(item.item_id, program, {"task_id": item.item_id})
        for item, programs in zip(items, lists, strict=True)
        for program in programs
    ]


def _prompt(item: Item) -> str:
    """Return what a completion continues: a code problem's prompt as it is, as EvalPlus does; else nothing."""
    return item.task.prompt if isinstance(item.task, CodeProblem) else ""


def samples_of(submitted: Iterable[Submitted]) -> list[Sample]:
    """Return what the grader takes."""
    return [Sample(index, one.task_id, one.source) for index, one in enumerate(submitted)]


def problems_of(items: Iterable[Item]) -> list[CodeProblem]:
    """Return the items' problems; raise InvalidInputError for one that is not about code."""
    return [code_problem(item, "generations") for item in items]


def outcomes_of(submitted: Sequence[Submitted], graded: Sequence[Graded]) -> tuple[ItemOutcome, ...]:
    """Return the verdicts by item, in the order in which items first come; tokens are not known."""
    samples: dict[str, list[SampleOutcome]] = {}
    for one, given in zip(submitted, graded, strict=True):
        mine = samples.setdefault(one.task_id, [])
        source = one.source.encode(errors="replace").decode()  # half of a surrogate pair is no text
        mine.append(SampleOutcome(index=len(mine), completion=source, verdict=given.verdict, detail=given.detail))
    return tuple(ItemOutcome(item_id=task_id, samples=tuple(mine)) for task_id, mine in samples.items())


def submitted_lines(submitted: Sequence[Submitted], graded: Sequence[Graded]) -> list[dict[str, Any]]:
    """Return one line a sample, in the order given: the line's own fields, `index`, `verdict` and `detail`.

    Under `evalplus` also `base`, the verdict on the base inputs alone.
    """
    lines = []
    for index, (one, given) in enumerate(zip(submitted, graded, strict=True)):
        verdict = {"index": index, "verdict": given.verdict.value, "detail": given.detail}
        base = {} if given.base is None else {"base": given.base.value}
        lines.append({**one.fields, **verdict, **base})
    return lines


def bigcode_lists(items: Sequence[Item], outcomes: Sequence[ItemOutcome], protocol: CodeProtocol) -> list[list[str]]:
    """Return the programs of an evaluation in bigcode's layout: one list an item, in order."""
    by_id = {item.item_id: item for item in items}
    return [
        [protocol.program(by_id[outcome.item_id], sample.completion) for sample in outcome.samples]
        for outcome in outcomes
    ]
