"""Completions made elsewhere, and the files an evaluation leaves: the forms of bigcode and of EvalPlus, and our own.

Reads JSON only; programs are never run here.
"""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidInputError
from core.types.evaluation import ItemOutcome, SampleOutcome
from worker.grade.pool import Graded, Sample
from worker.grade.problems import CodeProblem
from worker.items import read_jsonl
from worker.protocols.base import CodeProtocol, code_problem
from worker.protocols.item import Item


@dataclass(frozen=True, slots=True)
class Submitted:
    """A program to grade, with the fields of the line it came in."""

    task_id: str
    source: str
    fields: Mapping[str, Any]


def read_generations(path: Path, items: Sequence[Item]) -> list[Submitted]:
    """Read EvalPlus's samples (`.jsonl`, `.jsonl.gz`: task_id with completion or solution) or bigcode's list of lists.

    Raises:
        InvalidInputError: another form, or a sample of an item that is not in the benchmark.
    """
    if not path.is_file():
        raise InvalidInputError(f"There is no file {path}.")
    name = path.name.removesuffix(".gz")
    return _from_lines(path, items) if name.endswith(".jsonl") else _from_lists(path, items)


def _from_lines(path: Path, items: Sequence[Item]) -> list[Submitted]:
    by_id = {item.item_id: item for item in items}
    found = []
    for number, row in enumerate(read_jsonl(path), 1):
        task_id = row.get("task_id")
        if task_id not in by_id:
            raise InvalidInputError(f"{path.name}, line {number}: {task_id!r} is not in the benchmark.")
        if isinstance(row.get("solution"), str):
            source = row["solution"]
        elif isinstance(row.get("completion"), str):
            # EvalPlus continues the prompt as it is, not stripped.
            source = _prompt(by_id[task_id]) + row["completion"]
        else:
            raise InvalidInputError(f"{path.name}, line {number}: neither a completion nor a solution.")
        found.append(Submitted(task_id, source, row))
    return found


def _from_lists(path: Path, items: Sequence[Item]) -> list[Submitted]:
    raw = path.read_bytes()
    try:
        lists = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, EOFError, ValueError) as error:
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
    return code_problem(item, "generations").prompt


def samples_of(submitted: Iterable[Submitted]) -> list[Sample]:
    """Return what the grader takes."""
    return [Sample(index, one.task_id, one.source) for index, one in enumerate(submitted)]


def problems_of(items: Iterable[Item]) -> list[CodeProblem]:
    """Return the items' problems; raise InvalidInputError for one that is not about code."""
    return [code_problem(item, "generations") for item in items]


def outcomes_of(submitted: Sequence[Submitted], graded: Iterable[Graded]) -> tuple[ItemOutcome, ...]:
    """Return the verdicts by item, in the order in which items first come; tokens are not known."""
    verdicts = {one.index: one for one in graded}
    samples: dict[str, list[SampleOutcome]] = {}
    for index, one in enumerate(submitted):
        mine = samples.setdefault(one.task_id, [])
        given = verdicts[index]
        mine.append(SampleOutcome(index=len(mine), completion=one.source, verdict=given.verdict, detail=given.detail))
    return tuple(ItemOutcome(item_id=task_id, samples=tuple(mine)) for task_id, mine in samples.items())


def write_verdicts(path: Path, submitted: Sequence[Submitted], graded: Iterable[Graded]) -> None:
    """Write one line a sample, in the order given: the line's own fields, `index`, `verdict` and `detail`."""
    verdicts = {one.index: one for one in graded}
    lines = []
    for index, one in enumerate(submitted):
        given = verdicts[index]
        verdict = {"index": index, "verdict": given.verdict.value, "detail": given.detail}
        if given.base is not None:
            verdict["base"] = given.base.value
        lines.append(json.dumps({**one.fields, **verdict}, ensure_ascii=False))
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def bigcode_lists(items: Sequence[Item], outcomes: Sequence[ItemOutcome], protocol: CodeProtocol) -> list[list[str]]:
    """Return the programs of an evaluation in bigcode's layout: one list an item, in order."""
    by_id = {item.item_id: item for item in items}
    return [
        [protocol.program(by_id[outcome.item_id], sample.completion) for sample in outcome.samples]
        for outcome in outcomes
    ]


def evalplus_lines(outcomes: Sequence[ItemOutcome]) -> list[dict[str, Any]]:
    """Return the completions of an evaluation as EvalPlus's samples."""
    return [
        {"task_id": outcome.item_id, "completion": sample.completion, "index": sample.index}
        for outcome in outcomes
        for sample in outcome.samples
    ]
